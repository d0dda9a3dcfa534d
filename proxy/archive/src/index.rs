//! The index of a plain movie, apart from its media: how long the movie is, and where what is shown at an instant lies. For those
//! who have the file behind a network and can ask for any of its bytes.

use crate::{
    boxes::Head,
    error::Flaw,
    segment::{FIRST, Movie, Track},
    stream::{MEDIA_BYTES_MAX, SAMPLES_MAX, StreamError},
    table::Sink,
};

/// Where the index of a movie is, as far as some of its bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Located {
    /// A `moov` box of so many bytes begins at this place.
    At {
        /// Place of its first byte.
        at: u64,
        /// Its length.
        len: u64,
    },
    /// It is behind this place, where another box begins.
    Behind(u64),
    /// The movie is in fragments, is still being written, or is none.
    Nowhere,
}

/// Looks for the index in `bytes`, whose first one is at `place` in the file, where a box begins.
pub fn locate_index(bytes: &[u8], place: u64) -> Located {
    let (mut at, mut rest) = (place, bytes);
    let mut indexed = false;
    loop {
        let Some(head) = Head::parse(rest) else {
            let enough = rest.len() >= Head::BYTES_MAX;
            return if enough {
                Located::Nowhere
            } else {
                Located::Behind(at)
            };
        };
        if at == 0 && !FIRST.contains(&head.kind) {
            return Located::Nowhere;
        }
        let Some(len) = head.len else {
            return Located::Nowhere;
        };
        match &head.kind {
            b"moov" => return Located::At { at, len },
            // Written while it is recorded: its length is told when it is closed.
            b"mdat" if len <= head.body_at => return Located::Nowhere,
            b"mdat" => indexed = true,
            b"moof" => return Located::Nowhere,
            _ => {}
        }
        let Some(next) = at.checked_add(len) else {
            return Located::Nowhere;
        };
        at = next;
        let skipped = usize::try_from(len).ok().and_then(|len| rest.get(len..));
        match skipped {
            Some(behind) if !behind.is_empty() => rest = behind,
            _ if indexed || at > place => return Located::Behind(at),
            _ => return Located::Nowhere,
        }
    }
}

/// The index of a plain movie.
#[derive(Debug)]
pub struct MovieIndex {
    /// The video first.
    tracks: Vec<Track>,
    /// When the first picture is shown, µs.
    first_us: i64,
    end_us: i64,
}

/// Where reading begins for an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entrance {
    /// Place of the first byte that is needed.
    pub place: u64,
    /// How long after the movie's first picture the first one is shown that is decoded, µs.
    pub after_us: i64,
}

impl MovieIndex {
    /// Reads a whole `moov` box; `None` where the movie goes on in fragments.
    pub fn read(moov: &[u8]) -> Result<Option<Self>, StreamError> {
        let head = Head::parse(moov).filter(|head| head.kind == *b"moov");
        let head = head.ok_or(StreamError::NotMp4)?;
        let body = moov.get(head.body_at as usize..).unwrap_or_default();
        let mut sink = Sink::streamed(MEDIA_BYTES_MAX, SAMPLES_MAX);
        let movie = Movie::parse(body, &mut sink).map_err(|flaw: Flaw| StreamError::from(flaw))?;
        if movie.fragmented {
            return Ok(None);
        }
        let Some(main) = movie.tracks.first() else {
            return Ok(None);
        };
        let shown = || {
            let samples = main.samples.iter();
            samples.map(|sample| (main.presentation_us(sample), main.duration_us(sample)))
        };
        let first_us = shown().map(|(at, _)| at).min().unwrap_or(0);
        let end_us = shown().map(|(at, long)| at.saturating_add(long)).max();
        Ok(Some(MovieIndex {
            first_us,
            end_us: end_us.unwrap_or(first_us),
            tracks: movie.tracks,
        }))
    }

    /// From the first picture to the end of the last one, µs.
    pub fn length_us(&self) -> i64 {
        self.end_us.saturating_sub(self.first_us)
    }

    /// Where to begin for the picture that is shown so long behind the first one: at the random access point before it. `None`
    /// of a movie without samples.
    pub fn entrance(&self, after_us: i64) -> Option<Entrance> {
        let (main, others) = self.tracks.split_first()?;
        let wanted_us = self.first_us.saturating_add(after_us);
        let begin = main
            .samples
            .iter()
            .rposition(|sample| sample.sync && main.presentation_us(sample) <= wanted_us)
            .unwrap_or(0);
        let needed = main.samples.get(begin..)?;
        let at_us = main.presentation_us(needed.first()?);
        let own = needed.iter().map(|sample| sample.offset).min()?;
        let theirs = others.iter().filter_map(|track| {
            let heard = track.samples.iter();
            let mut heard = heard.filter(|sample| track.presentation_us(sample) >= at_us);
            Some(heard.next()?.offset)
        });
        Some(Entrance {
            place: theirs.fold(own, u64::min),
            after_us: at_us.saturating_sub(self.first_us),
        })
    }
}

#[cfg(test)]
mod tests;
