//! What clients ask of a recorder: ImageServer `methodcall` documents.

use std::fmt;

use seamline_xml::{Element, Markup};

use crate::{TERMINATOR, WireError};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Chosen by the client, echoed in the answer; need not be unique.
    pub request_id: i64,
    /// What is asked.
    pub method: Method,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// The first on a connection: which device, and how it is to be sent.
    Connect(Box<Connect>),
    /// The same device with another token.
    ConnectUpdate(Pass),
    /// The unit at or before an instant.
    Goto {
        /// Milliseconds since 1970 on the recorder's clock.
        time_ms: i64,
        /// What else is said.
        extras: Extras,
    },
    /// The unit behind the one that was sent last.
    Next(Extras),
    /// The unit before it.
    Previous(Extras),
    /// The first unit there is.
    Begin,
    /// The last one.
    End,
    /// The first unit of the next stretch of recording.
    NextSequence,
    /// That of the one before.
    PreviousSequence,
    /// What the camera sees, until [`Method::Stop`].
    Live {
        /// Whether a still comes first.
        initial_image: bool,
        /// 1 to 104; counts where pictures are transcoded.
        compression: u8,
    },
    /// Ends what `live` began.
    Stop,
    /// Another one, by its name.
    Other(String),
}

/// What may be said with a request for pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// 1 to 104; counts where pictures are transcoded.
    pub compression: Option<u8>,
    /// Only pictures that refer to no other.
    pub key_frames_only: bool,
}

/// A device and the right to see it: `id={guid}&connectiontoken={token}`, not URL-encoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// The device's GUID, in either case.
    pub device: String,
    /// One of its streams, by GUID.
    pub stream: Option<String>,
    /// The token of a login at its management server.
    pub token: String,
}

/// Without the token.
impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("device", &self.device)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// How a device is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// Device and token.
    pub pass: Pass,
    /// Everything as JPEG pictures, transcoded where need be.
    pub always_jpeg: bool,
    /// With `always_jpeg`: every picture, and not those alone that refer to no other.
    pub all_frames: bool,
    /// What the client can do.
    pub capabilities: Capabilities,
}

/// What one side can do, or the other will honour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It masks what is not to be seen by itself.
    pub privacy_mask: bool,
    /// A whole group of pictures in one answer of several parts.
    pub multipart: bool,
    /// It knows restricted media.
    pub data_restriction: bool,
}

impl Call {
    /// As it is sent, with its terminator.
    pub fn write(&self) -> Vec<u8> {
        let mut children = vec![
            Markup::text("requestid", &self.request_id.to_string()),
            Markup::text("methodname", self.method.name()),
        ];
        match &self.method {
            Method::Connect(connect) => children.extend(connect.markup()),
            Method::ConnectUpdate(pass) => {
                children.push(Markup::text("connectparam", &pass.text()));
            }
            Method::Goto { time_ms, extras } => {
                children.push(Markup::text("time", &time_ms.to_string()));
                children.extend(extras.markup());
            }
            Method::Next(extras) | Method::Previous(extras) => children.extend(extras.markup()),
            Method::Live {
                initial_image,
                compression,
            } => children.extend([
                Markup::text("compressionrate", &compression.to_string()),
                Markup::text("sendinitialimage", word(*initial_image)),
            ]),
            Method::Begin
            | Method::End
            | Method::NextSequence
            | Method::PreviousSequence
            | Method::Stop
            | Method::Other(_) => {}
        }
        let mut bytes = Markup::node("methodcall", children).document();
        bytes.extend_from_slice(TERMINATOR);
        bytes
    }

    /// Reads a document; names are looked for in any order.
    pub fn parse(document: &[u8]) -> Result<Self, WireError> {
        let root = Element::parse(document)?;
        if root.name() != "methodcall" {
            return Err(WireError::Document("methodcall"));
        }
        let name = root.text("methodname").unwrap_or_default();
        // They cannot be written, and what is left without them may be the name of another method.
        if name.contains(char::is_control) {
            return Err(WireError::Document("methodname"));
        }
        let method = match name.to_ascii_lowercase().as_str() {
            "connect" => Method::Connect(Box::new(Connect::read(&root))),
            "connectupdate" => Method::ConnectUpdate(Pass::read(&root)),
            "goto" => Method::Goto {
                time_ms: number(&root, "time").ok_or(WireError::Document("goto with a time"))?,
                extras: Extras::read(&root),
            },
            "next" => Method::Next(Extras::read(&root)),
            "previous" => Method::Previous(Extras::read(&root)),
            "begin" => Method::Begin,
            "end" => Method::End,
            "nextsequence" => Method::NextSequence,
            "previoussequence" => Method::PreviousSequence,
            "live" => Method::Live {
                initial_image: root.text("sendinitialimage").is_none_or(is_yes),
                compression: compression(&root).unwrap_or(COMPRESSION_USUAL),
            },
            "stop" => Method::Stop,
            _ => Method::Other(name.to_owned()),
        };
        Ok(Self {
            request_id: number(&root, "requestid").unwrap_or(0),
            method,
        })
    }
}

impl Method {
    /// Its name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Connect(_) => "connect",
            Self::ConnectUpdate(_) => "connectupdate",
            Self::Goto { .. } => "goto",
            Self::Next(_) => "next",
            Self::Previous(_) => "previous",
            Self::Begin => "begin",
            Self::End => "end",
            Self::NextSequence => "nextsequence",
            Self::PreviousSequence => "previoussequence",
            Self::Live { .. } => "live",
            Self::Stop => "stop",
            Self::Other(name) => name,
        }
    }
}

impl Pass {
    /// As it stands in `connectparam`.
    pub fn text(&self) -> String {
        let stream = match &self.stream {
            Some(stream) => format!("&streamid={stream}"),
            None => String::new(),
        };
        format!("id={}{stream}&connectiontoken={}", self.device, self.token)
    }

    /// `connectparam` says which device; `cameraid` only where it does not.
    fn read(call: &Element) -> Self {
        let mut pass = Self::default();
        let mut rest = call.text("connectparam").unwrap_or_default();
        while !rest.is_empty() {
            // The token is opaque, and last wherever it was seen: whatever follows belongs to it.
            if let Some(token) = rest.strip_prefix("connectiontoken=") {
                token.clone_into(&mut pass.token);
                break;
            }
            let (pair, behind) = rest.split_once('&').unwrap_or((rest, ""));
            match pair.split_once('=') {
                Some(("id", value)) => value.clone_into(&mut pass.device),
                Some(("streamid", value)) => pass.stream = Some(value.to_owned()),
                _ => {}
            }
            rest = behind;
        }
        if pass.device.is_empty() {
            call.text("cameraid")
                .unwrap_or_default()
                .clone_into(&mut pass.device);
        }
        pass
    }
}

impl Connect {
    fn markup(&self) -> Vec<Markup> {
        // The two elements must be there; with a token what they say counts for nothing.
        let mut children = vec![
            Markup::text("username", "a"),
            Markup::text("password", "a"),
            Markup::text("cameraid", &self.pass.device),
            Markup::text("alwaysstdjpeg", word(self.always_jpeg)),
        ];
        if self.always_jpeg && self.all_frames {
            children.push(Markup::node(
                "transcode",
                [Markup::text("allframes", word(true))],
            ));
        }
        children.extend([
            Markup::text("connectparam", &self.pass.text()),
            self.capabilities.markup(),
        ]);
        children
    }

    fn read(call: &Element) -> Self {
        let transcode = call.child("transcode");
        Self {
            pass: Pass::read(call),
            always_jpeg: call.text("alwaysstdjpeg").is_some_and(is_yes),
            all_frames: transcode
                .and_then(|transcode| transcode.text("allframes"))
                .is_some_and(is_yes),
            capabilities: Capabilities::read(call),
        }
    }
}

impl Capabilities {
    pub(crate) fn markup(self) -> Markup {
        Markup::node(
            "clientcapabilities",
            [
                Markup::text("privacymask", word(self.privacy_mask)),
                Markup::text("multipartdata", word(self.multipart)),
                Markup::text("datarestriction", word(self.data_restriction)),
            ],
        )
    }

    pub(crate) fn read(parent: &Element) -> Self {
        let Some(told) = parent.child("clientcapabilities") else {
            return Self::default();
        };
        let says = |name: &str| told.text(name).is_some_and(is_yes);
        Self {
            privacy_mask: says("privacymask"),
            multipart: says("multipartdata"),
            data_restriction: says("datarestriction"),
        }
    }
}

impl Extras {
    fn markup(self) -> impl Iterator<Item = Markup> {
        let compression = self
            .compression
            .map(|rate| Markup::text("compressionrate", &rate.to_string()));
        let keys = self
            .key_frames_only
            .then(|| Markup::text("keyframesonly", word(true)));
        compression.into_iter().chain(keys)
    }

    fn read(call: &Element) -> Self {
        Self {
            compression: compression(call),
            key_frames_only: call.text("keyframesonly").is_some_and(is_yes),
        }
    }
}

pub(crate) const fn word(said: bool) -> &'static str {
    if said { "yes" } else { "no" }
}

/// Both ways of saying yes were seen.
pub(crate) fn is_yes(text: &str) -> bool {
    text.eq_ignore_ascii_case("yes") || text.eq_ignore_ascii_case("true")
}

pub(crate) fn number(parent: &Element, name: &str) -> Option<i64> {
    parent.text(name)?.parse().ok()
}

fn compression(call: &Element) -> Option<u8> {
    let rate = number(call, "compressionrate")?;
    u8::try_from(rate)
        .ok()
        .filter(|rate| (1..=COMPRESSION_MAX).contains(rate))
}

const COMPRESSION_MAX: u8 = 104;
const COMPRESSION_USUAL: u8 = 90;
