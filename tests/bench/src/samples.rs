//! Time, CPU and memory: all subjects in turn, round by round, so that what the machine does meanwhile meets all of them.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Serialize;

use crate::{
    process::{BenchError, Running},
    quota::Quota,
    subject::Subject,
};

/// Calls that are made and not measured: caches fill, and an interpreter compiles.
const WARM_UP: usize = 20;

/// All samples of one subject.
#[derive(Debug, Default)]
pub struct Samples {
    init_cpu: Vec<f64>,
    init_wall: Vec<f64>,
    peak_kib: Vec<f64>,
    calls: BTreeMap<&'static str, CallSamples>,
}

#[derive(Debug, Default)]
struct CallSamples {
    first_cpu: Vec<f64>,
    first_wall: Vec<f64>,
    cold_wall: Vec<f64>,
    warm_cpu: Vec<f64>,
    warm_wall: Vec<f64>,
}

/// What is told of a subject. Times are milliseconds; medians, unless it says otherwise.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// CPU from its start until it asks for its first event.
    pub init_cpu: f64,
    /// The same on the clock, with a whole CPU.
    pub init_wall: f64,
    /// The most memory it had at once, in MB (10⁶ bytes).
    pub peak_mb: f64,
    /// Per kind of call.
    pub calls: BTreeMap<&'static str, CallFigures>,
}

/// What is told of one kind of call.
#[derive(Debug, Serialize)]
pub struct CallFigures {
    /// CPU of a new process's first call.
    pub first_cpu: f64,
    /// The first call with the CPU share of 128 MB; with a whole CPU where the share cannot be had.
    pub first_wall: f64,
    /// Init with a whole CPU and the first call with the share.
    pub cold_wall: f64,
    /// CPU of a later call.
    pub warm_cpu: f64,
    /// A later call on the clock.
    pub warm_p50: f64,
    /// The same: of a hundred, the slowest but one.
    pub warm_p99: f64,
}

/// One round for one subject: a process for each kind of call that may come first; the first of them goes on with warm calls.
///
/// # Errors
/// If the subject fails.
pub async fn round(
    subject: &Subject,
    environment: &BTreeMap<String, String>,
    quota: Option<&Quota>,
    warm_calls: usize,
    folder: &Path,
    samples: &mut Samples,
) -> Result<(), BenchError> {
    let calls = subject.job.calls();
    for (index, first) in calls.iter().enumerate() {
        let (mut running, init) = Running::start(subject, environment, &[], folder).await?;
        let initialised = running.cpu()?;
        samples.init_cpu.push(millis(initialised));
        samples.init_wall.push(millis(init));
        hold(quota, &running, subject, true)?;
        let took = running.call(first).await?;
        hold(quota, &running, subject, false)?;
        let of_call = samples.calls.entry(first.name).or_default();
        of_call.first_cpu.push(millis(running.cpu()?.saturating_sub(initialised)));
        of_call.first_wall.push(millis(took));
        of_call.cold_wall.push(millis(init + took));
        if index == 0 {
            for call in &calls {
                for _ in 0..WARM_UP {
                    running.call(call).await?;
                }
                let of_call = samples.calls.entry(call.name).or_default();
                let before = running.cpu()?;
                for _ in 0..warm_calls {
                    of_call.warm_wall.push(millis(running.call(call).await?));
                }
                let used = running.cpu()?.saturating_sub(before);
                of_call
                    .warm_cpu
                    .push(millis(used) / f64::from(u32::try_from(warm_calls).unwrap_or(u32::MAX)));
            }
            #[allow(clippy::cast_precision_loss, reason = "fewer than 2^52 KiB")]
            samples.peak_kib.push(running.peak_memory()? as f64);
        }
        running.stop().await?;
    }
    Ok(())
}

fn hold(quota: Option<&Quota>, running: &Running, subject: &Subject, held: bool) -> Result<(), BenchError> {
    let Some(quota) = quota else { return Ok(()) };
    let done = if held { quota.hold(running.pid()) } else { quota.release(running.pid()) };
    done.map_err(|source| BenchError::System {
        name: subject.name.clone(),
        what: "its CPU share cannot be changed",
        source,
    })
}

impl Samples {
    /// The medians.
    pub fn figures(&self) -> Figures {
        let calls = self.calls.iter().map(|(name, of_call)| {
            let figures = CallFigures {
                first_cpu: median(&of_call.first_cpu),
                first_wall: median(&of_call.first_wall),
                cold_wall: median(&of_call.cold_wall),
                warm_cpu: median(&of_call.warm_cpu),
                warm_p50: median(&of_call.warm_wall),
                warm_p99: quantile(&of_call.warm_wall, 0.99),
            };
            (*name, figures)
        });
        Figures {
            init_cpu: median(&self.init_cpu),
            init_wall: median(&self.init_wall),
            peak_mb: median(&self.peak_kib) * 1024.0 / 1e6,
            calls: calls.collect(),
        }
    }
}

/// The middle one of these, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let (low, high) = (quantile(values, 0.5 - 1e-9), quantile(values, 0.5 + 1e-9));
    f64::midpoint(low, high)
}

/// The smallest value that is not exceeded by the part `q` of these (nearest rank); 0 of none.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank"
    )]
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_by_rank() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (values, q, wanted) in [
            (&hundred[..], 0.99, 99.0),
            (&hundred[..], 1.0, 100.0),
            (&[7.0][..], 0.01, 7.0),
            (&[][..], 0.5, 0.0),
        ] {
            assert!((quantile(values, q) - wanted).abs() < 1e-9, "{q} of {values:?}");
        }
        for (values, wanted) in [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0][..], 2.5), (&[5.0][..], 5.0)] {
            assert!((median(values) - wanted).abs() < 1e-9, "{values:?}");
        }
    }
}
