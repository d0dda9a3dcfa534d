//! The coin in which recorders pay: one access unit or audio frame with its capture time.

use crate::{Flags, Packets};

/// Pictures that encoders put between a picture and one that refers to it, at most: those come behind it in decoding order and are shown
/// before it.
pub const REORDERED_MAX: usize = 16;

/// One access unit or audio frame on its way from a recorder to a client.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of a picture that do not depend on each other"
)]
pub struct Unit {
    /// Index of the track in the client's session.
    pub track: usize,
    /// Capture time, UTC in µs, corrected for the copy's clock offset.
    pub capture_us: i64,
    /// RTP timestamp of the leg; only differences within one leg and track mean something.
    pub rtp_time: u32,
    /// Decoding can start here. Always true for audio and for codecs whose units we do not read.
    pub random_access: bool,
    /// Precedes, in output order, the random access point that it follows in the stream (RASL, or the
    /// leading pictures of an H.264 recovery point). It refers to pictures before that point and decodes
    /// silently wrong when they were not sent: [`crate::Splice::decodable`] knows whether they were.
    pub leading: bool,
    /// No other picture refers to it: what `Frames: predicted` leaves out.
    pub disposable: bool,
    /// A leading picture that decodes (RADL): shown before the point that it follows, and nothing but its like refers to it.
    pub shown_early: bool,
    /// At a random access point that refreshes the picture little by little (H.264 recovery point): pictures until decoding
    /// is exact; 0 where it is at once.
    pub refresh_pictures: u16,
    /// It brings signatures over the pictures before it (signed video): a seam breaks their chain.
    pub signed: bool,
    /// E, D and T as the recorder set them.
    pub flags: Flags,
    /// The bytes.
    pub packets: Packets,
}

impl Unit {
    /// The same once more, in a buffer of its own.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self {
            packets: self.packets.copied(),
            ..*self
        }
    }
}
