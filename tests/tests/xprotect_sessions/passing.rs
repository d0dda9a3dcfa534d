//! What passes as it is: sound, PTZ, live, whatever nobody here knows.

use std::net::TcpStream;

use seamline_tests::{
    clock::{monotonic, noon, poll},
    imageserver::Client,
    pair::{Pair, THERE, TOKEN, place},
    seamline::Config,
    xprotect::{CAMERA, MICROPHONE, Setup},
};
use serde_json::{Value, json};

use crate::{SOON, answers, post};

/// What a recorder heard of a call, under the client's own number.
fn heard(pair: &Pair, method: &str, number: &str) -> String {
    let text = poll(SOON, || {
        let calls = pair.primary.calls();
        let mut heard = calls.iter().filter_map(|call| call.strip_prefix("heard "));
        let text = heard.find(|text| text.contains(method));
        text.map(str::to_owned)
            .ok_or_else(|| format!("{method} does not come"))
    });
    let (before, rest) = text.split_once("<requestid>").unwrap_or((&text, ""));
    let Some((_, behind)) = rest.split_once("</requestid>") else {
        return text;
    };
    format!("{before}<requestid>{number}</requestid>{behind}")
}

#[test]
fn live_ptz_and_what_nobody_knows_reach_the_recorder_byte_for_byte() {
    let sites = [
        Setup::default().edge(noon(20.0)),
        Setup::default().edge(noon(20.0)),
    ];
    let mut pair = Pair::of(sites, |config| config);
    let mut client = pair.client();
    pair.primary.obey("listen");
    let say = |client: &mut Client, text: &str| {
        client.order(&json!({ "do": "raw", "text": format!("{text}\r\n\r\n") }));
    };
    let ptz = "<?xml version=\"1.0\"  encoding='UTF-8'?><methodcall ><methodname>ptz</methodname><ptz:move xmlns:ptz=\"urn:x\" Pan = '0.5'/>\
               <requestid>7</requestid><speed>1&#46;0 &amp; &lt;more&gt;</speed></methodcall>";
    say(&mut client, ptz);
    assert_eq!(client.order(&json!({ "do": "read" }))["requestid"], "7");
    assert_eq!(heard(&pair, "ptz", "7"), ptz);
    let unknown = ptz
        .replace(">ptz<", ">neverheardof<")
        .replace(">7<", ">-8<");
    say(&mut client, &unknown);
    let answer = client.order(&json!({ "do": "read" }));
    assert_eq!(
        (&answer["requestid"], &answer["errorreason"]),
        (&json!("-8"), &json!("Unknown method"))
    );
    assert_eq!(heard(&pair, "neverheardof", "-8"), unknown);
    // Live, with what a client may say of it; the camera is moved and a token shown meanwhile, and pictures go on.
    let live = "<?xml version=\"1.0\" encoding=\"utf-8\"?><methodcall><requestid>1</requestid><methodname>live</methodname><compressionrate>90</compressionrate>\
                <sendinitialimage>no</sendinitialimage><attributes framerate=\"full\" motiononly=\"false\"/><adaptivestreaming><maxresolution/></adaptivestreaming></methodcall>";
    say(&mut client, live);
    assert_eq!(heard(&pair, "live", "1"), live);
    let ptz = ptz.replace(">7<", ">21<");
    let update = format!(
        "<methodcall><requestid>22</requestid><methodname>connectupdate</methodname><connectparam>id={CAMERA}&amp;connectiontoken={TOKEN}</connectparam></methodcall>"
    );
    say(&mut client, &ptz);
    say(&mut client, &update);
    let (mut pictures, mut said, deadline) = (0, Vec::new(), monotonic() + SOON);
    while pictures < 60 || said.len() < 2 {
        assert!(monotonic() < deadline, "{pictures} pictures, {said:?}");
        let message = client.order(&json!({ "do": "read" }));
        match message["kind"].as_str() {
            Some("image") => {
                assert_eq!(message["requestid"], 1, "{message}");
                pictures += 1;
            }
            Some("methodresponse") => said.push(message["requestid"].clone()),
            Some("livepackage") => {}
            _ => panic!("{message}"),
        }
    }
    assert_eq!(said, ["21", "22"]);
    assert_eq!(heard(&pair, "ptz", "21"), ptz);
    // Its recorder dies: pictures come from the other site, which is shown no token of the client's, and whose camera nobody moves.
    pair.secondary.obey("listen");
    pair.primary.kill();
    let goes_on = |client: &mut Client, said: Option<&str>| {
        let (mut pictures, mut has_said) = (0, said.is_none());
        let deadline = monotonic() + SOON;
        while pictures < 30 || !has_said {
            assert!(monotonic() < deadline, "{pictures} pictures, {has_said}");
            let message = client.order(&json!({ "do": "read" }));
            assert!(
                message["gone"].is_null() && message["error"].is_null(),
                "{message}"
            );
            pictures += u32::from(message["kind"] == "image");
            if message["kind"] == "methodresponse" {
                assert_eq!(message["requestid"].as_str(), said, "{message}");
                has_said = true;
            }
        }
    };
    goes_on(&mut client, None);
    say(&mut client, &ptz.replace(">21<", ">23<"));
    goes_on(&mut client, Some("23"));
    say(&mut client, &update.replace(">22<", ">24<"));
    goes_on(&mut client, Some("24"));
    let calls = pair.secondary.calls();
    assert!(
        calls.iter().any(|call| call.contains(">live<")),
        "{calls:?}"
    );
    assert!(
        !calls
            .iter()
            .any(|call| call.contains("ptz") || call.contains(TOKEN)),
        "{calls:?}"
    );
    pair.revive();
    pair.primary.obey("listen");
    // By SOAP.
    let body = format!(
        "<?xml version='1.0'?> <s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><PTZMoveStart xmlns='http://videoos.net/2/XProtectCSRecorderCommand'>\
         <token>{TOKEN}</token><deviceId>{CAMERA}</deviceId><ptzArgs><movement><name>pan</name><value>-1</value></movement></ptzArgs></PTZMoveStart></s:Body></s:Envelope>"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", pair.port)).expect("the face listens");
    post(&mut stream, &body);
    assert_eq!(heard(&pair, "PTZMoveStart", ""), body);
}

#[test]
fn what_is_said_to_stop_is_heard_and_what_is_not_answered_costs_nobody_his_recorder() {
    let sites = [
        Setup::default().edge(noon(20.0)),
        Setup::default().edge(noon(20.0)),
    ];
    let mut pair = Pair::of(sites, |config| config);
    // What is said to `stop` comes behind the pictures that were on their way; where nothing is said, the next answer is that to the
    // next call.
    for says in [true, false] {
        if says {
            pair.primary.obey("says-stopped");
        } else {
            pair.primary.obey("heal");
        }
        let mut client = pair.client();
        client.order(&json!({ "do": "send", "method": "live", "requestid": 31 }));
        let until = |client: &mut Client, is_it: &dyn Fn(&Value) -> bool| {
            let deadline = monotonic() + SOON;
            loop {
                let message = client.order(&json!({ "do": "read" }));
                assert!(
                    message["gone"].is_null() && monotonic() < deadline,
                    "{message}"
                );
                if is_it(&message) {
                    return;
                }
            }
        };
        until(&mut client, &|message| message["kind"] == "image");
        client.order(&json!({ "do": "send", "method": "stop", "requestid": 32 }));
        if says {
            until(&mut client, &|message| {
                message["methodname"] == "stop" && message["requestid"] == "32"
            });
        }
        client
            .order(&json!({ "do": "send", "method": "goto", "time": noon(7.0), "requestid": 33 }));
        until(&mut client, &|message| {
            message["requestid"] == 33 && message["kind"] == "image"
        });
    }
    // An answer may be of any kind, and need not come: then it is said so, and nobody is held for lost.
    let mut client = pair.client();
    let answer = client.ask("picture-of-another-kind");
    assert_eq!(
        (&answer["kind"], &answer["bytes"]),
        (&json!("image"), &json!(2)),
        "{answer}"
    );
    let answer = client.ask("never-answered");
    assert_eq!(
        answer["errorreason"], "The recorder does not answer this",
        "{answer}"
    );
    let answer = client.ask("begin");
    assert_eq!(answer["kind"], "image", "{answer}");
    let log = pair.seamline.log().join("\n");
    assert!(log.contains("not answered by its recorder"), "{log}");
}

#[test]
fn sound_passes_as_it_is_and_ends_no_connection() {
    let pair = Pair::new(&[(0, 10)], &[(5, 45)]);
    let mut clients = [pair.recorder_port, pair.port].map(|port| {
        let mut client = Client::open(port);
        let connected = client.connect(MICROPHONE, TOKEN);
        assert_eq!(connected["connected"], "yes", "{connected}");
        client
    });
    let calls = [
        "goto",
        "next",
        "next",
        "next",
        "next",
        "next",
        "previous",
        "begin",
        "end",
        "nextsequence",
        "next",
    ];
    for (ix, method) in calls.into_iter().enumerate() {
        let [direct, through] = &mut clients;
        let asked = |client: &mut Client| {
            let mut answer = if method == "goto" {
                client.goto(noon(3.0))
            } else {
                client.ask(method)
            };
            for volatile in ["took_ms", "wire"] {
                answer.as_object_mut().expect("it is one").remove(volatile);
            }
            answer
        };
        let (expected, answer) = (asked(direct), asked(through));
        assert!(expected["current"].is_number(), "{expected}");
        assert_eq!(answer, expected, "{ix} {method}");
    }
    let [_, through] = &mut clients;
    let alarms =
        through.order(&json!({ "do": "ask", "method": "alarms", "starttime": 0, "endtime": 1 }));
    assert_eq!(alarms["kind"], "methodresponse", "{alarms}");
    // All at once, too.
    let calls: Vec<Value> = (0..12).map(|_| json!({ "method": "next" })).collect();
    let told = through.order(&json!({ "do": "pipeline", "calls": calls }));
    assert_eq!(answers(&told).len(), 12);
}

/// A microphone that both sites record is configured as a camera is: its blocks go by the times in their heads, and what is in them is
/// each site's own.
#[test]
fn sound_of_two_sites_is_one_timeline() {
    let mut pair = Pair::new(&[(0, 10), (40, 50)], &[(5, 45)]);
    let here = format!("5a{}", &CAMERA[2..]);
    let there: &'static str = format!("5a{}", &THERE[2..]).leak();
    let faces = pair.config.face().clone();
    pair.config = Config::default()
        .xprotect_of("primary", &pair.primary, here.clone().leak())
        .xprotect_of("secondary", &pair.secondary, there)
        .top("xprotect", faces);
    pair.restart();
    let mut client = poll(SOON, || {
        let mut client = Client::open(pair.port);
        let connected = client.connect(&here, TOKEN)["connected"] == "yes";
        let is_there = connected && place(&client.goto(noon(25.5))).0 == 25;
        if is_there {
            Ok(client)
        } else {
            Err("the other site's sound is not there")
        }
    });
    let told = |answer: &Value| (place(answer), answer["pictures"].clone());
    for (at, expected) in [
        (3.5, (3, 2, 4)),
        (9.9, (9, 8, 10)),
        (39.5, (39, 38, 40)),
        (60.0, (49, 48, 49)),
    ] {
        let answer = client.goto(noon(at));
        assert_eq!(told(&answer), (expected, json!(0)), "{at}: {answer}");
    }
    let mut digests = Vec::new();
    client.goto(noon(8.5));
    for second in 9..44 {
        let answer = client.ask("next");
        assert_eq!(place(&answer).0, second, "{answer}");
        if digests.last() != Some(&answer["md5"]) {
            digests.push(answer["md5"].clone());
        }
    }
    assert_eq!(
        digests.len(),
        3,
        "the first one's, the other's, the first one's"
    );
    assert_eq!(digests[0], digests[2]);
    // Its recorder dies, and sound goes on.
    client.goto(noon(6.5));
    pair.primary.kill();
    assert_eq!(place(&client.ask("next")).0, 7);
}
