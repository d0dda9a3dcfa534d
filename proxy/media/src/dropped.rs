//! Why packets and units of a leg were thrown away, and how many.

use thiserror::Error;

use crate::nal::PayloadError;
use crate::rtp::RtpError;

/// Why one packet was dropped. Playback goes on without it; the unit it belonged to is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Dropped {
    /// Not an RTP packet.
    #[error(transparent)]
    Malformed(#[from] RtpError),
    /// The payload contradicts its format.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// For a track that the leg does not have.
    #[error("no such track")]
    Track,
    /// A payload type that the SDP does not name for the track.
    #[error("payload type not in the SDP")]
    PayloadType,
    /// A second source on the same channel.
    #[error("second SSRC on the track")]
    Source,
    /// Sequence number of the packet before, or of one before that.
    #[error("repeated or late packet")]
    Repeated,
    /// More of a unit that its marker had ended.
    #[error("packet after the end of its unit")]
    AfterEnd,
    /// Its unit is larger than any picture.
    #[error("access unit too large")]
    TooLarge,
}

/// Counters of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Units handed on.
    pub units: u64,
    /// Packets taken.
    pub packets: u64,
    /// Units begun and thrown away: a part was missing, malformed, or lost with the leg.
    pub damaged_units: u64,
    /// Sequence numbers that never came.
    pub missing_packets: u64,
    /// [`Dropped::Malformed`].
    pub malformed: u64,
    /// [`Dropped::Payload`].
    pub payload: u64,
    /// [`Dropped::Track`].
    pub track: u64,
    /// [`Dropped::PayloadType`].
    pub payload_type: u64,
    /// [`Dropped::Source`].
    pub source: u64,
    /// [`Dropped::Repeated`].
    pub repeated: u64,
    /// [`Dropped::AfterEnd`].
    pub after_end: u64,
    /// [`Dropped::TooLarge`].
    pub too_large: u64,
}

impl Counts {
    /// Packets dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.malformed
            + self.payload
            + self.track
            + self.payload_type
            + self.source
            + self.repeated
            + self.after_end
            + self.too_large
    }

    pub(crate) fn note(&mut self, dropped: Dropped) {
        let counter = match dropped {
            Dropped::Malformed(_) => &mut self.malformed,
            Dropped::Payload(_) => &mut self.payload,
            Dropped::Track => &mut self.track,
            Dropped::PayloadType => &mut self.payload_type,
            Dropped::Source => &mut self.source,
            Dropped::Repeated => &mut self.repeated,
            Dropped::AfterEnd => &mut self.after_end,
            Dropped::TooLarge => &mut self.too_large,
        };
        *counter += 1;
    }
}
