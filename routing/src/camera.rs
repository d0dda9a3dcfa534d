//! Cameras as clients see them, and the copies that recorders hold of each.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Most copies that one camera may have.
pub const COPIES_MAX: usize = 16;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as configured.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// A place with recorders that fails as one.
    SiteId
}

name! {
    /// The identity of a camera that clients see.
    CameraId
}

name! {
    /// A server at a site that holds recordings.
    RecorderId
}

/// One camera's recording at one recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRef {
    /// The site of the recorder.
    pub site: SiteId,
    /// The recorder that holds the copy.
    pub recorder: RecorderId,
    /// The recorder's own name for the camera.
    pub remote: Arc<str>,
    /// Microseconds that the recorder's clock is ahead of true time: subtracted from the times it states, added to the
    /// times it is asked for.
    pub clock_offset_us: i64,
}

/// A camera and where it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// The identity that clients ask for.
    pub id: CameraId,
    /// What people call it.
    pub name: Arc<str>,
    /// Its copies, best first; no more than [`COPIES_MAX`].
    pub copies: Vec<CopyRef>,
}

impl Camera {
    /// The copy at an index of this camera.
    pub fn copy(&self, ix: CopyIx) -> Option<&CopyRef> {
        self.copies.get(ix.index())
    }

    /// The copies, best first, with their indices.
    pub fn copies(&self) -> impl Iterator<Item = (CopyIx, &CopyRef)> {
        (0..=u8::MAX).map(CopyIx).zip(&self.copies)
    }
}

/// The index of a copy in [`Camera::copies`]: its rank by priority, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyIx(pub u8);

impl CopyIx {
    /// As an index of a slice.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
