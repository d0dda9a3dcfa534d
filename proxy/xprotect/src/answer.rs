//! What recorders answer in XML: `methodresponse` and `livepackage`.

use seamline_xml::{Element, Markup};

use crate::{
    Capabilities, TERMINATOR, WireError,
    call::{is_yes, number, word},
};

/// A document of a recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To `connect` and `connectupdate`.
    Connected(Connected),
    /// To `alarms`: stretches of recording.
    Alarms {
        /// Of the request.
        request_id: i64,
        /// As they came.
        spans: Vec<Span>,
    },
    /// To anything else: mostly why there is no picture.
    Other {
        /// Of the request.
        request_id: i64,
        /// Of the request.
        method: String,
        /// What went wrong.
        reason: Option<String>,
    },
    /// In `live`: what has changed, as pairs of number and value.
    Status {
        /// Milliseconds since 1970 on the recorder's clock.
        time_ms: Option<i64>,
        /// See the constants of this type.
        items: Vec<(u32, i64)>,
    },
}

/// Whether a device may be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connected {
    /// Of the request.
    pub request_id: i64,
    /// `connect` or `connectupdate`.
    pub method: String,
    /// Whether it may.
    pub accepted: bool,
    /// `Success`, or why not.
    pub reason: Option<String>,
    /// What the recorder will honour; `None` where it does not say.
    pub capabilities: Option<Capabilities>,
    /// Whether it takes `connectupdate`; `None` where it does not say.
    pub takes_updates: Option<bool>,
}

/// A stretch of recording, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first picture.
    pub start_ms: i64,
    /// What set it off.
    pub alarm_ms: i64,
    /// Its last picture.
    pub end_ms: i64,
}

impl Answer {
    /// The number of a status item: 1 says that the recorder has lost the camera.
    pub const STATUS_CAMERA_LOST: u32 = 5;

    /// Reads a document without its terminator.
    pub fn parse(document: &[u8]) -> Result<Self, WireError> {
        let root = Element::parse(document)?;
        match root.name().to_ascii_lowercase().as_str() {
            "methodresponse" => Ok(Self::response(&root)),
            "livepackage" => Ok(Self::status(&root)),
            _ => Err(WireError::Document("methodresponse or livepackage")),
        }
    }

    /// The number of the request that it answers; `None` of what nobody asked for.
    pub const fn request_id(&self) -> Option<i64> {
        match self {
            Self::Connected(Connected { request_id, .. })
            | Self::Alarms { request_id, .. }
            | Self::Other { request_id, .. } => Some(*request_id),
            Self::Status { .. } => None,
        }
    }

    fn response(root: &Element) -> Self {
        let request_id = number(root, "requestid").unwrap_or(0);
        let method = root.text("methodname").unwrap_or_default().to_owned();
        let reason = root.text("errorreason").map(str::to_owned);
        if let Some(connected) = root.text("connected") {
            return Self::Connected(Connected {
                request_id,
                method,
                accepted: is_yes(connected),
                reason,
                capabilities: root
                    .child("clientcapabilities")
                    .map(|_| Capabilities::read(root)),
                takes_updates: root
                    .at(&["servercapabilities", "connectupdate"])
                    .and_then(Element::value)
                    .map(is_yes),
            });
        }
        if method.eq_ignore_ascii_case("alarms") && reason.is_none() {
            let mut spans = Vec::new();
            collect(root, &mut spans);
            return Self::Alarms { request_id, spans };
        }
        Self::Other {
            request_id,
            method,
            reason,
        }
    }

    fn status(root: &Element) -> Self {
        let Some(status) = root.child("status") else {
            return Self::Status {
                time_ms: None,
                items: Vec::new(),
            };
        };
        let item = |item: &Element| {
            let id = item.attribute("id")?.parse().ok()?;
            Some((id, item.attribute("value")?.parse().ok()?))
        };
        Self::Status {
            time_ms: number(status, "statustime"),
            items: status.all("statusitem").filter_map(item).collect(),
        }
    }

    /// As it is sent, with its terminator.
    pub fn write(&self) -> Vec<u8> {
        let markup = match self {
            Self::Connected(connected) => connected.markup(),
            Self::Alarms { request_id, spans } => {
                let alarm = |span: &Span| {
                    let [start, alarm, end] =
                        [span.start_ms, span.alarm_ms, span.end_ms].map(|ms| ms.to_string());
                    let attributes = [
                        ("starttime", start.as_str()),
                        ("alarmtime", &alarm),
                        ("endtime", &end),
                    ];
                    Markup::node_with("alarm", &attributes, [])
                };
                let alarms = Markup::node("alarms", spans.iter().map(alarm));
                let head = head(*request_id, "alarms");
                Markup::node("methodresponse", head.into_iter().chain([alarms]))
            }
            Self::Other {
                request_id,
                method,
                reason,
            } => {
                let reason = reason
                    .as_ref()
                    .map(|reason| Markup::text("errorreason", reason));
                let head = head(*request_id, method);
                Markup::node("methodresponse", head.into_iter().chain(reason))
            }
            Self::Status { time_ms, items } => {
                let time = time_ms.map(|ms| Markup::text("statustime", &ms.to_string()));
                let item = |(id, value): &(u32, i64)| {
                    let (id, value) = (id.to_string(), value.to_string());
                    let attributes = [("id", id.as_str()), ("value", &value)];
                    Markup::node_with("statusitem", &attributes, [])
                };
                let children = time.into_iter().chain(items.iter().map(item));
                Markup::node("livepackage", [Markup::node("status", children)])
            }
        };
        let mut bytes = markup.document();
        bytes.extend_from_slice(TERMINATOR);
        bytes
    }
}

impl Connected {
    fn markup(&self) -> Markup {
        let mut children = Vec::from(head(self.request_id, &self.method));
        children.push(Markup::text("connected", word(self.accepted)));
        if let Some(reason) = &self.reason {
            children.push(Markup::text("errorreason", reason));
        }
        children.extend(self.capabilities.map(Capabilities::markup));
        if let Some(takes) = self.takes_updates {
            let update = Markup::text("connectupdate", word(takes));
            children.push(Markup::node("servercapabilities", [update]));
        }
        Markup::node("methodresponse", children)
    }
}

fn head(request_id: i64, method: &str) -> [Markup; 2] {
    [
        Markup::text("requestid", &request_id.to_string()),
        Markup::text("methodname", method),
    ]
}

/// `alarm` elements at any depth: what they stand in is not known of every recorder.
fn collect(element: &Element, spans: &mut Vec<Span>) {
    for child in element.children() {
        if child.name().eq_ignore_ascii_case("alarm") {
            let time = |name: &str| child.attribute_in_any_case(name)?.parse().ok();
            let span = time("starttime").zip(time("endtime"));
            spans.extend(span.map(|(start_ms, end_ms)| Span {
                start_ms,
                alarm_ms: time("alarmtime").unwrap_or(start_ms),
                end_ms,
            }));
        }
        collect(child, spans);
    }
}
