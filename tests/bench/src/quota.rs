//! Limits a process to the CPU share of a small Lambda function. Lambda gives a whole CPU at 1,769 MB and a
//! proportional share below, 7.2 % at 128 MB, but a whole CPU during init.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Period in µs. Short, so that a call of a few ms spans several periods and is slowed down as on Lambda.
const PERIOD_US: u64 = 20_000;
/// Quota per period in µs: 128/1769 of the period.
const QUOTA_US: u64 = 1_440;

/// A cgroup with the CPU share of 128 MB; removed on drop.
#[derive(Debug)]
pub struct Quota {
    home: PathBuf,
    outside: PathBuf,
}

impl Quota {
    /// Creates the cgroup, version 1, or version 2 with the cpu controller delegated.
    ///
    /// # Errors
    /// If this machine does not allow it.
    pub fn make() -> io::Result<Self> {
        let (v1, v2) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let name = format!("topup-bench-{}", std::process::id());
        let (outside, limits) = if v1.is_dir() {
            (
                v1,
                vec![
                    ("cpu.cfs_period_us", PERIOD_US.to_string()),
                    ("cpu.cfs_quota_us", QUOTA_US.to_string()),
                ],
            )
        } else {
            (v2, vec![("cpu.max", format!("{QUOTA_US} {PERIOD_US}"))])
        };
        let made = Self { home: outside.join(name), outside: outside.to_owned() };
        fs::create_dir(&made.home)?;
        for (file, value) in limits {
            fs::write(made.home.join(file), value)?;
        }
        Ok(made)
    }

    /// Moves a process into the cgroup.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn hold(&self, pid: u32) -> io::Result<()> {
        fs::write(self.home.join("cgroup.procs"), pid.to_string())
    }

    /// Moves a process out of the cgroup.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn release(&self, pid: u32) -> io::Result<()> {
        fs::write(self.outside.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.home);
    }
}
