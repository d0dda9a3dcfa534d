//! `TimeLineInformationGet`: what is recorded, one bit an interval. How the bits are written is not documented; where an answer has
//! as many of them as were asked for, those of several recorders are laid over each other, whatever their order, and where it has
//! not, it is left as it is.

use base64::{Engine, prelude::BASE64_STANDARD};
use seamline_routing::Timestamp;
use seamline_xml::{Element, Markup};

use crate::{sequences::time, soap};

/// Most rows of one answer.
const ROWS_MAX: usize = 64;

/// What one recorder tells of one kind of information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The kind's GUID.
    pub kind: String,
    /// The start of the first interval.
    pub begin: Timestamp,
    /// Microseconds.
    pub interval: String,
    /// Intervals.
    pub count: i64,
    /// As it came.
    pub data: String,
}

impl Row {
    /// Reads a `TimeLineInformationGetResult`; `None` where a row cannot be read.
    pub fn read(result: Option<&Element>) -> Option<Vec<Self>> {
        let rows = result.into_iter();
        rows.flat_map(|result| result.all("TimeLineInformationData"))
            .take(ROWS_MAX)
            .map(|row| {
                Some(Self {
                    kind: row.text("Type")?.to_owned(),
                    begin: time(row.text("BeginTime")?)?,
                    interval: row.at(&["Interval", "MicroSeconds"])?.value()?.to_owned(),
                    count: row.text("Count")?.parse().ok()?,
                    data: row.text("Data").unwrap_or_default().to_owned(),
                })
            })
            .collect()
    }

    /// One bit an interval; `None` where it is something else.
    fn bits(&self) -> Option<Vec<u8>> {
        let bits = BASE64_STANDARD.decode(self.data.trim()).ok()?;
        let wanted = usize::try_from(self.count).ok()?.div_ceil(8);
        (bits.len() == wanted).then_some(bits)
    }

    /// Lays another recorder's bits over these, where they are of the same intervals.
    fn with(&mut self, other: &Self) {
        if let (Some(ours), Some(theirs)) = (self.bits(), other.bits())
            && self.begin == other.begin
            && self.count == other.count
            && self.interval == other.interval
        {
            let both: Vec<u8> = ours.iter().zip(theirs).map(|(a, b)| a | b).collect();
            self.data = BASE64_STANDARD.encode(both);
        }
    }
}

/// Rows of all recorders, the best first, as those of one.
pub fn merged(told: Vec<Vec<Row>>) -> Vec<Row> {
    let mut all: Vec<Row> = Vec::new();
    for row in told.into_iter().flatten() {
        let known = all.iter_mut();
        let mut known = known.filter(|known| known.kind.eq_ignore_ascii_case(&row.kind));
        match known.next() {
            Some(known) => known.with(&row),
            None => all.push(row),
        }
    }
    all
}

/// The answer, about a camera by the GUID that the client has of it.
pub fn answer(device: &str, rows: &[Row]) -> Vec<u8> {
    let row = |row: &Row| {
        let micros = Markup::text("MicroSeconds", &row.interval);
        Markup::node(
            "TimeLineInformationData",
            [
                Markup::text("DeviceId", device),
                Markup::text("Type", &row.kind),
                Markup::text("BeginTime", &row.begin.to_string()),
                Markup::node("Interval", [micros]),
                Markup::text("Count", &row.count.to_string()),
                Markup::text("Data", &row.data),
            ],
        )
    };
    let result = Markup::node("TimeLineInformationGetResult", rows.iter().map(row));
    soap::envelope(Markup::node_with(
        "TimeLineInformationGetResponse",
        &[("xmlns", soap::RECORDER)],
        [result],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, count: i64, data: &str) -> Row {
        Row {
            kind: kind.to_owned(),
            begin: Timestamp::from_unix_ms(5),
            interval: "1000000".to_owned(),
            count,
            data: data.to_owned(),
        }
    }

    #[test]
    fn bits_of_other_intervals_are_left_out() {
        let later = Row {
            begin: Timestamp::from_unix_ms(6),
            ..row("A", 16, "8AA=")
        };
        let ours = row("A", 16, "AA8=");
        assert_eq!(merged(vec![vec![ours.clone()], vec![later]]), [ours]);
    }

    #[test]
    fn bits_are_laid_over_each_other_and_what_is_none_is_left() {
        let told = vec![
            vec![
                row("A", 16, "AA8="),
                row("B", 16, "ABCD"),
                row("C", 16, "!"),
            ],
            vec![
                row("a", 16, "8AA="),
                row("B", 16, "8AA="),
                row("D", 8, "/w=="),
            ],
        ];
        let all = merged(told);
        let data: Vec<&str> = all.iter().map(|row| &*row.data).collect();
        assert_eq!(data, ["8A8=", "ABCD", "!", "/w=="]);
        let written = answer("X", &all);
        let read = soap::result(&written, "TimeLineInformationGet", soap::ANSWER_LIMITS);
        assert_eq!(Row::read(read.unwrap().as_ref()), Some(all));
    }
}
