//! A leg at an address that its recorder is asked for first.

use std::sync::Arc;
use std::time::Duration;

use seamline_probes::rtsp::RtspSource;
use seamline_probes::{ProbeError, ReplayAddresses};
use seamline_routing::director::Failure;
use tokio::time::timeout;

use super::{Leg, LegFailure, Order};

/// Asks where the camera is replayed, and opens a leg there; once more at an address that is told anew when nothing is
/// found at the one that was told a while ago.
pub(super) async fn open<F>(
    addresses: &dyn ReplayAddresses,
    order: Order,
    open_at: impl Fn(Arc<RtspSource>, Order) -> F,
) -> Result<Leg, LegFailure>
where
    F: Future<Output = Result<Leg, LegFailure>>,
{
    let limit = order.reaction.response;
    let known = Arc::new(address(addresses, &order.remote, false, limit).await?);
    let failure = match open_at(Arc::clone(&known), order.clone()).await {
        Err(failure) if failure.failure == Failure::NoFootage => failure,
        outcome => return outcome,
    };
    let told = address(addresses, &order.remote, true, limit).await?;
    // Where it is the same, it was the recorder's last word.
    if told.url(&order.remote) == known.url(&order.remote) {
        return Err(failure);
    }
    open_at(Arc::new(told), order).await
}

async fn address(
    addresses: &dyn ReplayAddresses,
    remote: &Arc<str>,
    fresh: bool,
    limit: Duration,
) -> Result<RtspSource, LegFailure> {
    let answer = timeout(limit, addresses.address(Arc::clone(remote), fresh)).await;
    answer
        .unwrap_or(Err(ProbeError::Timeout))
        .map_err(|error| LegFailure::asked("no address to replay from", &error))
}
