//! retina as a player: a whole RTSP client that shares no code with the proxy, nor with the lean player here.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use futures::StreamExt;
use retina::{
    client::{
        PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions, Transport,
        UdpTransportOptions,
    },
    codec::{CodecItem, FrameFormat, VideoFrame},
};
use tokio::sync::watch;
use url::Url;

use crate::{
    checker::{Verdict, ms},
    clock::now,
    footage::{Footage, GROUP_US, PICTURE_US},
    message::to_iso,
    player::Via,
};

/// RTP ticks from one picture to the next.
const PICTURE_TICKS: i64 = PICTURE_US * 9 / 100;
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays `url` from a time on, paced, until told to stop.
pub(crate) async fn watch(
    url: String,
    start_us: i64,
    via: Via,
    footage: Arc<Footage>,
    mut stop: watch::Receiver<bool>,
) -> Verdict {
    let mut verdict = Verdict::default();
    let url = format!("{url}?start={}", to_iso(start_us));
    let outcome = tokio::select! {
        () = async { drop(stop.wait_for(|stop| *stop).await) } => Ok(()),
        ended = play(&url, start_us, &via, &footage, &mut verdict) => ended,
    };
    if let Err(error) = outcome {
        verdict.fault(format!("retina: {error:#}"));
    }
    verdict
}

async fn play(
    url: &str,
    start_us: i64,
    via: &Via,
    footage: &Footage,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let asked = now();
    let transport = match via {
        Via::Udp => Transport::Udp(UdpTransportOptions::default()),
        Via::Tcp | Via::Tls(_) | Via::Http { .. } => Transport::Tcp(TcpTransportOptions::default()),
    };
    let url = Url::parse(url)?;
    let mut session = Session::describe(url, SessionOptions::default()).await?;
    let picture = session
        .streams()
        .iter()
        .position(|stream| stream.media() == "video")
        .context("no picture in the description")?;
    let options = SetupOptions::default()
        .transport(transport)
        .frame_format(FrameFormat::MP4);
    session.setup(picture, options).await?;
    let mut media = session.play(PlayOptions::default()).await?.demuxed()?;
    let mut capture_us = Footage::key_before(start_us) * GROUP_US;
    let (mut before, mut last_ticks) = (None, None);
    loop {
        let item = tokio::time::timeout(PATIENCE, media.next())
            .await
            .context("nothing comes")?;
        let item = item
            .context("the end")?
            .map_err(|error| anyhow!("{error}"))?;
        let CodecItem::VideoFrame(frame) = item else {
            continue;
        };
        check(&frame, footage, capture_us)?;
        let ticks = frame.timestamp().timestamp();
        if let Some(last) = last_ticks.replace(ticks)
            && ticks - last != PICTURE_TICKS
        {
            bail!("RTP time goes on by {}", ticks - last);
        }
        let now = now();
        if before.is_none() {
            verdict
                .first_ms
                .push(ms(now.saturating_duration_since(asked)));
        }
        verdict.saw(now, before.replace(now));
        capture_us += PICTURE_US;
    }
}

fn check(frame: &VideoFrame, footage: &Footage, capture_us: i64) -> anyhow::Result<()> {
    if frame.loss() > 0 {
        bail!("{} packets lost", frame.loss());
    }
    let (mut rest, mut slice) = (frame.data(), 0);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (unit, after) = after
            .split_at_checked(u32::from_be_bytes(*length) as usize)
            .context("a unit beyond its picture")?;
        if unit
            .first()
            .is_some_and(|head| matches!(head & 0x1f, 1 | 5))
        {
            slice += unit.len();
        }
        rest = after;
    }
    let expected = footage.slice_bytes(capture_us);
    if slice != expected {
        bail!("a slice of {slice} bytes in place of {expected}");
    }
    Ok(())
}
