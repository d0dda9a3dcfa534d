//! Who may ask over HTTP: users, tokens, links, other origins; and who guesses.

use serde_json::json;

use crate::{SOON, get, head, house, status};

/// Signed with `SECRET` by another program: guard, until 2100; guard, until 2023.
const GOOD_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJndWFyZCIsImV4cCI6NDEwMjQ0NDgwMH0.wqiVz2BXLDHa6CNRPfrTX1-m_61zUH2T0CjlZ-d3r_c";

const OLD_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJndWFyZCIsImV4cCI6MTcwMDAwMDAwMH0.WRR2Gyy1Q0mBm2FoA47dWvV5WkiYbUSI80254DyXd4I";

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn users_tokens_and_links_open_what_they_are_for() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let key = folder.path().join("key");
    std::fs::write(&key, SECRET).expect("the folder can be written");
    let config = house()
        .another_camera("yard/north")
        .user_as(json!({ "name": "guard", "password": "secret", "cameras": ["yard/*"] }))
        .auth("basic", true)
        .auth("link_key_file", key.display().to_string())
        .auth("token", json!({ "secret_file": key.display().to_string() }))
        .top(
            "http",
            json!({ "cors_origins": ["https://wall.example.org"] }),
        );
    let seamline = config.serve();
    let cameras = "/v1/cameras";
    let basic = |pair: &str| format!("Authorization: Basic {pair}\r\n");
    let (right, wrong) = (basic("Z3VhcmQ6c2VjcmV0"), basic("Z3VhcmQ6c2VjcmV1"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    // Health is everybody's, and says nothing.
    assert_eq!(get(&seamline, "/health", "").0, 200);
    for headers in [&right, &bearer(GOOD_TOKEN)] {
        let (status, body) = get(&seamline, cameras, headers);
        assert_eq!(status, 200, "{body}");
        assert!(
            body.contains("yard/north") && !body.contains("gate"),
            "{body}"
        );
        assert_eq!(get(&seamline, "/v1/cameras/yard%2Fnorth", headers).0, 200);
        // What they may not see may as well not be there.
        assert_eq!(get(&seamline, "/v1/cameras/gate", headers).0, 403);
        assert_eq!(get(&seamline, "/v1/cameras/nobody", headers).0, 403);
    }
    let challenged = head(&seamline, "GET /v1/cameras HTTP/1.1\r\nHost: h\r\n");
    assert_eq!(status(&challenged), 401);
    for scheme in ["digest realm", "basic realm", "bearer realm"] {
        assert!(
            challenged.contains(&format!("www-authenticate: {scheme}")),
            "{challenged}"
        );
    }
    assert_eq!(get(&seamline, cameras, &wrong).0, 401);
    let old = head(
        &seamline,
        &format!(
            "GET /v1/cameras HTTP/1.1\r\nHost: h\r\n{}",
            bearer(OLD_TOKEN)
        ),
    );
    assert!(
        status(&old) == 401 && old.contains("error=\"invalid_token\""),
        "{old}"
    );
    assert_eq!(
        get(
            &seamline,
            cameras,
            &bearer(&GOOD_TOKEN.replace("eyJz", "eyJt"))
        )
        .0,
        401
    );

    let signed = config.run(&["sign", "/v1/cameras/yard%2Fnorth?a=b", "--valid", "10m"]);
    let signed = signed.trim();
    assert_eq!(get(&seamline, signed, "").0, 200, "{signed}");
    assert_eq!(get(&seamline, &signed.replace("a=b", "a=c"), "").0, 403);
    assert_eq!(
        get(&seamline, &signed.replace("yard%2Fnorth", "gate"), "").0,
        403
    );
    assert_eq!(
        get(
            &seamline,
            &signed.replace("/v1/cameras/yard%2Fnorth", cameras),
            ""
        )
        .0,
        403
    );

    let origin = |origin: &str| {
        format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n"
        )
    };
    let preflight = |from: &str| {
        head(
            &seamline,
            &format!(
                "OPTIONS /v1/cameras HTTP/1.1\r\nHost: h\r\n{}",
                origin(from)
            ),
        )
    };
    let ours = preflight("https://wall.example.org");
    assert!(
        ours.contains("access-control-allow-origin: https://wall.example.org"),
        "{ours}"
    );
    assert!(
        ours.contains("access-control-allow-headers: ") && ours.contains("authorization"),
        "{ours}"
    );
    assert!(!preflight("https://other.example").contains("access-control-allow-origin"));
    seamline.await_log(&["token refused", "expired"], SOON);
    seamline.await_log(&["link refused"], SOON);
}

#[test]
fn who_guesses_over_http_waits() {
    let seamline = house().user("guard", "secret").auth("basic", true).serve();
    let guess = |n: usize| {
        let answer = format!(
            "Authorization: Basic {}\r\n",
            base64(&format!("guard:guess-{n}"))
        );
        get(&seamline, "/v1/cameras", &answer).0
    };
    let statuses: Vec<u16> = (0..8).map(guess).collect();
    assert_eq!(statuses[..5], [401; 5], "{statuses:?}");
    assert!(statuses[6..].contains(&429), "{statuses:?}");
    let waits = head(
        &seamline,
        "GET /v1/cameras HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eDp5\r\n",
    );
    assert!(status(&waits) == 401, "other names still may: {waits}");
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = text.as_bytes().chunks(3).map(|group| {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
        let digits = (0..=group.len()).map(digit).collect::<String>();
        format!("{digits:=<4}")
    });
    groups.collect()
}
