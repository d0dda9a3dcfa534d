//! SOAP as management servers and recorders speak it: envelopes, faults, and the two services. Ours is of version 1.1, and turned into
//! 1.2 for who asks in that.

use seamline_xml::{Element, Limits, Markup, XmlError};

/// Login and configuration, at the management server.
pub const SERVER: &str = "http://videoos.net/2/XProtectCSServerCommand";
/// Sequences and stills, at the recorder.
pub const RECORDER: &str = "http://videoos.net/2/XProtectCSRecorderCommand";
/// Where the recorder's service is, on the port of its ImageServer.
pub const RECORDER_PATH: &str = "/RecorderCommandService/RecorderCommandService.asmx";
/// Where the management server's is, for who has an access token.
pub const SERVER_OAUTH_PATH: &str = "/ManagementServer/ServerCommandServiceOAuth.svc";
/// Where it is for who shows name and password, inside TLS.
pub const SERVER_BASIC_PATH: &str = "/ManagementServer/ServerCommandService.svc";

/// Where it is for Windows accounts, on servers of before there were access tokens.
pub const SERVER_OLDER_PATH: &str = "/ServerAPI/ServerCommandService.asmx";

/// How long answers other than configurations are.
pub const ANSWER: Limits = Limits::ANSWER;

/// The action of an operation of the management server.
pub fn server_action(operation: &str) -> String {
    format!("{SERVER}/IServerCommandService/{operation}")
}

/// The same of [`SERVER_OLDER_PATH`].
pub fn older_action(operation: &str) -> String {
    format!("{SERVER}/{operation}")
}

/// The action of an operation of a recorder.
pub fn recorder_action(operation: &str) -> String {
    format!("{RECORDER}/{operation}")
}

/// A request: recorders want their namespace as the default one.
pub fn request(
    namespace: &'static str,
    operation: &'static str,
    parameters: impl IntoIterator<Item = Markup>,
) -> Vec<u8> {
    envelope(Markup::node_with(
        operation,
        &[("xmlns", namespace)],
        parameters,
    ))
}

/// A document around what is said.
pub fn envelope(said: Markup) -> Vec<u8> {
    let body = Markup::node("soap:Body", [said]);
    Markup::node_with("soap:Envelope", &[("xmlns:soap", ENVELOPE)], [body]).document()
}

/// Whether a request is of version 1.2, whatever the header says that comes with it.
pub fn is_12(request: &[u8]) -> bool {
    let mut windows = request.windows(ENVELOPE_12.len());
    windows.any(|window| window == ENVELOPE_12.as_bytes())
}

/// An answer for who asked in version 1.2.
pub fn in_12(answer: &[u8]) -> Vec<u8> {
    let said = body(answer, Limits::ANSWER);
    if let Some(fault) = said.ok().as_ref().and_then(|body| body.child("Fault")) {
        return Fault::read(fault).write_12();
    }
    let text = String::from_utf8_lossy(answer);
    text.replace(ENVELOPE, ENVELOPE_12).into_bytes()
}

/// How much is read of one with a picture in it, as text.
pub const STILL_LIMITS: Limits = Limits {
    bytes: STILL_BYTES_MAX,
    elements: 64,
    text: STILL_BYTES_MAX,
};

/// How much of an answer is read.
pub const ANSWER_LIMITS: Limits = Limits::ANSWER;

/// The first element of a request's body: recorders go by it, and not by the action.
pub fn asked(bytes: &[u8]) -> Result<Element, SoapError> {
    let body = body(bytes, Limits::ANSWER)?;
    body.children().next().cloned().ok_or(SoapError::NoAnswer)
}

/// The result of an operation: `{operation}Result` in `{operation}Response`; `None` where it is left out.
pub fn result(bytes: &[u8], operation: &str, limits: Limits) -> Result<Option<Element>, SoapError> {
    let body = body(bytes, limits)?;
    if let Some(fault) = body.child("Fault") {
        return Err(SoapError::Fault(Fault::read(fault)));
    }
    let response = body
        .child(&format!("{operation}Response"))
        .ok_or(SoapError::NoAnswer)?;
    Ok(response.child(&format!("{operation}Result")).cloned())
}

fn body(bytes: &[u8], limits: Limits) -> Result<Element, SoapError> {
    let envelope = Element::parse_within(bytes, limits)?;
    if envelope.name() != "Envelope" {
        return Err(SoapError::NoAnswer);
    }
    envelope.child("Body").cloned().ok_or(SoapError::NoAnswer)
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoapError {
    /// It is not XML that is read.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML of another kind.
    #[error("no SOAP envelope with an answer")]
    NoAnswer,
    /// The other side says no.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// How the other side says no.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({code}{})", number.map(|(number, sub)| format!(", {number}/{sub}")).unwrap_or_default())]
pub struct Fault {
    /// `soap:Client`, `s:51000` and the like.
    pub code: String,
    /// In words.
    pub text: String,
    /// The recorder's numbers.
    pub number: Option<(i64, i64)>,
}

impl Fault {
    /// No token, or one that is not accepted.
    pub const TOKEN: i64 = 20_001;
    /// The operation does not exist.
    pub const UNSUPPORTED: i64 = 40_000;

    fn read(fault: &Element) -> Self {
        let text = |name: &str| fault.text(name).unwrap_or_default().to_owned();
        let code = fault.at(&["Code", "Value"]).and_then(Element::value);
        let reason = fault.at(&["Reason", "Text"]).and_then(Element::value);
        let detail = fault.child("detail").or_else(|| fault.child("Detail"));
        let number = |name: &str| detail?.text(name)?.parse().ok();
        Self {
            code: code.map_or_else(|| text("faultcode"), str::to_owned),
            text: plain(&reason.map_or_else(|| text("faultstring"), str::to_owned)),
            number: number("ErrorNumber")
                .map(|found| (found, number("SubErrorNumber").unwrap_or(0))),
        }
    }

    /// Whether another token is called for.
    pub fn is_token(&self) -> bool {
        self.number.is_some_and(|(number, _)| number == Self::TOKEN)
    }

    fn detail(&self, name: &'static str) -> Option<Markup> {
        self.number.map(|(number, sub)| {
            Markup::node(
                name,
                [
                    Markup::text("ErrorNumber", &number.to_string()),
                    Markup::text("SubErrorNumber", &sub.to_string()),
                ],
            )
        })
    }

    /// The same in version 1.2.
    fn write_12(&self) -> Vec<u8> {
        let is_clients = self.code.ends_with("Client") || self.code.ends_with("Sender");
        let code = if is_clients {
            "soap:Sender"
        } else {
            "soap:Receiver"
        };
        let text = Markup::text_with("soap:Text", &[("xml:lang", "en")], &self.text);
        let said = [
            Markup::node("soap:Code", [Markup::text("soap:Value", code)]),
            Markup::node("soap:Reason", [text]),
        ];
        let fault = Markup::node(
            "soap:Fault",
            said.into_iter().chain(self.detail("soap:Detail")),
        );
        let body = Markup::node("soap:Body", [fault]);
        Markup::node_with("soap:Envelope", &[("xmlns:soap", ENVELOPE_12)], [body]).document()
    }

    /// As it is sent, with status 500.
    pub fn write(&self) -> Vec<u8> {
        let said = [
            Markup::text("faultcode", &self.code),
            Markup::text("faultstring", &self.text),
        ];
        let detail = self.detail("detail");
        envelope(Markup::node("soap:Fault", said.into_iter().chain(detail)))
    }
}

/// For a line of the log.
fn plain(text: &str) -> String {
    let shown = text.chars().filter(|letter| !letter.is_control());
    shown.take(TEXT_CHARS_MAX).collect()
}

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const ENVELOPE_12: &str = "http://www.w3.org/2003/05/soap-envelope";
const STILL_BYTES_MAX: usize = 32 << 20;
const TEXT_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_in_version_12_is_answered_in_it() {
        let fault = Fault {
            code: "soap:Client".to_owned(),
            text: "Token invalid".to_owned(),
            number: Some((Fault::TOKEN, 2)),
        };
        let sent = String::from_utf8(in_12(&fault.write())).unwrap();
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\"><soap:Body><soap:Fault>\
                        <soap:Code><soap:Value>soap:Sender</soap:Value></soap:Code><soap:Reason><soap:Text xml:lang=\"en\">Token invalid</soap:Text></soap:Reason>\
                        <soap:Detail><ErrorNumber>20001</ErrorNumber><SubErrorNumber>2</SubErrorNumber></soap:Detail></soap:Fault></soap:Body></soap:Envelope>";
        assert_eq!(sent, expected);
        let read = result(sent.as_bytes(), "X", Limits::ANSWER);
        assert!(
            matches!(&read, Err(SoapError::Fault(read)) if read.is_token()),
            "{read:?}"
        );
        assert!(is_12(sent.as_bytes()) && !is_12(&fault.write()));
        let asked = request(RECORDER, "GetVersion", []);
        let turned = String::from_utf8(in_12(&asked)).unwrap();
        assert_eq!(
            turned,
            String::from_utf8(asked)
                .unwrap()
                .replace(ENVELOPE, ENVELOPE_12)
        );
    }
}
