//! Tells the log where a recorder's clock is not where the configuration says.

use std::{collections::BTreeSet, time::Duration};

use seamline_routing::RecorderId;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{jittered, places::Places};
use crate::{recorder::ClockOffset, service::RecorderClient};

/// Asks a recorder's clock once in a while, where its kind can be asked. `configured` are the offsets of its copies, µs.
pub(super) async fn watch(recorder: RecorderClient, configured: BTreeSet<i64>, places: Places) {
    let mut told = None;
    loop {
        match places.ask(recorder.clock_offset()).await {
            Ok(None) => return,
            Ok(Some(offset)) => {
                let wrong: Vec<i64> = configured
                    .iter()
                    .copied()
                    .filter(|configured| is_off(offset, *configured))
                    .collect();
                if !wrong.is_empty() && told != Some(rounded(offset)) {
                    told = Some(rounded(offset));
                    tell(recorder.id(), offset, &wrong);
                }
            }
            Err(error) => debug!(recorder = %recorder.id(), %error, "clock"),
        }
        sleep(jittered(EVERY)).await;
    }
}

fn tell(recorder: &RecorderId, offset: ClockOffset, configured: &[i64]) {
    let configured: Vec<i64> = configured.iter().map(|micros| micros / 1_000).collect();
    warn!(
        %recorder,
        offset_ms = offset.micros / 1_000,
        within_ms = offset.uncertainty.as_millis() as u64,
        configured_ms = ?configured,
        "clock differs from this machine's by other than clock_offset_ms says"
    );
}

/// Whether a clock is further off from what is configured than its measurement is uncertain.
pub(super) fn is_off(offset: ClockOffset, configured_us: i64) -> bool {
    let apart = Duration::from_micros(offset.micros.abs_diff(configured_us));
    apart > offset.uncertainty + SLACK
}

/// An offset that is told again only when it is another.
fn rounded(offset: ClockOffset) -> i64 {
    offset.micros / ROUND_US
}

const EVERY: Duration = Duration::from_secs(600);
/// What clocks that are kept by NTP may differ by.
const SLACK: Duration = Duration::from_millis(500);
const ROUND_US: i64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_off() {
        let offset = |seconds: i64| ClockOffset {
            micros: seconds * 1_000_000,
            uncertainty: Duration::from_secs(1),
        };
        assert!(!is_off(offset(1), 0));
        assert!(is_off(offset(2), 0) && is_off(offset(-2), 0));
        assert!(!is_off(offset(3_600), 3_600_500_000));
        assert!(is_off(offset(0), 3_600_000_000));
    }
}
