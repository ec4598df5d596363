//! Instructions, counted by valgrind: nearly the same each time, whatever else the machine does.
//!
//! What a part costs is the difference of two runs: one that ends after it, and one that ends before.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    process::{BenchError, Running},
    samples::median,
    subject::{Call, Subject},
};

/// A warm call is the mean of so many.
const WARM_CALLS: u32 = 10;
/// A run is tried so often: under valgrind all takes many times as long, and a timeout of the program's own may strike.
const MAX_TRIES: usize = 4;
/// Counts of one subject, in instructions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// From its start until it asks for its first event.
    pub init: f64,
    /// Per kind of call.
    pub calls: BTreeMap<String, CallCounts>,
}

/// Counts of one kind of call, in instructions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallCounts {
    /// As the first call of a new process.
    pub first: f64,
    /// As a later one.
    pub warm: f64,
}

/// Counts one subject; each count is the median of so many `runs`, since random seeds of hash maps and moments of arrival move it
/// by a percent or so.
///
/// # Errors
/// If it fails under valgrind.
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

/// All instructions of a process that answers these calls and is ended.
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
