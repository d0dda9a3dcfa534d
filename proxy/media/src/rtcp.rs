//! RTCP: the reports and goodbyes that we send, and the little we read of the recorder's.

use bytes::BytesMut;
use rtcp_types::{
    Bye, Compound, Packet, ReceiverReport, RtcpPacketWriterExt, Sdes, SdesChunk, SdesItem,
    SenderReport,
};

use crate::rtp::{FRAME_HEADER_BYTES, FRAME_MAGIC};

/// What a sender says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Our source of the track.
    pub ssrc: u32,
    /// NTP 32.32 of now; 0 without rate control, where ONVIF forbids a time.
    pub ntp: u64,
    /// RTP time that corresponds to `ntp`; 0 without rate control.
    pub rtp_time: u32,
    /// Packets sent so far, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent so far, modulo 2^32.
    pub octets: u32,
}

/// SR and SDES CNAME in one interleaved frame on `channel`.
pub fn sender_report(channel: u8, sender: Sender, cname: &str) -> BytesMut {
    let compound = Compound::builder()
        .add_packet(report(sender))
        .add_packet(description(sender.ssrc, cname));
    frame(channel, &compound)
}

/// SR, SDES CNAME and BYE in one interleaved frame on `channel`. Once, at the true end.
pub fn goodbye(channel: u8, sender: Sender, cname: &str) -> BytesMut {
    let compound = Compound::builder()
        .add_packet(report(sender))
        .add_packet(description(sender.ssrc, cname))
        .add_packet(Bye::builder().add_source(sender.ssrc));
    frame(channel, &compound)
}

/// An empty receiver report with SDES CNAME in one interleaved frame: keeps a recorder's session alive.
pub fn receiver_report(channel: u8, ssrc: u32, cname: &str) -> BytesMut {
    let compound = Compound::builder()
        .add_packet(ReceiverReport::builder(ssrc))
        .add_packet(description(ssrc, cname));
    frame(channel, &compound)
}

/// What a recorder's compound packet says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Source, NTP 32.32 and RTP time of its last sender report.
    pub sender: Option<(u32, u64, u32)>,
    /// It says goodbye. Never forwarded: it ends a leg, not the client's playback.
    pub goodbye: bool,
}

/// Reads a compound packet as far as it is well-formed. Sources are not checked: recorders send reports
/// for sources that they do not use.
pub fn parse(packet: &[u8]) -> Report {
    let mut report = Report::default();
    let Ok(compound) = Compound::parse(packet) else {
        return report;
    };
    for part in compound {
        match part {
            Ok(Packet::Sr(sender)) => {
                report.sender = Some((
                    sender.ssrc(),
                    sender.ntp_timestamp(),
                    sender.rtp_timestamp(),
                ));
            }
            Ok(Packet::Bye(_)) => report.goodbye = true,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    report
}

fn report(sender: Sender) -> rtcp_types::SenderReportBuilder {
    SenderReport::builder(sender.ssrc)
        .ntp_timestamp(sender.ntp)
        .rtp_timestamp(sender.rtp_time)
        .packet_count(sender.packets)
        .octet_count(sender.octets)
}

fn description(ssrc: u32, cname: &str) -> rtcp_types::SdesBuilder<'_> {
    let item = SdesItem::builder(SdesItem::CNAME, cname);
    Sdes::builder().add_chunk(SdesChunk::builder(ssrc).add_item(item))
}

fn frame(channel: u8, compound: &impl RtcpPacketWriterExt) -> BytesMut {
    let size = compound
        .calculate_size()
        .expect("the parts are within RTCP's limits");
    let mut bytes = BytesMut::zeroed(FRAME_HEADER_BYTES + size);
    let written = compound
        .write_into(&mut bytes[FRAME_HEADER_BYTES..])
        .expect("the buffer has the calculated size");
    bytes.truncate(FRAME_HEADER_BYTES + written);
    bytes[0] = FRAME_MAGIC;
    bytes[1] = channel;
    bytes[2..FRAME_HEADER_BYTES].copy_from_slice(&(written as u16).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender = Sender {
        ssrc: 0xCAFE,
        ntp: 0xED01_B425_4000_0000,
        rtp_time: 0x0102_0304,
        packets: 5,
        octets: 6,
    };

    #[test]
    fn golden_bytes_of_a_goodbye() {
        let expected: &[&[u8]] = &[
            &[b'$', 3, 0, 52],
            &[0x80, 200, 0, 6, 0, 0, 0xCA, 0xFE],
            &[
                0xED, 0x01, 0xB4, 0x25, 0x40, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 6,
            ],
            &[
                0x81, 202, 0, 3, 0, 0, 0xCA, 0xFE, 1, 4, b'n', b'a', b'm', b'e', 0, 0,
            ],
            &[0x81, 203, 0, 1, 0, 0, 0xCA, 0xFE],
        ];
        assert_eq!(goodbye(3, SENDER, "name")[..], expected.concat());
    }

    #[test]
    fn what_is_written_is_read() {
        let sender = Some((SENDER.ssrc, SENDER.ntp, SENDER.rtp_time));
        let report = sender_report(1, SENDER, "0000cafe@seamline");
        assert_eq!(
            parse(&report[4..]),
            Report {
                sender,
                goodbye: false
            }
        );
        let last = goodbye(1, SENDER, "0000cafe@seamline");
        assert_eq!(
            parse(&last[4..]),
            Report {
                sender,
                goodbye: true
            }
        );
        let empty = receiver_report(1, 9, "x");
        assert_eq!(parse(&empty[4..]), Report::default());
    }

    #[test]
    fn a_report_cut_short_says_nothing() {
        let last = goodbye(1, SENDER, "x");
        for length in 4..last.len() {
            assert!(!parse(&last[4..length]).goodbye);
        }
    }
}
