//! Listings, stills and time lines by SOAP, as a client that this project did not write reads them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use seamline_tests::{
    clock::{iso, noon},
    pair::{Pair, THERE, TOKEN, holding},
    program::{lab_folder, venv},
    xprotect::{CAMERA, Setup},
};
use serde_json::{Value, json};

use crate::SOON;

/// What zeep makes of the port's WSDL, and of the answers of two sites.
fn zeep(port: u16, still: f64) -> Value {
    let ms = |at: f64| noon(at).to_string();
    let output = Command::new(venv().join("bin/python"))
        .arg("-B")
        .arg(lab_folder().join("recorder_zeep.py"))
        .args([port.to_string(), CAMERA.to_owned(), TOKEN.to_owned()])
        .args([ms(-60.0), ms(100.0), ms(still)])
        .output()
        .expect("tests/run makes the folder of packages");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"))
}

#[test]
fn listings_and_stills_over_soap_are_those_of_all_sites() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45), (60, 65)]);
    let second = |at: i64| noon(0.0) + at * 1000;
    let spans = |spans: &[(i64, i64)]| {
        let span = |(from, to): &(i64, i64)| json!([second(*from), second(*to)]);
        Value::from(spans.iter().map(span).collect::<Vec<_>>())
    };
    for (still, of) in [(3.5, CAMERA), (20.5, THERE), (44.0, CAMERA), (62.0, THERE)] {
        let told = zeep(pair.port, still);
        let both = spans(&[(0, 50), (60, 65)]);
        assert_eq!(told["types"].as_array().map(Vec::len), Some(3), "{told}");
        assert_eq!(told["all"], both, "{told}");
        assert_eq!(told["first"], spans(&[(0, 50)]), "{told}");
        assert_eq!((&told["around"], &told["span"]), (&both, &both), "{told}");
        assert_eq!(told["still"], json!([second(still as i64), of]), "{told}");
        assert_eq!(told["stranger"], "Token invalid", "{told}");
    }
    // The recorder is gone: who was let in a while ago is told what is left of it, and no stranger is.
    let mut client = pair.client();
    client.goto(noon(3.0));
    pair.primary.kill();
    client.goto(noon(6.0));
    let told = zeep(pair.port, 7.0);
    assert_eq!(told["still"], json!([second(7), THERE]), "{told}");
    assert_eq!(told["stranger"], "Token invalid", "{told}");
}

/// The answer to a call by SOAP on the recorder's port.
fn soap(port: u16, operation: &str, more: &str) -> String {
    soap_in(SOAP_11, TOKEN, port, operation, more)
}

/// The same in a version of SOAP, with a token.
fn soap_in(version: &str, token: &str, port: u16, operation: &str, more: &str) -> String {
    let space = "http://videoos.net/2/XProtectCSRecorderCommand";
    let body = format!(
        "<s:Envelope xmlns:s='{version}'><s:Body><{operation} xmlns='{space}'><token>{token}</token>\
         <deviceId>{CAMERA}</deviceId>{more}</{operation}></s:Body></s:Envelope>"
    );
    let request = format!(
        "POST /RecorderCommandService/RecorderCommandService.asmx HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    http(port, &request)
}

const SOAP_11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SOAP_12: &str = "http://www.w3.org/2003/05/soap-envelope";

fn http(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the face listens");
    let patient = stream.set_read_timeout(Some(SOON));
    patient.expect("a socket has a patience");
    stream.write_all(request.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer
}

#[test]
fn a_time_line_is_that_of_all_sites() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let more = format!(
        "<timeLineInformationTypes><guid xmlns='http://microsoft.com/wsdl/types/'>78289503-cbf4-43be-9dc3-9f34a8b60e6d</guid></timeLineInformationTypes>\
         <timeLineInformationBeginTime>{}</timeLineInformationBeginTime><timeLineInformationInterval><MicroSeconds>1000000</MicroSeconds>\
         </timeLineInformationInterval><timeLineInformationCount>48</timeLineInformationCount>",
        iso(noon(0.0))
    );
    let told = |pair: &Pair| soap(pair.port, "TimeLineInformationGet", &more);
    let answer = told(&pair);
    // All of 48 seconds, one bit each.
    assert!(answer.contains("<Data>////////</Data>"), "{answer}");
    assert!(
        answer.contains(&format!("<DeviceId>{CAMERA}</DeviceId>")),
        "{answer}"
    );
    // Who is let in by the recorder is known when that is gone.
    pair.client().goto(noon(3.0));
    pair.primary.kill();
    let answer = told(&pair);
    // From the fifth to the 45th.
    assert!(answer.contains("<Data>4P////8f</Data>"), "{answer}");
    assert!(
        answer.contains(&format!("<DeviceId>{CAMERA}</DeviceId>")),
        "{answer}"
    );
    let answer = soap(pair.port, "GetRetentionTimeLimit", "");
    assert!(
        answer.contains("<GetRetentionTimeLimitResult>2026-"),
        "{answer}"
    );
}

/// Answers come in the version that was asked in, stills from who has one of that very instant or the nearest, and a description names
/// no address but the one that was asked.
#[test]
fn what_is_asked_otherwise_is_answered_so() {
    let mut pair = Pair::of(
        [
            holding(Setup::default(), &[(0, 10), (60, 70)]),
            holding(Setup::default(), &[(8, 20), (40, 44)]).ahead_ms(300),
        ],
        |config| config.ahead(300),
    );
    // The first answer is that of sites that were listed.
    let window = format!(
        "<sequenceType>f9c62604-d0c5-4050-ae25-72de51639b14</sequenceType><minTime>{}</minTime><maxTime>{}</maxTime><maxCount>9</maxCount>",
        iso(noon(0.0)),
        iso(noon(90.0))
    );
    for (version, other, kind) in [
        (SOAP_11, SOAP_12, "text/xml; charset=utf-8"),
        (SOAP_12, SOAP_11, "application/soap+xml; charset=utf-8"),
    ] {
        for (operation, more, expected) in [
            ("SequencesGet", window.as_str(), "<TimeEnd>"),
            ("SequencesGetTypes", "", "MotionSequence"),
        ] {
            let answer = soap_in(version, TOKEN, pair.port, operation, more);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(
                answer.contains(version) && !answer.contains(other),
                "{answer}"
            );
            assert!(
                answer.contains(kind) && answer.contains(expected),
                "{answer}"
            );
        }
        let answer = soap_in(version, "nobody's", pair.port, "SequencesGetTypes", "");
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
        assert!(
            answer.contains("Token invalid") && answer.contains("20001"),
            "{answer}"
        );
        assert!(
            answer.contains(version) && !answer.contains(other),
            "{answer}"
        );
        assert_eq!(answer.contains(":Sender</"), version == SOAP_12, "{answer}");
    }
    let still = |operation: &str, at: f64| {
        let more = format!("<time>{}</time>", iso(noon(at)));
        let answer = soap(pair.port, operation, &more);
        let time = answer
            .split_once("<Time>")
            .and_then(|(_, rest)| rest.get(..23));
        let of_primary = answer.contains("<Data>MTExMTExMTEt");
        let at = |second: i64| iso(noon(0.0) + second * 1000)[..19].to_owned();
        let second =
            (-9..99).find(|second| time.is_some_and(|time| time.starts_with(&at(*second))));
        (second, of_primary)
    };
    for (operation, at, second, of_primary) in [
        ("JPEGGetAtOrBefore", 3.5, Some(3), true),
        ("JPEGGetAtOrBefore", 15.5, Some(15), false),
        // Nobody holds it: the nearest on the side that is asked for.
        ("JPEGGetAtOrBefore", 30.0, Some(19), false),
        ("JPEGGetAtOrBefore", 55.0, Some(43), false),
        ("JPEGGetAtOrAfter", 30.0, Some(40), false),
        ("JPEGGetAtOrAfter", 50.0, Some(60), true),
        ("JPEGGetAt", 5.0, Some(5), true),
        ("JPEGGetAt", 15.0, Some(15), false),
        ("JPEGGetAt", 5.5, None, false),
    ] {
        assert_eq!(
            still(operation, at),
            (second, of_primary),
            "{operation} {at}"
        );
    }
    let now = "<maxWidth>640</maxWidth><maxHeight>360</maxHeight>";
    assert!(soap(pair.port, "JPEGGetLive", now).contains("<Data>MTExMTExMTEt"));
    pair.primary.obey("wsdl");
    for path in [
        "RecorderCommandService/RecorderCommandService",
        "RecorderStatusService/RecorderStatusService2",
    ] {
        let request = format!(
            "GET /{path}.asmx?WSDL HTTP/1.1\r\nHost: seen.example:7563\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        );
        let answer = http(pair.port, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            !answer.contains("rec.example") && !answer.contains("vmshost"),
            "{answer}"
        );
        let own = answer
            .matches("ocation=\"http://seen.example:7563/")
            .count();
        assert_eq!(own, 3, "{answer}");
    }
    // Who was let in a while ago gets a still of now from the other site, and nobody else.
    pair.client().goto(noon(3.0));
    pair.primary.kill();
    let answer = soap(pair.port, "JPEGGetLive", now);
    assert!(answer.contains("<Data>Nzc3Nzc3Nzct"), "{answer}");
    let answer = soap_in(SOAP_11, "nobody's", pair.port, "JPEGGetLive", now);
    assert!(answer.contains("Token invalid"), "{answer}");
}
