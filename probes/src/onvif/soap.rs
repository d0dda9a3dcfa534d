//! SOAP 1.2 envelopes: what is asked, what is answered, and how a recorder says no.

use crate::xml::{Element, Markup, XmlError, local};

/// A service's namespace with the prefix that requests use for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Device,
    Recording,
    Replay,
    Search,
}

impl Service {
    /// The namespace (ONVIF Core, services).
    pub(super) const fn namespace(self) -> &'static str {
        match self {
            Self::Device => "http://www.onvif.org/ver10/device/wsdl",
            Self::Recording => "http://www.onvif.org/ver10/recording/wsdl",
            Self::Replay => "http://www.onvif.org/ver10/replay/wsdl",
            Self::Search => "http://www.onvif.org/ver10/search/wsdl",
        }
    }

    /// The SOAP action of an operation.
    pub(super) fn action(self, operation: &str) -> String {
        format!("{}/{operation}", self.namespace())
    }
}

/// The bytes of a request.
pub(super) fn request(body: Markup, security: Option<Markup>) -> Vec<u8> {
    let header = security.map(|security| Markup::node("s:Header", [security]));
    let body = Markup::node("s:Body", [body]);
    Markup::node_with("s:Envelope", NAMESPACES, header.into_iter().chain([body])).document()
}

/// What an answer's body holds: the element that answers, or the fault in its place.
pub(super) fn answer(bytes: &[u8]) -> Result<Element, SoapError> {
    let envelope = Element::parse(bytes)?;
    if envelope.name() != "Envelope" {
        return Err(SoapError::NoEnvelope);
    }
    let body = envelope.child("Body").ok_or(SoapError::NoEnvelope)?;
    if let Some(fault) = body.child("Fault") {
        return Err(SoapError::Fault(Fault::read(fault)));
    }
    body.children().next().cloned().ok_or(SoapError::NoEnvelope)
}

/// Why there is no answer in an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SoapError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("no SOAP envelope with a body")]
    NoEnvelope,
    #[error(transparent)]
    Fault(Fault),
}

/// How a recorder says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault {}{}", codes.join("/"), if reason.is_empty() { String::new() } else { format!(": {reason}") })]
pub(super) struct Fault {
    /// Code and nested subcodes without prefixes, outermost first.
    codes: Vec<String>,
    reason: String,
}

/// What a fault calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Other credentials, or some at all.
    NotAuthorized,
    /// The device does not have this operation.
    NotSupported,
    /// It has it, but not what was named.
    NotFound,
    /// It has no capacity for it now.
    Busy,
    /// Anything else.
    Other,
}

impl Fault {
    fn read(fault: &Element) -> Self {
        let mut codes = Vec::new();
        let mut code = fault.child("Code");
        while let Some(level) = code {
            codes.extend(level.text("Value").map(|value| plain(local(value))));
            code = level.child("Subcode");
        }
        // SOAP 1.1, from devices that answer in it whatever they are asked in.
        codes.extend(fault.text("faultcode").map(|value| plain(local(value))));
        let reason = fault.at(&["Reason", "Text"]).and_then(Element::value);
        let reason = reason.or_else(|| fault.text("faultstring"));
        Self {
            codes,
            reason: plain(reason.unwrap_or_default()),
        }
    }

    pub(super) fn kind(&self) -> FaultKind {
        let says = |names: &[&str]| {
            let mut codes = self.codes.iter();
            codes.any(|code| names.iter().any(|name| code.eq_ignore_ascii_case(name)))
        };
        if says(&[
            "NotAuthorized",
            "SenderNotAuthorized",
            "FailedAuthentication",
            "FailedCheck",
            "InvalidSecurityToken",
        ]) {
            FaultKind::NotAuthorized
        } else if says(&[
            "ActionNotSupported",
            "OptionalActionNotImplemented",
            "NotSupported",
            "UnknownAction",
        ]) {
            FaultKind::NotSupported
        } else if says(&["NoRecording", "NoRecordingToken", "NoToken"]) {
            FaultKind::NotFound
        } else if says(&[
            "ResourceProblem",
            "MaxSessions",
            "ServerBusy",
            "StreamConflict",
            "OutofMemory",
        ]) {
            FaultKind::Busy
        } else {
            FaultKind::Other
        }
    }
}

/// Short enough, and harmless, for a line of the log.
fn plain(text: &str) -> String {
    let shown = text.chars().filter(|character| !character.is_control());
    shown.take(REASON_CHARS_MAX).collect()
}

const REASON_CHARS_MAX: usize = 160;

/// Declared once for all requests, so that each has the same head.
const NAMESPACES: &[(&str, &str)] = &[
    ("xmlns:s", "http://www.w3.org/2003/05/soap-envelope"),
    ("xmlns:tds", Service::Device.namespace()),
    ("xmlns:trc", Service::Recording.namespace()),
    ("xmlns:trp", Service::Replay.namespace()),
    ("xmlns:tse", Service::Search.namespace()),
    ("xmlns:tt", "http://www.onvif.org/ver10/schema"),
    ("xmlns:wsnt", "http://docs.oasis-open.org/wsn/b-2"),
    ("xmlns:tns1", "http://www.onvif.org/ver10/topics"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(inner: &str) -> Fault {
        let body = format!(
            "<e:Envelope xmlns:e='x'><e:Header/><e:Body><e:Fault>{inner}</e:Fault></e:Body></e:Envelope>"
        );
        match answer(body.as_bytes()) {
            Err(SoapError::Fault(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_element_of_the_body_answers() {
        let read = answer(
            b"<Envelope><Body>\n<tds:R xmlns:tds='d'><tds:A>1</tds:A></tds:R></Body></Envelope>",
        );
        let read = read.unwrap();
        assert_eq!((read.name(), read.text("A")), ("R", Some("1")));
        for nothing in [
            "<html><body/></html>",
            "<Envelope/>",
            "<Envelope><Body/></Envelope>",
        ] {
            assert_eq!(
                answer(nothing.as_bytes()),
                Err(SoapError::NoEnvelope),
                "{nothing}"
            );
        }
        assert!(matches!(answer(b"busy"), Err(SoapError::Xml(_))));
    }

    #[test]
    fn faults_are_known_by_their_innermost_code() {
        let nested = |outer: &str, inner: &str| {
            format!(
                "<e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>{outer}</e:Value><e:Subcode><e:Value>{inner}</e:Value>\
                </e:Subcode></e:Subcode></e:Code><e:Reason><e:Text xml:lang='en'>no\nway</e:Text></e:Reason>"
            )
        };
        for (outer, inner, kind) in [
            ("ter:NotAuthorized", "", FaultKind::NotAuthorized),
            ("wsse:FailedAuthentication", "", FaultKind::NotAuthorized),
            ("ter:ActionNotSupported", "x:Other", FaultKind::NotSupported),
            ("ter:InvalidArgVal", "ter:NoRecording", FaultKind::NotFound),
            ("ter:Action", "ter:ResourceProblem", FaultKind::Busy),
            ("ter:InvalidArgVal", "ter:InvalidToken", FaultKind::Other),
        ] {
            let fault = faulty(&nested(outer, inner));
            assert_eq!(fault.kind(), kind, "{outer} {inner}");
        }
        let fault = faulty(&nested("ter:InvalidArgVal", "ter:NoRecording"));
        assert_eq!(
            fault.to_string(),
            "fault Sender/InvalidArgVal/NoRecording: noway"
        );
        let old = faulty("<faultcode>ter:NotAuthorized</faultcode><faultstring>who?</faultstring>");
        assert_eq!(old.kind(), FaultKind::NotAuthorized);
        assert_eq!(faulty("").kind(), FaultKind::Other);
        let loud = faulty(&format!(
            "<Reason><Text>{}</Text></Reason>",
            "x".repeat(10_000)
        ));
        assert!(loud.to_string().len() < 200);
    }

    #[test]
    fn requests_have_one_head() {
        let sent = request(Markup::node("tds:GetServices", []), None);
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(
            sent,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:tds=\"http://www.onvif.org/ver10/device/wsdl\" \
            xmlns:trc=\"http://www.onvif.org/ver10/recording/wsdl\" xmlns:trp=\"http://www.onvif.org/ver10/replay/wsdl\" \
            xmlns:tse=\"http://www.onvif.org/ver10/search/wsdl\" xmlns:tt=\"http://www.onvif.org/ver10/schema\" \
            xmlns:wsnt=\"http://docs.oasis-open.org/wsn/b-2\" xmlns:tns1=\"http://www.onvif.org/ver10/topics\">\
            <s:Body><tds:GetServices/></s:Body></s:Envelope>"
        );
    }
}
