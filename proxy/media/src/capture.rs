//! When a unit was captured: the replay extension, else the PLAY reply, else a sender report, else a guess.

use smallvec::SmallVec;

use crate::ntp;

/// A sender report within this of now is on the wall clock, when the footage asked for is older.
const WALL_CLOCK_US: i64 = 600 * US_PER_S;
/// Footage that begins so much before the asked instant is of another time, whatever a report says.
const EARLY_US_MAX: i64 = 3_600 * US_PER_S;
/// A stamp further than this from what the RTP clock says starts a new section.
const SECTION_US: i64 = US_PER_S;
const US_PER_S: i64 = 1_000_000;
/// Recorders start at the random access point at or before the start, or a little behind it: not so many seconds away.
const MADE_UP_S: u64 = 30;

/// Where a capture time came from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The `0xABAC` extension.
    Extension,
    /// `Range` and `RTP-Info` of the PLAY reply. Some recorders echo the request: up to a GOP off.
    PlayReply,
    /// An RTCP sender report of a recorder that stamps footage time.
    SenderReport,
    /// The start that the URL named and the RTP time that `RTP-Info` gives for it.
    UrlStart,
    /// The requested start and the RTP clock since: up to a GOP off.
    Elapsed,
}

/// A capture time and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// UTC in µs, corrected for the copy's clock offset.
    pub capture_us: i64,
    /// What it rests on.
    pub source: Source,
}

/// Dates the units of one leg.
#[derive(Debug)]
pub struct CaptureClock {
    requested_us: i64,
    offset_us: i64,
    scale: f64,
    latest_us: Option<i64>,
    tracks: SmallVec<[Track; 4]>,
}

#[derive(Debug)]
struct Track {
    clock_rate: u32,
    /// RTP time of the latest unit: 32 bits of it on the wire, unwrapped here.
    ticks: Option<i64>,
    anchor: Option<Anchor>,
    last_extension_us: Option<i64>,
    /// Pictures arrive out of order and the recorder stamps them as they arrive.
    stamps_decoding_order: bool,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    ticks: i64,
    capture_us: i64,
    source: Source,
}

impl CaptureClock {
    /// A clock for a leg asked to start at `requested_us` (true time, UTC in µs). `offset_us` is the
    /// recorder's clock minus true time. `scale` is footage seconds per second of RTP time: the Scale of
    /// a rate-controlled PLAY, 1 without rate control.
    pub fn new(
        clock_rates: impl IntoIterator<Item = u32>,
        requested_us: i64,
        offset_us: i64,
        scale: f64,
    ) -> Self {
        let scale = if scale.is_finite() && scale != 0.0 {
            scale
        } else {
            1.0
        };
        let tracks = clock_rates.into_iter().map(|rate| Track {
            clock_rate: rate.max(1),
            ticks: None,
            anchor: None,
            last_extension_us: None,
            stamps_decoding_order: false,
        });
        Self {
            requested_us,
            offset_us,
            scale,
            latest_us: None,
            tracks: tracks.collect(),
        }
    }

    /// Takes the PLAY reply: the start of its `Range` on the recorder's clock (UTC in µs) and the
    /// `rtptime` that `RTP-Info` gives for `track`.
    pub fn play_reply(&mut self, track: usize, range_start_us: i64, rtptime: u32) {
        let capture_us = range_start_us.saturating_sub(self.offset_us);
        self.offer(track, rtptime, capture_us, Source::PlayReply);
    }

    /// Takes the answer of a recorder whose URL said the start (UTC in µs, on the recorder's clock): the `rtptime` that
    /// `RTP-Info` gives for `track`. Forgotten when the first unit is nowhere near it: some recorders make it up.
    pub fn url_start(&mut self, track: usize, start_us: i64, rtptime: u32) {
        let capture_us = start_us.saturating_sub(self.offset_us);
        self.offer(track, rtptime, capture_us, Source::UrlStart);
    }

    /// Takes a sender report received at `now_us` (wall clock, UTC in µs). Ignored when its time is none,
    /// or the wall clock while older footage was asked for, or when units were dated without it already.
    pub fn sender_report(&mut self, track: usize, ntp: u64, rtp_time: u32, now_us: i64) {
        let Some(stamp_us) = ntp::to_unix_us(ntp) else {
            return;
        };
        // Nothing was recorded in the future.
        if stamp_us.saturating_sub(WALL_CLOCK_US) > now_us.saturating_add(self.offset_us.max(0)) {
            return;
        }
        let near_now = |us: i64| us.abs_diff(now_us) < WALL_CLOCK_US as u64;
        if near_now(stamp_us) && !near_now(self.requested_us) {
            return;
        }
        self.offer(
            track,
            rtp_time,
            stamp_us.saturating_sub(self.offset_us),
            Source::SenderReport,
        );
    }

    /// An anchor counts only before the first unit of its track: a step in mid-leg would look like a gap.
    fn offer(&mut self, track: usize, rtp_time: u32, capture_us: i64, source: Source) {
        let Some(track) = self.tracks.get_mut(track) else {
            return;
        };
        let better = track.anchor.is_none_or(|anchor| source < anchor.source);
        if track.ticks.is_none() && better {
            track.anchor = Some(Anchor {
                ticks: i64::from(rtp_time),
                capture_us,
                source,
            });
        }
    }

    /// Dates a unit of `track` from its RTP time and the NTP time of its extension, if it has one.
    pub fn stamp(&mut self, track: usize, rtp_time: u32, extension_ntp: Option<u64>) -> Stamp {
        let fallback_us = self.latest_us.unwrap_or(self.requested_us);
        let extension_us = extension_ntp
            .and_then(ntp::to_unix_us)
            .map(|us| us.saturating_sub(self.offset_us));
        let earliest_us = if self.scale > 0.0 {
            self.requested_us.saturating_sub(EARLY_US_MAX)
        } else {
            i64::MIN
        };
        let Some(track) = self.tracks.get_mut(track) else {
            return Stamp {
                capture_us: extension_us.unwrap_or(fallback_us),
                source: Source::Elapsed,
            };
        };
        track.doubt_report(rtp_time, earliest_us, self.scale);
        let stamp = track.stamp(rtp_time, extension_us, fallback_us, self.scale);
        self.latest_us = Some(stamp.capture_us);
        stamp
    }
}

impl Track {
    fn stamp(
        &mut self,
        rtp_time: u32,
        extension_us: Option<i64>,
        fallback_us: i64,
        scale: f64,
    ) -> Stamp {
        let before = self.ticks;
        let ticks = self.unwrap(rtp_time);
        if let Some(stamp_us) = extension_us {
            let capture_us = self.by_extension(before, ticks, stamp_us, scale);
            return Stamp {
                capture_us,
                source: Source::Extension,
            };
        }
        let made_up = |anchor: &Anchor| {
            let apart = (ticks - anchor.ticks).unsigned_abs() / u64::from(self.clock_rate);
            anchor.source == Source::UrlStart && before.is_none() && apart > MADE_UP_S
        };
        self.anchor = self.anchor.filter(|anchor| !made_up(anchor));
        let anchor = *self.anchor.get_or_insert(Anchor {
            ticks,
            capture_us: fallback_us,
            source: Source::Elapsed,
        });
        Stamp {
            capture_us: anchor.at(ticks, self.clock_rate, scale),
            source: anchor.source,
        }
    }

    /// Forgets a sender report that would put the first unit far before what was asked for: of another source, or of a
    /// recorder whose clock is absurd.
    fn doubt_report(&mut self, rtp_time: u32, earliest_us: i64, scale: f64) {
        let Some(anchor) = self.anchor.filter(|_| self.ticks.is_none()) else {
            return;
        };
        let ticks = anchor.ticks + i64::from(rtp_time.wrapping_sub(anchor.ticks as u32) as i32);
        let early = anchor.at(ticks, self.clock_rate, scale) < earliest_us;
        if anchor.source == Source::SenderReport && early {
            self.anchor = None;
        }
    }

    /// The extension is the picture's own time. Where a recorder stamps reordered pictures as they
    /// leave, the RTP clock, which is in output order by RFC 6184 and RFC 7798, orders them again.
    fn by_extension(&mut self, before: Option<i64>, ticks: i64, stamp_us: i64, scale: f64) -> i64 {
        if let (Some(before), Some(last_us)) = (before, self.last_extension_us)
            && ticks < before
            && stamp_us > last_us
            && scale > 0.0
        {
            self.stamps_decoding_order = true;
        }
        self.last_extension_us = Some(stamp_us);
        if self.stamps_decoding_order
            && let Some(anchor) = self.anchor
        {
            let capture_us = anchor.at(ticks, self.clock_rate, scale);
            if capture_us.abs_diff(stamp_us) < SECTION_US as u64 {
                return capture_us;
            }
        }
        self.anchor = Some(Anchor {
            ticks,
            capture_us: stamp_us,
            source: Source::Extension,
        });
        stamp_us
    }

    fn unwrap(&mut self, rtp_time: u32) -> i64 {
        let reference = self.ticks.or(self.anchor.map(|anchor| anchor.ticks));
        let ticks = match reference {
            Some(reference) => {
                reference + i64::from(rtp_time.wrapping_sub(reference as u32) as i32)
            }
            None => i64::from(rtp_time),
        };
        self.ticks = Some(ticks);
        ticks
    }
}

impl Anchor {
    fn at(self, ticks: i64, clock_rate: u32, scale: f64) -> i64 {
        let elapsed = i128::from(ticks - self.ticks) * i128::from(US_PER_S);
        let rate = i128::from(clock_rate);
        let rtp_us = (elapsed + rate / 2).div_euclid(rate) as i64;
        self.capture_us
            .saturating_add((rtp_us as f64 * scale).round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: i64 = 1_767_323_045_000_000;
    const NOW_US: i64 = START_US + 86_400 * US_PER_S;
    const RTP: u32 = u32::MAX - 1000;

    fn clock() -> CaptureClock {
        CaptureClock::new([90_000, 8000], START_US, 0, 1.0)
    }

    fn stamp(clock: &mut CaptureClock, rtp_us: i64) -> (i64, Source) {
        let stamp = clock.stamp(0, RTP.wrapping_add((rtp_us * 9 / 100) as u32), None);
        (stamp.capture_us - START_US, stamp.source)
    }

    #[test]
    fn the_extension_wins_and_the_skew_is_taken_off() {
        let mut clock = CaptureClock::new([90_000], START_US, 3 * US_PER_S, 1.0);
        clock.play_reply(0, START_US, RTP);
        let ntp = ntp::from_unix_us(START_US + 250_000);
        let expected = Stamp {
            capture_us: START_US - 2_750_000,
            source: Source::Extension,
        };
        assert_eq!(clock.stamp(0, RTP, Some(ntp)), expected);
        // An extension without a time goes on from the last that had one.
        let next = clock.stamp(0, RTP.wrapping_add(3600), Some(u64::MAX));
        assert_eq!(next.capture_us, START_US - 2_710_000);
    }

    #[test]
    fn the_play_reply_over_the_wrap_of_rtp_time() {
        let mut clock = clock();
        clock.sender_report(0, ntp::from_unix_us(START_US + 9), RTP, NOW_US);
        clock.play_reply(0, START_US - 500_000, RTP);
        assert_eq!(stamp(&mut clock, 0), (-500_000, Source::PlayReply));
        assert_eq!(stamp(&mut clock, 40_000), (-460_000, Source::PlayReply));
        // 14 hours later, past 2^32 ticks, in steps as a stream takes them.
        for hour in 1..=14 {
            stamp(&mut clock, hour * 3_600 * US_PER_S);
        }
        assert_eq!(
            stamp(&mut clock, 14 * 3_600 * US_PER_S).0,
            14 * 3_600 * US_PER_S - 500_000
        );
    }

    #[test]
    fn scale_stretches_rtp_time() {
        let mut clock = CaptureClock::new([90_000], START_US, 0, -2.0);
        clock.play_reply(0, START_US, RTP);
        assert_eq!(stamp(&mut clock, 500_000).0, -1_000_000);
    }

    #[test]
    fn a_report_on_the_wall_clock_is_no_footage_time() {
        let mut clock = clock();
        clock.sender_report(0, 0, RTP, NOW_US);
        clock.sender_report(0, ntp::from_unix_us(NOW_US - 5 * US_PER_S), RTP, NOW_US);
        assert_eq!(stamp(&mut clock, 0), (0, Source::Elapsed));

        let mut clock = self::clock();
        clock.sender_report(0, ntp::from_unix_us(START_US + 70_000), RTP, NOW_US);
        assert_eq!(stamp(&mut clock, 40_000), (110_000, Source::SenderReport));
        // One that comes late does not move what was dated.
        clock.sender_report(0, ntp::from_unix_us(START_US), RTP, NOW_US);
        assert_eq!(stamp(&mut clock, 80_000), (150_000, Source::SenderReport));
        // Nor what was dated without one.
        let mut clock = self::clock();
        assert_eq!(stamp(&mut clock, 0), (0, Source::Elapsed));
        clock.sender_report(0, ntp::from_unix_us(START_US + 70_000), RTP, NOW_US);
        assert_eq!(stamp(&mut clock, 40_000), (40_000, Source::Elapsed));
    }

    #[test]
    fn a_start_that_the_url_named_counts_where_it_can_be() {
        let mut clock = clock();
        clock.url_start(0, START_US, RTP);
        assert_eq!(
            stamp(&mut clock, -1_500_000),
            (-1_500_000, Source::UrlStart)
        );
        assert_eq!(
            stamp(&mut clock, 60 * US_PER_S),
            (60 * US_PER_S, Source::UrlStart)
        );
        let mut clock = self::clock();
        clock.url_start(0, START_US, RTP);
        clock.sender_report(0, ntp::from_unix_us(START_US + 70_000), RTP, NOW_US);
        assert_eq!(stamp(&mut clock, 0), (70_000, Source::SenderReport));
        let mut clock = self::clock();
        clock.url_start(0, START_US, 0x4000_0000);
        assert_eq!(stamp(&mut clock, 0), (0, Source::Elapsed));
    }

    #[test]
    fn absurd_reports_are_no_footage_time() {
        let far = 400 * 86_400 * US_PER_S;
        let report = |stamp_us: i64, rtp_time: u32| {
            let mut clock = clock();
            clock.sender_report(0, ntp::from_unix_us(stamp_us), rtp_time, NOW_US);
            stamp(&mut clock, 0)
        };
        assert_eq!(report(START_US, RTP), (0, Source::SenderReport));
        // In the future, long before the asked instant, of a source with another numbering.
        assert_eq!(report(NOW_US + far, RTP), (0, Source::Elapsed));
        assert_eq!(report(START_US - far, RTP), (0, Source::Elapsed));
        let other = RTP.wrapping_add(90_000 * 7_200);
        assert_eq!(report(START_US, other), (0, Source::Elapsed));
    }

    #[test]
    fn a_track_without_any_time_starts_where_the_others_are() {
        let mut clock = clock();
        let ntp = ntp::from_unix_us(START_US + 250_000);
        clock.stamp(0, RTP, Some(ntp));
        let audio = clock.stamp(1, 77, None);
        assert_eq!(
            audio,
            Stamp {
                capture_us: START_US + 250_000,
                source: Source::Elapsed
            }
        );
        assert_eq!(
            clock.stamp(1, 77 + 160, None).capture_us,
            START_US + 270_000
        );
    }

    #[test]
    fn stamps_in_decoding_order_are_put_in_order_of_output() {
        let mut clock = clock();
        let shown = [0, 3, 1, 2, 6, 4, 5, 9];
        let captured: Vec<i64> = shown
            .into_iter()
            .enumerate()
            .map(|(sent, shown)| {
                let ntp = ntp::from_unix_us(START_US + sent as i64 * 40_000);
                let rtp = RTP.wrapping_add(shown * 3600);
                clock.stamp(0, rtp, Some(ntp)).capture_us - START_US
            })
            .collect();
        // The first reordered picture shows it; from there distances are those of RTP time.
        let distances: Vec<i64> = captured[2..]
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        assert_eq!(distances, [40_000, 160_000, -80_000, 40_000, 160_000]);
    }

    #[test]
    fn nonsense_stays_finite() {
        let mut clock = CaptureClock::new([0], i64::MIN, i64::MAX, f64::NAN);
        clock.play_reply(7, 0, 0);
        clock.play_reply(0, i64::MIN, 0);
        for rtp in [0, u32::MAX, 1 << 31, 5] {
            clock.stamp(0, rtp, Some(1));
            clock.stamp(0, rtp, None);
            clock.stamp(3, rtp, None);
        }
    }
}
