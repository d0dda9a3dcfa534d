//! A device that answers what it is told to, asked as the program asks.

mod addresses;
mod listing;
mod login;
mod recordings;
mod refusals;

use wiremock::{
    Match, Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, method, path},
};

use super::*;
use crate::login::Secret;
use crate::testing::at;

/// 2026-01-02T03:04:05Z.
const NOW: i64 = 1_767_323_045;

const CLOCK: &str = "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:UTCDateTime>\
    <tt:Time><tt:Hour>3</tt:Hour><tt:Minute>4</tt:Minute><tt:Second>5</tt:Second></tt:Time>\
    <tt:Date><tt:Year>2026</tt:Year><tt:Month>1</tt:Month><tt:Day>2</tt:Day></tt:Date>\
    </tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>";

const CAPABILITIES: &str = "<trc:GetServiceCapabilitiesResponse><trc:Capabilities MaxRecordings=\"4\"/>\
    </trc:GetServiceCapabilitiesResponse>";

const RECORDINGS: &str = "<trc:GetRecordingsResponse>\
    <trc:RecordingItem><tt:RecordingToken>REC7</tt:RecordingToken><tt:Configuration><tt:Source>\
    <tt:SourceId>urn:cam:7</tt:SourceId><tt:Name>Gate</tt:Name><tt:Location>North</tt:Location><tt:Description/>\
    <tt:Address>http://10.0.0.7/</tt:Address></tt:Source></tt:Configuration></trc:RecordingItem>\
    <trc:RecordingItem><tt:RecordingToken>REC8</tt:RecordingToken><tt:Configuration><tt:Source>\
    <tt:SourceId>urn:cam:8</tt:SourceId><tt:Name>Yard</tt:Name></tt:Source></tt:Configuration></trc:RecordingItem>\
    <trc:RecordingItem><tt:RecordingToken>REC9</tt:RecordingToken><tt:Configuration><tt:Source>\
    <tt:SourceId>urn:cam:9</tt:SourceId><tt:Name>Yard</tt:Name></tt:Source></tt:Configuration></trc:RecordingItem>\
    </trc:GetRecordingsResponse>";

const INFORMATION: &str = "<tse:GetRecordingInformationResponse><tse:RecordingInformation>\
    <tt:RecordingToken>REC7</tt:RecordingToken><tt:Source><tt:Name>Gate</tt:Name></tt:Source>\
    <tt:EarliestRecording>2026-01-02T00:00:00.500Z</tt:EarliestRecording><tt:LatestRecording>2026-01-02T03:04:00Z</tt:LatestRecording>\
    <tt:Content/><tt:Track><tt:TrackToken>VIDEO001</tt:TrackToken><tt:TrackType>Video</tt:TrackType><tt:Description/>\
    <tt:DataFrom>2026-01-02T00:00:00.500Z</tt:DataFrom><tt:DataTo>2026-01-02T03:04:00.500Z</tt:DataTo></tt:Track>\
    <tt:RecordingStatus>Recording</tt:RecordingStatus></tse:RecordingInformation></tse:GetRecordingInformationResponse>";

fn enveloped(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\" \
        xmlns:tds=\"a\" xmlns:tse=\"b\" xmlns:trc=\"c\" xmlns:trp=\"d\" xmlns:tt=\"e\" xmlns:wsnt=\"f\" xmlns:ter=\"g\">\
        <env:Body>{body}</env:Body></env:Envelope>"
    )
}

fn ok(body: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(enveloped(body), "application/soap+xml")
}

fn fault(status: u16, code: &str, inner: &str) -> ResponseTemplate {
    let body = format!(
        "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>{code}</env:Value>\
        <env:Subcode><env:Value>{inner}</env:Value></env:Subcode></env:Subcode></env:Code></env:Fault>"
    );
    ResponseTemplate::new(status).set_body_raw(enveloped(&body), "application/soap+xml")
}

fn services(host: &str) -> String {
    let service = |name: &str| {
        format!(
            "<tds:Service><tds:Namespace>http://www.onvif.org/ver10/{name}/wsdl</tds:Namespace>\
            <tds:XAddr>http://{host}/onvif/{name}</tds:XAddr></tds:Service>"
        )
    };
    let listed: String = ["device", "recording", "search", "replay"]
        .map(service)
        .concat();
    format!("<tds:GetServicesResponse>{listed}</tds:GetServicesResponse>")
}

fn events(state: &str, edges: &[(&str, bool, bool)]) -> String {
    let results = edges.iter().map(|(time, present, start)| {
            format!(
                "<tt:Result><tt:RecordingToken>REC7</tt:RecordingToken><tt:TrackToken>VIDEO001</tt:TrackToken><tt:Time>{time}</tt:Time>\
                <tt:Event><wsnt:Topic Dialect=\"http://www.onvif.org/ver10/tev/topicExpression/ConcreteSe\">x9:RecordingHistory/Track/State</wsnt:Topic>\
                <wsnt:Message><tt:Message UtcTime=\"{time}\" PropertyOperation=\"Changed\"><tt:Source>\
                <tt:SimpleItem Name=\"RecordingToken\" Value=\"REC7\"/><tt:SimpleItem Name=\"Track\" Value=\"VIDEO001\"/></tt:Source>\
                <tt:Data><tt:SimpleItem Name=\"IsDataPresent\" Value=\"{present}\"/></tt:Data></tt:Message></wsnt:Message></tt:Event>\
                <tt:StartStateEvent>{start}</tt:StartStateEvent></tt:Result>"
            )
        });
    let results = results.collect::<Vec<_>>().concat();
    format!(
        "<tse:GetEventSearchResultsResponse><tse:ResultList><tt:SearchState>{state}</tt:SearchState>{results}</tse:ResultList>\
        </tse:GetEventSearchResultsResponse>"
    )
}

const FOUND: &str =
    "<tse:FindEventsResponse><tse:SearchToken>S1</tse:SearchToken></tse:FindEventsResponse>";

/// One operation of a device.
fn asked(operation: &str) -> impl Match + use<> {
    let open = format!(":{operation}>");
    let empty = format!(":{operation}/>");
    move |request: &Request| {
        let body = String::from_utf8_lossy(&request.body);
        body.contains(&open) || body.contains(&empty)
    }
}

async fn answers(device: &MockServer, operation: &str, answer: ResponseTemplate) {
    Mock::given(method("POST"))
        .and(asked(operation))
        .respond_with(answer)
        .with_priority(10)
        .mount(device)
        .await;
}

/// As [`answers`], instead of what it answered so far.
async fn answers_now(device: &MockServer, operation: &str, answer: ResponseTemplate) {
    Mock::given(asked(operation))
        .respond_with(answer)
        .with_priority(1)
        .mount(device)
        .await;
}

/// As [`answers_now`], to one question.
async fn answers_once(device: &MockServer, operation: &str, answer: ResponseTemplate) {
    Mock::given(asked(operation))
        .respond_with(answer)
        .up_to_n_times(1)
        .with_priority(1)
        .mount(device)
        .await;
}

/// A device with one recording of interest, at an address that it does not know itself.
async fn device() -> MockServer {
    let device = MockServer::start().await;
    for (operation, answer) in [
        ("GetSystemDateAndTime", CLOCK),
        ("GetServices", &services("192.168.99.99:8080")),
        ("GetServiceCapabilities", CAPABILITIES),
        ("GetRecordings", RECORDINGS),
        ("GetRecordingInformation", INFORMATION),
        ("FindEvents", FOUND),
        (
            "GetReplayUri",
            "<trp:GetReplayUriResponse><trp:Uri>rtsp://10.0.0.5:554/onvif/rec/7?a=1&amp;b=2</trp:Uri></trp:GetReplayUriResponse>",
        ),
    ] {
        answers(&device, operation, ok(answer)).await;
    }
    device
}

fn config(device: &MockServer) -> HttpConfig {
    HttpConfig {
        url: device.uri(),
        username: Some("viewer".to_owned()),
        password: Some(Secret::from("s3cret".to_owned())),
        ..HttpConfig::default()
    }
}

fn recorder(device: &MockServer) -> OnvifRecorder {
    OnvifRecorder::new(&config(device), Clock::anchored(at(NOW))).unwrap()
}

fn question(remote: &str) -> CoverageQuery {
    CoverageQuery {
        remote: remote.into(),
        window: TimeRange::ALL,
    }
}

/// The bodies of the questions that named an operation.
async fn bodies(device: &MockServer, operation: &str) -> Vec<String> {
    let requests = device.received_requests().await.unwrap();
    let of_operation = requests
        .iter()
        .filter(|request| asked(operation).matches(request));
    of_operation
        .map(|request| {
            let body = String::from_utf8(request.body.clone()).unwrap();
            let start = body.find("<s:Body>").unwrap() + "<s:Body>".len();
            body[start..body.find("</s:Body>").unwrap()].to_owned()
        })
        .collect()
}
