//! Media bytes, pure: RTP splicing, the ONVIF replay extension, random access points, packetizing.
//!
//! Nothing here does I/O, reads a clock or knows a recorder. Frames come in as they lay in the read
//! buffer, are grouped into access units ([`Assembler`]), dated ([`CaptureClock`]), given the numbering
//! of the client's session where they lie ([`Splice`]) and queued for one write ([`OutQueue`]).

pub mod abac;
mod assemble;
mod bitstream;
mod capture;
mod codec;
mod dropped;
mod entry;
mod fragment;
mod gop;
pub mod h264;
pub mod h265;
pub mod identity;
mod jpeg;
mod metadata;
pub mod mp4;
mod nal;
pub mod ntp;
mod out;
mod output_order;
mod packetize;
mod packets;
mod parameter_sets;
mod rewrite;
pub mod rtcp;
pub mod rtp;
mod sample;
mod splice;
mod sps;
mod timeline;
mod unit;

pub use abac::Flags;
pub use assemble::{Assembler, Ending};
pub use capture::{CaptureClock, Source, Stamp};
pub use codec::{Codec, Markers, TrackFormat};
pub use dropped::{Counts, Dropped};
pub use entry::{Aac, Entry, Kind, VIDEO_TICKS};
pub use nal::{Contents, Fragments, Nal, PayloadError};
pub use out::OutQueue;
pub use output_order::{OutputOrder, Showing};
pub use packetize::{Frame, Framing, PacketizeError, Packetizer};
pub use packets::Packets;
pub use parameter_sets::ParameterSets;
pub use sample::{Harvest, Sample, Sampler, Taken, Unsampled};
pub use splice::{How, LegFormat, OutTrack, Play, Refused, RtpInfo, Splice, SpliceCounts, Written};
pub use timeline::Pacing;
pub use unit::{REORDERED_MAX, Unit};
