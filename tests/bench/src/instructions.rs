//! Instructions counted by valgrind: nearly constant, independent of other load.
//!
//! A part's count is the difference of two runs: one that ends after it and one that ends before.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    process::{BenchError, Running},
    samples::median,
    subject::{Call, Subject},
};

/// Calls per warm count, which is their mean.
const WARM_CALLS: u32 = 10;
/// Tries per run: programs slow down many times under valgrind and may hit their own timeouts.
const MAX_TRIES: usize = 4;

/// The instruction counts of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// From process start to the first request for an event.
    pub init: f64,
    /// Counts by kind of call.
    pub calls: BTreeMap<String, CallCounts>,
}

/// The instruction counts of one kind of call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallCounts {
    /// As the first call of a process.
    pub first: f64,
    /// As a later call.
    pub warm: f64,
}

/// Counts one subject. Each count is the median of `runs`: random seeds of hash maps and arrival times change a count
/// by about 1 %.
///
/// # Errors
/// If the subject fails under valgrind.
pub async fn count(
    subject: &Subject,
    environment: &BTreeMap<String, String>,
    folder: &Path,
    runs: usize,
) -> Result<Counts, BenchError> {
    let run = async |calls: &[(&Call, u32)]| {
        let mut counts = Vec::new();
        for _ in 0..runs {
            let mut counted = run(subject, environment, calls, folder).await;
            for _ in 1..MAX_TRIES {
                if counted.is_err() {
                    counted = run(subject, environment, calls, folder).await;
                }
            }
            counts.push(counted?);
        }
        Ok::<_, BenchError>(median(&counts))
    };
    let init = run(&[]).await?;
    let mut calls = BTreeMap::new();
    for call in subject.job.calls() {
        let once = run(&[(&call, 1)]).await?;
        let often = run(&[(&call, 1 + WARM_CALLS)]).await?;
        let counts = CallCounts { first: once - init, warm: (often - once) / f64::from(WARM_CALLS) };
        calls.insert(call.name.to_owned(), counts);
    }
    Ok(Counts { init, calls })
}

/// The total of a process that answers `calls` and is stopped.
async fn run(
    subject: &Subject,
    environment: &BTreeMap<String, String>,
    calls: &[(&Call, u32)],
    folder: &Path,
) -> Result<f64, BenchError> {
    let out = folder.join("callgrind.out");
    let valgrind = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--vgdb=no".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
    ];
    let (mut running, _) = Running::start(subject, environment, &valgrind, folder).await?;
    for (call, times) in calls {
        for _ in 0..*times {
            running.call(call).await?;
        }
    }
    running.stop().await?;
    let written = std::fs::read_to_string(&out).unwrap_or_default();
    total(&written).ok_or_else(|| BenchError::NotCounted(subject.name.clone()))
}

/// The line `totals: …` of callgrind's output.
fn total(written: &str) -> Option<f64> {
    written.lines().rev().find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_total_is_read() {
        assert_eq!(super::total("version: 1\nfn=(1)\n0 5\n\ntotals: 1234567\n"), Some(1_234_567.0));
        assert_eq!(super::total("version: 1\n"), None);
    }
}
