//! Calls into the kernel, counted by `strace`: exact, whatever else the machine does.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    process::{Command, Stdio},
    time::Duration,
};

use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::clock::sleep;

/// Calls are given for so many delivered bytes: one picture of a stream of 4 Mbit/s.
const BURST_BYTES: f64 = 20_000.0;
/// What moves bytes.
const READS: [&str; 4] = ["read", "readv", "recvfrom", "recvmsg"];
const WRITES: [&str; 5] = ["write", "writev", "sendto", "sendmsg", "sendmmsg"];
const WAITS: [&str; 3] = ["epoll_wait", "epoll_pwait", "epoll_pwait2"];

/// Calls for each burst of 20 kB.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calls {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) waits: f64,
    /// All others.
    pub(crate) others: f64,
}

impl Calls {
    /// Those that move bytes.
    pub(crate) fn io(&self) -> f64 {
        self.reads + self.writes
    }
}

/// Counts the calls of a process for a while, in which `received` grows by what it delivers. `None` without `strace`.
pub(crate) async fn count(
    process: u32,
    span: Duration,
    received: impl Fn() -> u64,
) -> anyhow::Result<Option<Calls>> {
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-U", "name,calls", "-o", "/dev/stdout"]);
    command.args(["-p", &process.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    let mut tracer = match command.spawn() {
        Ok(tracer) => tracer,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(mut said) = tracer.stderr.take() else {
        return Ok(None);
    };
    // It says so when it has attached.
    let _said = spawn_blocking(move || said.read_exact(&mut [0]).map(|()| said)).await??;
    let before = received();
    sleep(span).await;
    let bytes = received() - before;
    // Interrupted, it lets go of the process and prints its table.
    Command::new("kill")
        .args(["-INT", &tracer.id().to_string()])
        .status()?;
    let output = spawn_blocking(move || tracer.wait_with_output()).await??;
    let table = String::from_utf8_lossy(&output.stdout);
    let counts = read_table(&table);
    if counts.is_empty() || bytes == 0 {
        return Ok(None);
    }
    let bursts = bytes as f64 / BURST_BYTES;
    let of = |names: &[&str]| -> f64 {
        let sum: u64 = names.iter().filter_map(|name| counts.get(*name)).sum();
        sum as f64 / bursts
    };
    let all: u64 = counts.values().sum();
    let (reads, writes, waits) = (of(&READS), of(&WRITES), of(&WAITS));
    Ok(Some(Calls {
        reads,
        writes,
        waits,
        others: all as f64 / bursts - reads - writes - waits,
    }))
}

/// Lines of a name and a number.
fn read_table(table: &str) -> BTreeMap<String, u64> {
    let lines = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, calls) = (words.next()?, words.next()?.parse().ok()?);
        (words.next().is_none() && name != "total").then(|| (name.to_owned(), calls))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let table = "strace: Process 12 attached\nsyscall      calls\n------ ---------\nwritev        321\nrecvfrom       99\n------ ---------\ntotal         420\n";
        let counts = read_table(table);
        assert_eq!(counts.len(), 2);
        assert_eq!((counts["writev"], counts["recvfrom"]), (321, 99));
    }
}
