//! `bench time` and `bench count` write figures as JSON to stdout and progress to stderr.

use std::{
    collections::BTreeMap,
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use bench::{
    instructions,
    process::BenchError,
    quota::Quota,
    samples::{Samples, round},
    stand_ins::{StandIns, our_settings, peers_settings},
    subject::{Job, Subject},
};
use clap::{Parser, Subcommand};
use serde_json::json;

/// Measures Lambda functions from outside, under a Runtime API and with stand-ins behind TLS.
#[derive(Debug, Parser)]
struct Arguments {
    /// JSON list of the subjects.
    #[arg(long)]
    subjects: PathBuf,
    /// Folder for logs and certificates.
    #[arg(long)]
    folder: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure time, CPU and memory.
    Time {
        /// Processes per subject.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// Warm calls of each kind per round.
        #[arg(long, default_value_t = 100)]
        calls: usize,
    },
    /// Count instructions with valgrind.
    Count {
        /// Runs per count; the median is reported.
        #[arg(long, default_value_t = 3)]
        runs: usize,
    },
}

/// Exit status if a subject misbehaved; `run.py` retries, because this may be a busy machine.
const TOO_BUSY: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut source = error.source();
            let mut text = error.to_string();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            print_progress(&format!("error: {text}"));
            // Under valgrind a program that ends by itself has hit its own timeouts.
            match error.downcast_ref() {
                Some(BenchError::Misbehaved { .. }) => ExitCode::from(TOO_BUSY),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = arguments.folder.canonicalize()?;
    let subjects: Vec<Subject> = serde_json::from_str(&std::fs::read_to_string(&arguments.subjects)?)?;
    let stand_ins = StandIns::start(&folder).await?;
    // Under valgrind everything is slower. The first read of the table must still finish within init, to be counted
    // there.
    let timeout = match arguments.what {
        What::Time { .. } => "300ms",
        What::Count { .. } => "60s",
    };
    let environment = |subject: &Subject| {
        let own = if subject.ours { our_settings(timeout) } else { peers_settings() };
        let more = stand_ins.webhook_settings().clone().into_iter().filter(|_| subject.job == Job::Notify);
        stand_ins.environment().clone().into_iter().chain(own).chain(more).collect::<BTreeMap<_, _>>()
    };
    let figures = match arguments.what {
        What::Time { rounds, calls } => time(&subjects, environment, rounds, calls, &folder).await?,
        What::Count { runs } => {
            let mut counts = BTreeMap::new();
            for subject in subjects.iter().filter(|subject| subject.counted) {
                print_progress(&format!("counting {}", subject.name));
                let counted = instructions::count(subject, &environment(subject), &folder, runs).await?;
                counts.insert(&subject.name, counted);
            }
            json!({"instructions": counts})
        }
    };
    writeln!(std::io::stdout(), "{figures:#}")?;
    Ok(())
}

async fn time(
    subjects: &[Subject],
    environment: impl Fn(&Subject) -> BTreeMap<String, String>,
    rounds: usize,
    calls: usize,
    folder: &Path,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let (quota, without) = match Quota::make() {
        Ok(quota) => (Some(quota), None),
        Err(error) => (None, Some(format!("cannot limit a process's CPU on this machine: {error}"))),
    };
    if let Some(why) = &without {
        print_progress(why);
    }
    let mut samples: Vec<Samples> = subjects.iter().map(|_| Samples::default()).collect();
    for number in 1..=rounds {
        print_progress(&format!("round {number} of {rounds}"));
        for (subject, samples) in subjects.iter().zip(&mut samples) {
            round(subject, &environment(subject), quota.as_ref(), calls, folder, samples).await?;
        }
    }
    let figures: BTreeMap<_, _> =
        subjects.iter().zip(&samples).map(|(subject, samples)| (&subject.name, samples.figures())).collect();
    Ok(json!({"times": figures, "rounds": rounds, "calls": calls, "without_quota": without}))
}

fn print_progress(line: &str) {
    // A closed standard error is ignored.
    let _ = writeln!(std::io::stderr(), "{line}");
}
