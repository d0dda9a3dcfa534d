//! SOAP 1.1 as management servers and recorders speak it: envelopes, faults, and the two services.

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
        let number = |name: &str| fault.child("detail")?.text(name)?.parse().ok();
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

    /// As it is sent, with status 500.
    pub fn write(&self) -> Vec<u8> {
        let detail = self.number.map(|(number, sub)| {
            Markup::node(
                "detail",
                [
                    Markup::text("ErrorNumber", &number.to_string()),
                    Markup::text("SubErrorNumber", &sub.to_string()),
                ],
            )
        });
        let said = [
            Markup::text("faultcode", &self.code),
            Markup::text("faultstring", &self.text),
        ];
        envelope(Markup::node("soap:Fault", said.into_iter().chain(detail)))
    }
}

/// For a line of the log.
fn plain(text: &str) -> String {
    let shown = text.chars().filter(|letter| !letter.is_control());
    shown.take(TEXT_CHARS_MAX).collect()
}

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const TEXT_CHARS_MAX: usize = 200;
