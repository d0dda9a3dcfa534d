//! What is not the house's passes as it is.

use std::io::{Read, Write};

use seamline_tests::xprotect::Setup;

use crate::{House, SOON, connected, raw};

#[test]
fn what_is_not_ours_passes_as_it_is() {
    let house = House::new(Setup::default());
    let seamline = house.serve();
    house.log_in("oauth", "viewer", "s3cret");
    let port = house.management;
    let get = |path: &str, more: &str| {
        raw(
            port,
            &format!(
                "GET {path} HTTP/1.1\r\nHost: seam.example:{port}\r\nConnection: close\r\n{more}\r\n"
            ),
        )
    };
    let own = format!("http://seam.example:{port}");

    let told = get("/API/.well-known/uris", "");
    assert!(
        told.contains(&format!("\"IdentityProvider\":\"{own}/IDP\"")),
        "{told}"
    );
    assert!(
        told.contains(&format!("\"SecureManagementServer\":\"{own}/\"")),
        "no certificate: {told}"
    );
    let moved = get("/away", "");
    assert!(
        moved.contains(&format!("Location: {own}/IDP/login")),
        "{moved}"
    );
    assert!(moved.contains("Set-Cookie: a=b; Path=/"), "{moved}");
    let described = get("/ManagementServer/ServerCommandService.svc?wsdl", "");
    assert!(
        !described.contains("vmshost") && described.contains(&own),
        "{described}"
    );
    assert!(
        described.contains("namespace=\"http://videoos.net/2/XProtectCSServerCommand\""),
        "{described}"
    );
    let services = raw(
        port,
        &format!(
            "POST /ManagementServer/ServiceRegistrationService.svc HTTP/1.1\r\nHost: seam.example:{port}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ),
    );
    assert!(
        services.contains(&format!("{own}/ManagementServer/")),
        "{services}"
    );
    assert!(
        services.contains("http://events.example:22331/Central/"),
        "{services}"
    );
    assert!(!services.contains("vmshost"), "{services}");
    let big = get("/big", "");
    let (_, body) = big.split_once("\r\n\r\n").unwrap();
    let count = body.bytes().filter(|byte| *byte == b'x').count();
    assert_eq!(count, 3 << 20, "it comes in chunks, and all of it");
    assert!(get("/nothing", "").starts_with("HTTP/1.1 404"));

    // A recorder's address in a service that nobody knows passes, and is told of.
    let view = raw(
        port,
        &format!(
            "POST /ManagementServer/ViewsService.svc HTTP/1.1\r\nHost: seam.example:{port}\r\nConnection: close\r\nContent-Length: 4\r\n\r\n<a/>"
        ),
    );
    assert!(view.contains("<Recorder>http://localhost:"), "{view}");
    seamline.await_log(&["recorder's own address leaves", "count=1"], SOON);
}

#[test]
fn switched_connections_carry_what_they_carry() {
    let house = House::new(Setup::default());
    let _seamline = house.serve();
    let port = house.management;
    let form = "grant_type=password&username=viewer&password=s3cret&client_id=VmsClient";
    let asked = format!(
        "POST /API/IDP/connect/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let access = raw(port, &asked);
    let (_, access) = access.split_once("\"access_token\":\"").unwrap();
    let access = access.split('"').next().unwrap();
    let mut stream = connected(port);
    let upgrade = format!(
        "GET /API/ws/events/v1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAuthorization: bearer {access}\r\n\r\n"
    );
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(char::from(byte[0]));
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for piece in [b"\x81\x05hello".to_vec(), vec![0x82; 50_000]] {
        stream.write_all(&piece).unwrap();
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, piece);
    }
}
