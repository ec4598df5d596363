//! One process of a subject.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    runtime_api::{Did, RuntimeApi},
    subject::{Call, Subject},
};

/// Timeout for every step, ample for a slow start or a call under valgrind.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A failure of a subject or of its measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The process could not be started or measured.
    #[error("{name}: {what}")]
    System {
        /// The subject's name.
        name: String,
        /// The operation that failed.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The subject timed out, ended, failed or gave a wrong answer.
    #[error("{name}: {what}; its output is in {log}")]
    Misbehaved {
        /// The subject's name.
        name: String,
        /// What happened.
        what: String,
        /// Path of its output.
        log: String,
    },
    /// valgrind wrote no counts.
    #[error("{0}: valgrind left no counts")]
    NotCounted(String),
}

/// A running process; killed on drop.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid: u32,
    log: String,
    api: RuntimeApi,
}

impl Running {
    /// Starts a subject, optionally under `wrapper` (such as valgrind), with exactly the given environment. Returns
    /// when it asks for its first event, with the time this took.
    ///
    /// # Errors
    /// If it cannot be started, ends, fails or times out.
    pub async fn start(
        subject: &Subject,
        environment: &BTreeMap<String, String>,
        wrapper: &[String],
        folder: &Path,
    ) -> Result<(Self, Duration), BenchError> {
        let system = |what: &'static str| {
            let name = subject.name.clone();
            move |source| BenchError::System { name, what, source }
        };
        let api = RuntimeApi::start().await.map_err(system("cannot start the Runtime API"))?;
        let log = folder.join(format!("{}.log", subject.name.replace([' ', '/'], "-")));
        let output = File::create(&log).map_err(system("cannot write the log"))?;
        let errors = output.try_clone().map_err(system("cannot write the log"))?;
        let words: Vec<&String> = wrapper.iter().chain(&subject.command).collect();
        let [program, arguments @ ..] = words.as_slice() else {
            return Err(system("no command")(io::ErrorKind::InvalidInput.into()));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&subject.folder)
            .env_clear()
            .envs(environment)
            .envs(&subject.environment)
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().map_err(system("cannot start the process"))?;
        let pid = child.id().unwrap_or_default();
        let log = log.display().to_string();
        let mut running = Self { name: subject.name.clone(), child, pid, log, api };
        match running.did().await? {
            Did::AskedForNext(at) => Ok((running, at.duration_since(started))),
            other => Err(running.misbehaved(format!("expected a request for an event, got {other:?}"))),
        }
    }

    /// Makes one call. Returns the time to its answer, after the process has asked for the next event.
    ///
    /// # Errors
    /// If the process fails, gives a wrong answer, ends or times out.
    pub async fn call(&mut self, call: &Call) -> Result<Duration, BenchError> {
        let sent = Instant::now();
        self.api.send(Bytes::from(call.event.to_string()));
        let took = match self.did().await? {
            Did::Answered(at, body) if String::from_utf8_lossy(&body).contains(call.answer) => {
                at.duration_since(sent)
            }
            other => return Err(self.misbehaved(format!("{} was answered with {other:?}", call.name))),
        };
        match self.did().await? {
            Did::AskedForNext(_) => Ok(took),
            other => Err(self.misbehaved(format!("expected a request for the next event, got {other:?}"))),
        }
    }

    /// CPU time since the start.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn cpu(&self) -> Result<Duration, BenchError> {
        let used = clock_getcpuclockid(pid_of(self.pid)).and_then(ClockId::now);
        used.map(Duration::from).map_err(|error| self.system("cannot read the CPU clock", error.into()))
    }

    /// Peak memory (`VmHWM`) in KiB.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn peak_memory(&self) -> Result<u64, BenchError> {
        let unreadable = |source| self.system("cannot read the peak memory", source);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).map_err(unreadable)?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|peak| peak.parse().ok()).ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends TERM, on which valgrind writes its counts, and waits for the end.
    ///
    /// # Errors
    /// If the process does not end.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        match kill(pid_of(self.pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(self.system("cannot send TERM", error.into())),
        }
        match timeout(TIMEOUT, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.system("cannot wait for the end", error)),
            Err(_) => Err(self.misbehaved("did not end after TERM".to_owned())),
        }
    }

    async fn did(&mut self) -> Result<Did, BenchError> {
        let ended = tokio::select! {
            did = timeout(TIMEOUT, self.api.next()) => match did {
                Ok(Some(did)) => return Ok(did),
                _ => format!("no request for {TIMEOUT:?}"),
            },
            end = self.child.wait() => match end {
                Ok(status) => format!("ended: {status}"),
                Err(error) => format!("cannot wait for the end: {error}"),
            },
        };
        Err(self.misbehaved(ended))
    }

    fn misbehaved(&self, what: String) -> BenchError {
        BenchError::Misbehaved { name: self.name.clone(), what, log: self.log.clone() }
    }

    fn system(&self, what: &'static str, source: io::Error) -> BenchError {
        BenchError::System { name: self.name.clone(), what, source }
    }
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or_default())
}
