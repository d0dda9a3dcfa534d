//! What is hostile on these ports, and sites that mean harm.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use seamline_tests::{
    clock::await_that,
    rtsp::connect_from,
    seamline::{Seamline, free_port},
    xprotect::Setup,
};
use serde_json::json;

use crate::{House, SOON, raw};

#[test]
fn what_is_hostile_goes_no_further() {
    let house = House::new(Setup::default());
    let seamline = house.serve();
    let port = house.management;
    let bad = |request: &str, status: &str| {
        let answer = raw(port, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request:.200}: {answer:.200}"
        );
    };
    bad("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400");
    bad("GET / HTTP/1.1\r\n\r\n", "400");
    bad("GET / HTTP/1.1\r\nHost: \"><script>\r\n\r\n", "400");
    bad("GET / HTTP/1.1\r\nHost: user@elsewhere\r\n\r\n", "400");
    bad(
        "CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere:80\r\nConnection: close\r\n\r\n",
        "405",
    );
    // What nobody knows is asked of the primary.
    for unknown in ["FROB /nothing", "OPTIONS /nothing", "TRACE /nothing"] {
        let asked = format!("{unknown} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        bad(&asked, "404");
    }
    bad(
        &format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "x".repeat(10_000)
        ),
        "414",
    );
    bad(
        &format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(100_000)
        ),
        "431",
    );
    bad("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n", "400");
    bad(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "400",
    );
    bad(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "400",
    );
    // An address of another host leads to the primary all the same, and nowhere else.
    let absolute = raw(
        port,
        "GET http://elsewhere.invalid/nothing HTTP/1.1\r\nHost: elsewhere.invalid\r\nConnection: close\r\n\r\n",
    );
    assert!(absolute.starts_with("HTTP/1.1 404"), "{absolute}");
    let posted = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]><a>&b;</a>";
    bad(
        &posted("/ManagementServer/ServerCommandServiceOAuth.svc", bomb),
        "400",
    );
    let deep = "<a>".repeat(10_000);
    bad(
        &posted("/ServerAPI/ServerCommandService.asmx", &deep),
        "400",
    );
    bad(&posted("/idp/connect/token", &"x".repeat(100_000)), "413");
    assert!(seamline.log().iter().all(|line| !line.contains("panicked")));
}

/// Whoever is at a site is sent to another host: nobody goes there, neither with the house's password nor for a client.
#[test]
fn a_site_that_leads_elsewhere_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let told = elsewhere.set_nonblocking(true);
    told.expect("a listener need not wait");
    let place = elsewhere.local_addr().expect("it is bound");
    let mut house = House::new(Setup::default());
    house.primary.obey(&format!("move http://{place}"));
    let seamline = house.serve();
    await_that(SOON, "nobody is led away", || {
        house.primary.calls().contains(&"met move".to_owned())
    });
    let asked = "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(house.management, asked);
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    let form = "grant_type=password&username=viewer&password=s3cret&client_id=GrantValidatorClient";
    let asked = format!(
        "POST /idp/connect/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = raw(house.management, &asked);
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    let came = elsewhere.accept();
    assert!(came.is_err(), "{came:?}");
    assert!(seamline.log().iter().all(|line| !line.contains("s3cret")));
}

#[test]
fn one_address_takes_no_more_of_these_ports_than_its_share() {
    let house = House::new(Setup::default());
    let port = free_port();
    let mut config = house.config(port);
    config["limits"] = json!({ "per_address_max": 3 });
    let _seamline = Seamline::of(&config, port, "info");
    let request = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";
    // Those of so many that are answered, which keep their places.
    let crowd = |address: &str, count: usize| {
        let ports = [house.management, house.recorder].into_iter().cycle();
        let places = ports.take(count).map(|port| ([127, 0, 0, 1], port).into());
        let mut crowd: Vec<TcpStream> = places.map(|place| connect_from(address, place)).collect();
        crowd.retain_mut(|stream| {
            let patient = stream.set_read_timeout(Some(SOON));
            patient.expect("a socket has a patience");
            let mut first = [0];
            stream.write_all(request).is_ok() && stream.read_exact(&mut first).is_ok()
        });
        crowd
    };
    let greedy = crowd("127.0.0.2", 6);
    assert_eq!(greedy.len(), 3);
    // Others have theirs.
    let others = crowd("127.0.0.3", 4);
    assert_eq!(others.len(), 3);
    drop(greedy);
    await_that(SOON, "places are not given back", || {
        !crowd("127.0.0.2", 1).is_empty()
    });
}
