//! The making of a clip, in the background, once for all who want it.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seamline_media::mp4::Indexed;
use seamline_routing::director::End;
use seamline_routing::plan::Trouble;
use seamline_routing::{Held, Timestamp};
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep, timeout};
use twox_hash::XxHash3_128;

use super::Spool;
use super::clip::{Clip, Writer};
use super::entry::{Entry, Fault};
use super::served::Stub;
use super::store::Relief;
use crate::cameras::CameraEntry;
use crate::clock;
use crate::journal::Journal;
use crate::playback::{Item, NoReel, Reel};

/// A clip is made on for so long after the last one who read it went: they may come back for the rest.
const LINGER: Duration = Duration::from_secs(60);
/// How often it is looked whether anybody is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A reader that keeps up is waited for this long.
const GIVE_WAY: Duration = Duration::from_millis(20);
/// Readers of a clip that is whole may keep up for so long; for those who do not it is moved into its file.
const SETTLE: Duration = Duration::from_secs(1);
/// A clip that does not fit waits so long for its readers to take what lies in its way.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(120);

pub(super) fn start(
    spool: &Arc<Spool>,
    entry: &Arc<Entry>,
    camera: &Arc<CameraEntry>,
    journal: &Journal,
    clip: &Clip,
    lasting: bool,
) {
    let (entry, camera) = (Arc::clone(entry), Arc::clone(camera));
    let (journal, clip, spool) = (journal.clone(), clip.clone(), Arc::clone(spool));
    tokio::spawn(async move {
        if let Err(fault) = fill(&spool, &entry, &camera, journal, &clip, lasting).await {
            let progress = entry.progress();
            let (from, until, bytes) = (clip.from, clip.until, progress.readable);
            tracing::info!(camera = %clip.camera, capture = %from, %until, bytes, reason = %fault, "clip not made");
            entry.failed(fault);
            return;
        }
        // Who lets go of it meanwhile has its memory back.
        let made = Arc::downgrade(&entry);
        drop(entry);
        sleep(SETTLE).await;
        let Some(entry) = made.upgrade().filter(|entry| entry.lags()) else {
            return;
        };
        if let Err(fault) = spill(&spool, &entry).await {
            tracing::warn!(camera = %clip.camera, reason = %fault, "clip stays in memory");
        }
    });
}

async fn fill(
    spool: &Arc<Spool>,
    entry: &Arc<Entry>,
    camera: &Arc<CameraEntry>,
    journal: Journal,
    clip: &Clip,
    lasting: bool,
) -> Result<(), Fault> {
    let began = clock::now();
    let mut reel = Reel::open(camera, journal, clip.wanted())
        .await
        .map_err(|why| match why {
            NoReel::Nothing => Fault::Nothing,
            NoReel::Undescribed(_) => Fault::Unreachable,
            NoReel::NoTrack => Fault::Unfit(why.to_string()),
        })?;
    let mut writer = clip.writer(reel.master(), lasting);
    let mut sink = Sink::new(spool, entry);
    sink.stubs = spool.served.stubs(clip);
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
                sink.footage = Timestamp::from_micros(sample.capture_us).since(clip.from);
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
    sink.finish(last.head, last.index);
    Ok(())
}

/// What takes in the bytes, and their digest.
struct Sink<'a> {
    spool: &'a Arc<Spool>,
    entry: &'a Arc<Entry>,
    digest: XxHash3_128,
    written: u64,
    /// What others of this clip came to, of which it is not known yet whether this one begins with it; the shortest last.
    stubs: Vec<Stub>,
    /// From the clip's beginning to the latest sample.
    footage: Duration,
}

impl<'a> Sink<'a> {
    fn new(spool: &'a Arc<Spool>, entry: &'a Arc<Entry>) -> Self {
        Sink {
            spool,
            entry,
            digest: XxHash3_128::new(),
            written: 0,
            stubs: Vec::new(),
            footage: Duration::ZERO,
        }
    }

    async fn put(&mut self, pieces: Vec<Bytes>, reel: &mut Reel) -> Result<(), Fault> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if length == 0 {
            return Ok(());
        }
        for piece in &pieces {
            self.digest(piece);
        }
        self.entry.append(pieces, self.footage);
        self.relieve(reel).await?;
        self.give_way().await;
        Ok(())
    }

    fn digest(&mut self, mut piece: &[u8]) {
        let until = self.written + piece.len() as u64;
        while let Some(stub) = self.stubs.pop_if(|stub| stub.len <= until) {
            let (before, behind) = piece.split_at((stub.len - self.written) as usize);
            self.digest.write(before);
            self.written = stub.len;
            piece = behind;
            if self.digest.finish_128() == stub.digest {
                self.entry.name().begins_as(&stub);
            }
        }
        self.digest.write(piece);
        self.written = until;
    }

    /// Lets a reader take what has come, while it is in the processor's cache.
    async fn give_way(&self) {
        let taken = async {
            while self.entry.outruns() {
                self.entry.moved.notified().await;
            }
        };
        timeout(GIVE_WAY, taken).await.ok();
    }

    /// Makes room in memory: of what others have, else of what the reader has, else by the file.
    async fn relieve(&self, reel: &mut Reel) -> Result<(), Fault> {
        loop {
            let relief = self.entry.relief();
            if relief != Relief::Enough && self.spool.memory.is_short() {
                if self.spool.let_go_had() {
                    continue;
                }
                if self.move_resting().await {
                    continue;
                }
            }
            match relief {
                Relief::Enough => return Ok(()),
                Relief::Forget(upto) => {
                    self.forget(upto);
                    return Ok(());
                }
                Relief::Spill { had, upto } => {
                    self.forget(had);
                    self.room(upto, reel).await?;
                    write_out(self.entry, upto).await?;
                }
            }
        }
    }

    fn forget(&self, upto: u64) {
        if let Err(why) = self.entry.forget(upto) {
            tracing::debug!(%why, "what was read stays on the disk");
        }
    }

    /// Moves another clip, one that is whole, from memory into its file. One that cannot be moved is let go. False where there is
    /// none.
    async fn move_resting(&self) -> bool {
        let Some(resting) = self.spool.resting() else {
            return false;
        };
        let moved = spill(self.spool, &resting).await;
        if let Err(why) = &moved {
            tracing::warn!(reason = %why, "a clip that was kept is let go");
        }
        if !matches!(moved, Ok(true)) {
            self.spool.forget(&resting);
        }
        true
    }

    /// Makes room on the disk for what lies before `upto` in memory: by letting other clips go, else as the readers of this one
    /// take what is there.
    async fn room(&self, upto: u64, reel: &mut Reel) -> Result<(), Fault> {
        let began = clock::now();
        while !self.entry.reserve(self.entry.held_before(upto)) {
            if self.spool.evict() {
                continue;
            }
            self.spool.forget(self.entry);
            self.entry.pass();
            let given = self
                .entry
                .forget(u64::MAX)
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

    fn finish(self, head: Option<Bytes>, index: Option<Indexed>) {
        let head_bytes = head.as_ref().map_or(0, |head| head.len() as u64);
        let media = self.digest.finish_128();
        let with = |told_last: &[u8]| {
            let mut digest = XxHash3_128::new();
            digest.write(told_last);
            digest.write(&media.to_be_bytes());
            digest.finish_128()
        };
        let tag = |digest: u128| format!("\"{digest:032x}\"");
        if let Some(index) = index {
            self.entry.set_index(tag(with(&index.bytes)), index);
        }
        let tag = tag(head.as_ref().map_or(media, |head| with(head)));
        self.entry.whole(head, &tag, head_bytes + self.written);
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        let (name, digest) = (self.entry.name(), &self.digest);
        name.broken_off(self.written, digest.finish_128());
    }
}

/// Moves what is in memory of a clip that is whole into its file; false where there is no room.
async fn spill(spool: &Arc<Spool>, entry: &Arc<Entry>) -> Result<bool, Fault> {
    while !entry.reserve(entry.held_before(u64::MAX)) {
        if !spool.evict() {
            return Ok(false);
        }
    }
    write_out(entry, u64::MAX).await?;
    Ok(true)
}

/// Writes what lies before `upto` in memory into the file.
async fn write_out(entry: &Arc<Entry>, upto: u64) -> Result<(), Fault> {
    let Some((at, pieces)) = entry.to_spill(upto) else {
        return Ok(());
    };
    let file = entry.file();
    let written = spawn_blocking(move || {
        let mut at = at;
        for piece in pieces {
            file.write_all_at(&piece, at)?;
            at += piece.len() as u64;
        }
        Ok::<_, std::io::Error>(at)
    });
    let written = written
        .await
        .map_err(std::io::Error::other)
        .and_then(|at| at);
    entry.spilled(written.as_ref().ok().copied());
    written
        .map(|_| ())
        .map_err(|error| Fault::Disk(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::SpoolSettings;
    use super::super::budget::Budget;
    use super::super::tests::{camera, clip, keep};
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const PIECE: u64 = 64 * 1024;
    const DISK: u64 = 64 * MIB;

    fn spool(memory: u64) -> Arc<Spool> {
        let settings = SpoolSettings {
            max_bytes: DISK,
            ..SpoolSettings::default()
        };
        let spool = Arc::into_inner(Spool::new(&settings)).expect("nobody else has it");
        Arc::new(Spool {
            memory: Budget::new(memory),
            ..spool
        })
    }

    fn entry(spool: &Spool) -> Arc<Entry> {
        let file = tempfile::tempfile().expect("there is a folder");
        Entry::new(file, &spool.budget, &spool.memory)
    }

    /// The byte at an offset; no piece is like the one before.
    fn byte(at: u64) -> u8 {
        (at / PIECE % 251) as u8
    }

    fn append(entry: &Entry, bytes: u64) {
        let from = entry.progress().readable;
        let pieces = (from..from + bytes).step_by(PIECE as usize);
        let pieces = pieces.map(|at| Bytes::from(vec![byte(at); PIECE as usize]));
        entry.append(pieces.collect(), Duration::ZERO);
    }

    /// Bytes of the disk that are taken.
    fn taken(spool: &Spool) -> u64 {
        let free = (0..=DISK).rev().step_by(PIECE as usize);
        let fits = |bytes: &u64| {
            let fits = spool.budget.take(*bytes);
            if fits {
                spool.budget.give_back(*bytes);
            }
            fits
        };
        DISK - free.into_iter().find(fits).expect("nothing always fits")
    }

    /// Reads all of it.
    async fn assert_reads(entry: &Arc<Entry>, from: u64, until: u64) {
        let (mut reading, mut at) = (entry.read(from, Some(until)), from);
        while let Some(bytes) = reading.next().await {
            let bytes = bytes.expect("it is there");
            for (ix, read) in bytes.iter().enumerate() {
                assert_eq!(*read, byte(at + ix as u64), "{at}");
            }
            at += bytes.len() as u64;
        }
        assert_eq!(at, until);
    }

    #[test]
    fn a_clip_knows_those_that_broke_off_and_were_its_beginning() {
        let spool = spool(0);
        let clip = clip("gate");
        let client = spool.client("one");
        let broken = |bytes: &[u8]| {
            let entry = entry(&spool);
            Sink::new(&spool, &entry).digest(bytes);
            spool.serves(&clip, &entry, (client, true));
            entry
        };
        let again = |pieces: &[&[u8]]| {
            let entry = entry(&spool);
            let mut sink = Sink::new(&spool, &entry);
            sink.stubs = spool.served.stubs(&clip);
            for piece in pieces {
                sink.digest(piece);
            }
            sink.finish(None, None);
            entry
        };
        let (long, short) = (broken(b"one two three"), broken(b"one two"));
        for pieces in [
            &[&b"one two three four"[..]][..],
            &[b"one", b" two three", b"!"],
        ] {
            let whole = again(pieces);
            let mut plain = XxHash3_128::new();
            plain.write(&pieces.concat());
            let tag = format!("\"{:032x}\"", plain.finish_128());
            assert!(whole.is_named(|named| named == tag), "another digest");
            assert!(spool.goes_on(&clip, &whole, client));
        }
        // What the client began last is in it, and what others may have is not.
        let whole = again(&[b"one two four"]);
        assert!(spool.goes_on(&clip, &whole, client));
        assert!(!spool.goes_on(&clip, &whole, spool.client("other")));
        spool.serves(&clip, &long, (client, true));
        assert!(!spool.goes_on(&clip, &whole, client));
        let whole = again(&[b"one t"]);
        spool.serves(&clip, &short, (client, true));
        assert!(!spool.goes_on(&clip, &whole, client));
    }

    #[tokio::test]
    async fn where_memory_is_short_a_broken_download_finds_the_rest() {
        let spool = spool(0);
        let entry = entry(&spool);
        let mut reading = entry.read(0, None);
        let sink = Sink::new(&spool, &entry);
        let until = 16 * MIB;
        for _ in 0..until / PIECE {
            append(&entry, PIECE);
            reading.next().await.expect("more").expect("it is there");
            while let Relief::Spill { had, upto } = entry.relief() {
                sink.forget(had);
                assert!(entry.reserve(entry.held_before(upto)));
                write_out(&entry, upto).await.expect("it can be written");
            }
        }
        assert!(entry.held_before(u64::MAX) <= MIB && taken(&spool) <= 6 * MIB);
        drop(reading);
        assert!(entry.join(0).is_none(), "that is gone");
        let waiting = entry.join(until - 4 * MIB).expect("what was on its way");
        assert_reads(&entry, until - 4 * MIB, until).await;
        drop(waiting);
    }

    #[tokio::test]
    async fn nothing_goes_that_somebody_was_let_in_for() {
        let spool = spool(DISK);
        let read = || {
            let entry = entry(&spool);
            append(&entry, 17 * MIB);
            let reading = entry.read(16 * MIB, None);
            assert_eq!(entry.relief(), Relief::Forget(12 * MIB));
            (entry, reading)
        };
        let (entry, _first) = read();
        let second = entry.join(0).expect("all of it is there");
        assert_eq!(entry.forget(12 * MIB).unwrap(), Some(0));
        drop(second);
        assert_eq!(entry.forget(12 * MIB).unwrap(), Some(0), "more may come");
        assert_reads(&entry, 0, 17 * MIB).await;

        let (entry, _first) = read();
        assert_eq!(entry.forget(12 * MIB).unwrap(), Some(12 * MIB));
        assert!(entry.join(0).is_none() && entry.join(12 * MIB).is_some());
    }

    #[tokio::test]
    async fn only_what_lies_on_the_disk_is_given_back() {
        let spool = spool(DISK);
        let entry = entry(&spool);
        append(&entry, 16 * MIB);
        let reading = entry.read(14 * MIB, None);
        assert_eq!(entry.forget(10 * MIB).unwrap(), Some(10 * MIB));
        assert_eq!(taken(&spool), 0);
        assert!(entry.reserve(entry.held_before(13 * MIB)));
        write_out(&entry, 13 * MIB)
            .await
            .expect("it can be written");
        assert_eq!(taken(&spool), 3 * MIB);
        // The reader has one more, in memory.
        assert_eq!(entry.forget(12 * MIB).unwrap(), Some(2 * MIB));
        assert_eq!(taken(&spool), MIB);
        assert_reads(&entry, 12 * MIB, 16 * MIB).await;
        entry.pass();
        assert_eq!(entry.forget(u64::MAX).unwrap(), Some(2 * MIB));
        assert_eq!((taken(&spool), entry.held_before(u64::MAX)), (0, 2 * MIB));
        assert_reads(&entry, 14 * MIB, 16 * MIB).await;
        drop(reading);
        assert_eq!(entry.forget(u64::MAX).unwrap(), None);
    }

    #[tokio::test]
    async fn an_index_lies_over_what_is_there_and_moves_nothing() {
        let spool = spool(DISK);
        let entry = entry(&spool);
        append(&entry, MIB);
        let (at, len) = (PIECE - 10, 30);
        let bytes = Bytes::from(vec![0xee; len]);
        entry.set_index("\"indexed\"".to_owned(), Indexed { at, bytes });
        entry.whole(None, "\"whole\"", MIB);
        assert!(entry.is_named(|tag| tag == "\"indexed\""));
        let mut all = Vec::new();
        for spilled in [false, true] {
            if spilled {
                assert!(spill(&spool, &entry).await.expect("there is room"));
            }
            // Cut at every place that matters.
            for cuts in [
                vec![0, MIB],
                vec![0, at, at + 7, at + 30, MIB],
                vec![0, at + 1, PIECE, MIB],
            ] {
                let mut read = Vec::new();
                for cut in cuts.windows(2) {
                    let mut reading = entry.read_indexed(cut[0], Some(cut[1]));
                    while let Some(bytes) = reading.next().await {
                        read.extend_from_slice(&bytes.expect("it is there"));
                    }
                    assert_eq!(read.len() as u64, cut[1]);
                }
                all.push(read);
            }
            assert_reads(&entry, 0, MIB).await;
        }
        let (at, end) = (at as usize, at as usize + len);
        assert!(all.iter().all(|read| *read == all[0]));
        assert!(all[0][at..end].iter().all(|byte| *byte == 0xee));
        for (ix, read) in all[0].iter().enumerate() {
            assert!((at..end).contains(&ix) || *read == byte(ix as u64), "{ix}");
        }
    }

    #[tokio::test]
    async fn a_clip_that_cannot_be_written_takes_no_other_with_it() {
        let spool = spool(DISK);
        let named = tempfile::NamedTempFile::new().expect("there is a folder");
        let sealed = File::open(named.path()).expect("it is there");
        let resting = keep(&spool, &camera("gate"), sealed);
        append(&resting, MIB);
        resting.whole(None, "\"whole\"", MIB);
        let growing = entry(&spool);
        let sink = Sink::new(&spool, &growing);
        assert!(sink.move_resting().await, "there was one");
        assert!(!sink.move_resting().await, "it is kept no longer");
        // Who reads it goes on.
        assert_reads(&resting, 0, MIB).await;
    }
}
