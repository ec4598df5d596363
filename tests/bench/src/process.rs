//! One process of a subject, from its start to its end.

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

/// Nothing takes longer: not the slowest start, and no call under valgrind or with a small share of a CPU.
const PATIENCE: Duration = Duration::from_secs(120);

/// A subject did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// It could not be started, or not be measured.
    #[error("{name}: {what}")]
    System {
        /// Of the subject.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It is too slow, has ended, failed, or answered something else.
    #[error("{name}: {what}; its output is in {log}")]
    Misbehaved {
        /// Of the subject.
        name: String,
        /// What happened.
        what: String,
        /// The file.
        log: String,
    },
    /// valgrind left no counts.
    #[error("{0}: valgrind left no counts")]
    NotCounted(String),
}

/// A process that is being measured; killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid: u32,
    log: String,
    api: RuntimeApi,
}

impl Running {
    /// Starts a subject, by way of `wrapper` (valgrind, say) if there is one, with nothing in its environment but what is
    /// given, and waits until it asks for its first event; answers how long that took.
    ///
    /// # Errors
    /// If it cannot be started, ends, fails, or takes too long.
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
        let api = RuntimeApi::start().await.map_err(system("the Runtime API cannot listen"))?;
        let log = folder.join(format!("{}.log", subject.name.replace([' ', '/'], "-")));
        let output = File::create(&log).map_err(system("its log cannot be written"))?;
        let errors = output.try_clone().map_err(system("its log cannot be written"))?;
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
        let child = command.spawn().map_err(system("it cannot be started"))?;
        let pid = child.id().unwrap_or_default();
        let log = log.display().to_string();
        let mut running = Self { name: subject.name.clone(), child, pid, log, api };
        match running.did().await? {
            Did::AskedForNext(at) => Ok((running, at.duration_since(started))),
            other => Err(running.misbehaved(format!("it did not ask for an event: {other:?}"))),
        }
    }

    /// One call; answers how long the answer took, once the process asks for the next event.
    ///
    /// # Errors
    /// If it fails, answers something else, ends, or takes too long.
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
            other => Err(self.misbehaved(format!("it did not ask for the next event: {other:?}"))),
        }
    }

    /// What it has used of the CPU since its start.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu(&self) -> Result<Duration, BenchError> {
        let used = clock_getcpuclockid(pid_of(self.pid)).and_then(ClockId::now);
        used.map(Duration::from).map_err(|error| self.system("its CPU clock cannot be read", error.into()))
    }

    /// The most memory it has had at once (`VmHWM`), in KiB.
    ///
    /// # Errors
    /// If it has ended.
    pub fn peak_memory(&self) -> Result<u64, BenchError> {
        let unreadable = |source| self.system("its memory cannot be read", source);
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).map_err(unreadable)?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|peak| peak.parse().ok()).ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it with TERM, so that valgrind writes what it has counted, and waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn stop(mut self) -> Result<(), BenchError> {
        match kill(pid_of(self.pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(self.system("it cannot be ended", error.into())),
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.system("its end cannot be awaited", error)),
            Err(_) => Err(self.misbehaved("it does not end".to_owned())),
        }
    }

    async fn did(&mut self) -> Result<Did, BenchError> {
        let ended = tokio::select! {
            did = timeout(PATIENCE, self.api.next()) => match did {
                Ok(Some(did)) => return Ok(did),
                _ => format!("nothing happened for {PATIENCE:?}"),
            },
            end = self.child.wait() => match end {
                Ok(status) => format!("it ended: {status}"),
                Err(error) => format!("its end cannot be awaited: {error}"),
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
