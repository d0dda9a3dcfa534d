//! Listings, stills and time lines by SOAP, as a client that this project did not write reads them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use seamline_tests::{
    clock::{iso, noon},
    pair::{Pair, THERE, TOKEN},
    program::{lab_folder, venv},
    xprotect::CAMERA,
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
    let space = "http://videoos.net/2/XProtectCSRecorderCommand";
    let body = format!(
        "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><{operation} xmlns='{space}'><token>{TOKEN}</token>\
         <deviceId>{CAMERA}</deviceId>{more}</{operation}></s:Body></s:Envelope>"
    );
    let request = format!(
        "POST /RecorderCommandService/RecorderCommandService.asmx HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
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
