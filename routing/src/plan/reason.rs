//! Why a copy was chosen: what is the matter with each better one.

use std::fmt;

use crate::camera::{COPIES_MAX, Camera, CopyIx};

/// Why a copy was not chosen although it ranks before the one that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its recorder is down.
    Offline,
    /// This playback has given up on it.
    Barred,
    /// It has no footage there.
    Gap,
    /// It is not known whether it has footage there.
    Unknown,
    /// It has footage again, but policy does not let it take over yet.
    NotYet,
    /// It has footage again, but for too short a time.
    TooShort,
}

/// Why a leg is played from its copy.
///
/// Displays in an operator's words, such as `priority`, `primary offline` or `gap at primary, secondary offline`; with
/// the names of the sites by [`Reason::named`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// One for each better copy, best first.
    troubles: [Option<Trouble>; COPIES_MAX - 1],
    unknown: bool,
}

impl Reason {
    /// The copy is the first choice.
    pub const PRIORITY: Self = Self {
        troubles: [None; COPIES_MAX - 1],
        unknown: false,
    };

    pub(super) fn new(unknown: bool, troubles: impl Iterator<Item = Trouble>) -> Self {
        let mut reason = Self {
            unknown,
            ..Self::PRIORITY
        };
        for (slot, trouble) in reason.troubles.iter_mut().zip(troubles) {
            *slot = Some(trouble);
        }
        reason
    }

    /// What is the matter with each better copy, best first.
    pub fn troubles(&self) -> impl Iterator<Item = (CopyIx, Trouble)> + '_ {
        (0..=u8::MAX)
            .map(CopyIx)
            .zip(self.troubles.iter().map_while(|trouble| *trouble))
    }

    /// What is the matter with the best copy; none when that is the one that plays.
    pub fn trouble(&self) -> Option<Trouble> {
        self.troubles.first().copied().flatten()
    }

    /// Whether the copy was chosen without knowing that it has the footage.
    pub fn is_guess(&self) -> bool {
        self.unknown
    }

    /// Displays the reason with the names of the camera's sites.
    pub fn named<'a>(&'a self, camera: &'a Camera) -> impl fmt::Display + 'a {
        Named {
            reason: self,
            camera,
        }
    }

    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: impl Fn(&mut fmt::Formatter<'_>, CopyIx) -> fmt::Result,
    ) -> fmt::Result {
        let mut separator = "";
        for (ix, trouble) in self.troubles() {
            f.write_str(separator)?;
            let (before, after) = trouble.words();
            f.write_str(before)?;
            name(f, ix)?;
            f.write_str(after)?;
            separator = ", ";
        }
        match (self.unknown, self.trouble()) {
            (true, _) => write!(f, "{separator}coverage unknown"),
            (false, None) => f.write_str("priority"),
            (false, Some(_)) => Ok(()),
        }
    }
}

impl Trouble {
    /// The words around the name of the copy.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Offline => ("", " offline"),
            Self::Barred => ("", " failed"),
            Self::Gap => ("gap at ", ""),
            Self::Unknown => ("coverage of ", " unknown"),
            Self::NotYet => ("", " not yet trusted"),
            Self::TooShort => ("", " back too briefly"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, write_rank)
    }
}

struct Named<'a> {
    reason: &'a Reason,
    camera: &'a Camera,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.write(f, |f, ix| match self.camera.copy(ix) {
            Some(copy) => fmt::Display::fmt(&copy.site, f),
            None => write_rank(f, ix),
        })
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({self})")
    }
}

fn write_rank(f: &mut fmt::Formatter<'_>, ix: CopyIx) -> fmt::Result {
    match ix.index() {
        0 => f.write_str("primary"),
        1 => f.write_str("secondary"),
        2 => f.write_str("tertiary"),
        index => write!(f, "copy {}", index + 1),
    }
}
