//! What Linux counts of TCP on the whole machine.

use std::fs;

/// Of `TcpExt`: receivers that had no room left for what came, and gave up something or dropped it.
const SHORT: [&str; 3] = ["PruneCalled", "RcvPruned", "TCPRcvQDrop"];

/// How often memory was short for what came, since the machine was started; never where Linux does not tell.
pub(crate) fn short_of_memory() -> u64 {
    let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    counted(&netstat).unwrap_or(0)
}

/// Lines come in twos: names, and what was counted under each.
fn counted(netstat: &str) -> Option<u64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, counts) = (lines.next()?, lines.next()?);
    let all = names.split_whitespace().zip(counts.split_whitespace());
    let short = all.filter(|(name, _)| SHORT.contains(name));
    Some(
        short
            .filter_map(|(_, count)| count.parse::<u64>().ok())
            .sum(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_counted_by_name() {
        let netstat = "TcpExt: SyncookiesSent PruneCalled RcvPruned OfoPruned TCPRcvQDrop\n\
                       TcpExt: 9 40 1 9 300\n\
                       IpExt: PruneCalled\n\
                       IpExt: 5000\n";
        assert_eq!(counted(netstat), Some(341));
        assert_eq!(counted("Tcp: PruneCalled\nTcp: 1\n"), None);
        assert_eq!(counted("TcpExt: PruneCalled\n"), None);
    }
}
