//! What clients ask management servers by SOAP, and answers that can be given in a server's place.

use seamline_xml::{Element, Limits, Markup, XmlError, outline, plain, written};

use crate::{
    configuration,
    soap::{self, Fault, SERVER, SoapError},
};

/// A question.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Such as `Login`.
    pub operation: String,
    /// The client's token, where the operation has one.
    pub token: Option<String>,
    /// Of `Login` and `Logout`: the client.
    pub instance: Option<String>,
    /// The recorders that are asked about.
    pub recorders: Vec<String>,
    /// SOAP 1.2, in which it wants its answer.
    pub is_12: bool,
    /// Of a [lasting](is_lasting) operation: what else is said, in one spelling, without the token.
    pub rest: String,
}

impl Asked {
    /// Reads a request of any version, whatever prefixes and blanks it has.
    pub fn read(bytes: &[u8]) -> Result<Self, SoapError> {
        let asked = soap::asked(bytes)?;
        let text = |name: &str| asked.text(name).map(str::to_owned);
        let listed = asked.child("recorderIds").into_iter();
        let listed = listed
            .flat_map(Element::children)
            .filter_map(Element::value);
        let recorders = asked.text("recorderId").into_iter().chain(listed);
        let mut rest = String::new();
        if is_lasting(asked.name()) {
            let parameters = asked.children();
            for parameter in parameters.filter(|parameter| !PERSONAL.contains(&parameter.name())) {
                spell(parameter, &mut rest);
            }
        }
        Ok(Self {
            rest,
            operation: asked.name().to_owned(),
            token: text("token").or_else(|| text("currentToken")),
            instance: text("instanceId"),
            recorders: recorders.map(str::to_owned).take(RECORDERS_MAX).collect(),
            is_12: bytes
                .windows(SOAP_12.len())
                .any(|window| window == SOAP_12.as_bytes()),
        })
    }
}

/// Whether an operation tells what lasts (a mark that a user opened before among it), and changes nothing: what it told last may be told again while nobody else can.
pub fn is_lasting(operation: &str) -> bool {
    LASTING.contains(&operation)
}

/// The answer of a search that finds nothing, to who looks for marks and events on a timeline while nobody knows of any; `None` of what
/// must not be answered so. Restricted media is not among it: nothing found would be nothing restricted.
pub fn finds_nothing(operation: &str) -> Option<Vec<u8>> {
    let known = SEARCHES.iter().find(|(name, ..)| *name == operation);
    known.map(|(_, response, result)| nothing(response, Some(result)))
}

fn spell(element: &Element, into: &mut String) {
    into.push_str(element.name());
    into.push('(');
    into.push_str(element.value().unwrap_or_default());
    for child in element.children() {
        spell(child, into);
    }
    into.push(')');
}

/// Without the token.
impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// A `Login` that renews no token: for a server that does not know it.
pub fn first_login(text: &str) -> Result<String, XmlError> {
    let found = outline(text, Limits::ANSWER, &["currentToken"])?;
    let mut first = text.to_owned();
    if let Some(node) = found.first() {
        first.replace_range(node.inner.clone(), "");
    }
    Ok(first)
}

/// The answer of an operation that has nothing to tell: with an empty result where it `tells` anything.
pub fn nothing(operation: &'static str, tells: Option<&'static str>) -> Vec<u8> {
    let result = tells.map(|result| Markup::node(result, []));
    soap::envelope(Markup::node_with(operation, &[("xmlns", SERVER)], result))
}

/// The answers about single recorders, out of an answer about all of them; `None` where it is no such answer. What is not in it is
/// not told.
pub fn of_recorders(
    whole: &str,
    operation: &str,
    recorders: &[String],
) -> Result<Option<String>, XmlError> {
    let nodes = outline(
        whole,
        configuration::LIMITS,
        &["RecorderInfo", "RecorderId"],
    )?;
    let inner = |range: &std::ops::Range<usize>| whole.get(range.clone()).unwrap_or_default();
    let mut found = String::new();
    for info in nodes.iter().filter(|node| node.name == "RecorderInfo") {
        // Its own id is the one beside its cameras, which have it too.
        let own = nodes.iter().filter(|node| {
            node.name == "RecorderId"
                && info.inner.start <= node.inner.start
                && node.inner.end <= info.inner.end
        });
        let Some(own) = own.min_by_key(|node| node.parent) else {
            continue;
        };
        let id = plain(inner(&own.inner)).unwrap_or_default();
        if !recorders
            .iter()
            .any(|asked| asked.eq_ignore_ascii_case(&id))
        {
            continue;
        }
        match operation {
            "QueryRecorderInfo" => {
                found.push_str(inner(&info.inner));
                break;
            }
            "GetConfigurationRecorders" => {
                found.push_str("<RecorderInfo>");
                found.push_str(inner(&info.inner));
                found.push_str("</RecorderInfo>");
            }
            _ => return Ok(None),
        }
    }
    // Prefixes that are declared further up are declared here too.
    let declared = declarations(whole);
    Ok(Some(format!(
        "<s:Envelope xmlns:s=\"{SOAP_11}\"><s:Body><{operation}Response xmlns=\"{SERVER}\"{declared}><{operation}Result>{found}\
         </{operation}Result></{operation}Response></s:Body></s:Envelope>"
    )))
}

/// The prefixes that answers declare around recorders.
fn declarations(whole: &str) -> String {
    let head = whole.split("<Recorders").next().unwrap_or_default();
    let mut declared = String::new();
    for (at, mark) in head.match_indices(" xmlns:") {
        let rest = head.get(at + mark.len()..).unwrap_or_default();
        let Some((prefix, rest)) = rest.split_once("=\"") else {
            break;
        };
        let Some((uri, _)) = rest.split_once('"') else {
            break;
        };
        let is_name = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mark = format!(" xmlns:{prefix}=");
        if is_name && prefix != "s" && !declared.contains(&mark) {
            for part in [&mark, "\"", &written(uri), "\""] {
                declared.push_str(part);
            }
        }
    }
    declared
}

/// An answer in the version in which it was asked for.
pub fn in_version(answer: String, is_12: bool) -> String {
    let (from, to) = if is_12 {
        (SOAP_11, SOAP_12)
    } else {
        (SOAP_12, SOAP_11)
    };
    if answer.contains(from) {
        answer.replace(from, to)
    } else {
        answer
    }
}

/// Says no to a client, as management servers do.
pub fn refusal(text: &str) -> Vec<u8> {
    fault("s:51000", text)
}

/// Says that there is no answer.
pub fn failure(text: &str) -> Vec<u8> {
    fault("s:Server", text)
}

fn fault(code: &str, text: &str) -> Vec<u8> {
    let fault = Fault {
        code: code.to_owned(),
        text: text.to_owned(),
        number: None,
    };
    // The prefix of the code is that of envelopes, by which readers go.
    let written = String::from_utf8_lossy(&fault.write()).replace("soap:", "s:");
    written.replace("xmlns:soap", "xmlns:s").into_bytes()
}

const SOAP_11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SOAP_12: &str = "http://www.w3.org/2003/05/soap-envelope";
const RECORDERS_MAX: usize = 1000;
/// Of the session, and not of what is asked.
const PERSONAL: [&str; 3] = ["token", "currentToken", "instanceId"];
/// Views, profiles, settings and versions.
const LASTING: [&str; 21] = [
    "BookmarkGet",
    "CheckSmartClientVersion",
    "GetClientProfile",
    "GetClientProfile2",
    "GetClientProfile3",
    "GetCustomSettingDataGlobal",
    "GetCustomSettingDataGlobal2",
    "GetCustomSettingDataUser",
    "GetCustomSettingDataUser2",
    "GetPresets",
    "GetProductInfo",
    "GetServerVersion",
    "GetServices",
    "GetSmartClientVersion",
    "GetSystemLicenseInfo",
    "GetUserInfo",
    "GetVersion",
    "GetViewGroupData",
    "GetViewGroups",
    "GetVmoServicesList",
    "MarkedDataGet",
];
/// With response and result.
const SEARCHES: [(&str, &str, &str); 9] = [
    (
        "AlertsGetAroundWithSpan",
        "AlertsGetAroundWithSpanResponse",
        "AlertsGetAroundWithSpanResult",
    ),
    (
        "BookmarkSearchFromBookmark",
        "BookmarkSearchFromBookmarkResponse",
        "BookmarkSearchFromBookmarkResult",
    ),
    (
        "BookmarkSearchFromBookmark2",
        "BookmarkSearchFromBookmark2Response",
        "BookmarkSearchFromBookmark2Result",
    ),
    (
        "BookmarkSearchTime",
        "BookmarkSearchTimeResponse",
        "BookmarkSearchTimeResult",
    ),
    (
        "BookmarkSearchTime2",
        "BookmarkSearchTime2Response",
        "BookmarkSearchTime2Result",
    ),
    (
        "GetDevicesDisabled",
        "GetDevicesDisabledResponse",
        "GetDevicesDisabledResult",
    ),
    (
        "MarkedDataSearch",
        "MarkedDataSearchResponse",
        "MarkedDataSearchResult",
    ),
    (
        "MarkedDataSearch2",
        "MarkedDataSearch2Response",
        "MarkedDataSearch2Result",
    ),
    ("QueryChanges", "QueryChangesResponse", "QueryChangesResult"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_in_both_versions() {
        let login = crate::login::login("i1", "TOKEN#1");
        let asked = Asked::read(&login).unwrap();
        assert_eq!((asked.operation.as_str(), asked.is_12), ("Login", false));
        assert_eq!(
            (asked.token.as_deref(), asked.instance.as_deref()),
            (Some("TOKEN#1"), Some("i1"))
        );
        assert!(!format!("{asked:?}").contains("TOKEN"));
        let first = first_login(&String::from_utf8(login).unwrap()).unwrap();
        assert_eq!(Asked::read(first.as_bytes()).unwrap().token, None);
        let text = format!(
            "<?xml version='1.0'?>\n<e:Envelope xmlns:e='{SOAP_12}'>\n<e:Body>\n<n:GetConfigurationRecorders xmlns:n='x'>\
             <n:token> t </n:token><n:recorderIds><a:guid xmlns:a='y'>r1</a:guid><a:guid xmlns:a='y'>r2</a:guid></n:recorderIds>\
             </n:GetConfigurationRecorders></e:Body></e:Envelope>"
        );
        let asked = Asked::read(text.as_bytes()).unwrap();
        assert!(asked.is_12);
        assert_eq!(
            (asked.token.as_deref(), asked.recorders.len()),
            (Some("t"), 2)
        );
    }

    #[test]
    fn what_lasts_is_asked_the_same_in_any_spelling_and_by_any_token() {
        let asked = |envelope: &str, prefix: &str, token: &str, group: &str| {
            let text = format!(
                "<e:Envelope xmlns:e='{envelope}'><e:Header><a>{token}</a></e:Header><e:Body> <{prefix}GetViewGroupData xmlns:n='x'>\n\
                 <{prefix}token>{token}</{prefix}token><{prefix}viewGroupId> {group} </{prefix}viewGroupId></{prefix}GetViewGroupData>\
                 </e:Body></e:Envelope>"
            );
            Asked::read(text.as_bytes()).unwrap().rest
        };
        let one = asked(SOAP_11, "n:", "T1", "g1");
        assert_eq!(one, "viewGroupId(g1)");
        assert_eq!(asked(SOAP_12, "", "T2", "g1"), one);
        assert_ne!(asked(SOAP_11, "", "T1", "g2"), one);
        let login = Asked::read(&crate::login::login("i1", "TOKEN#1")).unwrap();
        assert_eq!(login.rest, "", "nothing of what does not last is kept");
    }

    #[test]
    fn only_searches_for_marks_find_nothing() {
        let found = finds_nothing("BookmarkSearchTime").unwrap();
        let result = soap::result(&found, "BookmarkSearchTime", Limits::ANSWER).unwrap();
        assert_eq!(result.unwrap().children().count(), 0);
        for operation in ["RestrictedMediaQueryAll", "BookmarkCreate", "GetViewGroups"] {
            assert_eq!(finds_nothing(operation), None, "{operation}");
        }
        for (operation, response, result) in SEARCHES {
            assert_eq!(response, format!("{operation}Response"));
            assert_eq!(result, format!("{operation}Result"));
        }
        let failed = soap::result(&failure("down"), "X", Limits::ANSWER);
        assert!(matches!(failed, Err(SoapError::Fault(fault)) if fault.code == "s:Server"));
    }

    #[test]
    fn single_recorders_come_out_of_the_whole() {
        let recorder = |id: &str| {
            format!(
                "<RecorderInfo><Cameras><CameraInfo><Name i:nil=\"true\"/><RecorderId>{id}</RecorderId></CameraInfo></Cameras>\
                 <RecorderId>{id}</RecorderId><WebServerUri>http://{id}:7563/</WebServerUri></RecorderInfo>"
            )
        };
        let whole = format!(
            "<s:Envelope xmlns:s=\"{SOAP_11}\"><s:Body><GetConfigurationResponse xmlns=\"{SERVER}\"><GetConfigurationResult \
             xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\"><Recorders>{}{}</Recorders></GetConfigurationResult>\
             </GetConfigurationResponse></s:Body></s:Envelope>",
            recorder("r1"),
            recorder("r2")
        );
        let asked = |operation: &str, ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let answer = of_recorders(&whole, operation, &ids).unwrap().unwrap();
            let result = soap::result(answer.as_bytes(), operation, Limits::ANSWER).unwrap();
            result.unwrap()
        };
        let one = asked("QueryRecorderInfo", &["R2"]);
        assert_eq!(one.text("WebServerUri"), Some("http://r2:7563/"));
        let both = asked("GetConfigurationRecorders", &["r1", "r2", "r3"]);
        assert_eq!(both.all("RecorderInfo").count(), 2);
        assert_eq!(
            asked("GetConfigurationRecorders", &["r3"])
                .children()
                .count(),
            0
        );
        assert_eq!(
            of_recorders(&whole, "Other", &["r1".to_owned()]).unwrap(),
            None
        );
    }

    #[test]
    fn answers_of_our_own_are_answers() {
        let empty = nothing("LogoutResponse", None);
        assert_eq!(soap::result(&empty, "Logout", Limits::ANSWER), Ok(None));
        let empty = nothing("QueryChangesResponse", Some("QueryChangesResult"));
        let result = soap::result(&empty, "QueryChanges", Limits::ANSWER).unwrap();
        assert_eq!(result.unwrap().children().count(), 0);
        let refused = soap::result(&refusal("VMO61008: no"), "Login", Limits::ANSWER);
        assert!(matches!(refused, Err(SoapError::Fault(fault)) if fault.code == "s:51000"));
        let answer = in_version(String::from_utf8(empty).unwrap(), true);
        assert!(answer.contains(SOAP_12) && !answer.contains(SOAP_11));
    }
}
