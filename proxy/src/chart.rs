//! Coverage as a line of characters: who holds what, and who will serve it.

use std::fmt::Write as _;

use seamline_routing::coverage::{Coverage, Held};
use seamline_routing::plan::{Plan, Step};
use seamline_routing::{Camera, TimeRange, Timestamp};

/// What a column of a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// Footage of the site with this index.
    Site(usize),
    /// It is known that there is none.
    Nothing,
    /// It is not known.
    Unknown,
    /// Only a site that cannot be reached may hold it.
    OutOfReach,
}

/// Draws rows of one window of time.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    window: TimeRange,
    columns: usize,
    colour: bool,
    sites: Vec<String>,
}

/// Characters for the sites by rank; the last one for all others.
const GLYPHS: [char; 4] = ['█', '▓', '▒', '░'];
/// Their colours, as ANSI names them; cyan, yellow, magenta, green.
const COLOURS: [u8; 4] = [36, 33, 35, 32];
/// Fewest columns between two times on the axis.
const TICK_COLUMNS_MIN: usize = 12;
/// Steps of the axis, in seconds.
const TICKS_S: [i64; 19] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
    7 * 86_400,
];
const DAY_US: i64 = 86_400_000_000;

impl Chart {
    /// A chart of `window` with so many columns. `sites` are in order of priority.
    pub(crate) fn new(
        window: TimeRange,
        columns: usize,
        colour: bool,
        sites: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut names: Vec<String> = Vec::new();
        for site in sites {
            if !names.contains(&site) {
                names.push(site);
            }
        }
        Chart {
            window,
            columns: columns.max(1),
            colour,
            sites: names,
        }
    }

    /// Times above the rows.
    pub(crate) fn axis(&self) -> String {
        let step_us = self.tick_us();
        let mut axis = String::new();
        let mut used = 0;
        let start_us = self.window.start().as_micros();
        let mut at_us = start_us
            .div_euclid(step_us)
            .saturating_add(i64::from(start_us.rem_euclid(step_us) != 0))
            * step_us;
        while at_us < self.window.end().as_micros() {
            let column = self.column(at_us);
            let label = format!("╷{}", self.label(Timestamp::from_micros(at_us)));
            if column >= used && column + label.chars().count() <= self.columns + TICK_COLUMNS_MIN {
                axis.extend(std::iter::repeat_n(' ', column - used));
                used = column + label.chars().count();
                axis.push_str(&label);
            }
            at_us += step_us;
        }
        self.tint(&axis, 2)
    }

    /// What one site holds.
    pub(crate) fn coverage(&self, site: &str, coverage: &Coverage) -> String {
        let rank = self.rank(site);
        self.row(|at| match coverage.held(at) {
            Held::Recorded { .. } => Cell::Site(rank),
            Held::Gap { .. } => Cell::Nothing,
            Held::Unknown { .. } => Cell::Unknown,
        })
    }

    /// Which site serves what.
    pub(crate) fn plan(&self, plan: &Plan, camera: &Camera) -> String {
        self.row(|at| {
            let holds = |from: Timestamp, until: Option<Timestamp>| {
                from <= at && until.is_none_or(|until| at < until)
            };
            let cell = plan.steps.iter().find_map(|step| match *step {
                Step::Leg {
                    copy, from, until, ..
                } if holds(from, until) => Some(camera.copy(copy).map_or(Cell::Unknown, |copy| {
                    Cell::Site(self.rank(copy.site.as_str()))
                })),
                Step::Outage { from, until } if holds(from, until) => Some(Cell::OutOfReach),
                _ => None,
            });
            cell.unwrap_or(Cell::Nothing)
        })
    }

    /// What the characters mean.
    pub(crate) fn legend(&self) -> String {
        let mut legend = String::new();
        for (rank, site) in self.sites.iter().enumerate() {
            let _ = write!(legend, "{} {site}   ", self.cells(Cell::Site(rank), 1));
        }
        legend.push_str(&self.tint("· nobody   ? not known", 2));
        legend
    }

    /// A site's name in its colour, padded.
    pub(crate) fn name(&self, site: &str, width: usize) -> String {
        let rank = self.rank(site);
        self.tint(&format!("{site:<width$}"), colour_of(rank))
    }

    fn row(&self, cell: impl Fn(Timestamp) -> Cell) -> String {
        let mut row = String::new();
        let (mut last, mut run) = (None, 0);
        for column in 0..self.columns {
            let now = Some(cell(self.middle(column)));
            if now != last {
                row.extend(last.map(|cell| self.cells(cell, run)));
                (last, run) = (now, 0);
            }
            run += 1;
        }
        row.extend(last.map(|cell| self.cells(cell, run)));
        row
    }

    fn cells(&self, cell: Cell, count: usize) -> String {
        let (glyph, colour) = match cell {
            Cell::Site(rank) => (GLYPHS[rank.min(GLYPHS.len() - 1)], colour_of(rank)),
            Cell::Nothing => ('·', 2),
            Cell::Unknown => ('?', 2),
            Cell::OutOfReach => ('!', 31),
        };
        self.tint(
            &std::iter::repeat_n(glyph, count).collect::<String>(),
            colour,
        )
    }

    fn tint(&self, text: &str, colour: u8) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn rank(&self, site: &str) -> usize {
        self.sites
            .iter()
            .position(|name| name == site)
            .unwrap_or(self.sites.len())
    }

    fn span_us(&self) -> i128 {
        i128::from(self.window.end().as_micros()) - i128::from(self.window.start().as_micros())
    }

    /// The instant in the middle of a column.
    fn middle(&self, column: usize) -> Timestamp {
        let into = self.span_us() * (2 * column as i128 + 1) / (2 * self.columns as i128);
        Timestamp::from_micros((i128::from(self.window.start().as_micros()) + into) as i64)
    }

    fn column(&self, at_us: i64) -> usize {
        let into = i128::from(at_us) - i128::from(self.window.start().as_micros());
        (into * self.columns as i128 / self.span_us()) as usize
    }

    fn tick_us(&self) -> i64 {
        let fits = |step_s: &&i64| {
            i128::from(**step_s) * 1_000_000 * self.columns as i128 / self.span_us()
                >= TICK_COLUMNS_MIN as i128
        };
        let whole = (self.span_us() / 4).max(1_000_000) as i64;
        TICKS_S
            .iter()
            .find(fits)
            .map_or(whole, |step_s| step_s * 1_000_000)
    }

    fn label(&self, at: Timestamp) -> String {
        let text = at.to_string();
        let (date, time) = text.split_once('T').unwrap_or((&text, ""));
        let clock = time.get(..8).unwrap_or(time);
        if self.span_us() <= i128::from(DAY_US) {
            clock.to_owned()
        } else {
            format!("{} {}", date, clock.get(..5).unwrap_or(clock))
        }
    }
}

fn colour_of(rank: usize) -> u8 {
    COLOURS.get(rank % COLOURS.len()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use seamline_routing::plan::Reason;
    use seamline_routing::{CopyIx, CopyRef};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_767_268_800_000_000 + second * 1_000_000)
    }

    fn range(from: i64, until: i64) -> TimeRange {
        TimeRange::new(at(from), at(until)).unwrap()
    }

    fn chart() -> Chart {
        Chart::new(
            range(0, 60),
            30,
            false,
            ["primary".to_owned(), "secondary".to_owned()],
        )
    }

    #[test]
    fn a_site_shows_what_it_holds_and_what_is_not_known() {
        let coverage = Coverage::new(range(0, 50), [range(0, 20), range(30, 46)], at(50), false);
        assert_eq!(
            chart().coverage("primary", &coverage),
            "██████████·····████████··?????"
        );
        assert_eq!(
            chart().coverage("secondary", &Coverage::unknown()),
            "?".repeat(30)
        );
    }

    #[test]
    fn the_merged_row_names_who_serves() {
        let copy = |site: &str| CopyRef {
            site: site.into(),
            recorder: site.into(),
            remote: "1".into(),
            clock_offset_us: 0,
        };
        let camera = Camera {
            id: "gate".into(),
            name: "gate".into(),
            copies: vec![copy("primary"), copy("secondary")],
        };
        let leg = |copy, from, until| Step::Leg {
            copy: CopyIx(copy),
            from: at(from),
            until: Some(at(until)),
            reason: Reason::PRIORITY,
        };
        let steps = vec![
            leg(0, 0, 20),
            leg(1, 20, 30),
            Step::Hole {
                from: at(30),
                until: Some(at(40)),
            },
            Step::Outage {
                from: at(40),
                until: None,
            },
        ];
        let plan = Plan {
            steps,
            truncated: false,
        };
        assert_eq!(
            chart().plan(&plan, &camera),
            "██████████▓▓▓▓▓·····!!!!!!!!!!"
        );
    }

    #[test]
    fn the_axis_names_round_times() {
        assert_eq!(chart().axis(), "╷12:00:00      ╷12:00:30");
        let odd = Chart::new(range(7, 67), 60, false, []);
        assert_eq!(
            odd.axis(),
            "        ╷12:00:15      ╷12:00:30      ╷12:00:45      ╷12:01:00"
        );
        let years = Chart::new(range(0, 400 * 86_400), 60, false, []);
        assert!(years.axis().contains("2026-"));
    }

    #[test]
    fn colour_is_added_a_run_at_a_time() {
        let chart = Chart {
            colour: true,
            ..chart()
        };
        let coverage = Coverage::new(range(0, 60), [range(0, 30)], at(60), false);
        let row = chart.coverage("secondary", &coverage);
        assert_eq!(
            row,
            format!(
                "\x1b[33m{}\x1b[0m\x1b[2m{}\x1b[0m",
                "▓".repeat(15),
                "·".repeat(15)
            )
        );
    }
}
