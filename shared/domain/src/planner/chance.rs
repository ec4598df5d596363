//! How likely an order in flight is to end in the next second, by its age: from the documented times at first, then learnt from the
//! orders that ended.

use std::time::Duration;

use crate::order::{ParkedAs, Product};

/// Ages are told apart by the second up to here …
const FINE: usize = 60;
/// … and in steps of 20 s up to 5 min: by then polling has ended.
const COARSE: usize = 12;
const COARSE_WIDTH: f64 = 20.0;
/// What is documented counts as much as so many orders that were seen to end.
const DOCUMENTED_WEIGHT: f64 = 20.0;
/// So much of what is documented is taken to come late, at `LATE` per second: nothing promises the ranges.
const LATE_SHARE: f64 = 0.03;
const LATE: f64 = 0.02;
/// Of more ended orders than this the older count half: the vendor's speed changes.
const MOST_ORDERS: f64 = 400.0;
/// No age is without any chance, and none is certain.
const LEAST: f64 = 0.002;
const MOST: f64 = 1.0;
/// Numbers are kept as thousandths: what little was learnt at first must not be rounded away.
const STORED: f64 = 1000.0;

/// The chance to end per second, by age, of one product's orders in flight. Ending is leaving the flight: final or parked.
#[derive(Clone, Debug, PartialEq)]
pub struct Chances {
    bins: Vec<Bin>,
    /// How many ended orders were counted, the older ones for less.
    orders: f64,
}

/// One step of age.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bin {
    /// In seconds.
    start: f64,
    width: f64,
    /// Orders that ended at this age, and seconds that orders were seen to spend in it.
    ended: f64,
    seen: f64,
    /// The same as documented.
    documented_ended: f64,
    documented_seen: f64,
}

impl Bin {
    fn end(&self) -> f64 {
        self.start + self.width
    }

    /// How many seconds of `from..to` lie in it.
    fn part(&self, from: f64, to: f64) -> f64 {
        (to.min(self.end()) - from.max(self.start)).max(0.0)
    }

    fn per_second(&self) -> f64 {
        let seen = self.seen + self.documented_seen;
        if seen <= 0.0 { LATE } else { ((self.ended + self.documented_ended) / seen).clamp(LEAST, MOST) }
    }
}

impl Chances {
    /// From the documented times alone: mobile `PENDING` 2–15 s and then `HANDLING` 3–8 s (page "Check Status by ID"), internet
    /// `HANDLING` 3–45 s (page "Status Tracking & Polling"). How times lie within a range is our assumption: evenly on a logarithmic
    /// scale, so that most orders are quick.
    pub fn documented(product: Product) -> Self {
        let within = |age: f64| match product {
            Product::Mobile => {
                const STEPS: u32 = 16;
                let pending =
                    (0..STEPS).map(|step| 2.0 * 7.5f64.powf((f64::from(step) + 0.5) / f64::from(STEPS)));
                pending.map(|pending| part_of(3.0, 8.0, age - pending)).sum::<f64>() / f64::from(STEPS)
            }
            Product::Internet => part_of(3.0, 45.0, age),
        };
        let left = |age: f64| {
            let late = if age < 5.0 { 1.0 } else { (-LATE * (age - 5.0)).exp() };
            (1.0 - LATE_SHARE) * (1.0 - within(age)) + LATE_SHARE * late
        };
        let fine = (0..FINE).map(|index| (index as f64, 1.0));
        let coarse = (0..COARSE).map(|index| (FINE as f64 + COARSE_WIDTH * index as f64, COARSE_WIDTH));
        let bins = fine.chain(coarse).map(|(start, width)| {
            let (before, after) = (left(start), left(start + width));
            Bin {
                start,
                width,
                ended: 0.0,
                seen: 0.0,
                documented_ended: DOCUMENTED_WEIGHT * (before - after),
                documented_seen: DOCUMENTED_WEIGHT * width * (before + after) / 2.0,
            }
        });
        Self { bins: bins.collect(), orders: 0.0 }
    }

    /// The chance to end per second at this age, smoothed over the steps beside it.
    pub fn per_second(&self, age: Duration) -> f64 {
        let age = age.as_secs_f64();
        let last = self.bins.len().saturating_sub(1);
        let index = self.bins.iter().position(|bin| age < bin.end()).unwrap_or(last);
        let near = self.bins.iter().skip(index.saturating_sub(1)).take(if index == 0 { 2 } else { 3 });
        let (sum, count) = near.fold((0.0, 0.0), |(sum, count), bin| (sum + bin.per_second(), count + 1.0));
        if count > 0.0 { sum / count } else { LATE }
    }

    /// Takes in an order that was still in flight at the age `before`, and had ended at the age `after`. When in between it ended is
    /// reckoned by what is known so far.
    pub fn learn(&mut self, before: Duration, after: Duration) {
        let (before, after) = (before.as_secs_f64(), after.as_secs_f64());
        if after <= before {
            return;
        }
        let mut left = 1.0;
        let masses: Vec<f64> = self
            .bins
            .iter()
            .map(|bin| {
                let gone = left * (1.0 - (-bin.per_second() * bin.part(before, after)).exp());
                left -= gone;
                gone
            })
            .collect();
        let whole: f64 = masses.iter().sum();
        let mut left = 1.0;
        for (bin, mass) in self.bins.iter_mut().zip(masses) {
            let gone = if whole > 0.0 { mass / whole } else { 0.0 };
            bin.seen += bin.part(0.0, before) + (left - gone / 2.0).max(0.0) * bin.part(before, after);
            bin.ended += gone;
            left -= gone;
        }
        self.orders += 1.0;
        if self.orders > MOST_ORDERS {
            self.orders /= 2.0;
            for bin in &mut self.bins {
                bin.ended /= 2.0;
                bin.seen /= 2.0;
            }
        }
    }

    /// What was learnt, as text: three lists of thousandths, see [`Self::from_text`].
    pub fn to_text(&self) -> String {
        let number = |value: f64| format!("{:.0}", value * STORED);
        let list =
            |of: fn(&Bin) -> f64| self.bins.iter().map(|bin| number(of(bin))).collect::<Vec<_>>().join(" ");
        format!("{};{};{}", number(self.orders), list(|bin| bin.ended), list(|bin| bin.seen))
    }

    /// The documented times with what was learnt added. Text of another form counts as nothing learnt.
    pub fn from_text(product: Product, text: &str) -> Self {
        let documented = Self::documented(product);
        let numbers = |text: &str| -> Option<Vec<f64>> {
            let all = text.split_whitespace().map(|number| number.parse::<u32>().ok());
            all.map(|number| Some(f64::from(number?) / STORED)).collect()
        };
        let learnt = || {
            let mut parts = text.split(';');
            let orders = *numbers(parts.next()?)?.first()?;
            let (ended, seen) = (numbers(parts.next()?)?, numbers(parts.next()?)?);
            let fits = ended.len() == documented.bins.len() && seen.len() == documented.bins.len();
            fits.then_some((orders, ended, seen))
        };
        let Some((orders, ended, seen)) = learnt() else { return documented };
        let counts = ended.into_iter().zip(seen);
        let bins = documented.bins.into_iter().zip(counts);
        Self { bins: bins.map(|(bin, (ended, seen))| Bin { ended, seen, ..bin }).collect(), orders }
    }
}

/// The part of a range of times, in seconds, that has passed by `time`, on a logarithmic scale.
fn part_of(from: f64, to: f64, time: f64) -> f64 {
    if time <= from { 0.0 } else { ((time / from).ln() / (to / from).ln()).min(1.0) }
}

/// The chance per second that a parked order moves on, by how long it has been parked; from the documented times (`QUEUED` is
/// delivered within 12–48 h, `UNKNOWN_ERROR` settles in 1–12 h, up to 24 h), never learnt: too few end.
pub fn parked_chance(parked_as: ParkedAs, parked_for: Duration) -> f64 {
    const HOUR: f64 = 3600.0;
    let hours = parked_for.as_secs_f64() / HOUR;
    let mean_hours = match parked_as {
        ParkedAs::Queued if hours < 12.0 => 96.0,
        ParkedAs::Queued => (48.0 - hours).max(4.0),
        ParkedAs::Uncertain if hours < 1.0 => 24.0,
        ParkedAs::Uncertain => (12.0 - hours).max(2.0),
        ParkedAs::Delayed => hours.clamp(1.0 / 12.0, 24.0),
        ParkedAs::NotFound => 24.0,
    };
    1.0 / (mean_hours * HOUR)
}
