//! Stated naming patterns: a file's relative path to the time of its beginning.

use jiff::{Timestamp, fmt::strtime::BrokenDownTime, tz::TimeZone};

/// How a recorder names its files, for one camera.
///
/// Written like `strftime`: `%Y%m%dT%H%M%SZ`, `{camera}/%Y-%m-%d/%H-%M-%S-%f`, `%s` (Unix seconds),
/// `{epoch_ms}` (Unix ms). A `/` separates folders. `{camera}` stands for the recorder's name of
/// the camera. Times are UTC unless the pattern has `%z` or a zone is stated with
/// [`Pattern::in_zone`]. Without a file extension in the pattern, the usual ones of MP4 match.
#[derive(Debug, Clone)]
pub struct Pattern {
    clock: Clock,
    zone: TimeZone,
    bare: bool,
    folders: Vec<Option<String>>,
    coarse: bool,
}

/// Why a naming pattern is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// The pattern names the camera but none was given, or the reverse would be ambiguous.
    #[error("pattern {pattern:?} needs the name of a camera")]
    NeedsCamera {
        /// The pattern.
        pattern: String,
    },
    /// The camera's name would leave the folder.
    #[error("camera name {camera:?} cannot be part of a path")]
    Camera {
        /// The name.
        camera: String,
    },
    /// A time written with the pattern is not read back as the same second.
    #[error("pattern {pattern:?} does not determine a time: {reason}")]
    Ambiguous {
        /// The pattern.
        pattern: String,
        /// What is missing or not understood.
        reason: String,
    },
    /// The zone is not in this machine's time zone database.
    #[error("unknown time zone {zone:?}")]
    Zone {
        /// The name.
        zone: String,
    },
}

impl Pattern {
    /// Reads a pattern. `camera` is the recorder's name of the camera; it may contain `/`.
    pub fn parse(pattern: &str, camera: Option<&str>) -> Result<Self, PatternError> {
        let text = expand_camera(pattern, camera)?;
        let ambiguous = |reason: String| PatternError::Ambiguous {
            pattern: pattern.to_owned(),
            reason,
        };
        if text.is_empty() || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ambiguous("an empty or relative folder".to_owned()));
        }
        let bare = !EXTENSIONS.iter().any(|extension| {
            text.strip_suffix(extension)
                .is_some_and(|stem| stem.ends_with('.'))
        });
        let mut folders: Vec<Option<String>> = text
            .split('/')
            .map(|part| literal(part).filter(|_| !part.contains(EPOCH_MS)))
            .collect();
        folders.pop();

        let (clock, coarse) = if let Some((before, after)) = text.split_once(EPOCH_MS) {
            let fixed = |part: &str| {
                literal(part).ok_or_else(|| ambiguous("two times in one name".to_owned()))
            };
            let (before, after) = (fixed(before)?, fixed(after)?);
            (Clock::EpochMs { before, after }, false)
        } else {
            if let Some(token) = LOCALE_TOKENS.iter().find(|token| text.contains(*token)) {
                return Err(ambiguous(format!("{token} cannot be read back")));
            }
            let coarse = !FRACTION_TOKENS.iter().any(|token| text.contains(token));
            (Clock::Calendar { format: text }, coarse)
        };
        let parsed = Self {
            clock,
            zone: TimeZone::UTC,
            bare,
            folders,
            coarse,
        };
        parsed.prove().map_err(ambiguous)?;
        Ok(parsed)
    }

    /// Reads times without an offset of their own as the local time of an IANA zone. In the
    /// repeated hour of a clock change the earlier reading is taken; `%z` avoids the question.
    pub fn in_zone(mut self, zone: &str) -> Result<Self, PatternError> {
        self.zone = TimeZone::get(zone).map_err(|_| PatternError::Zone {
            zone: zone.to_owned(),
        })?;
        Ok(self)
    }

    /// As [`Pattern::in_zone`], of a zone that is known already.
    #[must_use]
    pub fn in_time_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    /// The time (µs UTC) that `relative` (folders separated by `/`) stands for, `None` when the
    /// name does not fit the pattern.
    pub fn start_us(&self, relative: &str) -> Option<i64> {
        let name = if self.bare {
            let (stem, extension) = relative.rsplit_once('.')?;
            EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
                .then_some(stem)?
        } else {
            relative
        };
        self.clock.read(name, &self.zone)
    }

    /// The name, relative to the folder, that a file beginning at `start_us` (µs UTC) has. A bare
    /// pattern gets `.mp4`. `None` beyond the years that can be written.
    pub fn name_at(&self, start_us: i64) -> Option<String> {
        let mut name = self.clock.write(start_us, &self.zone)?;
        if self.bare {
            name.push_str(".mp4");
        }
        Some(name)
    }

    /// Whether names tell whole seconds only, so that a file may begin up to 1 s after its name.
    pub fn is_coarse(&self) -> bool {
        self.coarse
    }

    /// For each level of folders its fixed name, or `None` when the name holds a part of the time.
    pub(crate) fn folders(&self) -> &[Option<String>] {
        &self.folders
    }

    /// Shows that what is written is read back.
    fn prove(&self) -> Result<(), String> {
        for at_us in PROOFS_US {
            let name = self
                .name_at(at_us)
                .ok_or_else(|| "a token is not understood".to_owned())?;
            match self.start_us(&name) {
                Some(back) if back.div_euclid(1_000_000) == at_us.div_euclid(1_000_000) => {}
                Some(back) => {
                    return Err(format!(
                        "{name:?} reads {} s off",
                        (back - at_us) / 1_000_000
                    ));
                }
                None => return Err(format!("{name:?} cannot be read back")),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Clock {
    Calendar { format: String },
    EpochMs { before: String, after: String },
}

impl Clock {
    fn read(&self, name: &str, zone: &TimeZone) -> Option<i64> {
        match self {
            Self::Calendar { format } => {
                let parts = BrokenDownTime::parse(format, name).ok()?;
                if let Ok(instant) = parts.to_timestamp() {
                    return Some(instant.as_microsecond());
                }
                let civil = parts.to_datetime().ok()?;
                let zoned = civil.to_zoned(zone.clone()).ok()?;
                Some(zoned.timestamp().as_microsecond())
            }
            Self::EpochMs { before, after } => {
                let digits = name.strip_prefix(before.as_str())?;
                let digits = digits.strip_suffix(after.as_str())?;
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                let instant = Timestamp::from_millisecond(digits.parse().ok()?).ok()?;
                Some(instant.as_microsecond())
            }
        }
    }

    fn write(&self, at_us: i64, zone: &TimeZone) -> Option<String> {
        let instant = Timestamp::from_microsecond(at_us).ok()?;
        match self {
            Self::Calendar { format } => {
                let zoned = instant.to_zoned(zone.clone());
                // Six digits, as recorders write: without a width only the significant ones are.
                let format = format.replace("%f", "%6f");
                BrokenDownTime::from(&zoned).to_string(format).ok()
            }
            Self::EpochMs { before, after } => {
                Some(format!("{before}{}{after}", instant.as_millisecond()))
            }
        }
    }
}

fn expand_camera(pattern: &str, camera: Option<&str>) -> Result<String, PatternError> {
    if !pattern.contains(CAMERA) {
        return Ok(pattern.to_owned());
    }
    let camera = camera.ok_or_else(|| PatternError::NeedsCamera {
        pattern: pattern.to_owned(),
    })?;
    let usable = !camera.contains(['\0', '\\'])
        && camera
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."));
    if !usable {
        return Err(PatternError::Camera {
            camera: camera.to_owned(),
        });
    }
    Ok(pattern.replace(CAMERA, &camera.replace('%', "%%")))
}

/// The text that `part` always stands for, `None` when it holds a token.
fn literal(part: &str) -> Option<String> {
    let plain = part.replace("%%", "\0");
    (!plain.contains('%')).then(|| plain.replace('\0', "%"))
}

const CAMERA: &str = "{camera}";
const EPOCH_MS: &str = "{epoch_ms}";
const EXTENSIONS: [&str; 4] = ["mp4", "m4s", "mov", "m4v"];
const FRACTION_TOKENS: [&str; 4] = ["%f", "%.f", "%N", "%3f"];
const LOCALE_TOKENS: [&str; 6] = ["%c", "%r", "%X", "%x", "%Z", "%q"];
/// 2026-01-02T03:04:05.250Z and 2031-12-30T23:58:59.999999Z: no two fields of either are equal.
const PROOFS_US: [i64; 2] = [1_767_323_045_250_000, 1_956_441_539_999_999];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: i64 = 1_767_323_045_000_000;

    #[test]
    fn the_stated_kinds_of_name() {
        for (pattern, name, at) in [
            ("%Y%m%dT%H%M%SZ", "20260102T030405Z.mp4", AT),
            ("%Y%m%dT%H%M%SZ.mp4", "20260102T030405Z.mp4", AT),
            (
                "%Y-%m-%d_%H-%M-%S-%f",
                "2026-01-02_03-04-05-250000.mp4",
                AT + 250_000,
            ),
            ("%s", "1767323045.mp4", AT),
            ("rec-{epoch_ms}.mp4", "rec-1767323045250.mp4", AT + 250_000),
            ("%Y/%m/%d/%H.%M.%S", "2026/01/02/03.04.05.mov", AT),
            ("%Y%m%dT%H%M%S%z", "20260102T050405+0200.mp4", AT),
            ("100%%_%s", "100%_1767323045.mp4", AT),
        ] {
            let parsed = Pattern::parse(pattern, None).unwrap();
            assert_eq!(parsed.start_us(name), Some(at), "{pattern}");
        }
    }

    #[test]
    fn a_camera_is_a_folder_or_a_part_of_the_name() {
        let pattern = Pattern::parse("{camera}/%Y%m%dT%H%M%SZ", Some("yard/gate 1%")).unwrap();
        assert_eq!(
            pattern.start_us("yard/gate 1%/20260102T030405Z.mp4"),
            Some(AT)
        );
        assert_eq!(pattern.start_us("other/gate 1%/20260102T030405Z.mp4"), None);
        assert_eq!(
            pattern.folders(),
            [Some("yard".to_owned()), Some("gate 1%".to_owned())]
        );
        for camera in ["..", "a/../b", "/etc", "a\0"] {
            assert!(
                Pattern::parse("{camera}-%s", Some(camera)).is_err(),
                "{camera}"
            );
        }
        assert!(Pattern::parse("{camera}-%s", None).is_err());
    }

    #[test]
    fn local_time_follows_its_zone() {
        let pattern = Pattern::parse("%Y%m%d-%H%M%S", None)
            .unwrap()
            .in_zone("Europe/Zurich")
            .unwrap();
        assert_eq!(pattern.start_us("20260102-040405.mp4"), Some(AT));
        assert_eq!(
            pattern.start_us("20260702-050405.mp4"),
            Some(AT + 181 * 86_400_000_000)
        );
    }

    #[test]
    fn names_that_do_not_fit() {
        let pattern = Pattern::parse("%Y%m%dT%H%M%SZ", None).unwrap();
        for name in [
            "",
            ".mp4",
            "20260102T030405Z",
            "20260102T030405Z.txt",
            "20260102T030405Z.mp4.part",
            "20261302T030405Z.mp4",
            "x20260102T030405Z.mp4",
            "20260102T030405.mp4",
        ] {
            assert_eq!(pattern.start_us(name), None, "{name}");
        }
        let epoch = Pattern::parse("{epoch_ms}", None).unwrap();
        for name in [
            "-5.mp4",
            "99999999999999999999.mp4",
            "9223372036854775807.mp4",
        ] {
            assert_eq!(epoch.start_us(name), None, "{name}");
        }
    }

    #[test]
    fn patterns_without_a_time_are_refused() {
        for pattern in [
            "",
            "video",
            "%H-%M-%S",
            "%Y-%m-%d",
            "%Y%m%d%H%M",
            "../%s",
            "a//%s",
            "%c",
            "%s{epoch_ms}",
        ] {
            assert!(Pattern::parse(pattern, None).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn written_names_are_read_back(at in 0_i64..4_102_444_800_000_000) {
            for pattern in ["%Y%m%dT%H%M%SZ", "%Y-%m-%d/%H-%M-%S-%f", "%s", "{epoch_ms}"] {
                let pattern = Pattern::parse(pattern, None).unwrap();
                let back = pattern.start_us(&pattern.name_at(at).unwrap()).unwrap();
                let grain = if pattern.is_coarse() { 1_000_000 } else { 1_000 };
                prop_assert!((0..grain).contains(&(at - back)));
            }
        }

        #[test]
        fn any_name_is_survived(name in ".{0,64}", pattern in ".{0,32}") {
            let _ = Pattern::parse("%Y%m%dT%H%M%SZ", None).unwrap().start_us(&name);
            if let Ok(pattern) = Pattern::parse(&pattern, Some("cam")) {
                let _ = pattern.start_us(&name);
            }
        }
    }
}
