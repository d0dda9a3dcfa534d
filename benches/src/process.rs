//! Child processes: started on a core of their own, looked at through `/proc`, ended when dropped.

use std::{
    fs, io,
    process::{Child, Command},
    thread,
};

use rustix::thread::{CpuSet, sched_setaffinity};

/// A child.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts `command`, on one core where that is asked for.
    pub(crate) fn start(mut command: Command, core: Option<usize>) -> io::Result<Self> {
        // The child inherits the affinity of the thread that starts it.
        let start = || {
            if let Some(core) = core {
                pin(core)?;
            }
            command.spawn()
        };
        let child = thread::scope(|scope| scope.spawn(start).join())
            .map_err(|_| io::Error::other("starting a process panicked"))??;
        Ok(Self(child))
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// CPU time of the process so far, user and system, in seconds.
    pub(crate) fn cpu_s(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name of the program may hold blanks; behind it comes the state, field 3.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = |index: usize| fields.split(' ').nth(index)?.parse::<u64>().ok();
        let spent = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
        let spent = spent.ok_or(io::ErrorKind::InvalidData)?;
        Ok(spent as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
