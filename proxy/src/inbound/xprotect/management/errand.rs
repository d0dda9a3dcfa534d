//! What a request to a management server is about, by its path alone. Pure.

use std::time::Duration;

use hyper::Method;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// A document that says where services are.
    Discovery,
    /// Name and password for an access token.
    Token,
    /// An operation by SOAP, of the older kind of service or of the newer.
    Soap { asmx: bool },
    /// A service's description.
    Description,
    /// A resource of the gateway.
    Gateway,
    /// Anything else.
    Other,
}

impl Errand {
    /// Paths have no case.
    pub(super) fn of(method: &Method, path: &str, query: Option<&str>) -> Self {
        let path = path.to_ascii_lowercase();
        let query = query.unwrap_or_default().to_ascii_lowercase();
        let is_service = path.starts_with("/managementserver/") || path.starts_with("/serverapi/");
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let is_discovery =
            path.ends_with("/.well-known/openid-configuration") || path == "/api/.well-known/uris";
        if reads && is_discovery {
            Errand::Discovery
        } else if *method == Method::POST && path.ends_with("/idp/connect/token") {
            Errand::Token
        } else if is_service
            && reads
            && ["wsdl", "singlewsdl", "xsd", "disco"]
                .iter()
                .any(|what| query.starts_with(what))
        {
            Errand::Description
        } else if is_service {
            Errand::Soap {
                asmx: path.rsplit('.').next() == Some("asmx"),
            }
        } else if path.starts_with("/api/") {
            Errand::Gateway
        } else {
            Errand::Other
        }
    }

    /// How long the head of an answer is waited for. Where there is another answer than the primary's, shorter, and shorter still of
    /// one that is `small`; and where it has not answered of late.
    pub(super) fn patience(self, replaceable: bool, small: bool, is_down: bool) -> Duration {
        match self {
            Errand::Soap { .. } if replaceable && !small && !is_down => MIDDLE,
            Errand::Discovery | Errand::Description | Errand::Token | Errand::Soap { .. }
                if replaceable =>
            {
                SHORT
            }
            Errand::Soap { .. } | Errand::Gateway if is_down => SHORT,
            Errand::Soap { .. } | Errand::Gateway => SOAP,
            _ => LONG,
        }
    }

    /// Longest body of a request that is read before it is passed on.
    pub(super) fn read_bytes_max(self) -> usize {
        match self {
            Errand::Token => 64 << 10,
            Errand::Soap { .. } => 1 << 20,
            _ => 0,
        }
    }

    /// Longest answer that is read before it is passed on, in which addresses are changed.
    pub(super) fn answer_bytes_max(self) -> usize {
        match self {
            Errand::Discovery | Errand::Token => 1 << 20,
            Errand::Description => 8 << 20,
            Errand::Gateway => 16 << 20,
            Errand::Soap { .. } => seamline_xprotect::configuration::LIMITS.bytes,
            Errand::Other => 0,
        }
    }
}

/// Clients wait for ten seconds and longer; after this they may have an answer from elsewhere.
const SHORT: Duration = Duration::from_secs(4);
/// A large configuration takes its time.
const MIDDLE: Duration = Duration::from_secs(15);
/// Clients of services give up after a minute, and learn nothing then.
const SOAP: Duration = Duration::from_secs(50);
const LONG: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_it_is_about() {
        let post = |path: &str| Errand::of(&Method::POST, path, None);
        let get = |path: &str| Errand::of(&Method::GET, path, None);
        assert_eq!(
            get("/IDP/.well-known/openid-configuration"),
            Errand::Discovery
        );
        assert_eq!(get("/API/.well-known/uris"), Errand::Discovery);
        assert_eq!(post("/idp/connect/token"), Errand::Token);
        assert_eq!(post("/api/IDP/connect/token"), Errand::Token);
        assert_eq!(get("/idp/connect/token"), Errand::Other);
        let newer = post("/ManagementServer/ServerCommandServiceOAuth.svc");
        assert_eq!(newer, Errand::Soap { asmx: false });
        let older = post("/serverapi/ServerCommandService.ASMX");
        assert_eq!(older, Errand::Soap { asmx: true });
        let described = Errand::of(&Method::GET, "/ManagementServer/X.svc", Some("singleWsdl"));
        assert_eq!(described, Errand::Description);
        let patience = |replaceable, small, is_down| newer.patience(replaceable, small, is_down);
        assert!(described.patience(true, false, false) < described.patience(false, false, false));
        assert!(patience(false, false, true) < patience(false, false, false));
        assert!(patience(true, true, false) < patience(true, false, false));
        // Whoever posts there calls the service, whatever the query says.
        let called = Errand::of(&Method::POST, "/ManagementServer/X.svc", Some("wsdl"));
        assert_eq!(called, Errand::Soap { asmx: false });
        assert_eq!(post("/API/.well-known/uris"), Errand::Gateway);
        assert_eq!(get("/api/rest/v1/cameras"), Errand::Gateway);
        assert_eq!(get("/"), Errand::Other);
    }
}
