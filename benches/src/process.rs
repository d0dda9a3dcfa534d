//! Child processes: started on a core of their own, looked at through `/proc`, ended when dropped.

use std::{
    fs, io,
    process::{Child, ChildStdout, Command},
    sync::OnceLock,
    thread,
};

use rustix::{
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

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

    /// What may be looked at.
    pub(crate) fn watched(&self) -> Watched {
        Watched(self.0.id())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }

    /// Ends it and waits until it is gone, its sockets closed.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// Where it writes, when it was started with a pipe.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.0.stdout.take()
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

/// What user and system time may be rounded by.
const TICKS_S: f64 = 0.03;

/// A process that is looked at, ours or another's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched(pub(crate) u32);

impl Watched {
    /// CPU time so far, user and system, in seconds.
    pub(crate) fn cpu_s(self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name of the program may hold blanks; behind it comes the state, field 3.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = |index: usize| fields.split(' ').nth(index)?.parse::<u64>().ok();
        let spent = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
        let spent = spent.ok_or(io::ErrorKind::InvalidData)?;
        let coarse = spent as f64 / rustix::param::clock_ticks_per_second() as f64;
        // Exact, but without threads that have ended: where some have, ticks of 10 ms have to do.
        let fine = self.threads_s().unwrap_or(coarse);
        Ok(if (fine - coarse).abs() < TICKS_S {
            fine
        } else {
            coarse
        })
    }

    /// CPU time of the threads that live, in seconds.
    fn threads_s(self) -> Option<f64> {
        let mut ns = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.0)).ok()? {
            let schedule = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            ns += schedule.split(' ').next()?.parse::<u64>().ok()?;
        }
        Some(ns as f64 / 1e9)
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Files and sockets that it has open.
    pub(crate) fn descriptors(self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0))?.count())
    }
}

/// As many sockets as the system lets us have, here and in what is started from now on.
pub(crate) fn raise_limits() {
    let limit = getrlimit(Resource::Nofile);
    // Where it stays low, large crowds say so themselves.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Cores that this process might use when it started.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// The core of what is measured, and that of the load.
const MEASURED: usize = 0;
const LOAD: usize = 1;

/// Keeps the load on a core of its own and gives back the one of what is measured; with one core there is nothing to part.
pub(crate) fn part() -> io::Result<Option<usize>> {
    if cores() < 2 {
        return Ok(None);
    }
    pin(LOAD)?;
    Ok(Some(MEASURED))
}

/// The core of what else belongs to the load.
pub(crate) fn load() -> Option<usize> {
    (cores() > 1).then_some(LOAD)
}
