//! Times, CPU and memory. All subjects are measured in turn in each round, so that other load on the machine affects
//! all of them.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Serialize;

use crate::{
    process::{BenchError, Running},
    quota::Quota,
    subject::Subject,
};

/// Unmeasured calls before the warm ones: caches fill and JIT compilers compile.
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

/// The figures of a subject. Times are in ms; figures are medians unless stated otherwise.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// CPU time from process start to the first request for an event.
    pub init_cpu: f64,
    /// Wall time of the same, with a whole CPU.
    pub init_wall: f64,
    /// Peak memory in MB (10⁶ bytes).
    pub peak_mb: f64,
    /// Figures by kind of call.
    pub calls: BTreeMap<&'static str, CallFigures>,
}

/// The figures of one kind of call, in ms.
#[derive(Debug, Serialize)]
pub struct CallFigures {
    /// CPU time of the first call of a process.
    pub first_cpu: f64,
    /// Wall time of the first call with the CPU share of 128 MB, or with a whole CPU where the share cannot be limited.
    pub first_wall: f64,
    /// Wall time of init with a whole CPU plus the first call with the share.
    pub cold_wall: f64,
    /// CPU time of a warm call.
    pub warm_cpu: f64,
    /// Wall time of a warm call.
    pub warm_p50: f64,
    /// 99th percentile of the same.
    pub warm_p99: f64,
}

/// One round of one subject: a process for each kind of call; the first process also makes the warm calls.
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
        what: "cannot change the CPU share",
        source,
    })
}

impl Samples {
    /// The medians of all samples.
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

/// The median; for an even number of values the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let (low, high) = (quantile(values, 0.5 - 1e-9), quantile(values, 0.5 + 1e-9));
    f64::midpoint(low, high)
}

/// The quantile `q` by nearest rank; 0 without values.
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
