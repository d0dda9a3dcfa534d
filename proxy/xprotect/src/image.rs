//! The head of a picture, or of a group of them, as recorders send it.

use std::fmt::Write;

use crate::WireError;

/// The head of an answer with pictures. Times are milliseconds since 1970 on the recorder's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHead {
    /// Of the request.
    pub request_id: Option<i64>,
    /// The unit before this one; live pictures have none.
    pub prev_ms: Option<i64>,
    /// This unit: its key picture.
    pub current_ms: Option<i64>,
    /// The unit that `next` would give: this one where it is the newest.
    pub next_ms: Option<i64>,
    /// What follows the head.
    pub content: Content,
    /// What the client is to hide, as the recorder says it; `None` where it says nothing.
    pub privacy_mask: Option<String>,
    /// Lines that nobody here knows, in their order, to be passed on.
    pub more: Vec<(String, String)>,
}

/// What follows a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// So many bytes and the terminator.
    Body {
        /// Without the terminator.
        bytes: usize,
        /// `image/jpeg` or [`ImageHead::GENERIC`].
        kind: String,
    },
    /// Parts with this between them.
    Parts {
        /// Without the dashes.
        boundary: String,
        /// The type as the recorder wrote it, where that is not as it is written here.
        kind: Option<String>,
    },
}

impl Content {
    /// Parts of GenericByteData.
    pub fn parts(boundary: &str) -> Self {
        Self::Parts {
            boundary: boundary.to_owned(),
            kind: None,
        }
    }
}

fn multipart(boundary: &str) -> String {
    let kind = ImageHead::GENERIC;
    format!("multipart/related; boundary={boundary}; type=\"{kind}\"")
}

impl ImageHead {
    /// The content type of GenericByteData.
    pub const GENERIC: &str = "application/x-genericbytedata-octet-stream";

    /// Reads the lines before the empty one.
    pub(crate) fn parse(head: &str) -> Result<Self, WireError> {
        let mut lines = head.split("\r\n");
        let first = lines.next().map(str::trim_end);
        if !first.is_some_and(|line| line.eq_ignore_ascii_case(FIRST)) {
            return Err(WireError::Start);
        }
        let fields = fields(lines)?;
        let time = |name: &str| -> Result<Option<i64>, WireError> {
            let Some(text) = field(&fields, name) else {
                return Ok(None);
            };
            let read = text.parse().ok().filter(|ms| TIMES_MS.contains(ms));
            read.map(Some)
                .ok_or_else(|| WireError::Head(format!("{name}: {text}")))
        };
        let kind = field(&fields, "content-type").unwrap_or_default();
        let content = match boundary(kind) {
            Some(boundary) => Content::Parts {
                boundary: boundary.to_owned(),
                kind: (kind != multipart(boundary) && !kind.contains(": "))
                    .then(|| kind.to_owned()),
            },
            None => Content::Body {
                bytes: length(&fields)?,
                kind: kind.to_owned(),
            },
        };
        Ok(Self {
            request_id: field(&fields, "requestid").and_then(|text| text.parse().ok()),
            prev_ms: time("prev")?,
            current_ms: time("current")?,
            next_ms: time("next")?,
            content,
            privacy_mask: field(&fields, "privacymask").map(str::to_owned),
            more: fields.iter().filter_map(unknown).collect(),
        })
    }

    /// As it is sent, with the empty line behind it. Names are spelt as recorders spell them: some clients look for
    /// exactly that, and split lines at `": "`.
    pub fn write(&self) -> Vec<u8> {
        let mut head = format!("{FIRST}\r\n");
        let times = [
            ("RequestId", self.request_id),
            ("Prev", self.prev_ms),
            ("Current", self.current_ms),
            ("Next", self.next_ms),
        ];
        for (name, value) in times {
            if let Some(value) = value {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        let _ = match &self.content {
            // Some clients cannot split a line that says nothing.
            Content::Body { bytes, kind } if kind.is_empty() => {
                write!(head, "Content-length: {bytes}\r\n")
            }
            Content::Body { bytes, kind } => {
                write!(head, "Content-length: {bytes}\r\nContent-type: {kind}\r\n")
            }
            Content::Parts { boundary, kind } => {
                let usual = multipart(boundary);
                let kind = kind.as_ref().unwrap_or(&usual);
                write!(head, "Content-type: {kind}\r\n")
            }
        };
        if let Some(mask) = &self.privacy_mask {
            let _ = write!(head, "PrivacyMask: {mask}\r\n");
        }
        for (name, value) in &self.more {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// What stands before the bytes of a part.
pub fn part_head(boundary: &str, bytes: usize) -> Vec<u8> {
    let kind = ImageHead::GENERIC;
    format!("--{boundary}\r\nContent-length: {bytes}\r\nContent-type: {kind}\r\n\r\n").into_bytes()
}

/// What stands behind the last part; its bytes have their line end already.
pub fn multipart_end(boundary: &str) -> Vec<u8> {
    format!("--{boundary}--\r\n\r\n").into_bytes()
}

/// A line that is passed on as it came. What some clients could not split is not.
fn unknown((name, value): &(&str, &str)) -> Option<(String, String)> {
    let known = KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known));
    let plain = !name.is_empty()
        && !value.is_empty()
        && !value.contains(": ")
        && !name.contains(char::is_control)
        && !value.contains(char::is_control);
    (plain && !known).then(|| ((*name).to_owned(), (*value).to_owned()))
}

/// The length that the head of a part states.
pub(crate) fn part_length(head: &str) -> Result<usize, WireError> {
    length(&fields(head.split("\r\n"))?)
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Fields<'a>, WireError> {
    let mut fields = Fields::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if fields.len() >= LINES_MAX {
            return Err(WireError::TooLong("head"));
        }
        // Lines that nobody knows are tolerated, whatever they look like.
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        fields.push((name.trim(), value.trim()));
    }
    Ok(fields)
}

fn field<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    let found = fields
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| *value)
}

fn length(fields: &Fields<'_>) -> Result<usize, WireError> {
    let length = field(fields, "content-length").and_then(|text| text.parse::<u64>().ok());
    let length = length.ok_or(WireError::Length(0))?;
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= BODY_BYTES_MAX)
        .ok_or(WireError::Length(length))
}

/// The boundary of a multipart type, quoted or not.
fn boundary(kind: &str) -> Option<&str> {
    let mut parameters = kind.split(';').map(str::trim);
    let multipart = parameters.next()?.to_ascii_lowercase();
    if !multipart.starts_with("multipart/") {
        return None;
    }
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value)
    })?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty() && value.len() <= BOUNDARY_BYTES_MAX).then_some(value)
}

/// The first line.
pub(crate) const FIRST: &str = "ImageResponse";
/// One coded picture, as other clients bound it.
const BODY_BYTES_MAX: usize = 16 << 20;
const LINES_MAX: usize = 64;
const KNOWN: [&str; 7] = [
    "requestid",
    "prev",
    "current",
    "next",
    "content-length",
    "content-type",
    "privacymask",
];
const BOUNDARY_BYTES_MAX: usize = 200;
/// From 1970 to the year 9999.
pub(crate) const TIMES_MS: std::ops::Range<i64> = 0..253_402_300_800_000;
