//! An export by asking the recorders.

use bytes::Bytes;
use seamline_evidence::{Requester, Sealed};
use seamline_routing::TimeRange;

use super::super::load;
use super::part::Part;
use super::{ExportArgs, Failed, progress};
use crate::evidence::{Clip, Order};
use crate::house::House;
use crate::journal::Journal;

pub(super) async fn make(
    args: &ExportArgs,
    asked: TimeRange,
    part: &mut Part,
) -> Result<Sealed, Failed> {
    let house = House::build(load(&args.config)?, Journal::default());
    let camera = house
        .cameras()
        .get(&args.camera.as_str().into())
        .ok_or_else(|| Failed::NoCamera(args.camera.clone()))?;
    let order = Order {
        asked,
        requester: Requester {
            user: std::env::var("USER").ok().filter(|user| !user.is_empty()),
            address: None,
        },
        journal: Journal::default(),
    };
    let mut clip = Clip::open(house.cameras().clone(), camera, order).await?;
    let bar = progress(Some(asked.duration().as_secs()));
    let mut at = 0;
    while let Some(bytes) = clip.next().await {
        put(part, at, &bytes)?;
        at += bytes.len() as u64;
        let position = clip.position();
        bar.set_position(position.since(asked.start()).as_secs());
        bar.set_message(position.to_string());
    }
    // An earlier try came further than there is footage now.
    if part.length() > at {
        part.cut(at)?;
    }
    bar.finish_and_clear();
    Ok(clip.seal())
}

/// Writes what an earlier try has not written; where that wrote something else, it is written anew from there on.
fn put(part: &mut Part, at: u64, bytes: &Bytes) -> Result<(), Failed> {
    let known = part.length().saturating_sub(at).min(bytes.len() as u64) as usize;
    let (old, new) = bytes.split_at(known);
    if !old.is_empty() && !part.holds(at, old)? {
        eprintln!("other copies serve it now: what differs is written anew from byte {at} on");
        part.cut(at)?;
        return part.write(bytes);
    }
    part.write(new)
}
