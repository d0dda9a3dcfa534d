//! What clients asked, kept as they said it: recorders get it with other numbers, devices and tokens, and nothing else changed.

use bytes::Bytes;
use seamline_xml::{Element, with_texts, with_texts_within};

use crate::{Connect, Pass, TERMINATOR, WireError, call::number, soap::STILL_LIMITS};

/// A client's `connect`.
#[derive(Debug, Clone)]
pub struct ConnectDocument {
    text: Bytes,
    pass: Pass,
    wants_jpeg: bool,
    takes_parts: bool,
}

impl ConnectDocument {
    /// The document, without its terminator, and what was read of it.
    pub fn new(text: Bytes, connect: Connect) -> Self {
        Self {
            text,
            wants_jpeg: connect.always_jpeg,
            takes_parts: connect.capabilities.multipart,
            pass: connect.pass,
        }
    }

    /// Whether everything is to come as JPEG.
    pub fn wants_jpeg(&self) -> bool {
        self.wants_jpeg
    }

    /// Whether groups may come in several parts.
    pub fn takes_parts(&self) -> bool {
        self.takes_parts
    }

    /// Device and token, as the client showed them.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }

    /// The same with another token.
    #[must_use]
    pub fn renewed(&self, token: &str) -> Self {
        let pass = Pass {
            token: token.to_owned(),
            ..self.pass.clone()
        };
        Self {
            pass,
            ..self.clone()
        }
    }

    /// For the recorder that the client believes to speak to: everything but number and token as it was.
    pub fn own(&self, id: i64, token: &str) -> Result<Vec<u8>, WireError> {
        let pass = Pass {
            token: token.to_owned(),
            ..self.pass.clone()
        };
        let texts = [("requestid", id.to_string()), ("connectparam", pass.text())];
        with(&self.text, &texts)
    }

    /// For a recorder elsewhere, to which the client's streams and credentials mean nothing, and whose clock is so far ahead: a period
    /// to which the client restricts itself is told by that.
    pub fn other(
        &self,
        id: i64,
        device: &str,
        token: &str,
        ahead_ms: i64,
    ) -> Result<Vec<u8>, WireError> {
        let pass = Pass {
            device: device.to_owned(),
            stream: None,
            token: token.to_owned(),
        };
        let texts = [
            ("requestid", id.to_string()),
            ("connectparam", pass.text()),
            ("cameraid", device.to_owned()),
            ("username", NOBODY.to_owned()),
            ("password", NOBODY.to_owned()),
        ];
        if ahead_ms == 0 {
            return with(&self.text, &texts);
        }
        let root = Element::parse(&self.text)?;
        let within = root.child("timerestriction");
        let moved = |name: &'static str| {
            let ms = number(within?, name)?.saturating_add(ahead_ms);
            Some((name, ms.to_string()))
        };
        let times: Vec<_> = ["starttime", "endtime"]
            .into_iter()
            .filter_map(moved)
            .collect();
        let times: Vec<(&str, &str)> = times.iter().map(|(name, ms)| (*name, &**ms)).collect();
        with(&with_texts(&self.text, 1, &times)?, &texts)
    }
}

/// A document under another number, with its terminator.
pub fn numbered(document: &[u8], id: i64) -> Result<Vec<u8>, WireError> {
    with(document, &[("requestid", id.to_string())])
}

/// A document with other texts right below its root, with its terminator.
pub fn with(document: &[u8], texts: &[(&str, String)]) -> Result<Vec<u8>, WireError> {
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
    let mut bytes = with_texts(document, 0, &texts)?;
    bytes.extend_from_slice(TERMINATOR);
    Ok(bytes)
}

/// A SOAP answer, be there a picture in it, with other members of its result.
pub fn result(envelope: &[u8], texts: &[(&str, &str)]) -> Result<Vec<u8>, WireError> {
    Ok(with_texts_within(envelope, STILL_LIMITS, MEMBERS, texts)?)
}

/// What a client wants of `alarms`: so many around an instant, or between two. Milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlarmsQuery {
    /// Around it, or up to it.
    pub center_ms: Option<i64>,
    /// From it.
    pub start_ms: Option<i64>,
    /// Up to it.
    pub end_ms: Option<i64>,
    /// So many at most.
    pub count: Option<usize>,
}

impl AlarmsQuery {
    /// Reads the call.
    pub fn read(document: &[u8]) -> Result<Self, WireError> {
        let root = Element::parse(document)?;
        Ok(Self {
            center_ms: number(&root, "centertime"),
            start_ms: number(&root, "starttime"),
            end_ms: number(&root, "endtime"),
            count: number(&root, "numalarms").and_then(|count| count.try_into().ok()),
        })
    }

    /// Its times by a clock that is ahead.
    pub fn texts(&self, ahead_ms: i64) -> Vec<(&'static str, String)> {
        let times = [
            ("centertime", self.center_ms),
            ("starttime", self.start_ms),
            ("endtime", self.end_ms),
        ];
        let text = |(name, ms): (&'static str, Option<i64>)| {
            Some((name, ms?.saturating_add(ahead_ms).to_string()))
        };
        times.into_iter().filter_map(text).collect()
    }
}

/// The elements must be there; with a token what they say counts for nothing.
const NOBODY: &str = "a";
/// Elements between an envelope and the members of a result in its body.
const MEMBERS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Method};

    const CONNECT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodcall><requestid>1</requestid><methodname>connect</methodname><username>joe</username><password>secret</password><cameraid>A</cameraid><alwaysstdjpeg>yes</alwaysstdjpeg><transcode><allframes>yes</allframes><width>640</width></transcode><connectparam>id=A&amp;streamid=S&amp;connectiontoken=TOKEN#1#x//y#</connectparam><clientcapabilities><privacymaskversion>1</privacymaskversion></clientcapabilities></methodcall>";

    fn document() -> ConnectDocument {
        let call = Call::parse(CONNECT.as_bytes()).unwrap();
        let Method::Connect(connect) = call.method else {
            panic!("{call:?}");
        };
        ConnectDocument::new(Bytes::from_static(CONNECT.as_bytes()), *connect)
    }

    #[test]
    fn the_recorder_that_is_meant_gets_what_was_said() {
        let own = document().own(9, "TOKEN#1#x//y#").unwrap();
        let expected = CONNECT.replace("<requestid>1<", "<requestid>9<") + "\r\n\r\n";
        assert_eq!(String::from_utf8(own).unwrap(), expected);
        let own = document().renewed("T2").own(9, "T2").unwrap();
        let expected = expected.replace("TOKEN#1#x//y#", "T2");
        assert_eq!(String::from_utf8(own).unwrap(), expected);
    }

    #[test]
    fn another_learns_no_password_and_no_token_of_the_client() {
        let other = String::from_utf8(document().other(3, "B", "OURS", 0).unwrap()).unwrap();
        for secret in ["joe", "secret", "TOKEN#1", "streamid"] {
            assert!(!other.contains(secret), "{other}");
        }
        assert!(other.contains("<connectparam>id=B&amp;connectiontoken=OURS</connectparam>"));
        assert!(
            other.contains("<transcode><allframes>yes</allframes><width>640</width></transcode>")
        );
    }

    #[test]
    fn a_restriction_is_told_by_the_clock_of_who_is_asked() {
        let within =
            "<timerestriction><starttime>1000</starttime><endtime>9000</endtime></timerestriction>";
        let text = CONNECT.replace(
            "<clientcapabilities>",
            &format!("{within}<clientcapabilities>"),
        );
        let Method::Connect(connect) = Call::parse(text.as_bytes()).unwrap().method else {
            panic!("{text}");
        };
        let document = ConnectDocument::new(text.clone().into(), *connect);
        assert!(document.wants_jpeg() && !document.takes_parts());
        let own = String::from_utf8(document.own(1, "T").unwrap()).unwrap();
        assert!(own.contains(within), "{own}");
        let other = String::from_utf8(document.other(1, "B", "T", -500).unwrap()).unwrap();
        let moved = within.replace("1000", "500").replace("9000", "8500");
        assert!(other.contains(&moved), "{other}");
    }

    #[test]
    fn members_of_a_result_are_replaced_and_nothing_else() {
        let answer = "<s:Envelope><s:Header><Time>h</Time></s:Header><s:Body><R><n:Result><n:Time>a</n:Time><Data>b</Data></n:Result></R></s:Body></s:Envelope>";
        let sent = result(answer.as_bytes(), &[("Time", "T")]).unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            answer.replace(">a<", ">T<")
        );
        // Pictures are long.
        let picture = answer.replace(">b<", &format!(">{}<", "b".repeat(1 << 20)));
        let sent = result(picture.as_bytes(), &[("Time", "T")]).unwrap();
        assert_eq!(
            String::from_utf8(sent).unwrap(),
            picture.replace(">a<", ">T<")
        );
    }
}
