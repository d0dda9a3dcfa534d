//! The making of a clip, in the background, once for all who want it.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seamline_routing::Held;
use seamline_routing::director::End;
use seamline_routing::plan::Trouble;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};

use super::Spool;
use super::clip::{Clip, Writer};
use super::entry::{Entry, Fault};
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::playback::{Item, NoReel, Reel};

/// A clip is made on for so long after the last one who read it went: they may come back for the rest.
const LINGER: Duration = Duration::from_secs(60);
/// How often it is looked whether anybody is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Characters of a tag: half of a digest is more than enough to tell clips apart.
const TAG_BYTES: usize = 16;
/// A clip that does not fit waits so long for its readers to take what lies in its way.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(120);

pub(super) fn start(
    spool: &Arc<Spool>,
    entry: &Arc<Entry>,
    camera: &Arc<CameraEntry>,
    journal: &Journal,
    clip: &Clip,
) {
    let (entry, camera) = (Arc::clone(entry), Arc::clone(camera));
    let (journal, clip, spool) = (journal.clone(), clip.clone(), Arc::clone(spool));
    tokio::spawn(async move {
        if let Err(fault) = fill(&spool, &entry, &camera, journal, &clip).await {
            let progress = entry.progress();
            let (from, until, bytes) = (clip.from, clip.until, progress.readable);
            tracing::info!(camera = %clip.camera, capture = %from, %until, bytes, reason = %fault, "clip not made");
            entry.failed(fault);
        }
    });
}

async fn fill(
    spool: &Arc<Spool>,
    entry: &Arc<Entry>,
    camera: &Arc<CameraEntry>,
    journal: Journal,
    clip: &Clip,
) -> Result<(), Fault> {
    let began = clock::now();
    let mut reel = Reel::open(camera, journal, clip.wanted())
        .await
        .map_err(|why| match why {
            NoReel::Nothing => Fault::Nothing,
            NoReel::Undescribed(_) => Fault::Unreachable,
            NoReel::NoTrack => Fault::Unfit(why.to_string()),
        })?;
    let mut writer = clip.writer(reel.master());
    let mut sink = Sink::new(spool, entry);
    let mut look = interval(LOOK_EVERY);
    let end = loop {
        let item = tokio::select! {
            biased;
            _ = look.tick() => {
                if entry.is_abandoned(clock::now(), began, LINGER) {
                    return Err(Fault::Abandoned);
                }
                continue;
            }
            item = reel.next() => item,
        };
        match item {
            Some(Item::Format { track, entry }) => writer.format(track, entry),
            Some(Item::Sample(sample)) => {
                let bytes = writer.push(sample).map_err(|_| Fault::TooLong)?;
                sink.put(bytes, &mut reel).await?;
            }
            Some(Item::Leg(leg)) => {
                let down = |trouble| {
                    matches!(
                        trouble,
                        Trouble::Offline | Trouble::Barred | Trouble::Unknown
                    )
                };
                if leg.troubles.iter().any(|trouble| down(*trouble)) {
                    entry.set_flawed();
                }
            }
            Some(Item::Hole(range)) => {
                let unknown = camera.slot.camera().copies().any(|(copy, _)| {
                    let coverage = camera.slot.coverage(copy);
                    coverage.is_none_or(|known| {
                        matches!(known.held(range.start()), Held::Unknown { .. })
                    })
                });
                if unknown {
                    entry.set_flawed();
                }
            }
            Some(Item::End(end)) => break end,
            None => break End::Footage,
        }
    };
    match end {
        End::Range | End::Footage | End::Hole => {}
        End::Outage => return Err(Fault::Unreachable),
        End::Mismatch => return Err(Fault::Unfit(end.to_string())),
    }
    let last = match writer {
        Writer::Fragmented { .. } => writer.finish(),
        // A long table takes its time.
        Writer::Plain(_) => spawn_blocking(move || writer.finish())
            .await
            .map_err(|error| Fault::Disk(error.to_string()))?,
    };
    let last = last.map_err(|_| Fault::TooLong)?;
    sink.put(last.bytes, &mut reel).await?;
    if sink.written == 0 {
        return Err(Fault::Nothing);
    }
    sink.finish(last.head);
    Ok(())
}

/// The file being written, and the digest of it.
struct Sink<'a> {
    spool: &'a Arc<Spool>,
    entry: &'a Arc<Entry>,
    digest: Sha256,
    written: u64,
}

impl<'a> Sink<'a> {
    fn new(spool: &'a Arc<Spool>, entry: &'a Arc<Entry>) -> Self {
        Sink {
            spool,
            entry,
            digest: Sha256::new(),
            written: 0,
        }
    }

    async fn put(&mut self, bytes: Vec<Bytes>, reel: &mut Reel) -> Result<(), Fault> {
        let length: u64 = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        if length == 0 {
            return Ok(());
        }
        self.room(length, reel).await?;
        let (file, at) = (self.entry.file(), self.written);
        let mut digest = std::mem::take(&mut self.digest);
        let written = spawn_blocking(move || {
            let mut at = at;
            for bytes in bytes {
                file.write_all_at(&bytes, at)?;
                digest.update(&bytes);
                at += bytes.len() as u64;
            }
            Ok::<_, std::io::Error>(digest)
        });
        self.digest = written
            .await
            .map_err(std::io::Error::other)
            .and_then(|written| written)
            .map_err(|error| Fault::Disk(error.to_string()))?;
        self.written += length;
        self.entry.grown(self.written);
        Ok(())
    }

    /// Makes room for so many bytes more: by letting other clips go, else as the readers of this one take what lies there.
    async fn room(&self, bytes: u64, reel: &mut Reel) -> Result<(), Fault> {
        let began = clock::now();
        while !self.entry.reserve(bytes) {
            if self.spool.evict() {
                continue;
            }
            self.spool.forget(self.entry);
            self.entry.pass();
            let given = self
                .entry
                .give_back_read()
                .map_err(|error| Fault::Disk(error.to_string()))?;
            match given {
                None => return Err(Fault::TooLong),
                Some(0) if clock::now().saturating_duration_since(began) >= ROOM_WAIT_MAX => {
                    return Err(Fault::Disk("no room".to_owned()));
                }
                Some(0) => {
                    tokio::select! {
                        _ = timeout(LOOK_EVERY, self.entry.moved.notified()) => {}
                        _ = reel.keep() => {}
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn finish(self, head: Option<Bytes>) {
        let head_bytes = head.as_ref().map_or(0, |head| head.len() as u64);
        let media = self.digest.finalize();
        let digest = match &head {
            None => media,
            Some(head) => Sha256::new()
                .chain_update(head)
                .chain_update(media)
                .finalize(),
        };
        let hex = digest.iter().take(TAG_BYTES);
        let tag = hex.fold("\"".to_owned(), |tag, byte| format!("{tag}{byte:02x}")) + "\"";
        self.entry.whole(head, &tag, head_bytes + self.written);
    }
}
