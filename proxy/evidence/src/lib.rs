//! Evidence: what an exported clip is made of, who vouches for it, and whether it is still what it was.
//!
//! [`Ledger`] keeps account of a clip while it is written and gives a [`Manifest`]; [`seal`] closes it, with a signature
//! where there is a [`SigningKey`]; [`Examination`] holds a clip against its manifest. `README.md` beside this crate is the
//! description of the format for those who check without this program.

mod canonical;
mod digest;
mod examine;
mod ledger;
mod manifest;
mod seal;
mod structure;

pub use digest::{Digest, Digester};
pub use examine::{Examination, Finding, MANIFEST_BYTES_MAX, Place, Unreadable, read_manifest};
pub use ledger::{About, Ledger};
pub use manifest::{
    Asked, FORMAT, FileFacts, Gap, Hole, Manifest, Origin, Program, RecorderFacts, Requester, Seal,
    Section, Signature, SiteState, Span, TrackFrames, Utc, VERSION,
};
pub use seal::{KeyError, PublicKey, Sealed, SigningKey, seal};
