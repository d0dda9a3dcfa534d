//! The SOAP service of a recorder as a face has to know it: which questions are merged or routed, and how they are answered.

use seamline_routing::Timestamp;
use seamline_xml::{Element, Markup, with_texts};

use crate::{
    sequences::{Entry, RECORDING, time},
    soap::{self, RECORDER, SoapError},
};

/// A question that more than one recorder may have an answer to. Times are on the clock of the recorder that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The operation, such as `SequencesGet`.
    pub operation: &'static str,
    /// The client's token, as the first parameter.
    pub token: String,
    /// The camera's GUID.
    pub device: String,
    /// What of it.
    pub about: About,
}

/// What is asked of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Stretches of a kind.
    Sequences {
        /// The kind's GUID.
        kind: String,
        /// Which of them.
        wanted: Wanted,
    },
    /// A still, about then.
    Still(Timestamp),
    /// A still of now, no larger than so many pixels wide and high.
    Now {
        /// As it was said.
        width: String,
        /// Likewise.
        height: String,
    },
    /// Of which kinds it has stretches, how long they are kept: every recorder has an answer.
    Types,
    /// What is recorded, one bit an interval.
    TimeLine {
        /// Kinds of information, by GUID.
        kinds: Vec<String>,
        /// The start of the first interval.
        begin: Timestamp,
        /// The length of one, µs.
        interval_us: i64,
        /// How many.
        count: i64,
    },
}

/// Which stretches are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that overlap a window, from its start on, so many at most.
    Between {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
        /// How many.
        count: usize,
    },
    /// Those around an instant.
    Around {
        /// The instant.
        center: Timestamp,
        /// How many before it, and how far back.
        before: (usize, Option<i64>),
        /// How many from it on, and how far.
        after: (usize, Option<i64>),
    },
}

impl Question {
    /// Reads a request; `None` for what only the recorder itself can answer.
    pub fn read(envelope: &[u8]) -> Result<Option<Self>, SoapError> {
        let asked = soap::asked(envelope)?;
        let text = |name: &str| asked.text(name).unwrap_or_default();
        let at = |name: &str| time(text(name)).ok_or(SoapError::NoAnswer);
        let count = |name: &str| {
            text(name)
                .parse::<i64>()
                .map_or(0, |n| n.clamp(0, COUNT_MAX)) as usize
        };
        let micros = |name: &str| {
            let span = asked.at(&[name, "MicroSeconds"]).and_then(Element::value);
            span.and_then(|text| text.parse::<i64>().ok())
                .map(|us| us.max(0))
        };
        let Some(operation) = OPERATIONS.iter().find(|known| **known == asked.name()) else {
            return Ok(None);
        };
        let kind = text("sequenceType").to_owned();
        let sequences = |wanted| About::Sequences { kind, wanted };
        let about = match *operation {
            "SequencesGet" => sequences(Wanted::Between {
                from: at("minTime")?,
                to: at("maxTime")?,
                count: count("maxCount"),
            }),
            "SequencesGetAround" => sequences(Wanted::Around {
                center: at("centerTime")?,
                before: (count("maxCountBefore"), None),
                after: (count("maxCountAfter"), None),
            }),
            "SequencesGetAroundWithSpan" => sequences(Wanted::Around {
                center: at("centerTime")?,
                before: (count("maxCountBefore"), micros("maxTimeBefore")),
                after: (count("maxCountAfter"), micros("maxTimeAfter")),
            }),
            "SequencesGetTypes" | "GetRetentionTimeLimit" => About::Types,
            "TimeLineInformationGet" => {
                let number = |text: Option<&str>| text?.parse::<i64>().ok().filter(|n| *n >= 0);
                let kinds: Vec<String> = asked
                    .child("timeLineInformationTypes")
                    .into_iter()
                    .flat_map(Element::children)
                    .filter_map(Element::value)
                    .map(str::to_owned)
                    .take(KINDS_MAX + 1)
                    .collect();
                let interval = asked.at(&["timeLineInformationInterval", "MicroSeconds"]);
                let (Some(begin), Some(interval_us), Some(count)) = (
                    time(text("timeLineInformationBeginTime")),
                    number(interval.and_then(Element::value)),
                    number(asked.text("timeLineInformationCount")).filter(|n| *n <= COUNT_MAX),
                ) else {
                    return Ok(None);
                };
                if kinds.len() > KINDS_MAX {
                    return Ok(None);
                }
                About::TimeLine {
                    kinds,
                    begin,
                    interval_us,
                    count,
                }
            }
            "JPEGGetLive" => About::Now {
                width: text("maxWidth").to_owned(),
                height: text("maxHeight").to_owned(),
            },
            _ => About::Still(at("time")?),
        };
        Ok(Some(Self {
            operation,
            token: text("token").to_owned(),
            device: text("deviceId").to_owned(),
            about,
        }))
    }

    /// A question that shows whether a recorder lets a token see a camera, and tells nothing of it.
    pub fn types(token: &str, device: &str) -> Self {
        Self {
            operation: "SequencesGetTypes",
            token: token.to_owned(),
            device: device.to_owned(),
            about: About::Types,
        }
    }

    /// Whether it is about what is recorded, and not about motion and the like.
    pub fn is_recording(&self) -> bool {
        matches!(&self.about, About::Sequences { kind, .. } if kind.eq_ignore_ascii_case(RECORDING))
    }

    /// As recorders want it, whatever the client's prefixes were; to a recorder whose clock is so far ahead.
    pub fn write(&self, token: &str, device: &str, ahead_us: i64) -> Vec<u8> {
        let mut said = vec![
            Markup::text("token", token),
            Markup::text("deviceId", device),
        ];
        let at = |name, at: Timestamp| Markup::text(name, &at.shift(ahead_us).to_string());
        let count = |name, count: usize| Markup::text(name, &count.to_string());
        let span = |name, micros: Option<i64>| {
            let micros = micros.unwrap_or(0).to_string();
            Markup::node(name, [Markup::text("MicroSeconds", &micros)])
        };
        match &self.about {
            About::Types => {}
            About::Now { width, height } => said.extend([
                Markup::text("maxWidth", width),
                Markup::text("maxHeight", height),
            ]),
            About::TimeLine {
                kinds,
                begin,
                interval_us,
                count: most,
            } => {
                let kinds = kinds.iter().map(|kind| {
                    let space = [("xmlns", "http://microsoft.com/wsdl/types/")];
                    Markup::text_with("guid", &space, kind)
                });
                said.extend([
                    Markup::node("timeLineInformationTypes", kinds),
                    at("timeLineInformationBeginTime", *begin),
                    span("timeLineInformationInterval", Some(*interval_us)),
                    Markup::text("timeLineInformationCount", &most.to_string()),
                ]);
            }
            About::Still(time) => said.push(at("time", *time)),
            About::Sequences { kind, wanted } => {
                said.push(Markup::text("sequenceType", kind));
                match *wanted {
                    Wanted::Between {
                        from,
                        to,
                        count: most,
                    } => said.extend([
                        at("minTime", from),
                        at("maxTime", to),
                        count("maxCount", most),
                    ]),
                    Wanted::Around {
                        center,
                        before,
                        after,
                    } => {
                        let spans = self.operation == "SequencesGetAroundWithSpan";
                        said.push(at("centerTime", center));
                        said.extend(spans.then(|| span("maxTimeBefore", before.1)));
                        said.push(count("maxCountBefore", before.0));
                        said.extend(spans.then(|| span("maxTimeAfter", after.1)));
                        said.push(count("maxCountAfter", after.0));
                    }
                }
            }
        }
        soap::request(RECORDER, self.operation, said)
    }

    /// An answer to `GetRetentionTimeLimit` by a clock that is so much later; `None` where it is none.
    pub fn limit_moved(&self, envelope: &[u8], later_us: i64) -> Option<Vec<u8>> {
        let (operation, name) = ("GetRetentionTimeLimit", "GetRetentionTimeLimitResult");
        if self.operation != operation {
            return None;
        }
        let limit = soap::result(envelope, operation, soap::ANSWER_LIMITS).ok()??;
        let limit = time(limit.value()?)?.shift(later_us).to_string();
        with_texts(envelope, RESULT, &[(name, &limit)]).ok()
    }

    /// The answer: stretches, whole and in order.
    pub fn answer(&self, entries: &[Entry]) -> Vec<u8> {
        let (response, result) = match self.operation {
            "SequencesGet" => ("SequencesGetResponse", "SequencesGetResult"),
            "SequencesGetAround" => ("SequencesGetAroundResponse", "SequencesGetAroundResult"),
            _ => (
                "SequencesGetAroundWithSpanResponse",
                "SequencesGetAroundWithSpanResult",
            ),
        };
        let result = Markup::node(result, entries.iter().map(|entry| entry.written()));
        soap::envelope(Markup::node_with(
            response,
            &[("xmlns", RECORDER)],
            [result],
        ))
    }
}

impl Wanted {
    /// Of all stretches, in order, those that are wanted.
    pub fn of(self, all: &[Entry]) -> Vec<Entry> {
        match self {
            Self::Between { from, to, count } => {
                let wanted = all
                    .iter()
                    .filter(|entry| entry.begin < to && entry.end > from);
                wanted.take(count).copied().collect()
            }
            Self::Around {
                center,
                before,
                after,
            } => {
                let near = |at: Timestamp, span: Option<i64>| {
                    span.is_none_or(|span| center.micros_since(at).abs() <= span)
                };
                let (past, coming): (Vec<Entry>, Vec<Entry>) =
                    all.iter().partition(|entry| entry.end <= center);
                let past = past.into_iter().rev();
                let past = past
                    .filter(|entry| near(entry.end, before.1))
                    .take(before.0);
                let mut wanted: Vec<Entry> = past.collect();
                wanted.reverse();
                let coming = coming.into_iter();
                // One that holds the instant is no distance away.
                let reached = |entry: &Entry| entry.begin <= center || near(entry.begin, after.1);
                wanted.extend(coming.filter(reached).take(after.0));
                wanted
            }
        }
    }
}

/// What is read here.
const OPERATIONS: [&str; 10] = [
    "SequencesGet",
    "SequencesGetAround",
    "SequencesGetAroundWithSpan",
    "SequencesGetTypes",
    "GetRetentionTimeLimit",
    "TimeLineInformationGet",
    "JPEGGetAt",
    "JPEGGetAtOrBefore",
    "JPEGGetAtOrAfter",
    "JPEGGetLive",
];
/// Elements between an envelope and a result in its body.
const RESULT: usize = 2;
/// More than any client asks for.
const COUNT_MAX: i64 = 100_000;
/// Kinds of information about time lines.
const KINDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(begin: i64, end: i64) -> Entry {
        let at = |s: i64| Timestamp::from_unix_ms(s * 1000);
        Entry::plain(at(begin), at(end))
    }

    fn asked(operation: &str, more: &str) -> Vec<u8> {
        format!(
            "<s:Envelope xmlns:s='x'><s:Body><n:{operation} xmlns:n='y'><n:token>T</n:token><n:deviceId>D</n:deviceId><n:sequenceType>{}</n:sequenceType>{more}</n:{operation}></s:Body></s:Envelope>",
            RECORDING.to_uppercase()
        )
        .into_bytes()
    }

    #[test]
    fn questions_are_read_whatever_their_prefixes_and_zones() {
        let more = "<minTime>1970-01-01T00:00:10</minTime><maxTime>1970-01-01T00:00:20.5Z</maxTime><maxCount>7</maxCount>";
        let question = Question::read(&asked("SequencesGet", more))
            .unwrap()
            .unwrap();
        let at = Timestamp::from_unix_ms;
        let wanted = Wanted::Between {
            from: at(10_000),
            to: at(20_500),
            count: 7,
        };
        let kind = RECORDING.to_uppercase();
        assert_eq!(question.about, About::Sequences { kind, wanted });
        assert!(question.is_recording());
        let written = question.write("U", "E", 1_000_000);
        let again = Question::read(&written).unwrap().unwrap();
        assert_eq!((&*again.token, &*again.device), ("U", "E"));
        let moved = matches!(again.about, About::Sequences { wanted: Wanted::Between { from, .. }, .. } if from == at(11_000));
        assert!(moved, "{again:?}");
        let written = String::from_utf8(written).unwrap();
        assert!(written.contains("<SequencesGet xmlns=\"http://videoos.net/2/XProtectCSRecorderCommand\"><token>U</token>"), "{written}");
        assert_eq!((&*question.token, &*question.device), ("T", "D"));
        assert_eq!(Question::read(&asked("PTZMoveHome", "")), Ok(None));
        let more = "<maxWidth>640</maxWidth><maxHeight>360</maxHeight>";
        let now = Question::read(&asked("JPEGGetLive", more))
            .unwrap()
            .unwrap();
        let written = String::from_utf8(now.write("T", "D", 0)).unwrap();
        assert!(
            written.contains(&format!("<deviceId>D</deviceId>{more}</JPEGGetLive>")),
            "{written}"
        );
        // What is not read of a time line its recorder may read.
        let begin =
            "<timeLineInformationBeginTime>1970-01-01T00:00:10Z</timeLineInformationBeginTime>";
        let interval = "<timeLineInformationInterval><MicroSeconds>5</MicroSeconds></timeLineInformationInterval>";
        let count = "<timeLineInformationCount>8</timeLineInformationCount>";
        let line = |more: &str| Question::read(&asked("TimeLineInformationGet", more));
        assert!(matches!(
            line(&[begin, interval, count].concat()),
            Ok(Some(_))
        ));
        let odd = begin.replace("1970-01-01T00:00:10Z", "now");
        let many = count.replace('8', "100001");
        let none = [
            [&odd, interval, count],
            [begin, "", count],
            [begin, interval, &many],
        ];
        for more in none {
            assert_eq!(line(&more.concat()), Ok(None), "{more:?}");
        }
        let none = "<minTime>yesterday</minTime><maxTime>now</maxTime>";
        assert!(Question::read(&asked("SequencesGet", none)).is_err());
    }

    #[test]
    fn a_limit_of_another_clock_is_moved() {
        let limit = |at: &str| {
            let said = format!(
                "<s:Envelope xmlns:s='x'><s:Body><GetRetentionTimeLimitResponse><GetRetentionTimeLimitResult>{at}</GetRetentionTimeLimitResult></GetRetentionTimeLimitResponse></s:Body></s:Envelope>"
            );
            said.into_bytes()
        };
        let question = Question::read(&asked("GetRetentionTimeLimit", ""));
        let question = question.unwrap().unwrap();
        let moved = question.limit_moved(&limit("2026-01-02T00:00:10Z"), -4_000_000);
        let moved = moved.unwrap();
        let read = soap::result(&moved, "GetRetentionTimeLimit", soap::ANSWER_LIMITS);
        let read = read.unwrap().unwrap();
        let at = |text: &str| time(text).unwrap();
        assert_eq!(at(read.value().unwrap()), at("2026-01-02T00:00:06Z"));
        assert_eq!(question.limit_moved(&limit("never"), -4_000_000), None);
        let types = Question::types("T", "D");
        assert_eq!(types.limit_moved(&limit("2026-01-02T00:00:10Z"), 1), None);
    }

    #[test]
    fn only_what_is_wanted_is_told() {
        let all = [entry(0, 10), entry(20, 30), entry(40, 50), entry(60, 70)];
        let at = |s: i64| Timestamp::from_unix_ms(s * 1000);
        let between = |from, to, count| Wanted::Between {
            from: at(from),
            to: at(to),
            count,
        };
        assert_eq!(between(5, 45, 9).of(&all), all[..3]);
        assert_eq!(between(10, 20, 9).of(&all), []);
        assert_eq!(between(0, 99, 2).of(&all), all[..2]);
        let around = |center, before, after| Wanted::Around {
            center: at(center),
            before,
            after,
        };
        assert_eq!(around(35, (1, None), (1, None)).of(&all), all[1..3]);
        assert_eq!(around(45, (9, None), (1, None)).of(&all), all[..3]);
        assert_eq!(
            around(35, (9, Some(5_000_000)), (9, Some(5_000_000))).of(&all),
            all[1..3]
        );
        assert_eq!(
            around(35, (0, Some(0)), (300, Some(26_000_000))).of(&all),
            all[2..]
        );
    }

    #[test]
    fn answers_bear_the_name_of_the_question() {
        let more = "<centerTime>1970-01-01T00:00:10Z</centerTime>";
        let question = Question::read(&asked("SequencesGetAround", more))
            .unwrap()
            .unwrap();
        let answer = String::from_utf8(question.answer(&[entry(0, 10)])).unwrap();
        assert!(answer.contains("<SequencesGetAroundResponse xmlns=\"http://videoos.net/2/XProtectCSRecorderCommand\"><SequencesGetAroundResult><SequenceEntry><TimeBegin>1970-01-01T00:00:00"), "{answer}");
    }
}
