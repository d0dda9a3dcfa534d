//! The far end of XProtect: a management server and a recorder on one port, which cost little themselves. It speaks just enough of
//! both, and its groups of pictures are made in memory; whoever shows any token is let in.

use std::{
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    footage::{GROUP_US, PICTURE_US},
    message::to_iso,
    net,
    scenario::START_US,
};

/// The camera's GUID.
pub(crate) const CAMERA: &str = "11111111-2222-3333-4444-555555555555";
/// A token that it accepts.
pub(crate) const TOKEN: &str = "TOKEN#00000001-0000-4000-8000-0000000000aa#bench//ServerConnector#";
/// Pictures of a group, and how long it lasts.
pub(crate) const PICTURES: usize = (GROUP_US / PICTURE_US) as usize;
pub(crate) const GROUP_MS: i64 = GROUP_US / 1_000;
const PICTURE_MS: i64 = PICTURE_US / 1_000;
/// What it holds, as milliseconds since 1970.
pub(crate) const FIRST_MS: i64 = START_US / 1_000;
pub(crate) const LAST_MS: i64 = FIRST_MS + 3_600_000 - GROUP_MS;
/// Bytes before a picture: a header of GenericByteData.
pub(crate) const HEADER_BYTES: usize = 32;
/// A picture where decoding can start is this much larger than the others.
const KEY_FACTOR: usize = 4;
const REQUEST_BYTES_MAX: usize = 64 * 1024;
const TERMINATOR: &[u8] = b"\r\n\r\n";
const PARAMETER_SETS: &[u8] = &[
    0, 0, 0, 1, 0x67, 0x42, 0x00, 0x0a, 0x96, 0x53, 0x05, 0x89, 0x88, 0, 0, 0, 1, 0x68, 0xc9, 0x63,
    0x88,
];

/// What was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    connections: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
    pictures: AtomicUsize,
    listings: AtomicUsize,
}

impl Asked {
    /// Connections of ImageServer so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Most of them at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// How often a group of pictures was asked for.
    pub(crate) fn pictures(&self) -> usize {
        self.pictures.load(Ordering::Relaxed)
    }

    /// How often it was asked what it holds.
    pub(crate) fn listings(&self) -> usize {
        self.listings.load(Ordering::Relaxed)
    }
}

/// One camera's recording: every group has the same pictures, at its own times.
#[derive(Debug)]
pub(crate) struct Groups {
    pictures: Vec<Vec<u8>>,
}

impl Groups {
    /// Of a stream of `kbit_s`.
    pub(crate) fn new(kbit_s: u32) -> Self {
        let group_bytes = kbit_s as usize * 125 * usize::try_from(GROUP_MS).unwrap_or(0) / 1_000;
        let unit = group_bytes / (PICTURES - 1 + KEY_FACTOR);
        let picture = |index: usize| {
            let (sets, nal, bytes) = match index {
                0 => (PARAMETER_SETS, 0x65, unit * KEY_FACTOR),
                _ => (&[][..], 0x41, unit),
            };
            let mut payload = sets.to_vec();
            payload.extend_from_slice(&[0, 0, 0, 1, nal, 0x88]);
            payload.resize(bytes.max(payload.len()), (index % 250 + 1) as u8);
            payload
        };
        Self {
            pictures: (0..PICTURES).map(picture).collect(),
        }
    }

    /// Bytes of each picture, headers apart.
    pub(crate) fn picture_bytes(&self, index: usize) -> Option<usize> {
        self.pictures.get(index).map(Vec::len)
    }

    /// Appends the group that begins at `key_ms`, in several parts.
    fn append(&self, key_ms: i64, out: &mut Vec<u8>) {
        for (index, picture) in self.pictures.iter().enumerate() {
            let length = HEADER_BYTES + picture.len();
            let at_ms = key_ms + index as i64 * PICTURE_MS;
            out.extend_from_slice(b"--gop\r\nContent-length: ");
            out.extend_from_slice(length.to_string().as_bytes());
            out.extend_from_slice(
                b"\r\nContent-type: application/x-genericbytedata-octet-stream\r\n\r\n",
            );
            out.extend_from_slice(&0x10_u16.to_be_bytes());
            out.extend_from_slice(&(length as u32).to_be_bytes());
            out.extend_from_slice(&0x0a_u16.to_be_bytes());
            out.extend_from_slice(&(index as u16).to_be_bytes());
            out.extend_from_slice(&u16::from(index == 0).to_be_bytes());
            out.extend_from_slice(&key_ms.to_be_bytes());
            out.extend_from_slice(&at_ms.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(picture);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"--gop--\r\n\r\n");
    }
}

/// The key time of the group at or before an instant.
pub(crate) fn key_before(ms: i64) -> i64 {
    let ms = ms.clamp(FIRST_MS, LAST_MS);
    FIRST_MS + (ms - FIRST_MS).div_euclid(GROUP_MS) * GROUP_MS
}

/// Serves any number of clients; gives back its address.
pub(crate) fn serve(groups: Arc<Groups>, asked: Arc<Asked>) -> io::Result<SocketAddr> {
    let listener = net::listen(None)?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let client = Client {
                stream,
                address,
                groups: Arc::clone(&groups),
                asked: Arc::clone(&asked),
                read: Vec::new(),
                current_ms: FIRST_MS,
            };
            // A client that goes away is how each of them ends.
            tokio::spawn(async move { drop(client.serve().await) });
        }
    });
    Ok(address)
}

struct Client {
    stream: TcpStream,
    address: SocketAddr,
    groups: Arc<Groups>,
    asked: Arc<Asked>,
    read: Vec<u8>,
    current_ms: i64,
}

impl Client {
    async fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        while self.read.is_empty() {
            self.more().await?;
        }
        if self.read.first() != Some(&b'<') {
            return self.http().await;
        }
        self.asked.connections.fetch_add(1, Ordering::Relaxed);
        let open = self.asked.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.asked.peak.fetch_max(open, Ordering::Relaxed);
        let ended = self.image_server().await;
        self.asked.open.fetch_sub(1, Ordering::Relaxed);
        ended
    }

    async fn more(&mut self) -> io::Result<()> {
        let read = self.stream.read_buf(&mut self.read).await?;
        if read == 0 || self.read.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// What stands before the next empty line.
    async fn head(&mut self) -> io::Result<String> {
        loop {
            let end = self
                .read
                .windows(TERMINATOR.len())
                .position(|four| four == TERMINATOR);
            if let Some(end) = end {
                let rest = self.read.split_off(end + TERMINATOR.len());
                let head = std::mem::replace(&mut self.read, rest);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            self.more().await?;
        }
    }

    async fn image_server(&mut self) -> io::Result<()> {
        loop {
            let call = self.head().await?;
            let number = text(&call, "requestid").unwrap_or("0");
            let out = match text(&call, "methodname").unwrap_or_default() {
                name @ ("connect" | "connectupdate") => format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodresponse><requestid>{number}</requestid><methodname>{name}</methodname>\
                     <connected>yes</connected><errorreason>Success</errorreason></methodresponse>\r\n\r\n"
                )
                .into_bytes(),
                name => {
                    self.current_ms = match name {
                        "goto" => text(&call, "time").and_then(|ms| ms.parse().ok()).map_or(FIRST_MS, key_before),
                        "next" => (self.current_ms + GROUP_MS).min(LAST_MS),
                        "previous" => (self.current_ms - GROUP_MS).max(FIRST_MS),
                        "end" => LAST_MS,
                        _ => FIRST_MS,
                    };
                    self.group(number)
                }
            };
            self.stream.write_all(&out).await?;
        }
    }

    fn group(&self, number: &str) -> Vec<u8> {
        self.asked.pictures.fetch_add(1, Ordering::Relaxed);
        let current = self.current_ms;
        let (before, next) = (
            (current - GROUP_MS).max(FIRST_MS),
            (current + GROUP_MS).min(LAST_MS),
        );
        let mut out = format!(
            "ImageResponse\r\nRequestId: {number}\r\nPrev: {before}\r\nCurrent: {current}\r\nNext: {next}\r\n\
             Content-type: multipart/related; boundary=gop; type=\"application/x-genericbytedata-octet-stream\"\r\n\r\n"
        )
        .into_bytes();
        self.groups.append(current, &mut out);
        out
    }

    async fn http(&mut self) -> io::Result<()> {
        loop {
            let head = self.head().await?;
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse::<usize>().ok())?
            });
            let length = length.unwrap_or(0);
            while self.read.len() < length {
                self.more().await?;
            }
            let rest = self.read.split_off(length);
            let body = std::mem::replace(&mut self.read, rest);
            let body = String::from_utf8_lossy(&body).into_owned();
            let (kind, answer) = self.answer(head.lines().next().unwrap_or_default(), &body);
            let mut out = String::new();
            let _ = write!(
                out,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
            self.stream.write_all(out.as_bytes()).await?;
        }
    }

    fn answer(&self, first: &str, body: &str) -> (&'static str, String) {
        let own = format!("http://{}", self.address);
        let json = "application/json";
        let target = first.to_ascii_lowercase();
        if target.contains("openid-configuration") {
            let told = format!(
                r#"{{"server_version":"25.2.1.1","token_endpoint":"{own}/IDP/connect/token"}}"#
            );
            return (json, told);
        }
        if target.contains("/connect/token") {
            let told = r#"{"access_token":"bench","expires_in":3600,"token_type":"Bearer"}"#;
            return (json, told.to_owned());
        }
        let (operation, namespace, result) = if body.contains("<Login") {
            let lives = "<TimeToLive><MicroSeconds>14400000000</MicroSeconds></TimeToLive>";
            ("Login", SERVER, format!("{lives}<Token>{TOKEN}</Token>"))
        } else if body.contains("<GetConfiguration") {
            let camera = format!(
                "<CameraInfo><DeviceId>{CAMERA}</DeviceId><Name>Gate</Name><RecorderId>{RECORDER_ID}</RecorderId></CameraInfo>"
            );
            let recorder = format!(
                "<RecorderInfo><Cameras>{camera}</Cameras><HostName>bench</HostName><Name>Recorder</Name>\
                 <RecorderId>{RECORDER_ID}</RecorderId><WebServerUri>{own}/</WebServerUri></RecorderInfo>"
            );
            (
                "GetConfiguration",
                SERVER,
                format!("<Recorders>{recorder}</Recorders>"),
            )
        } else if body.contains("<SequencesGet") {
            self.asked.listings.fetch_add(1, Ordering::Relaxed);
            let [begin, end] = [FIRST_MS, LAST_MS + GROUP_MS].map(|ms| to_iso(ms * 1_000));
            let entry = format!(
                "<SequenceEntry><TimeBegin>{begin}</TimeBegin><TimeTrigged>{begin}</TimeTrigged><TimeEnd>{end}</TimeEnd></SequenceEntry>"
            );
            ("SequencesGet", RECORDER, entry)
        } else {
            ("GetVersion", RECORDER, "25".to_owned())
        };
        let told = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>\
             <{operation}Response xmlns=\"{namespace}\"><{operation}Result>{result}</{operation}Result></{operation}Response>\
             </soap:Body></soap:Envelope>"
        );
        ("text/xml; charset=utf-8", told)
    }
}

/// The text of an element without others in it.
fn text<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text)
}

const SERVER: &str = "http://videoos.net/2/XProtectCSServerCommand";
const RECORDER: &str = "http://videoos.net/2/XProtectCSRecorderCommand";
const RECORDER_ID: &str = "bbbbbbbb-2222-3333-4444-555555555555";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_as_asked() {
        for kbit_s in [500, 1_500, 4_000] {
            let groups = Groups::new(kbit_s);
            let bytes: usize = (0..PICTURES)
                .filter_map(|index| groups.picture_bytes(index))
                .sum();
            let rate = bytes * 8 / usize::try_from(GROUP_MS).unwrap();
            assert!(
                rate.abs_diff(kbit_s as usize) * 50 < kbit_s as usize,
                "{rate} for {kbit_s}"
            );
        }
    }

    #[test]
    fn groups_are_found_by_any_instant_of_theirs() {
        assert_eq!(key_before(FIRST_MS - 1), FIRST_MS);
        assert_eq!(key_before(FIRST_MS + GROUP_MS - 1), FIRST_MS);
        assert_eq!(key_before(FIRST_MS + GROUP_MS), FIRST_MS + GROUP_MS);
        assert_eq!(key_before(i64::MAX), LAST_MS);
    }
}
