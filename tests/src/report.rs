//! The judge of decoded pictures: which site each came from, what is missing, repeated or damaged, and the longest stall.

use std::{fmt, time::Duration};

use crate::{
    clock::{FRAME_MS, iso},
    footage::Footage,
    program::Picture,
};

/// Consecutive pictures of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The site's name.
    pub site: String,
    /// Clock of its first picture, milliseconds since 1970.
    pub first: i64,
    /// Clock of its last picture.
    pub last: i64,
    /// How many.
    pub count: usize,
}

/// What a player showed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Stretches by site, in the order shown.
    pub runs: Vec<Run>,
    /// Pictures that no site has recorded like this: the decoder lacked something, whatever it said.
    pub damaged: Vec<String>,
    /// Steps of the clock that are longer than a frame: (last before, first after).
    pub skips: Vec<(i64, i64)>,
    /// Steps of the clock that are not forward: (last before, first after).
    pub repeats: Vec<(i64, i64)>,
    /// Longest time from one arrival to the next, and the clock of the picture that came late.
    pub stall: (Duration, i64),
}

/// Compares what was shown with what the sites have recorded.
pub fn judge(pictures: &[Picture], sites: &[(&str, &Footage)]) -> Report {
    let mut report = Report::default();
    let mut before: Option<(i64, u64)> = None;
    for (index, picture) in pictures.iter().enumerate() {
        let Some(clock) = picture.clock_ms else {
            report.damaged.push(format!("picture {index}: no clock"));
            continue;
        };
        let recorded =
            |(_, footage): &&(&str, &Footage)| footage.pictures.get(&clock) == Some(&picture.md5);
        match sites.iter().find(recorded) {
            Some((site, _)) => report.note_site(site, clock),
            None => report
                .damaged
                .push(format!("picture {index}: {}", iso(clock))),
        }
        if let Some((last, arrival_ns)) = before {
            if clock <= last {
                report.repeats.push((last, clock));
            } else if clock - last > FRAME_MS {
                report.skips.push((last, clock));
            }
            let wait = Duration::from_nanos(picture.arrival_ns.saturating_sub(arrival_ns));
            if wait > report.stall.0 {
                report.stall = (wait, clock);
            }
        }
        before = Some((clock, picture.arrival_ns));
    }
    report
}

impl Report {
    /// The sites in the order in which they were shown.
    pub fn sites(&self) -> Vec<&str> {
        self.runs.iter().map(|run| run.site.as_str()).collect()
    }

    /// Panics unless every picture is whole and each is the next one.
    pub fn assert_seamless(&self) {
        let clean = self.damaged.is_empty() && self.skips.is_empty() && self.repeats.is_empty();
        assert!(clean && !self.runs.is_empty(), "not seamless:\n{self}");
    }

    /// Panics unless every picture is whole and none is missing. Where an outage could not be foreseen, what leads from
    /// the next site's key frame to the seam is sent again, squeezed into the instant of the seam: less than `group`.
    pub fn assert_nothing_lost(&self, group: Duration) {
        let back = |(last, next): &(i64, i64)| (last - next) as u128 + 1 > group.as_millis();
        let clean =
            self.damaged.is_empty() && self.skips.is_empty() && !self.repeats.iter().any(back);
        assert!(clean && !self.runs.is_empty(), "something is lost:\n{self}");
    }

    /// Panics unless every picture is whole, and each is later than the one before.
    pub fn assert_whole_and_forward(&self) {
        let clean = self.damaged.is_empty() && self.repeats.is_empty();
        assert!(
            clean && !self.runs.is_empty(),
            "damaged or repeated:\n{self}"
        );
    }

    fn note_site(&mut self, site: &str, clock: i64) {
        match self.runs.last_mut().filter(|run| run.site == site) {
            Some(run) => {
                run.last = clock;
                run.count += 1;
            }
            None => self.runs.push(Run {
                site: site.to_owned(),
                first: clock,
                last: clock,
                count: 1,
            }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            writeln!(
                f,
                "{:10} {:5} pictures {} .. {}",
                run.site,
                run.count,
                iso(run.first),
                iso(run.last)
            )?;
        }
        for (last, next) in &self.skips {
            writeln!(
                f,
                "skipped {} ms after {}",
                next - last - FRAME_MS,
                iso(*last)
            )?;
        }
        for (last, next) in &self.repeats {
            writeln!(f, "went back from {} to {}", iso(*last), iso(*next))?;
        }
        for picture in self.damaged.iter().take(10) {
            writeln!(f, "damaged {picture}")?;
        }
        let (wait, at) = self.stall;
        write!(
            f,
            "{} damaged; longest stall {} ms before {}",
            self.damaged.len(),
            wait.as_millis(),
            iso(at)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;
    use crate::clock::noon;

    fn footage(name: &str) -> Footage {
        let pictures: BTreeMap<_, _> = (0..100)
            .map(|n| (noon(0.0) + n * FRAME_MS, format!("{name}{n}")))
            .collect();
        Footage {
            folder: PathBuf::new(),
            pictures,
        }
    }

    fn shown(site: &str, n: i64) -> Picture {
        Picture {
            clock_ms: Some(noon(0.0) + n * FRAME_MS),
            md5: format!("{site}{n}"),
            capture_ms: None,
            pts_ms: None,
            arrival_ns: n as u64 * 40_000_000,
            ahead_ms: None,
            decoded: None,
        }
    }

    #[test]
    fn a_seam_between_two_sites_is_seamless() {
        let (a, b) = (footage("a"), footage("b"));
        let pictures = [shown("a", 1), shown("a", 2), shown("b", 3)];
        let report = judge(&pictures, &[("a", &a), ("b", &b)]);
        report.assert_seamless();
        assert_eq!(report.sites(), ["a", "b"]);
        assert_eq!(report.stall.0, Duration::from_millis(40));
    }

    #[test]
    fn what_is_missing_repeated_or_damaged_is_told() {
        let a = footage("a");
        let pictures = [shown("a", 1), shown("a", 3), shown("a", 3), shown("x", 4)];
        let report = judge(&pictures, &[("a", &a)]);
        assert_eq!(report.skips, [(noon(0.04), noon(0.12))]);
        assert_eq!(report.repeats, [(noon(0.12), noon(0.12))]);
        assert_eq!(report.damaged.len(), 1);
    }
}
