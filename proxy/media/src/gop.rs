//! Which units lead their random access point: sent after it, shown before it.

use crate::Codec;
use crate::nal::Contents;

/// The random access point that a track is behind.
#[derive(Debug, Default)]
pub(crate) struct Gop {
    /// RTP time of the last point, when pictures shown before it may follow it.
    open_point: Option<u32>,
}

impl Gop {
    /// Whether a unit leads the point it follows. A point itself never does.
    pub(crate) fn leads(
        &mut self,
        codec: Codec,
        contents: Contents,
        random_access: bool,
        rtp_time: u32,
    ) -> bool {
        if random_access {
            self.open_point = (!contents.has(Contents::CLOSED)).then_some(rtp_time);
            return false;
        }
        match codec {
            Codec::H265 => contents.has(Contents::RASL),
            // B pyramids make leading pictures references too, so that only the order of output tells.
            Codec::H264 => self
                .open_point
                .is_some_and(|point| (rtp_time.wrapping_sub(point) as i32) < 0),
            _ => false,
        }
    }
}

/// Whether a picture can be left out without harm to any other.
pub(crate) fn is_disposable(codec: Codec, contents: Contents) -> bool {
    codec.has_references() && contents.has(Contents::SLICE) && !contents.has(Contents::REFERENCE)
}

/// Whether decoding can start at a unit. `clean` is the recorder's own claim (C), believed only when the
/// slices agree.
pub(crate) fn is_random_access(codec: Codec, contents: Contents, clean: bool) -> bool {
    match codec {
        Codec::H264 => {
            contents.has(Contents::IRAP)
                || contents.has(Contents::RECOVERY | Contents::SLICE)
                || (clean && contents.has(Contents::INTRA))
        }
        Codec::H265 => contents.has(Contents::IRAP),
        _ => true,
    }
}
