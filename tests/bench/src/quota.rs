//! The CPU share of a small function: Lambda gives one in proportion to its memory, a whole CPU at 1,769 MB, so 7.2 % at 128 MB,
//! and a whole one during init.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Short, so that a call of a few milliseconds is slowed down as it is on Lambda and does not slip through one period's share.
const PERIOD_US: u64 = 20_000;
/// 128 / 1769 of it.
const QUOTA_US: u64 = 1_440;

/// A control group with the share of 128 MB; removed when dropped.
#[derive(Debug)]
pub struct Quota {
    home: PathBuf,
    outside: PathBuf,
}

impl Quota {
    /// Makes one where this machine lets us: version 1 of control groups, or 2 with the cpu controller handed down.
    ///
    /// # Errors
    /// What stands in the way.
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

    /// Puts a process under it.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn hold(&self, pid: u32) -> io::Result<()> {
        fs::write(self.home.join("cgroup.procs"), pid.to_string())
    }

    /// Lets a process out again.
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
