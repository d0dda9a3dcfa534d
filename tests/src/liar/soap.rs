//! Listings that lie by SOAP: for each recorder an ONVIF device, as much of it as a proxy asks for.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    ops::Range,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{
    footage::{PICTURE_MS, PICTURES, captured},
    listing::{Lie, Notice, SILENCE, hang},
};
use crate::clock::{iso, monotonic};

/// All that are told by SOAP.
pub const LIES: [Lie; 20] = [
    Lie::None,
    Lie::Boasts,
    Lie::Holes,
    Lie::Heaped,
    Lie::HourOff,
    Lie::Absurd,
    Lie::Reversed,
    Lie::Million,
    Lie::Endless,
    Lie::Half,
    Lie::Empty,
    Lie::Hangs,
    Lie::Nonsense,
    Lie::Repeats,
    Lie::Pages,
    Lie::NeverDone,
    Lie::FaultMid,
    Lie::NoToken,
    Lie::Bounds,
    Lie::Clock,
];

/// Segments in one answer, where they are too many: more than eight megabytes.
const SEGMENTS_IN_ONE: usize = 100_000;
/// Results of one page, where less is not asked for.
const PAGE: usize = 256;
/// 2106-02-07T06:28:15Z, the last second of 32 bits.
const LAST_MS: i64 = 4_294_967_295_000;
const TOPIC: &str = "tns1:RecordingHistory/Track/State";

/// By which question a device lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `FindEvents`, and page after page of its results.
    Events,
    /// `ListRecordedSegments`.
    Segments,
}

/// Many devices behind one port: the first element of a path is a device, and its only recording.
#[derive(Debug)]
pub struct Devices {
    port: u16,
    of: Arc<Mutex<HashMap<String, Device>>>,
}

#[derive(Debug)]
struct Device {
    by: By,
    lie: Lie,
    /// From when to when, in the order in which it is told.
    periods: Arc<[(i64, i64)]>,
    truth: (i64, i64),
    rtsp: String,
    searches: Vec<Search>,
}

/// A listing on its way, by events or by segments.
#[derive(Clone, Debug)]
struct Search {
    /// Where the next question begins if it goes on, of those that name it.
    next: Option<String>,
    /// Results that were told.
    told: usize,
    begun: Duration,
    last: Duration,
}

impl Search {
    fn begin() -> Self {
        let now = monotonic();
        Self {
            next: None,
            told: 0,
            begun: now,
            last: now,
        }
    }
}

impl Default for Devices {
    fn default() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let address = listener.local_addr();
        let port = address.expect("a bound socket has an address").port();
        let of: Arc<Mutex<HashMap<String, Device>>> = Arc::default();
        let all = Arc::clone(&of);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let all = Arc::clone(&all);
                thread::spawn(move || drop(Connection { stream, port, all }.serve()));
            }
        });
        Self { port, of }
    }
}

impl Devices {
    /// What this recorder, which plays at `rtsp`, holds, and how it tells.
    pub fn post(&self, name: &str, held: &[Range<u32>], by: By, lie: Lie, rtsp: String) {
        let periods = Notice::new(lie, held).periods();
        let ends = |(from, length)| (from, from + length);
        let device = Device {
            by,
            lie,
            periods: periods.into_iter().map(ends).collect(),
            truth: (
                captured(held.first().map_or(0, |stretch| stretch.start)),
                captured(held.last().map_or(PICTURES, |stretch| stretch.end)),
            ),
            rtsp,
            searches: Vec::new(),
        };
        let mut of = self.of.lock().expect("no thread panics while it looks");
        of.insert(name.to_owned(), device);
    }

    /// Where a device is.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}/device_service", self.port)
    }

    /// Whose listing took longest, and how long that was from its first question to its last one. Waits until for `quiet` none
    /// was asked about, but no longer than `within`.
    pub fn longest_listing(&self, quiet: Duration, within: Duration) -> (String, Duration) {
        let deadline = monotonic() + within;
        loop {
            let searches: Vec<(String, Search)> = {
                let of = self.of.lock().expect("no thread panics while it looks");
                let told = of.values().flat_map(|device| {
                    let what = format!("{:?} by {:?}", device.lie, device.by);
                    let searches = device.searches.iter().cloned();
                    searches.map(move |search| (what.clone(), search))
                });
                told.collect()
            };
            let latest = searches.iter().map(|(_, search)| search.last).max();
            let now = monotonic();
            if latest.is_none_or(|latest| now > latest + quiet) || now > deadline {
                let took = searches
                    .into_iter()
                    .map(|(what, search)| (what, search.last.saturating_sub(search.begun)));
                return took.max_by_key(|(_, took)| *took).unwrap_or_default();
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a device says.
enum Said {
    /// The response to an operation, by its service's prefix.
    Response(&'static str, String),
    Fault(&'static str),
    /// The same with an end that does not come.
    Half(&'static str, String),
    Endless,
    Silence,
    Nonsense,
}

impl Device {
    fn answer(&mut self, name: &str, operation: &str, body: &str, base: &str) -> Said {
        match operation {
            "GetSystemDateAndTime" => Said::Response("tds", self.date()),
            "GetServices" => Said::Response("tds", services(&format!("{base}/{name}"))),
            "GetServiceCapabilities" => {
                let exports = self.by == By::Segments;
                let capabilities = format!("<trc:Capabilities SegmentExport=\"{exports}\"/>");
                Said::Response("trc", capabilities)
            }
            "GetRecordings" => {
                let source = format!("<tt:Source><tt:SourceId>{name}</tt:SourceId></tt:Source>");
                let item = format!(
                    "<trc:RecordingItem><tt:RecordingToken>{name}</tt:RecordingToken><tt:Configuration>{source}</tt:Configuration></trc:RecordingItem>"
                );
                Said::Response("trc", item)
            }
            "GetRecordingInformation" => Said::Response("tse", self.information(name)),
            "GetReplayUri" => Said::Response("trp", text("trp:Uri", &self.rtsp)),
            "ListRecordedSegments" if self.by == By::Segments => self.segments(body),
            "FindEvents" if self.lie == Lie::NoToken => Said::Response("tse", String::new()),
            "FindEvents" => {
                self.searches.push(Search::begin());
                let token = self.searches.len().to_string();
                Said::Response("tse", text("tse:SearchToken", &token))
            }
            "GetEventSearchResults" => self.results(name, body),
            "EndSearch" => {
                self.search(body);
                Said::Response("tse", text("tse:Endpoint", &iso(captured(0))))
            }
            _ => Said::Fault("ter:ActionNotSupported"),
        }
    }

    /// The hour of 1970 where it lies about that.
    fn date(&self) -> String {
        let now = match self.lie {
            Lie::Clock => 7_000,
            _ => crate::clock::wall_ms(),
        };
        let now = iso(now);
        let field = |name: &str, at: Range<usize>| {
            text(&format!("tt:{name}"), now[at].trim_start_matches('0')).replace("><", ">0<")
        };
        format!(
            "<tds:SystemDateAndTime><tt:UTCDateTime><tt:Time>{}{}{}</tt:Time><tt:Date>{}{}{}</tt:Date></tt:UTCDateTime></tds:SystemDateAndTime>",
            field("Hour", 11..13),
            field("Minute", 14..16),
            field("Second", 17..19),
            field("Year", 0..4),
            field("Month", 5..7),
            field("Day", 8..10),
        )
    }

    fn information(&self, name: &str) -> String {
        let (from, to, status) = match self.lie {
            Lie::Bounds => (0, LAST_MS, "Recording"),
            // It says the same everywhere.
            Lie::HourOff => (
                self.truth.0 + 3_600_000,
                self.truth.1 + 3_600_000,
                "Stopped",
            ),
            Lie::Reversed => (self.truth.1, self.truth.0, "Stopped"),
            _ => (self.truth.0, self.truth.1, "Stopped"),
        };
        let (from, to) = (iso(from), iso(to));
        format!(
            "<tse:RecordingInformation><tt:RecordingToken>{name}</tt:RecordingToken><tt:EarliestRecording>{from}</tt:EarliestRecording>\
             <tt:LatestRecording>{to}</tt:LatestRecording><tt:Track><tt:TrackToken>V</tt:TrackToken><tt:TrackType>Video</tt:TrackType>\
             <tt:DataFrom>{from}</tt:DataFrom><tt:DataTo>{to}</tt:DataTo></tt:Track><tt:RecordingStatus>{status}</tt:RecordingStatus>\
             </tse:RecordingInformation>"
        )
    }

    /// The search that a question is about; what was asked of it is counted as its latest question.
    fn search(&mut self, body: &str) -> Option<&mut Search> {
        let token: usize = within(body, "SearchToken")?.parse().ok()?;
        let search = self.searches.get_mut(token.checked_sub(1)?)?;
        search.last = monotonic();
        Some(search)
    }

    fn results(&mut self, name: &str, body: &str) -> Said {
        let (lie, periods) = (self.lie, Arc::clone(&self.periods));
        let Some(search) = self.search(body) else {
            return Said::Fault("ter:InvalidArgVal");
        };
        let asked = within(body, "MaxResults").and_then(|text| text.parse().ok());
        let most = asked.unwrap_or(PAGE).min(PAGE);
        let edge = |nth: usize| {
            let (from, to) = periods.get(nth / 2)?;
            Some(if nth.is_multiple_of(2) {
                (*from, true)
            } else {
                (*to, false)
            })
        };
        let told = search.told;
        let (edges, done): (Vec<(i64, bool)>, bool) = match lie {
            Lie::Repeats => ((0..most).map_while(edge).collect(), false),
            Lie::Pages => {
                let made = told..told + most;
                let at = |nth: usize| captured(0) + nth as i64 * PICTURE_MS / 2;
                let made = made.map(|nth| (at(nth), nth.is_multiple_of(2)));
                (made.collect(), false)
            }
            Lie::NeverDone => ((told..told + most).map_while(edge).collect(), false),
            Lie::FaultMid if told > 0 => return Said::Fault("ter:Action"),
            // The first page is two thirds of what there is.
            Lie::FaultMid => ((0..periods.len() * 4 / 3).map_while(edge).collect(), false),
            Lie::Hangs => return Said::Silence,
            Lie::Endless => return Said::Endless,
            Lie::Nonsense => return Said::Nonsense,
            _ => {
                let page: Vec<_> = (told..told + most).map_while(edge).collect();
                let done = told + page.len() >= periods.len() * 2;
                (page, done)
            }
        };
        search.told += edges.len();
        let state = if done { "Completed" } else { "Searching" };
        let events: String = edges
            .into_iter()
            .map(|(at, present)| event(name, at, present))
            .collect();
        let state = text("tt:SearchState", state);
        let list = format!("<tse:ResultList>{state}{events}</tse:ResultList>");
        match lie {
            Lie::Half => Said::Half("tse", list),
            _ => Said::Response("tse", list),
        }
    }

    fn segments(&mut self, body: &str) -> Said {
        let from = within(body, "From").unwrap_or_default();
        let goes_on = |search: &&mut Search| search.next.as_deref() == Some(bare(from));
        let goes_on = self.searches.last_mut().filter(goes_on);
        let first = goes_on.is_none();
        if let Some(search) = goes_on {
            search.last = monotonic();
        } else {
            self.searches.push(Search::begin());
        }
        let all = self.periods.iter().copied();
        let behind = |(_, to): &(i64, i64)| iso(*to).as_str() > from;
        let (listed, more): (Vec<(i64, i64)>, bool) = match self.lie {
            Lie::Repeats => (all.take(PAGE).collect(), true),
            Lie::Pages => {
                let search = self.searches.last_mut().expect("one was begun above");
                let made = search.told..search.told + PAGE;
                search.told = made.end;
                let at = |nth: usize| captured(0) + nth as i64 * PICTURE_MS;
                (made.map(|nth| (at(nth), at(nth) + 20)).collect(), true)
            }
            Lie::NeverDone if !first => (Vec::new(), true),
            Lie::NeverDone => (all.collect(), true),
            Lie::FaultMid if !first => return Said::Fault("ter:Action"),
            Lie::FaultMid => (all.take(self.periods.len() * 2 / 3).collect(), true),
            // One of them, to be told so often that nobody reads it all.
            Lie::Million => (all.take(1).collect(), false),
            Lie::Hangs => return Said::Silence,
            Lie::Endless => return Said::Endless,
            Lie::Nonsense => return Said::Nonsense,
            _ => {
                let mut left = all.filter(behind);
                (left.by_ref().take(PAGE).collect(), left.next().is_some())
            }
        };
        if let Some(search) = self.searches.last_mut() {
            let last = listed.last().map(|(_, to)| bare(&iso(*to)).to_owned());
            search.next = last.filter(|_| more);
        }
        let segment = |(from, to)| {
            let (from, to) = (
                text("trc:StartTime", &iso(from)),
                text("trc:EndTime", &iso(to)),
            );
            format!("<trc:Segment>{from}{to}<trc:MediaType>video/mp4</trc:MediaType></trc:Segment>")
        };
        let mut listed: String = listed.into_iter().map(segment).collect();
        if self.lie == Lie::Million {
            listed = listed.repeat(SEGMENTS_IN_ONE);
        }
        let more = text("trc:HasMoreResults", &more.to_string());
        let results = format!("<trc:Results>{listed}{more}</trc:Results>");
        match self.lie {
            Lie::Half => Said::Half("trc", results),
            _ => Said::Response("trc", results),
        }
    }
}

/// A time without what may be left out of it.
fn bare(time: &str) -> &str {
    let time = time.trim_end_matches('Z');
    if time.contains('.') {
        time.trim_end_matches('0').trim_end_matches('.')
    } else {
        time
    }
}

fn text(name: &str, value: &str) -> String {
    format!("<{name}>{value}</{name}>")
}

/// The text of the first element of this name, whatever its prefix.
fn within<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!(":{name}>"))?;
    rest.split('<').next()
}

fn services(base: &str) -> String {
    let service = |name: &str| {
        let namespace = format!("http://www.onvif.org/ver10/{name}/wsdl");
        let (namespace, address) = (
            text("tds:Namespace", &namespace),
            text("tds:XAddr", &format!("{base}/{name}")),
        );
        format!("<tds:Service>{namespace}{address}</tds:Service>")
    };
    ["device", "recording", "search", "replay"]
        .map(service)
        .concat()
}

fn event(name: &str, at: i64, present: bool) -> String {
    let at = iso(at);
    format!(
        "<tt:Result><tt:RecordingToken>{name}</tt:RecordingToken><tt:TrackToken>V</tt:TrackToken><tt:Time>{at}</tt:Time><tt:Event>\
         <wsnt:Topic>{TOPIC}</wsnt:Topic><wsnt:Message><tt:Message UtcTime=\"{at}\" PropertyOperation=\"Changed\"><tt:Data>\
         <tt:SimpleItem Name=\"IsDataPresent\" Value=\"{present}\"/></tt:Data></tt:Message></wsnt:Message></tt:Event>\
         <tt:StartStateEvent>false</tt:StartStateEvent></tt:Result>"
    )
}

fn envelope(body: &str) -> String {
    let spaces = ["tds", "trc", "tse", "trp", "tt", "wsnt", "ter", "tns1"];
    let spaces = spaces.map(|prefix| format!(" xmlns:{prefix}=\"urn:{prefix}\""));
    let spaces = spaces.concat();
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"{spaces}><s:Body>{body}</s:Body></s:Envelope>"
    )
}

struct Connection {
    stream: TcpStream,
    port: u16,
    all: Arc<Mutex<HashMap<String, Device>>>,
}

impl Connection {
    fn serve(mut self) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(SILENCE))?;
        self.stream.set_read_timeout(Some(SILENCE))?;
        let mut buffer = Vec::new();
        while let Some((path, body)) = self.request(&mut buffer)? {
            let name = path.split('/').nth(1).unwrap_or_default();
            let operation = body
                .split_once("Body><")
                .map(|(_, rest)| rest.split(['>', '/', ' ']).next().unwrap_or_default());
            let operation = operation.and_then(|name| name.split(':').nth(1));
            let operation = operation.unwrap_or_default();
            let base = format!("http://127.0.0.1:{}", self.port);
            let said = {
                let mut all = self.all.lock().expect("no thread panics while it looks");
                let device = all.get_mut(name);
                device.map(|device| device.answer(name, operation, &body, &base))
            };
            let response = |prefix: &str, inner: &str| {
                envelope(&text(&format!("{prefix}:{operation}Response"), inner))
            };
            match said {
                Some(Said::Response(prefix, inner)) => self.say(200, &response(prefix, &inner))?,
                Some(Said::Fault(code)) => self.say(400, &fault(code))?,
                Some(Said::Half(prefix, inner)) => {
                    let body = response(prefix, &inner);
                    let length = body.len();
                    write!(
                        self.stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
                    )?;
                    self.stream.write_all(&body.as_bytes()[..length / 2])?;
                    hang(&mut self.stream)?;
                }
                Some(Said::Endless) => {
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    self.stream.write_all(head.as_bytes())?;
                    let more = event(name, captured(0), true).repeat(100);
                    loop {
                        write!(self.stream, "{:x}\r\n{more}\r\n", more.len())?;
                    }
                }
                Some(Said::Silence) => hang(&mut self.stream)?,
                Some(Said::Nonsense) | None => self.say(200, "<html>It works!</html>")?,
            }
        }
        Ok(())
    }

    fn say(&mut self, status: u16, body: &str) -> std::io::Result<()> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} So\r\nContent-Type: application/soap+xml\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.write_all((head + body).as_bytes())
    }

    /// The path of the next request, and its body.
    fn request(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<Option<(String, String)>> {
        loop {
            let head_end = buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(head_end) = head_end {
                let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    let is = name.eq_ignore_ascii_case("Content-Length");
                    is.then(|| value.trim().parse().ok())?
                });
                let end = head_end + 4 + length.unwrap_or(0);
                if buffer.len() >= end {
                    let body = String::from_utf8_lossy(&buffer[head_end + 4..end]).into_owned();
                    buffer.drain(..end);
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    return Ok(Some((path.to_owned(), body)));
                }
            }
            let mut block = [0; 4096];
            let read = self.stream.read(&mut block)?;
            if read == 0 {
                return Ok(None);
            }
            buffer.extend_from_slice(&block[..read]);
        }
    }
}

fn fault(code: &str) -> String {
    envelope(&format!(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code></s:Fault>"
    ))
}
