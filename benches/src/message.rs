//! The little of RTSP that the far ends speak: a head, its headers, and where it ends.

/// A message's head.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The first line.
    pub(crate) start: &'a str,
    lines: &'a str,
    /// Where the head ends in what was read.
    pub(crate) bytes: usize,
}

impl<'a> Head<'a> {
    /// The head at the front of `read`, once it is whole.
    pub(crate) fn read(read: &'a [u8]) -> Option<Self> {
        let end = read.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&read[..end]).ok()?;
        let (start, lines) = text.split_once("\r\n").unwrap_or((text, ""));
        Some(Self {
            start,
            lines,
            bytes: end + 4,
        })
    }

    /// A header by its name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// All headers of a name.
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines.lines().filter_map(move |line| {
            let (have, value) = line.split_once(':')?;
            have.trim()
                .eq_ignore_ascii_case(name)
                .then_some(value.trim())
        })
    }

    /// The length of the body that follows.
    pub(crate) fn body_bytes(&self) -> usize {
        self.header("Content-Length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        let (version, rest) = self.start.split_once(' ')?;
        let known = ["RTSP/1.0", "HTTP/1.1", "HTTP/1.0"].contains(&version);
        rest.get(..3)?.parse().ok().filter(|_| known)
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &'a str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// What a request is for.
    pub(crate) fn uri(&self) -> &'a str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Where `Range: clock=` starts, UTC in µs.
    pub(crate) fn range_start(&self) -> Option<i64> {
        let range = self.header("Range")?.strip_prefix("clock=")?;
        from_clock(range.split('-').next()?)
    }
}

/// The control URL of the video in a description, or of whatever comes first.
pub(crate) fn control(sdp: &str, base: &str) -> String {
    let sections: Vec<&str> = sdp.split("\nm=").skip(1).collect();
    let video = sections.iter().find(|section| section.starts_with("video"));
    let section = video.or(sections.first()).copied().unwrap_or_default();
    let control = section
        .lines()
        .find_map(|line| line.trim().strip_prefix("a=control:"));
    match control {
        None | Some("*") => base.to_owned(),
        Some(whole) if whole.starts_with("rtsp") && whole.contains("://") => whole.to_owned(),
        Some(part) => format!("{}/{part}", base.trim_end_matches('/')),
    }
}

/// `2026-01-01T12:00:00.040000Z` of UTC µs.
pub(crate) fn to_iso(us: i64) -> String {
    let clock = to_clock(us);
    let (date, time) = (&clock[..8], &clock[9..]);
    format!(
        "{}-{}-{}T{}:{}:{}",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    )
}

/// `20260101T120000.040Z` of UTC µs.
pub(crate) fn to_clock(us: i64) -> String {
    let (year, month, day) = civil(us.div_euclid(DAY_US));
    let of_day = us.rem_euclid(DAY_US);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{fraction:06}Z")
}

/// UTC in µs of `20260101T120000.040Z`, or of the same with `-` and `:` in it.
pub(crate) fn from_clock(text: &str) -> Option<i64> {
    let text = text.replace(['-', ':'], "");
    let (date, time) = text.trim().strip_suffix('Z')?.split_once('T')?;
    let number = |text: &str, range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let days = days(
        number(date, 0..4)?,
        number(date, 4..6)?,
        number(date, 6..8)?,
    );
    let seconds = number(time, 0..2)? * 3600 + number(time, 2..4)? * 60 + number(time, 4..6)?;
    let fraction = time.get(7..).unwrap_or("");
    let us = format!("{fraction:0<6}").get(..6)?.parse::<i64>().ok()?;
    Some(days * DAY_US + seconds * 1_000_000 + us)
}

const DAY_US: i64 = 86_400_000_000;

/// Days from 1970 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_url_of_the_video_is_found() {
        let sdp = "v=0\r\nm=audio 0 RTP/AVP 0\r\na=control:a\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=1\r\n";
        assert_eq!(control(sdp, "rtsp://h/cam/"), "rtsp://h/cam/trackID=1");
        let whole = "v=0\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://h/x/1\r\n";
        assert_eq!(control(whole, "rtsp://h/cam"), "rtsp://h/x/1");
        assert_eq!(
            control("v=0\r\nm=video 0 RTP/AVP 96\r\n", "rtsp://h/cam"),
            "rtsp://h/cam"
        );
    }

    #[test]
    fn clock_times_are_read_as_written() {
        assert_eq!(to_clock(1_767_268_800_040_000), "20260101T120000.040000Z");
        for us in [
            0,
            951_782_400_000_000,
            1_767_268_800_040_000,
            1_709_164_799_999_999,
        ] {
            assert_eq!(from_clock(&to_clock(us)), Some(us));
        }
        assert_eq!(to_iso(1_767_268_800_040_000), "2026-01-01T12:00:00.040000Z");
        assert_eq!(
            from_clock("2026-01-01T12:00:00Z"),
            Some(1_767_268_800_000_000)
        );
        assert_eq!(from_clock("20260101T120000Z"), Some(1_767_268_800_000_000));
        assert_eq!(
            from_clock("20260101T120000.5Z"),
            Some(1_767_268_800_500_000)
        );
    }
}
