//! A leg out of a folder of recordings: frames read in the background, packetized like a recorder's.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use seamline_archive::{ArchiveError, Batch, Cursor, Folder, Keys, Rewind};
use seamline_media::{LegFormat, Unit};
use seamline_probes::archive::Folders;
use seamline_routing::director::Failure;
use seamline_routing::plan::Direction;
use seamline_rtsp::headers::Frames;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

use super::packing::Packing;
use super::{Arrival, LegFailure, Order};
use crate::clock;

/// Read at a time: about a group of pictures.
const BATCH_BYTES: usize = 256 * 1024;
/// With this part of it left, the next is read: for who takes little, not much more than one lies here.
const LOW_PART: usize = 4;
/// The same for who has taken the rest within this time.
const LOW_PART_BRISK: usize = 2;
const BRISK: Duration = Duration::from_millis(2);
/// How often the growing end of a recording is looked at.
const TAIL_EVERY: Duration = Duration::from_millis(100);

impl From<ArchiveError> for LegFailure {
    fn from(error: ArchiveError) -> Self {
        LegFailure::new(Failure::Lost, error.to_string())
    }
}

type Read = Result<(Reader, Batch), LegFailure>;

/// A position in the folder.
enum Reader {
    Forward(Cursor),
    Backward(Rewind),
}

impl Reader {
    fn open(folder: Arc<Folder>, order: &Order, now_us: i64) -> Result<Self, LegFailure> {
        let from_us = order.from.shift(order.clock_offset_us).as_micros();
        let keys = match order.frames {
            Frames::Intra { interval_ms } => Some(Keys {
                interval_us: i64::from(interval_ms.unwrap_or(0)) * 1_000,
            }),
            Frames::All | Frames::Predicted => None,
        };
        Ok(match order.direction {
            Direction::Reverse => Reader::Backward(Rewind::open(folder, from_us, keys)),
            Direction::Forward => {
                let cursor = Cursor::open(folder, from_us, now_us)?;
                Reader::Forward(match keys {
                    Some(keys) => cursor.only_keys(keys),
                    None => cursor,
                })
            }
        })
    }

    fn next_batch(&mut self, now_us: i64) -> Result<Batch, ArchiveError> {
        match self {
            Reader::Forward(cursor) => cursor.next_batch(BATCH_BYTES, now_us),
            Reader::Backward(rewind) => rewind.next_batch(now_us),
        }
    }
}

enum Stage {
    /// What was read is being used up; the rest of the folder is read from here.
    Holding(Box<Reader>),
    Reading(JoinHandle<Read>),
    AtTail(Pin<Box<Sleep>>, Option<Box<Reader>>),
    Over,
}

/// A reader on a folder.
pub struct ArchiveLeg {
    order: Order,
    stage: Stage,
    packing: Packing,
    units: VecDeque<Unit>,
    /// How many were read at once, and when.
    read: (usize, Instant),
    groups: VecDeque<Vec<Unit>>,
}

impl std::fmt::Debug for ArchiveLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveLeg")
            .field("from", &self.order.from)
            .finish_non_exhaustive()
    }
}

impl ArchiveLeg {
    /// Positions at the random access point at or before the ordered start; in reverse behind the last picture before it.
    pub async fn open(folders: &Arc<Folders>, order: Order) -> Result<Self, LegFailure> {
        let mut leg = ArchiveLeg {
            order,
            stage: Stage::Over,
            packing: Packing::default(),
            units: VecDeque::new(),
            read: (0, clock::now()),
            groups: VecDeque::new(),
        };
        let (folders, wanted) = (folders.clone(), leg.order.clone());
        let opened = spawn_blocking(move || -> Read {
            let now_us = clock::wall().as_micros();
            let folder = folders
                .folder(&wanted.remote)
                .map_err(|error| LegFailure::new(Failure::Lost, error.to_string()))?;
            let mut reader = Reader::open(folder, &wanted, now_us)?;
            let batch = reader.next_batch(now_us)?;
            Ok((reader, batch))
        });
        let (reader, batch) = opened
            .await
            .map_err(|error| LegFailure::new(Failure::Lost, format!("reader failed: {error}")))??;
        leg.take(reader, batch)?;
        Ok(leg)
    }

    /// What the splice must know of the units' format.
    pub fn format(&self) -> LegFormat {
        self.packing.format()
    }

    /// See [`super::Leg::poll_next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            if matches!(self.stage, Stage::Holding(_)) && self.is_low() {
                self.read_on();
            }
            if let Some(unit) = self.units.pop_front() {
                return Poll::Ready(Arrival::Unit(unit));
            }
            if let Some(group) = self.groups.pop_front() {
                return Poll::Ready(Arrival::Group(group));
            }
            match &mut self.stage {
                Stage::Reading(reading) => {
                    let read = ready!(Pin::new(reading).poll(cx));
                    self.stage = Stage::Over;
                    let read = read.unwrap_or_else(|error| {
                        Err(LegFailure::new(
                            Failure::Lost,
                            format!("reader failed: {error}"),
                        ))
                    });
                    if let Err(failure) = read.and_then(|(reader, batch)| self.take(reader, batch))
                    {
                        return Poll::Ready(Arrival::Failed(failure));
                    }
                }
                Stage::AtTail(pause, reader) => {
                    ready!(pause.as_mut().poll(cx));
                    self.stage = reader.take().map_or(Stage::Over, Stage::Holding);
                }
                // It is read on above, where no unit is left.
                Stage::Holding(_) => {}
                Stage::Over => return Poll::Ready(Arrival::Ended),
            }
        }
    }

    fn is_low(&self) -> bool {
        let (read, at) = self.read;
        let left = self.units.len();
        let brisk = || clock::now().saturating_duration_since(at) < BRISK;
        left <= read / LOW_PART || (left <= read / LOW_PART_BRISK && brisk())
    }

    fn read_on(&mut self) {
        let Stage::Holding(reader) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        self.stage = Stage::Reading(spawn_blocking(move || {
            let mut reader = reader;
            let batch = reader.next_batch(clock::wall().as_micros())?;
            Ok((*reader, batch))
        }));
    }

    fn take(&mut self, reader: Reader, batch: Batch) -> Result<(), LegFailure> {
        match batch {
            Batch::Tracks(formats) => self.packing.set_tracks(&self.order, &formats)?,
            Batch::Frames(frames) => {
                for frame in &frames {
                    self.pack(frame);
                }
                if self.order.direction == Direction::Reverse {
                    let group: Vec<Unit> = self.units.drain(..).collect();
                    if !group.is_empty() {
                        self.groups.push_back(group);
                    }
                }
            }
            Batch::Gap { .. } => {}
            Batch::AtTail => {
                self.stage = Stage::AtTail(Box::pin(sleep(TAIL_EVERY)), Some(Box::new(reader)));
                return Ok(());
            }
            Batch::End => {
                self.stage = Stage::Over;
                return Ok(());
            }
        }
        self.read = (self.units.len(), clock::now());
        self.stage = Stage::Holding(Box::new(reader));
        Ok(())
    }

    fn pack(&mut self, frame: &seamline_archive::Frame) {
        let capture_us = frame.capture_us - self.order.clock_offset_us;
        let (order, packing) = (&self.order, &mut self.packing);
        let unit = packing.unit(order, frame.track, &frame.data, capture_us, frame.sync);
        self.units.extend(unit);
    }
}
