//! Proofs of who one is over HTTP, where a client was pointed at another name than the server's own: tickets of Kerberos are for names,
//! and NTLM and Basic are not. Pure.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};

/// Begins each message of NTLM ([MS-NLMP] 2.2.1), also inside of SPNEGO.
const NTLM: &[u8] = b"NTLMSSP\0";

/// Whether an `Authorization` shows a ticket of Kerberos: SPNEGO without NTLM in it (RFC 4559 §4).
pub(super) fn is_kerberos(authorization: &str) -> bool {
    let Some((scheme, shown)) = authorization.trim().split_once(' ') else {
        return false;
    };
    let shown = BASE64_STANDARD.decode(shown.trim()).unwrap_or_default();
    scheme.eq_ignore_ascii_case("negotiate")
        && !shown.is_empty()
        && !shown.windows(NTLM.len()).any(|window| window == NTLM)
}

/// Takes `Negotiate` from what a server offers beside NTLM: clients take it first, and would show the same ticket again. The others
/// stay in their order, each on a line of its own. Whether there is one that a client can go on with, NTLM or Basic.
pub(super) fn drop_negotiate(headers: &mut HeaderMap) -> bool {
    let lines: Vec<String> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    let offered: Vec<&str> = lines.iter().flat_map(|line| challenges(line)).collect();
    let is = |challenge: &&str, name: &str| scheme(challenge).eq_ignore_ascii_case(name);
    let has_ntlm = offered.iter().any(|offered| is(offered, "ntlm"));
    let has_basic = offered.iter().any(|offered| is(offered, "basic"));
    // What comes with a token goes on with what was begun, and is not a new offer.
    let bare = |offered: &&str| offered.eq_ignore_ascii_case("negotiate");
    if has_ntlm || has_basic {
        headers.remove(WWW_AUTHENTICATE);
        for kept in offered.iter().filter(|offered| !bare(offered)) {
            if let Ok(kept) = HeaderValue::try_from(*kept) {
                headers.append(WWW_AUTHENTICATE, kept);
            }
        }
    }
    has_ntlm || has_basic
}

fn scheme(challenge: &str) -> &str {
    challenge.split(' ').next().unwrap_or_default()
}

/// The challenges of one line (RFC 9110 §11.6.1): parameters stand between commas as challenges do.
fn challenges(line: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, letter) in line.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted && begins(line.get(at + 1..).unwrap_or_default()) => {
                starts.push(at + 1);
            }
            _ => {}
        }
    }
    starts.push(line.len() + 1);
    let cut = starts
        .windows(2)
        .filter_map(|two| line.get(two[0]..two[1] - 1));
    cut.map(str::trim).filter(|cut| !cut.is_empty()).collect()
}

/// Whether what follows a comma is a challenge, and not a parameter of the one before.
fn begins(rest: &str) -> bool {
    let rest = rest.trim_start();
    let end = rest.find([' ', ',', '=']).unwrap_or(rest.len());
    end > 0
        && !rest
            .get(end..)
            .unwrap_or_default()
            .trim_start()
            .starts_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(lines: &[&str]) -> (bool, Vec<String>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        let falls_back = drop_negotiate(&mut headers);
        let left = headers.get_all(WWW_AUTHENTICATE).iter();
        let left = left.map(|line| line.to_str().unwrap().to_owned());
        (falls_back, left.collect())
    }

    #[test]
    fn who_has_a_ticket_is_offered_ntlm_and_basic_in_the_servers_order() {
        let left = |lines: &[&str]| offered(lines).1;
        let both = ["NTLM", "Basic realm=\"a, NTLM, b\", charset=\"UTF-8\""];
        assert_eq!(left(&["Negotiate", "NTLM", both[1]]), both);
        assert_eq!(left(&[&format!("Negotiate, NTLM,{}", both[1])]), both);
        assert_eq!(
            left(&["Basic realm = x, Negotiate ,NTLM"]),
            ["Basic realm = x", "NTLM"]
        );
        assert_eq!(left(&["negotiate", "Basic realm=x"]), ["Basic realm=x"]);
        // There is nothing else: it may still speak NTLM inside of it.
        assert_eq!(
            offered(&["Negotiate"]),
            (false, vec!["Negotiate".to_owned()])
        );
        assert_eq!(offered(&[]), (false, vec![]));
        // An answer to a message, and no offer.
        assert_eq!(
            left(&["Negotiate oYG2MIGz", "NTLM"]),
            ["Negotiate oYG2MIGz", "NTLM"]
        );
    }

    #[test]
    fn a_ticket_is_told_from_ntlm() {
        let shown = |message: &[u8]| format!("Negotiate {}", BASE64_STANDARD.encode(message));
        assert!(is_kerberos(&shown(
            b"\x60\x82\x01\x02\x06\x06+\x06\x01\x05\x05\x02ticket"
        )));
        assert!(!is_kerberos(&shown(b"NTLMSSP\0\x01\0\0\0")));
        assert!(!is_kerberos(&shown(b"\x60\x82spnegoNTLMSSP\0\x01\0\0\0")));
        for other in [
            "Negotiate",
            "Negotiate ",
            "NTLM YII=",
            "Basic YTpi",
            "Bearer x.y.z",
        ] {
            assert!(!is_kerberos(other), "{other}");
        }
    }
}
