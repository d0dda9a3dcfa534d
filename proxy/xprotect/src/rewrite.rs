//! Answers of management servers with our addresses in place of theirs: only the fields that lead clients on are changed, and
//! every other byte stays.
//!
//! The fields: recorders' addresses in what is told of recorders, by SOAP and by REST; the management server's own in discovery
//! documents, in its entries among the registered services, in what sites tell of each other, and in service descriptions.

use std::ops::Range;

use seamline_xml::{Limits, XmlError, outline, plain, written};

use crate::json::{self, JsonError, Scan};

/// What clients are told of a management server in place of its own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The host and port by which the client asked, as it wrote them.
    pub authority: String,
    /// The same without its port.
    pub host: String,
    /// Whether it asked inside TLS.
    pub secure: bool,
    /// The port for those who ask in clear.
    pub http_port: u16,
    /// That for those inside TLS; `None` where there is no certificate.
    pub https_port: Option<u16>,
}

impl Told {
    /// What an address of a scheme begins with, without a slash behind it. Without a certificate there is only `http`; who asked
    /// inside TLS is not led out of it, whatever the server says of itself to a house that asks it in clear.
    pub fn origin(&self, scheme: &str) -> String {
        let secure =
            (self.secure || scheme.eq_ignore_ascii_case("https")) && self.https_port.is_some();
        let scheme = if secure { "https" } else { "http" };
        if secure == self.secure {
            return format!("{scheme}://{}", self.authority);
        }
        let host = &self.host;
        match (secure, self.https_port) {
            (true, Some(443)) => format!("https://{host}"),
            (true, Some(port)) => format!("https://{host}:{port}"),
            _ if self.http_port == 80 => format!("http://{host}"),
            _ => format!("http://{host}:{}", self.http_port),
        }
    }
}

/// A recorder as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderTold {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// As in a URL.
    pub host: String,
    /// Its port here.
    pub port: u16,
}

impl RecorderTold {
    /// With port and slash, which clients look for.
    pub fn uri(&self) -> String {
        format!("{}://{}:{}/", self.scheme, self.host, self.port)
    }
}

/// Who is told what.
pub struct Face<'a> {
    /// Of the management server.
    pub told: &'a Told,
    /// What a client is told of the management server with this scheme and authority (in lower case, as it is written), where
    /// there is a face in front of it.
    pub server: Servers<'a>,
    /// What it is told of a recorder; `None` for one that has no port here.
    pub recorder: &'a dyn Fn(&RecorderAsked<'_>) -> Option<RecorderTold>,
}

/// Who stands in front of the server with this scheme and authority.
pub type Servers<'a> = &'a dyn Fn(&str, &str) -> Option<Told>;

/// A recorder, as an answer tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderAsked<'a> {
    /// Its GUID.
    pub id: Option<&'a str>,
    /// Its name for people.
    pub name: Option<&'a str>,
    /// Its address.
    pub uri: &'a str,
}

/// An answer by SOAP; `None` where nothing is to be changed.
pub fn soap(text: &str, face: &Face<'_>, limits: Limits) -> Result<Option<String>, XmlError> {
    let nodes = outline(
        text,
        limits,
        &[
            "RecorderId",
            "WebServerUri",
            "HostName",
            "Name",
            "ServiceInfo",
            "type",
        ],
    )?;
    let inner = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let mut edits: Edits = Vec::new();
    for uri in nodes.iter().filter(|node| node.name == "WebServerUri") {
        let beside = |name: &str| {
            let mut nodes = nodes.iter();
            nodes.find(|node| node.name == name && node.parent == uri.parent)
        };
        let said = |name: &str| plain(inner(&beside(name)?.inner));
        let (id, name) = (said("RecorderId"), said("Name"));
        let Some(address) = plain(inner(&uri.inner)) else {
            continue;
        };
        let asked = RecorderAsked {
            id: id.as_deref(),
            name: name.as_deref(),
            uri: &address,
        };
        if let Some(told) = (face.recorder)(&asked) {
            if let Some(host) = beside("HostName") {
                edits.push((host.inner.clone(), written(&told.host)));
            }
            edits.push((uri.inner.clone(), written(&told.uri())));
        }
    }
    for entry in nodes.iter().filter(|node| node.name == "ServiceInfo") {
        let within =
            |range: &Range<usize>| entry.inner.start <= range.start && range.end <= entry.inner.end;
        let mut kinds = nodes
            .iter()
            .filter(|node| node.name == "type" && within(&node.inner));
        if !kinds.any(|kind| is_server_type(inner(&kind.inner).trim())) {
            continue;
        }
        let servers = servers_in(inner(&entry.inner));
        let changed = readdressed(inner(&entry.inner), &of_own(&servers, face));
        edits.extend(changed.map(|changed| (entry.inner.clone(), changed)));
    }
    Ok(applied(text, edits))
}

/// An answer in JSON; `None` where nothing is to be changed.
pub fn json(text: &str, face: &Face<'_>) -> Result<Option<String>, JsonError> {
    let found = json::scan(text, |key, value| {
        KEYS.contains(&key) || is_server_type(value.trim_matches('"'))
    })?;
    let places = Places {
        text,
        found: &found,
    };
    let mut edits: Edits = Vec::new();
    let told = found.members.iter().filter(|member| {
        matches!(
            text.get(member.key.clone()),
            Some("webServerUri" | "activeWebServerUri")
        )
    });
    let mut before = None;
    for member in told {
        if before.replace(member.object) != Some(member.object) {
            places.recorder(member.object, face, &mut edits);
        }
    }
    for member in &found.members {
        let key = text.get(member.key.clone()).unwrap_or_default();
        let value = text.get(member.value.clone()).unwrap_or_default();
        let of_site = key == "masterSiteAddress"
            || (key == "url" && places.has(member.object, "addressType"));
        if of_site && let Some(changed) = readdressed(value, face.server) {
            edits.push((member.value.clone(), changed));
        }
        if is_server_type(value.trim_matches('"')) {
            let Some(entry) = found.objects.get(member.object) else {
                continue;
            };
            let inside = text.get(entry.clone()).unwrap_or_default();
            let servers = servers_in(inside);
            let changed = readdressed(inside, &of_own(&servers, face));
            edits.extend(changed.map(|changed| (entry.clone(), changed)));
        }
    }
    Ok(applied(text, edits))
}

/// A discovery document (OpenID, or that of the gateway): every address of the server in it, by whatever host it calls itself.
/// Also the hosts by which it does.
pub fn discovery(text: &str, face: &Face<'_>) -> Result<(Option<String>, Vec<String>), JsonError> {
    let found = json::scan(text, |key, _| OWN_ADDRESSES.contains(&key))?;
    let mut hosts: Vec<String> = Vec::new();
    for member in &found.members {
        let value = text.get(member.value.clone()).unwrap_or_default();
        for place in urls(value) {
            let host = place.host(value);
            if !hosts.contains(&host) && hosts.len() < HOSTS_MAX {
                hosts.push(host);
            }
        }
    }
    let changed = readdressed(text, &|_, authority| {
        let host = host_of(authority);
        hosts.contains(&host).then(|| face.told.clone())
    });
    Ok((changed, hosts))
}

/// A service description (WSDL): where services are, and where its other parts are.
pub fn description(text: &str, told: &Told) -> Option<String> {
    let mut edits: Edits = Vec::new();
    // `location` and `schemaLocation`.
    for (at, mark) in text.match_indices("ocation=") {
        let start = at + mark.len();
        let Some(quote) = text.get(start..).and_then(|rest| rest.chars().next()) else {
            break;
        };
        let rest = text.get(start + 1..).unwrap_or_default();
        if let ('"' | '\'', Some(length)) = (quote, rest.find(quote)) {
            let place = start + 1..start + 1 + length;
            let value = text.get(place.clone()).unwrap_or_default();
            let changed = readdressed(value, &|_, _| Some(told.clone()));
            edits.extend(changed.map(|changed| (place, changed)));
        }
    }
    applied(text, edits)
}

/// A text in which addresses of the servers for which `told` has something begin as it says; `None` where there are none.
pub fn readdressed(text: &str, told: Servers<'_>) -> Option<String> {
    let edits = urls(text).filter_map(|place| {
        let scheme = text.get(place.start..place.scheme_end)?;
        let authority = text.get(place.authority..place.end)?.to_ascii_lowercase();
        let told = told(&scheme.to_ascii_lowercase(), &authority)?;
        Some((place.start..place.end, told.origin(scheme)))
    });
    applied(text, edits.collect())
}

/// Where `http://host:port` stands in a text.
struct Place {
    start: usize,
    scheme_end: usize,
    authority: usize,
    end: usize,
}

impl Place {
    /// In lower case, without port and user.
    fn host(&self, text: &str) -> String {
        let authority = text.get(self.authority..self.end).unwrap_or_default();
        host_of(authority)
    }
}

/// The host of an authority, in lower case; addresses of IPv6 keep their brackets.
pub fn host_of(authority: &str) -> String {
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.split_once(']') {
        Some((address, _)) => format!("{address}]"),
        None => authority.split(':').next().unwrap_or_default().to_owned(),
    };
    host.to_ascii_lowercase()
}

fn urls(text: &str) -> impl Iterator<Item = Place> {
    text.match_indices("://").filter_map(move |(at, mark)| {
        let before = text.get(..at)?;
        let letters = before
            .bytes()
            .rev()
            .take_while(u8::is_ascii_alphanumeric)
            .count();
        let start = at - letters;
        let scheme = text.get(start..at)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let authority = at + mark.len();
        let rest = text.get(authority..)?;
        let ends = |letter: char| {
            !(letter.is_ascii_alphanumeric()
                || matches!(
                    letter,
                    '.' | '-' | '_' | ':' | '[' | ']' | '@' | '%' | '~' | '+'
                ))
        };
        let length = rest.find(ends).unwrap_or(rest.len());
        (length > 0).then_some(Place {
            start,
            scheme_end: at,
            authority,
            end: authority + length,
        })
    })
}

/// Servers that have a face, or are this one by a name of its own.
fn of_own<'a>(hosts: &'a [String], face: &'a Face<'a>) -> impl Fn(&str, &str) -> Option<Told> + 'a {
    move |scheme, authority| {
        let own = || {
            let host = host_of(authority);
            hosts.contains(&host).then(|| face.told.clone())
        };
        (face.server)(scheme, authority).or_else(own)
    }
}

/// The hosts by which a management server's own entry calls it: those of its services.
fn servers_in(entry: &str) -> Vec<String> {
    let of_services = urls(entry).filter(|place| {
        let path = entry.get(place.end..).unwrap_or_default();
        let path = path.get(..PATH_BYTES).unwrap_or(path).to_ascii_lowercase();
        ["/managementserver", "/serverapi", "/idp", "/api"]
            .iter()
            .any(|begin| path.starts_with(begin))
    });
    of_services.map(|place| place.host(entry)).collect()
}

struct Places<'a> {
    text: &'a str,
    found: &'a Scan,
}

impl Places<'_> {
    fn member(&self, object: usize, key: &str) -> Option<&json::Member> {
        // Members come by their place, those of an object close together.
        let mut members = self.found.members.iter();
        members.find(|member| {
            member.object == object && self.text.get(member.key.clone()) == Some(key)
        })
    }

    fn has(&self, object: usize, key: &str) -> bool {
        self.member(object, key).is_some()
    }

    /// The addresses of a recorder, where the object is one.
    fn recorder(&self, object: usize, face: &Face<'_>, edits: &mut Edits) {
        let member = |key: &str| self.member(object, key);
        let text = |member: &json::Member| json::meant(self.text.get(member.value.clone())?);
        let (uri, active) = (member("webServerUri"), member("activeWebServerUri"));
        let address = uri.and_then(text).or_else(|| active.and_then(text));
        let Some(address) = address else {
            return;
        };
        let (id, name) = (member("id").and_then(text), member("name").and_then(text));
        let asked = RecorderAsked {
            id: id.as_deref(),
            name: name.as_deref(),
            uri: &address,
        };
        let Some(told) = (face.recorder)(&asked) else {
            return;
        };
        let mut put = |key: &str, value: String| {
            let place = member(key).map(|member| member.value.clone());
            // What is empty or absent stays so.
            if let Some(place) = place
                && !matches!(self.text.get(place.clone()), Some("\"\"" | "null" | "0"))
            {
                edits.push((place, value));
            }
        };
        put("webServerUri", json::written(&told.uri()));
        put("activeWebServerUri", json::written(&told.uri()));
        put("hostName", json::written(&told.host));
        put("portNumber", told.port.to_string());
        put("publicWebserverHostName", json::written(&told.host));
        put("publicWebserverPort", told.port.to_string());
    }
}

/// What is to stand where.
type Edits = Vec<(Range<usize>, String)>;

/// The text with its changes; `None` where there are none. Of changes that overlap, the one that begins first counts.
fn applied(text: &str, mut edits: Edits) -> Option<String> {
    edits.retain(|(place, new)| text.get(place.clone()).is_some_and(|old| old != new));
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|(place, _)| (place.start, usize::MAX - place.end));
    let mut changed = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (place, new) in edits {
        if place.start < at {
            continue;
        }
        changed.push_str(text.get(at..place.start).unwrap_or_default());
        changed.push_str(&new);
        at = place.end;
    }
    changed.push_str(text.get(at..).unwrap_or_default());
    Some(changed)
}

fn is_server_type(text: &str) -> bool {
    text.eq_ignore_ascii_case(SERVER_TYPE)
}

/// Of a management server among the registered services.
const SERVER_TYPE: &str = "a10cd823-bb4e-4d31-a162-dd236fc78fa6";
/// The members by which recorders and sites are told of.
const KEYS: [&str; 11] = [
    "id",
    "name",
    "webServerUri",
    "activeWebServerUri",
    "hostName",
    "portNumber",
    "publicWebserverHostName",
    "publicWebserverPort",
    "masterSiteAddress",
    "addressType",
    "url",
];
/// Where a discovery document says by which hosts the server calls itself.
const OWN_ADDRESSES: [&str; 12] = [
    "issuer",
    "jwks_uri",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "end_session_endpoint",
    "external_providers_uri",
    "UnsecureManagementServer",
    "SecureManagementServer",
    "IdentityProvider",
    "ApiGateways",
    "introspection_endpoint",
];
const HOSTS_MAX: usize = 16;
const PATH_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told {
            authority: "seam.example".to_owned(),
            host: "seam.example".to_owned(),
            secure: true,
            http_port: 80,
            https_port: Some(443),
        }
    }

    fn with_face<T>(told: &Told, run: impl FnOnce(&Face<'_>) -> T) -> T {
        let server =
            |_: &str, authority: &str| (host_of(authority) == "vms.example").then(|| told.clone());
        let recorder = |asked: &RecorderAsked<'_>| {
            (asked.id == Some("r1") || asked.name == Some("Rec 1")).then(|| RecorderTold {
                scheme: "http",
                host: told.host.clone(),
                port: 7563,
            })
        };
        run(&Face {
            told,
            server: &server,
            recorder: &recorder,
        })
    }

    #[test]
    fn recorders_that_have_a_port_are_told_of_by_it() {
        let before = "<s:Envelope xmlns:s='x'><s:Body><R><Recorders><RecorderInfo>\n <Cameras><CameraInfo><Name>a &amp; b</Name>\
            <RecorderId>r1</RecorderId></CameraInfo></Cameras><HostName>rec</HostName><Name>x</Name><RecorderId>r1</RecorderId>\
            <WebServerUri>http://rec.example:7563/</WebServerUri></RecorderInfo><RecorderInfo><HostName>other</HostName>\
            <Name>y</Name><RecorderId>r2</RecorderId><WebServerUri>http://other:7563/</WebServerUri></RecorderInfo></Recorders></R>\
            </s:Body></s:Envelope>";
        let after = before
            .replace("<HostName>rec<", "<HostName>seam.example<")
            .replace("http://rec.example:7563/", "http://seam.example:7563/");
        let changed = with_face(&told(), |face| soap(before, face, Limits::ANSWER)).unwrap();
        assert_eq!(changed, Some(after.clone()));
        // What is ours already is left alone.
        let again = with_face(&told(), |face| soap(&after, face, Limits::ANSWER)).unwrap();
        assert_eq!(again, None);
    }

    #[test]
    fn registered_services_lead_here_where_they_are_the_management_servers() {
        let entry = |kind: &str, host: &str| {
            format!(
                "<ServiceInfo><type>{kind}</type><uri><string>http://{host}/ManagementServer/</string></uri>\
                 <endpointdefinition>&lt;e ns=\"http://schemas.videoos/x\" uri=\"https://{host}:443/ServerAPI/\"/&gt;</endpointdefinition>\
                 </ServiceInfo>"
            )
        };
        let document = |host: &str| {
            let other = entry("11111111-bb4e-4d31-a162-dd236fc78fa6", "events");
            format!("<R>{}{other}</R>", entry(&SERVER_TYPE.to_uppercase(), host))
        };
        let changed = with_face(&told(), |face| {
            soap(&document("vmshost"), face, Limits::ANSWER)
        });
        let expected = document("seam.example")
            .replace("seam.example:443", "seam.example")
            .replace("http://seam", "https://seam");
        assert_eq!(changed.unwrap().unwrap(), expected);
    }

    #[test]
    fn the_gateways_resources_lead_here() {
        let before = r#"{"array": [ {"displayName":"x","id":"r1","hostName":"rec","portNumber":7563,"webServerUri":"http:\/\/rec:7563/",
            "activeWebServerUri":"http://rec:7563/","publicWebserverHostName":"","publicWebserverPort":0,"n":1.50},
            {"id":"r2","webServerUri":"http://other:7563/"} ],"masterSiteAddress":"http://VMS.example/",
            "siteAddresses":[{"addressType":"External","url":"http://child.example/"},{"addressType":"x","url":"https://vms.example/a"}],"url":"http://vms.example/"}"#;
        let after = before
            .replace(r#""hostName":"rec""#, r#""hostName":"seam.example""#)
            .replace("http:\\/\\/rec:7563/", "http://seam.example:7563/")
            .replace("http://rec:7563/", "http://seam.example:7563/")
            .replace("http://VMS.example/", "https://seam.example/")
            .replace("https://vms.example/a", "https://seam.example/a");
        let changed = with_face(&told(), |face| json(before, face)).unwrap();
        assert_eq!(changed, Some(after));
        assert_eq!(
            with_face(&told(), |face| json("{\"id\":1}", face)),
            Ok(None)
        );
    }

    #[test]
    fn discovery_leads_here_by_whatever_host_the_server_calls_itself() {
        let before = r#"{"issuer":"https://VMSHOST/IDP","token_endpoint":"https://vmshost/IDP/connect/token","jwks_uri":"http://vmshost:81/k","claims":["http://schemas.xmlsoap.org/x"],"server_version":"25.2.1.1"}"#;
        let mut told = told();
        let (changed, hosts) = with_face(&told, |face| discovery(before, face)).unwrap();
        let changed = changed.unwrap();
        assert_eq!(hosts, ["vmshost"]);
        let after = before
            .replace("https://VMSHOST", "https://seam.example")
            .replace("https://vmshost", "https://seam.example")
            .replace("http://vmshost:81", "https://seam.example");
        assert_eq!(changed, after);
        // Where there is no certificate nobody is sent to one.
        told = Told {
            authority: "seam.example:8080".to_owned(),
            secure: false,
            http_port: 8080,
            https_port: None,
            ..told
        };
        let (changed, _) = with_face(&told, |face| discovery(before, face)).unwrap();
        let expected = "\"token_endpoint\":\"http://seam.example:8080/IDP/connect/token\"";
        assert!(changed.unwrap().contains(expected));
    }

    #[test]
    fn service_descriptions_lead_here() {
        let before = "<w:definitions targetNamespace=\"http://tempuri.org/\"><w:import namespace=\"http://videoos.net/2\" location=\"http://vmshost/M.svc?wsdl=wsdl0\"/>\
            <x:import schemaLocation='http://vmshost/M.svc?xsd=xsd0'/><soap:address location=\"https://vms.example/M.svc\"/></w:definitions>";
        let after = before
            .replace("http://vmshost", "https://seam.example")
            .replace("https://vms.example", "https://seam.example");
        assert_eq!(description(before, &told()), Some(after));
        assert_eq!(description("location=", &told()), None);
    }
}
