//! Names of segments: all that must be known to fill one is in its name, so that any replica fills it, with the same bytes.

use std::fmt;

use seamline_routing::segments::{Closing, Content, LENGTH_MAX, Opening, Segment};
use seamline_routing::{CopyIx, TimeRange, Timestamp};

/// A file of a playlist, relative to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// `0/init-1767268800000000.mp4`: how the footage of the first copy is encoded at that instant, µs since 1970.
    Init {
        copy: CopyIx,
        at: Timestamp,
        sound: bool,
    },
    /// `0/seg-1767268800000000-1767268804000000.m4s`: footage of the first copy. `start` and `join` in place of `seg` for an
    /// [`Opening`] that is not in the middle of a leg, `-last` or, where the second copy takes over, `-to1`
    /// behind it all for a [`Closing`] that is not; `0v` in place of `0` for
    /// pictures without sound.
    Footage(Piece),
    /// `gap/seg-1767268800000000-1767268804000000.m4s`: nothing.
    Gap(TimeRange),
}

/// A segment with footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    pub(super) range: TimeRange,
    pub(super) copy: CopyIx,
    pub(super) opening: Opening,
    pub(super) closing: Closing,
    pub(super) sound: bool,
}

/// Marks the folder of a copy without its sound.
const SILENT: &str = "v";
/// The folder of gaps.
const GAPS: &str = "gap";
/// Behind this there is no footage: 9999-12-31T23:59:59Z, µs.
const LAST_US: i64 = 253_402_300_799_000_000;

impl Name {
    /// The name of a segment, with sound or without.
    pub(super) fn of(segment: &Segment, sound: bool) -> Self {
        let range = segment.range;
        match segment.content {
            Content::Nothing => Name::Gap(range),
            Content::Footage {
                copy,
                opening,
                closing,
            } => Name::Footage(Piece {
                range,
                copy,
                opening,
                closing,
                sound,
            }),
        }
    }

    /// Reads a name: the folder, which names the copy, and the file in it.
    pub(super) fn parse(folder: &str, file: &str) -> Option<Self> {
        if folder == GAPS {
            return Self::read(None, file);
        }
        let (number, sound) = match folder.strip_suffix(SILENT) {
            Some(number) => (number, false),
            None => (folder, true),
        };
        let copy = CopyIx(u8::try_from(digits(number)?).ok()?);
        Self::read(Some((copy, sound)), file)
    }

    fn read(folder: Option<(CopyIx, bool)>, file: &str) -> Option<Self> {
        if let Some(at) = file.strip_prefix("init-") {
            let at = instant(at.strip_suffix(".mp4")?)?;
            let (copy, sound) = folder?;
            return Some(Name::Init { copy, at, sound });
        }
        let file = file.strip_suffix(".m4s")?;
        let (file, closing) = match (file.strip_suffix("-last"), file.split_once("-to")) {
            (Some(file), _) => (file, Closing::Ends),
            (None, Some((file, to))) => {
                let to = CopyIx(u8::try_from(digits(to)?).ok()?);
                (file, Closing::Hands { to })
            }
            (None, None) => (file, Closing::Continues),
        };
        let (word, range) = file.split_once('-')?;
        let (from, until) = range.split_once('-')?;
        let range = TimeRange::new(instant(from)?, instant(until)?)?;
        if range.duration() >= LENGTH_MAX {
            return None;
        }
        let Some((copy, sound)) = folder else {
            let plain = word == "seg" && closing == Closing::Continues;
            return plain.then_some(Name::Gap(range));
        };
        let opening = match word {
            "seg" => Opening::Continues,
            "start" => Opening::Exact,
            "join" => Opening::Joins,
            _ => return None,
        };
        Some(Name::Footage(Piece {
            range,
            copy,
            opening,
            closing,
            sound,
        }))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Name::Init { copy, at, sound } => {
                let folder = Folder(copy, sound);
                write!(f, "{folder}/init-{}.mp4", at.as_micros())
            }
            Name::Gap(range) => write!(
                f,
                "{GAPS}/seg-{}-{}.m4s",
                range.start().as_micros(),
                range.end().as_micros()
            ),
            Name::Footage(piece) => {
                let word = match piece.opening {
                    Opening::Continues => "seg",
                    Opening::Exact => "start",
                    Opening::Joins => "join",
                };
                let (from, until) = (piece.range.start(), piece.range.end());
                write!(
                    f,
                    "{}/{word}-{}-{}",
                    Folder(piece.copy, piece.sound),
                    from.as_micros(),
                    until.as_micros()
                )?;
                match piece.closing {
                    Closing::Continues => {}
                    Closing::Ends => f.write_str("-last")?,
                    Closing::Hands { to } => write!(f, "-to{}", to.0)?,
                }
                f.write_str(".m4s")
            }
        }
    }
}

/// The folder of a copy's segments.
struct Folder(CopyIx, bool);

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.0, if self.1 { "" } else { SILENT })
    }
}

fn instant(text: &str) -> Option<Timestamp> {
    let micros = digits(text)?;
    (micros <= LAST_US).then_some(Timestamp::from_micros(micros))
}

/// A number as it is written here: no sign, no leading zero, so that a file has one name.
fn digits(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (plain && canonical).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn footage() -> impl Strategy<Value = Name> {
        let opening = prop_oneof![
            Just(Opening::Continues),
            Just(Opening::Exact),
            Just(Opening::Joins)
        ];
        let closing = prop_oneof![
            Just(Closing::Continues),
            Just(Closing::Ends),
            any::<u8>().prop_map(|to| Closing::Hands { to: CopyIx(to) })
        ];
        (
            0..LAST_US - 10_000_000,
            1..10_000_000_i64,
            0..=u8::MAX,
            opening,
            closing,
            any::<bool>(),
        )
            .prop_map(|(from, long, copy, opening, closing, sound)| {
                let from = Timestamp::from_micros(from);
                Name::Footage(Piece {
                    range: TimeRange::new(from, from.shift(long)).expect("it lasts"),
                    copy: CopyIx(copy),
                    opening,
                    closing,
                    sound,
                })
            })
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_are_written(name in footage()) {
            let path = name.to_string();
            let (folder, file) = path.split_once('/').expect("every name has a folder");
            prop_assert_eq!(Name::parse(folder, file), Some(name));
        }

        #[test]
        fn anything_else_is_no_name(folder in "[a-z0-9]{0,3}", file in "[a-z0-9/.%-]{0,60}") {
            if let Some(name) = Name::parse(&folder, &file) {
                prop_assert_eq!(name.to_string(), format!("{folder}/{file}"));
            }
        }
    }

    #[test]
    fn hostile_names() {
        for path in [
            "0/seg--1-4000000.m4s",
            "0/seg-+1-4000000.m4s",
            "0/seg-01-4000000.m4s",
            "0/seg-4000000-4000000.m4s",
            "0/seg-5000000-4000000.m4s",
            "0/seg-0-12000000.m4s",
            "0/seg-9223372036854775807-9223372036854775808.m4s",
            "0/seg-253402300799000001-253402300799000002.m4s",
            "256/seg-0-4000000.m4s",
            "-1/seg-0-4000000.m4s",
            "/seg-0-4000000.m4s",
            "gap/start-0-4000000.m4s",
            "0/seg-0-4000000.mp4",
            "0/seg-0-4000000-last-last.m4s",
            "0/seg-0-4000000-to1-last.m4s",
            "0/seg-0-4000000-to256.m4s",
            "0/seg-0-4000000-to.m4s",
            "0/gap-0-4000000.m4s",
            "gap/seg-0-4000000-last.m4s",
            "0/init-1e9.mp4",
            "0vv/init-0.mp4",
            "gap/init-0.mp4",
        ] {
            let (folder, file) = path.split_once('/').expect("every line has a folder");
            assert_eq!(Name::parse(folder, file), None, "{path}");
        }
    }
}
