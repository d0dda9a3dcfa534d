//! What is in a folder, as web servers list it: a page whose links are the names. nginx, Apache, lighttpd, Caddy and Python's
//! server all write such pages, each in its own way; the links are what they have in common.

use std::borrow::Cow;

use url::Url;

/// Names of one page.
const NAMES_MAX: usize = 200_000;

/// The names of a folder's page that are in the folder itself, decoded, folders with their slash; in the order of the page.
pub(super) fn names(page: &[u8], folder: &Url) -> Vec<String> {
    let text = String::from_utf8_lossy(page);
    let mut names: Vec<String> = links(&text)
        .filter_map(|link| inside(&link, folder))
        .take(NAMES_MAX)
        .collect();
    names.dedup();
    names
}

/// The values of `href`, with quotes of either kind.
fn links(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = rest
                .as_bytes()
                .windows(HREF.len())
                .position(|window| window.eq_ignore_ascii_case(HREF))?;
            rest = rest.get(at + HREF.len()..)?.trim_start();
            let Some(quote) = rest
                .chars()
                .next()
                .filter(|sign| matches!(sign, '"' | '\''))
            else {
                continue;
            };
            let (value, behind) = rest.get(1..)?.split_once(quote)?;
            rest = behind;
            return Some(if value.contains('&') {
                Cow::Owned(value.replace("&amp;", "&"))
            } else {
                Cow::Borrowed(value)
            });
        }
    })
}

const HREF: &[u8] = b"href=";

/// The name that a link leads to, when that is in the folder.
fn inside(link: &str, folder: &Url) -> Option<String> {
    // Orders of the list, and anchors.
    if link.is_empty() || link.starts_with(['?', '#']) {
        return None;
    }
    let url = folder.join(link).ok()?;
    if url.origin() != folder.origin() || url.query().is_some() {
        return None;
    }
    let name = url.path().strip_prefix(folder.path())?;
    let deeper = name.trim_end_matches('/').contains('/');
    if name.is_empty() || deeper {
        return None;
    }
    decoded(name)
}

/// Percent-decoded, where that is a name.
fn decoded(name: &str) -> Option<String> {
    // Of a form's query, a plus would be a space.
    let kept = name.replace('+', "%2B");
    let pair = format!("n={}", kept.replace('&', "%26"));
    let value = url::form_urlencoded::parse(pair.as_bytes()).next()?.1;
    let whole = !value.trim_end_matches('/').contains(['/', '\0']);
    (whole && !value.starts_with('.')).then(|| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> Url {
        Url::parse("http://nvr:8080/motion/cam1/").unwrap()
    }

    #[test]
    fn pages_of_known_servers() {
        let nginx = "<html><head><title>Index of /motion/cam1/</title></head><body>\r\n<h1>Index of /motion/cam1/</h1><hr><pre>\
            <a href=\"../\">../</a>\r\n<a href=\"day%201/\">day 1/</a>  26-Nov-2026 07:25  -\r\n\
            <a href=\"20261126072532.mp4\">20261126072532.mp4</a>  26-Nov-2026 07:25  1075557\r\n</pre><hr></body></html>";
        assert_eq!(
            names(nginx.as_bytes(), &folder()),
            ["day 1/", "20261126072532.mp4"]
        );
        let apache = "<th><a href=\"?C=N;O=D\">Name</a></th><tr><td><a href=\"/motion/\">Parent Directory</a></td></tr>\
            <td><A HREF='a+b.mp4'>a+b.mp4</A></td>";
        assert_eq!(names(apache.as_bytes(), &folder()), ["a+b.mp4"]);
        let caddy = "<a href=\"./x%26y.mp4\"><a href = \"broken\"><a href=\"x&amp;z.mp4\"><a href=/unquoted>";
        assert_eq!(names(caddy.as_bytes(), &folder()), ["x&y.mp4", "x&z.mp4"]);
        let iis = "<A HREF=\"/motion/cam1/1.mp4\">1.mp4</A>";
        assert_eq!(names(iis.as_bytes(), &folder()), ["1.mp4"]);
    }

    #[test]
    fn what_leads_elsewhere_is_left_out() {
        for link in [
            "http://other/motion/cam1/a.mp4",
            "//other/a.mp4",
            "/etc/passwd",
            "../cam2/a.mp4",
            "sub/a.mp4",
            "%2e%2e/a.mp4",
            "..%2fa.mp4",
            "a%2fb.mp4",
            "a%00.mp4",
            ".hidden",
            "?a.mp4",
            "#a.mp4",
            "javascript:alert(1)",
            "",
        ] {
            let page = format!("<a href=\"{link}\">");
            assert_eq!(names(page.as_bytes(), &folder()), [""; 0], "{link}");
        }
        assert_eq!(names(b"href=\"", &folder()), [""; 0]);
        assert_eq!(names(b"\xff\xfe href='a'", &folder()), ["a"]);
    }

    proptest::proptest! {
        #[test]
        fn no_page_is_too_odd(page in proptest::collection::vec(0_u8.., 0..400), names_of in "[hrefHREF='\"&;/.%0-9a ]{0,200}") {
            for page in [&page[..], names_of.as_bytes()] {
                for name in names(page, &folder()) {
                    let inner = name.trim_end_matches('/');
                    proptest::prop_assert!(!inner.is_empty() && !inner.contains('/') && !inner.starts_with('.'));
                }
            }
        }
    }
}
