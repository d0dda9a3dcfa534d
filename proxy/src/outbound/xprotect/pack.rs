//! Pictures of an ImageServer as units of the client's track.

use seamline_media::{Codec, Flags, Frame, Framing, LegFormat, OutputOrder, Packetizer, Unit};
use seamline_probes::xprotect::describe_picture;
use seamline_routing::director::Failure;
use seamline_xprotect::gbd;

use crate::clock;
use crate::outbound::{LegFailure, Order, format};

/// Packs the pictures of one camera.
pub(super) struct Packer {
    codec: gbd::Codec,
    framing: Framing,
    clock_rate: u32,
    packetizer: Packetizer,
    /// In live: our clock minus the recorder's, as the picture that took the shortest way has it, µs.
    ahead_us: Option<i64>,
    newest_us: i64,
}

/// Where pictures stand in the order of showing.
#[derive(Debug, Default)]
pub(super) struct Counts(Option<(gbd::Codec, OutputOrder)>);

impl Counts {
    /// See [`OutputOrder::count`].
    pub(super) fn count(&mut self, picture: &gbd::Video) -> Option<i64> {
        if self
            .0
            .as_ref()
            .is_none_or(|(codec, _)| *codec != picture.codec)
        {
            self.0 = Some((picture.codec, OutputOrder::new(carried(picture.codec).0)));
        }
        let (_, order) = self.0.as_mut()?;
        order.count(&picture.payload)
    }

    /// See [`OutputOrder::may_differ`].
    pub(super) fn may_differ(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, order)| order.may_differ())
    }
}

/// What carries pictures of a codec, and how they lie in their packets.
fn carried(codec: gbd::Codec) -> (Codec, Framing) {
    match codec {
        gbd::Codec::H264 => (Codec::H264, Framing::AnnexB),
        gbd::Codec::H265 => (Codec::H265, Framing::AnnexB),
        gbd::Codec::Jpeg => (Codec::Jpeg, Framing::Raw),
        gbd::Codec::Other(_) => (Codec::Other, Framing::Raw),
    }
}

/// Pictures that come at once are shown one after the other.
const APART_US: i64 = 1_000;

impl Packer {
    /// For what a key picture shows, where it continues the client's.
    pub(super) fn new(
        picture: &gbd::Video,
        order: &Order,
    ) -> Result<(Self, LegFormat), LegFailure> {
        let refused = |what: String| LegFailure::new(Failure::Mismatch, what);
        let described = describe_picture(picture)
            .ok_or_else(|| refused(format!("{} is not played", picture.codec)))?;
        let theirs = described.tracks;
        let mapping = order.fit(&theirs)?;
        let of = |ix: &Option<usize>| ix.and_then(|ix| theirs.get(ix));
        let format = format::of_tracks(mapping.iter().map(of));
        let fits = mapping
            .iter()
            .enumerate()
            .find_map(|(ours, ix)| Some((ours, of(ix)?)));
        let (ours, track) =
            fits.ok_or_else(|| refused("its pictures are not wanted".to_owned()))?;
        let (codec, framing) = carried(picture.codec);
        let packer = Self {
            codec: picture.codec,
            framing,
            clock_rate: track.clock_rate,
            packetizer: Packetizer::new(ours, codec, track.payload_type),
            ahead_us: None,
            newest_us: i64::MIN,
        };
        Ok((packer, format))
    }

    /// A picture; `None` for one that is not wanted, or that cannot be carried.
    pub(super) fn unit(
        &mut self,
        picture: &gbd::Video,
        order: &Order,
    ) -> Result<Option<Unit>, LegFailure> {
        if picture.codec != self.codec {
            let what = format!("{} turns into {}", self.codec, picture.codec);
            return Err(LegFailure::new(Failure::Mismatch, what));
        }
        let recorded_us = picture.picture_ms * 1_000;
        let capture_us = if order.live {
            self.live_us(recorded_us)
        } else {
            recorded_us - order.clock_offset_us
        };
        let unit = self.packetizer.unit(&Frame {
            data: &picture.payload,
            framing: self.framing,
            capture_us,
            rtp_time: (i128::from(capture_us) * i128::from(self.clock_rate) / 1_000_000) as u32,
            sync: picture.is_key(),
            flags: Flags::NONE,
        });
        match unit {
            Ok(unit) => Ok(Some(unit).filter(|unit| order.wants(unit))),
            Err(error) => {
                tracing::warn!(remote = %order.remote, capture_us, %error, "picture skipped");
                Ok(None)
            }
        }
    }

    /// One clock dates the live pictures of all sites: ours. What comes at once, as a new viewer gets it, came late.
    fn live_us(&mut self, recorded_us: i64) -> i64 {
        let now_us = clock::wall().as_micros();
        let ahead = now_us - recorded_us;
        let ahead = self.ahead_us.map_or(ahead, |known| known.min(ahead));
        self.ahead_us = Some(ahead);
        self.newest_us = (recorded_us + ahead).max(self.newest_us.saturating_add(APART_US));
        self.newest_us
    }
}
