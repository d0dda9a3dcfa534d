//! A device that answers what it is told to, asked as the program asks.

use seamline_routing::Held;
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

/// A search's question without its end point, and that.
fn without_end(body: &str) -> (String, Timestamp) {
    let (head, rest) = body.split_once("<tse:EndPoint>").unwrap();
    let (end, tail) = rest.split_once("</tse:EndPoint>").unwrap();
    (
        format!("{head}<tse:EndPoint/>{tail}"),
        Timestamp::parse_iso(end).unwrap(),
    )
}

#[tokio::test]
async fn edges_are_searched_page_by_page() {
    let device = device().await;
    let pages = [
        events(
            "Searching",
            &[
                ("2026-01-02T00:00:00.500Z", true, true),
                ("2026-01-02T01:00:00.120Z", false, false),
            ],
        ),
        events("Searching", &[]),
        events(
            "Completed",
            &[
                ("2026-01-02T02:00:00.250000Z", true, false),
                ("2026-01-02T02:30:00.5Z", false, false),
                ("2026-01-02T02:40:00.5+00:00", true, false),
            ],
        ),
    ];
    for (number, page) in pages.iter().enumerate() {
        Mock::given(asked("GetEventSearchResults"))
            .respond_with(ok(page))
            .up_to_n_times(1)
            .with_priority(number as u8 + 1)
            .mount(&device)
            .await;
    }
    let recorder = recorder(&device);
    let coverage = recorder.coverage(question("REC7")).await.unwrap();
    let periods: Vec<_> = coverage.periods().iter().map(ToString::to_string).collect();
    assert_eq!(
        periods,
        [
            "2026-01-02T00:00:00.500Z/2026-01-02T01:00:00.120Z",
            "2026-01-02T02:00:00.250Z/2026-01-02T02:30:00.500Z",
            "2026-01-02T02:40:00.500Z/2026-01-02T03:04:00.500Z",
        ]
    );
    assert!(coverage.growing() && recorder.shows_gaps());
    let before = Timestamp::parse_iso("2025-01-01T00:00:00Z").unwrap();
    assert!(matches!(coverage.held(before), Held::Gap { .. }));
    let (found, end) = without_end(&bodies(&device, "FindEvents").await[0]);
    assert_eq!(
        found,
        "<tse:FindEvents><tse:StartPoint>2026-01-02T00:00:00.500Z</tse:StartPoint><tse:EndPoint/>\
        <tse:Scope><tt:IncludedRecordings>REC7</tt:IncludedRecordings></tse:Scope><tse:SearchFilter>\
        <wsnt:TopicExpression Dialect=\"http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet\">tns1:RecordingHistory/Track/State\
        </wsnt:TopicExpression></tse:SearchFilter><tse:IncludeStartState>true</tse:IncludeStartState>\
        <tse:KeepAliveTime>PT30S</tse:KeepAliveTime></tse:FindEvents>"
    );
    // The present, by the device's clock.
    assert!(
        end >= at(NOW) && end.since(at(NOW)) < Duration::from_secs(10),
        "{end}"
    );
    assert_eq!(
        bodies(&device, "GetEventSearchResults").await,
        vec![
            "<tse:GetEventSearchResults><tse:SearchToken>S1</tse:SearchToken><tse:MinResults>1</tse:MinResults>\
        <tse:MaxResults>256</tse:MaxResults><tse:WaitTime>PT5S</tse:WaitTime></tse:GetEventSearchResults>";
            3
        ]
    );
    assert_eq!(
        bodies(&device, "EndSearch").await,
        [""; 0],
        "a search that is over needs no end"
    );
}

async fn url_of(recorder: &OnvifRecorder, remote: &str) -> String {
    let source = recorder.0.source(&remote.into(), false).await.unwrap();
    source.url(remote).unwrap().as_str().to_owned()
}

#[tokio::test]
async fn footage_is_fetched_from_the_host_that_is_dialled() {
    let device = device().await;
    let recorder = recorder(&device);
    for _ in 0..3 {
        let url = url_of(&recorder, "REC7").await;
        assert_eq!(url, "rtsp://127.0.0.1:554/onvif/rec/7?a=1&b=2");
    }
    assert_eq!(
        bodies(&device, "GetReplayUri").await,
        [
            "<trp:GetReplayUri><trp:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP</tt:Protocol>\
        </tt:Transport></trp:StreamSetup><trp:RecordingToken>REC7</trp:RecordingToken></trp:GetReplayUri>"
        ],
        "asked once for a while"
    );
    recorder.0.source(&"REC7".into(), true).await.unwrap();
    assert_eq!(bodies(&device, "GetReplayUri").await.len(), 2);
    // All of it went to where the device was dialled, though it names itself otherwise.
    let paths: Vec<_> = device.received_requests().await.unwrap();
    assert!(
        paths
            .iter()
            .any(|request| request.url.path() == "/onvif/replay")
    );
    let told = HttpConfig {
        rtsp_port: Some(8554),
        ..config(&device)
    };
    let told = OnvifRecorder::new(&told, Clock::System).unwrap();
    assert_eq!(
        url_of(&told, "REC7").await,
        "rtsp://127.0.0.1:8554/onvif/rec/7?a=1&b=2"
    );
}

#[tokio::test]
async fn an_address_inside_tls_stays_one() {
    let device = device().await;
    let answer = "<trp:GetReplayUriResponse><trp:Uri>rtsps://10.0.0.5/rec/7</trp:Uri></trp:GetReplayUriResponse>";
    Mock::given(asked("GetReplayUri"))
        .respond_with(ok(answer))
        .with_priority(1)
        .mount(&device)
        .await;
    assert_eq!(
        url_of(&recorder(&device), "REC7").await,
        "rtsps://127.0.0.1:322/rec/7"
    );
}

#[tokio::test]
async fn a_trusted_device_chooses_its_addresses() {
    let device = MockServer::start().await;
    let other = self::device().await;
    let host = other.address().to_string();
    answers(&device, "GetServices", ok(&services(&host))).await;
    answers(&device, "GetSystemDateAndTime", ok(CLOCK)).await;
    let trusting = HttpConfig {
        trust_addresses: true,
        ..config(&device)
    };
    let recorder = OnvifRecorder::new(&trusting, Clock::System).unwrap();
    assert_eq!(
        url_of(&recorder, "REC7").await,
        "rtsp://10.0.0.5:554/onvif/rec/7?a=1&b=2"
    );
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for uri in [
        "",
        "http://10.0.0.5/x",
        "rtsp://10.0.0.5:99999/x",
        "rtsp://[/x",
    ] {
        let device = device().await;
        let answer = format!(
            "<trp:GetReplayUriResponse><trp:Uri>{uri}</trp:Uri></trp:GetReplayUriResponse>"
        );
        Mock::given(asked("GetReplayUri"))
            .respond_with(ok(&answer))
            .with_priority(1)
            .mount(&device)
            .await;
        let refused = recorder(&device).0.source(&"REC7".into(), false).await;
        let Err(ProbeError::Protocol(why)) = refused else {
            panic!("{uri}: {refused:?}");
        };
        assert!(why.starts_with("GetReplayUri: "), "{uri}: {why}");
    }
    // User names in it are none of ours.
    let device = device().await;
    let answer = "<trp:GetReplayUriResponse><trp:Uri>rtsp://u:p@10.0.0.5/x</trp:Uri></trp:GetReplayUriResponse>";
    Mock::given(asked("GetReplayUri"))
        .respond_with(ok(answer))
        .with_priority(1)
        .mount(&device)
        .await;
    assert_eq!(
        url_of(&recorder(&device), "REC7").await,
        "rtsp://127.0.0.1:554/x"
    );
}

#[tokio::test]
async fn recordings_are_named_by_token_source_or_name() {
    let device = device().await;
    let recorder = recorder(&device);
    for (remote, token) in [("REC7", "REC7"), ("urn:cam:8", "REC8"), ("Gate", "REC7")] {
        assert_eq!(&*recorder.0.token(&remote.into()).await.unwrap(), token);
    }
    assert_eq!(
        recorder.0.token(&"Roof".into()).await,
        Err(ProbeError::NotFound)
    );
    let Err(ProbeError::Protocol(why)) = recorder.0.token(&"Yard".into()).await else {
        panic!("two are called so");
    };
    assert!(
        why.contains("\"REC8\"") && why.contains("\"REC9\""),
        "{why}"
    );
    assert_eq!(bodies(&device, "GetRecordings").await.len(), 1);
}

#[tokio::test]
async fn a_device_without_that_list_is_searched_for_recordings() {
    let device = device().await;
    Mock::given(asked("GetRecordings"))
        .respond_with(fault(400, "ter:ActionNotSupported", ""))
        .with_priority(1)
        .mount(&device)
        .await;
    answers(
        &device,
        "FindRecordings",
        ok(&FOUND.replace("FindEvents", "FindRecordings")),
    )
    .await;
    let page = "<tse:GetRecordingSearchResultsResponse><tse:ResultList><tt:SearchState>Completed</tt:SearchState>\
        <tt:RecordingInformation><tt:RecordingToken>R1</tt:RecordingToken><tt:Source><tt:Name>Gate</tt:Name></tt:Source>\
        </tt:RecordingInformation></tse:ResultList></tse:GetRecordingSearchResultsResponse>";
    answers(&device, "GetRecordingSearchResults", ok(page)).await;
    let recorder = recorder(&device);
    assert_eq!(&*recorder.0.token(&"Gate".into()).await.unwrap(), "R1");
    assert_eq!(
        bodies(&device, "FindRecordings").await,
        [
            "<tse:FindRecordings><tse:Scope/><tse:KeepAliveTime>PT30S</tse:KeepAliveTime></tse:FindRecordings>"
        ]
    );
}

#[tokio::test]
async fn a_search_for_recordings_that_never_ends_is_ended() {
    let device = device().await;
    Mock::given(asked("GetRecordings"))
        .respond_with(fault(400, "ter:ActionNotSupported", ""))
        .with_priority(1)
        .mount(&device)
        .await;
    answers(
        &device,
        "FindRecordings",
        ok(&FOUND.replace("FindEvents", "FindRecordings")),
    )
    .await;
    let listed = "<tt:RecordingInformation><tt:RecordingToken>R</tt:RecordingToken></tt:RecordingInformation>";
    let page = format!(
        "<tse:GetRecordingSearchResultsResponse><tse:ResultList><tt:SearchState>Searching</tt:SearchState>{}\
        </tse:ResultList></tse:GetRecordingSearchResultsResponse>",
        listed.repeat(2_500)
    );
    answers(&device, "GetRecordingSearchResults", ok(&page)).await;
    // What cannot be listed is named by its token.
    let token = recorder(&device).0.token(&"Gate".into()).await.unwrap();
    assert_eq!(&*token, "Gate");
    assert_eq!(bodies(&device, "GetRecordingSearchResults").await.len(), 9);
    assert_eq!(bodies(&device, "EndSearch").await.len(), 1);
}

/// Answers 401 to all that show nothing, and what else is mounted to those that do.
async fn demand_digest(device: &MockServer) {
    let challenge = ResponseTemplate::new(401)
        .append_header("www-authenticate", "Basic realm=\"nvr\"")
        .append_header(
            "www-authenticate",
            "Digest realm=\"nvr\", qop=\"auth\", algorithm=SHA-256, nonce=\"n1\"",
        );
    Mock::given(asked("GetRecordings"))
        .and(|request: &Request| !request.headers.contains_key("authorization"))
        .respond_with(challenge)
        .with_priority(1)
        .mount(device)
        .await;
}

#[tokio::test]
async fn digest_is_answered_when_it_is_asked_for() {
    let device = device().await;
    demand_digest(&device).await;
    let recorder = recorder(&device);
    recorder.0.recordings(Duration::ZERO).await.unwrap();
    recorder.0.recordings(Duration::ZERO).await.unwrap();
    let requests = device.received_requests().await.unwrap();
    let shown: Vec<_> = requests
        .iter()
        .filter(|request| asked("GetRecordings").matches(request))
        .map(|request| {
            request
                .headers
                .get("authorization")
                .map(|value| value.to_str().unwrap().to_owned())
        })
        .collect();
    // Challenged once; from then on it is shown at once, with a count that runs on.
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert_eq!(shown[0], None);
    for (shown, count) in shown[1..].iter().zip(["00000001", "00000002"]) {
        let shown = shown.as_deref().unwrap();
        for part in [
            "Digest ",
            "uri=\"/onvif/recording\"",
            "algorithm=SHA-256",
            count,
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    assert!(
        requests
            .iter()
            .all(|request| !String::from_utf8_lossy(&request.body).contains("UsernameToken"))
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let device = device().await;
    let challenge = ResponseTemplate::new(401)
        .append_header("www-authenticate", "Digest realm=\"nvr\", nonce=\"n1\"");
    Mock::given(asked("GetRecordings"))
        .respond_with(challenge)
        .with_priority(1)
        .mount(&device)
        .await;
    let recorder = recorder(&device);
    let questions = (0..5).map(|_| recorder.coverage(question("REC7")));
    for answer in futures::future::join_all(questions).await {
        assert!(
            matches!(answer, Err(ProbeError::Credentials | ProbeError::Crowded)),
            "{answer:?}"
        );
    }
    assert_eq!(
        recorder.describe("REC7".into()).await,
        Err(ProbeError::Credentials)
    );
    let requests = device.received_requests().await.unwrap();
    let shown = requests
        .iter()
        .filter(|request| request.headers.contains_key("authorization"));
    assert_eq!(shown.count(), 1);
    // It lives all the same.
    recorder.ping().await.unwrap();
}

#[tokio::test]
async fn devices_without_digest_get_a_token_in_their_own_time() {
    let device = device().await;
    Mock::given(asked("GetRecordings"))
        .and(|request: &Request| !String::from_utf8_lossy(&request.body).contains("UsernameToken"))
        .respond_with(fault(400, "ter:NotAuthorized", ""))
        .with_priority(1)
        .mount(&device)
        .await;
    // Our clock is an hour behind the device's.
    let recorder = OnvifRecorder::new(&config(&device), Clock::anchored(at(NOW - 3_600))).unwrap();
    recorder.0.recordings(Duration::ZERO).await.unwrap();
    let requests = device.received_requests().await.unwrap();
    let mut token = requests
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned());
    let token = token.rfind(|body| body.contains("UsernameToken")).unwrap();
    let created = token
        .split("<wsu:Created>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let created = Timestamp::parse_iso(created).unwrap();
    assert!(
        created.since(at(NOW)) < Duration::from_secs(10) && at(NOW).since(created).is_zero(),
        "{created}"
    );
    let offset = recorder.clock_offset().unwrap().await.unwrap();
    assert!(
        (offset.micros - 3_600_500_000).abs() < 5_000_000,
        "{offset:?}"
    );
    assert!(offset.uncertainty >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_token_that_is_refused_is_shown_no_more() {
    let device = device().await;
    Mock::given(asked("GetRecordings"))
        .respond_with(fault(400, "ter:NotAuthorized", ""))
        .with_priority(1)
        .mount(&device)
        .await;
    let recorder = recorder(&device);
    for _ in 0..3 {
        assert_eq!(
            recorder.coverage(question("REC7")).await,
            Err(ProbeError::Credentials)
        );
    }
    let requests = device.received_requests().await.unwrap();
    let tokens = requests
        .iter()
        .filter(|request| String::from_utf8_lossy(&request.body).contains("UsernameToken"));
    assert_eq!(tokens.count(), 1);
}

#[tokio::test]
async fn segments_are_asked_for_where_they_are_offered() {
    let device = device().await;
    Mock::given(asked("GetServiceCapabilities"))
        .respond_with(ok(
            &CAPABILITIES.replace("MaxRecordings=\"4\"", "SegmentExport=\"true\"")
        ))
        .with_priority(1)
        .mount(&device)
        .await;
    let segment = |from: &str, to: &str, kind: &str| {
        format!(
            "<trc:Segment><trc:StartTime>2026-01-02T{from}Z</trc:StartTime><trc:EndTime>2026-01-02T{to}Z</trc:EndTime>\
            <trc:MediaType>{kind}</trc:MediaType></trc:Segment>"
        )
    };
    let page = |segments: String, more: bool| {
        ok(&format!(
            "<trc:ListRecordedSegmentsResponse><trc:Results>{segments}<trc:HasMoreResults>{more}</trc:HasMoreResults></trc:Results>\
            </trc:ListRecordedSegmentsResponse>"
        ))
    };
    let first = segment("00:00:00.500", "01:00:00.5", "video/mp4")
        + &segment("01:00:00.5", "01:30:00.25", "video/mp4; codecs=\"avc1\"");
    let second = segment("01:00:00.5", "02:59:00", "audio/mp4")
        + &segment("02:00:00.5", "03:04:00.5", "video/mp4");
    Mock::given(asked("ListRecordedSegments"))
        .and(body_string_contains(
            "<tt:From>2026-01-01T23:00:00.500Z</tt:From>",
        ))
        .respond_with(page(first, true))
        .mount(&device)
        .await;
    Mock::given(asked("ListRecordedSegments"))
        .and(body_string_contains("<tt:From>2026-01-02T01:30:00.250Z</tt:From>"))
        .and(body_string_contains("</tt:Until></trc:Time><trc:RecordingToken>REC7</trc:RecordingToken><trc:MaxResults>256</trc:MaxResults>"))
        .respond_with(page(second, false))
        .mount(&device)
        .await;
    let recorder = recorder(&device);
    let coverage = recorder.coverage(question("REC7")).await.unwrap();
    let periods: Vec<_> = coverage.periods().iter().map(ToString::to_string).collect();
    assert_eq!(
        periods,
        [
            "2026-01-02T00:00:00.500Z/2026-01-02T01:30:00.250Z",
            "2026-01-02T02:00:00.500Z/2026-01-02T03:04:00.500Z"
        ]
    );
    assert!(coverage.growing() && recorder.shows_gaps());
    assert!(bodies(&device, "FindEvents").await.is_empty());
}

#[tokio::test]
async fn a_page_that_comes_again_and_again_ends_the_listing() {
    let device = device().await;
    Mock::given(asked("GetServiceCapabilities"))
        .respond_with(ok(
            &CAPABILITIES.replace("MaxRecordings=\"4\"", "SegmentExport=\"true\"")
        ))
        .with_priority(1)
        .mount(&device)
        .await;
    let page = "<trc:ListRecordedSegmentsResponse><trc:Results><trc:Segment><trc:StartTime>2026-01-02T00:00:00Z</trc:StartTime>\
        <trc:EndTime>2026-01-02T01:00:00Z</trc:EndTime><trc:MediaType>video/mp4</trc:MediaType></trc:Segment>\
        <trc:HasMoreResults>true</trc:HasMoreResults></trc:Results></trc:ListRecordedSegmentsResponse>";
    answers(&device, "ListRecordedSegments", ok(page)).await;
    let coverage = recorder(&device).coverage(question("REC7")).await.unwrap();
    assert_eq!(coverage.periods().len(), 1);
    assert!(!coverage.growing());
    assert_eq!(bodies(&device, "ListRecordedSegments").await.len(), 2);
}

#[tokio::test]
async fn two_events_tell_of_no_gaps_until_another_recording_shows_that_the_device_can() {
    let device = device().await;
    let two = [
        ("2026-01-02T00:00:00.5Z", true, false),
        ("2026-01-02T03:04:00.5Z", false, false),
    ];
    answers(
        &device,
        "GetEventSearchResults",
        ok(&events("Completed", &two)),
    )
    .await;
    let recorder = recorder(&device);
    let middle = Timestamp::parse_iso("2026-01-02T02:00:00Z").unwrap();
    let coverage = recorder.coverage(question("REC7")).await.unwrap();
    assert!(matches!(coverage.held(middle), Held::Unknown { .. }));
    assert!(!recorder.shows_gaps());
    let gap = [
        two[0],
        ("2026-01-02T01:00:00.5Z", false, false),
        ("2026-01-02T01:10:00.5Z", true, false),
    ];
    Mock::given(asked("GetEventSearchResults"))
        .respond_with(ok(&events("Completed", &gap)))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&device)
        .await;
    recorder.coverage(question("REC7")).await.unwrap();
    let coverage = recorder.coverage(question("REC7")).await.unwrap();
    assert!(matches!(coverage.held(middle), Held::Recorded { .. }));
    assert!(recorder.shows_gaps());
}

#[tokio::test]
async fn without_a_search_the_bounds_are_known() {
    let device = device().await;
    Mock::given(asked("FindEvents"))
        .respond_with(fault(500, "ter:ActionNotSupported", ""))
        .with_priority(1)
        .mount(&device)
        .await;
    let recorder = recorder(&device);
    let coverage = recorder.coverage(question("REC7")).await.unwrap();
    assert!(coverage.periods().is_empty() && !recorder.shows_gaps());
    assert!(matches!(coverage.held(at(0)), Held::Gap { .. }));
    assert!(matches!(coverage.held(at(NOW - 100)), Held::Unknown { .. }));
}

#[tokio::test]
async fn a_search_that_never_ends_is_ended_and_what_came_counts() {
    let device = device().await;
    let first = events(
        "Searching",
        &[
            ("2026-01-02T00:00:00.5Z", true, true),
            ("2026-01-02T01:00:00.5Z", false, false),
            ("2026-01-02T01:10:00.5Z", true, false),
        ],
    );
    Mock::given(asked("GetEventSearchResults"))
        .respond_with(ok(&first))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&device)
        .await;
    answers(
        &device,
        "GetEventSearchResults",
        fault(400, "ter:InvalidArgVal", "ter:InvalidToken"),
    )
    .await;
    let coverage = recorder(&device).coverage(question("REC7")).await.unwrap();
    assert_eq!(coverage.periods().len(), 1);
    assert!(matches!(
        coverage.held(at(NOW - 3_600)),
        Held::Unknown { .. }
    ));
    assert_eq!(bodies(&device, "EndSearch").await.len(), 1);
}

#[tokio::test]
async fn old_devices_name_their_services_as_capabilities() {
    let device = device().await;
    Mock::given(asked("GetServices"))
        .respond_with(ResponseTemplate::new(404))
        .with_priority(1)
        .mount(&device)
        .await;
    let part = |name: &str, path: &str| {
        format!("<tt:{name}><tt:XAddr>http://10.0.0.5/{path}</tt:XAddr></tt:{name}>")
    };
    let parts = part("Recording", "rec") + &part("Search", "find") + &part("Replay", "play");
    let answer = format!(
        "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Extension>{parts}</tt:Extension></tds:Capabilities></tds:GetCapabilitiesResponse>"
    );
    Mock::given(path("/onvif/device_service"))
        .and(asked("GetCapabilities"))
        .respond_with(ok(&answer))
        .mount(&device)
        .await;
    let recorder = recorder(&device);
    url_of(&recorder, "REC7").await;
    let requests = device.received_requests().await.unwrap();
    assert!(
        requests
            .iter()
            .any(|request| request.url.path() == "/play" && asked("GetReplayUri").matches(request))
    );
}

#[tokio::test]
async fn faults_and_refusals_keep_their_meaning() {
    for (answer, error) in [
        (
            fault(400, "ter:InvalidArgVal", "ter:NoRecording"),
            Some(ProbeError::NotFound),
        ),
        (
            fault(500, "ter:Action", "ter:ResourceProblem"),
            Some(ProbeError::Busy),
        ),
        (ResponseTemplate::new(503), Some(ProbeError::Busy)),
        (ResponseTemplate::new(403), Some(ProbeError::Credentials)),
        (
            ResponseTemplate::new(200)
                .set_body_string("<!DOCTYPE x [<!ENTITY a \"b\">]><x>&a;</x>"),
            None,
        ),
        (
            ResponseTemplate::new(200).set_body_string("<html><body>hello</body></html>"),
            None,
        ),
        (
            ResponseTemplate::new(200)
                .set_body_bytes(vec![b' '; crate::xml::DOCUMENT_BYTES_MAX + 1]),
            None,
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "http://192.168.99.99/onvif"),
            None,
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "https://127.0.0.1/onvif"),
            None,
        ),
        (
            ResponseTemplate::new(307).insert_header("location", "/onvif/replay"),
            None,
        ),
    ] {
        let device = device().await;
        Mock::given(asked("GetReplayUri"))
            .respond_with(answer)
            .with_priority(1)
            .mount(&device)
            .await;
        let refused = recorder(&device)
            .0
            .source(&"REC7".into(), false)
            .await
            .map(|_| ());
        match error {
            Some(error) => assert_eq!(refused, Err(error)),
            None => assert!(
                matches!(refused, Err(ProbeError::Protocol(_))),
                "{refused:?}"
            ),
        }
    }
}

#[tokio::test]
async fn one_redirection_on_the_same_host_is_followed() {
    let device = device().await;
    let moved = ResponseTemplate::new(307).insert_header("location", "/elsewhere");
    Mock::given(asked("GetReplayUri"))
        .and(path("/onvif/replay"))
        .respond_with(moved)
        .with_priority(1)
        .mount(&device)
        .await;
    url_of(&recorder(&device), "REC7").await;
}

#[tokio::test]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = HttpConfig {
        url,
        ..HttpConfig::default()
    };
    let recorder = OnvifRecorder::new(&config, Clock::System).unwrap();
    assert_eq!(recorder.ping().await, Err(ProbeError::Refused));
    assert_eq!(
        recorder.coverage(question("REC7")).await,
        Err(ProbeError::Refused)
    );
}

#[tokio::test]
async fn its_cameras_are_listed() {
    let device = device().await;
    let attributes = "<tse:GetMediaAttributesResponse><tse:MediaAttributes><tt:RecordingToken>REC7</tt:RecordingToken>\
        <tt:TrackAttributes><tt:TrackInformation/><tt:VideoAttributes><tt:Width>1280</tt:Width><tt:Height>720</tt:Height>\
        <tt:Encoding>H264</tt:Encoding><tt:Framerate>25</tt:Framerate></tt:VideoAttributes></tt:TrackAttributes>\
        <tt:From>2026-01-02T00:00:00Z</tt:From><tt:Until>2026-01-02T03:00:00Z</tt:Until></tse:MediaAttributes>\
        </tse:GetMediaAttributesResponse>";
    answers(&device, "GetMediaAttributes", ok(attributes)).await;
    let cameras = recorder(&device).inventory().unwrap().await.unwrap();
    assert_eq!(cameras.len(), 3);
    assert_eq!(&*cameras[0].remote, "REC7");
    assert_eq!(cameras[0].source.as_deref(), Some("urn:cam:7"));
    assert_eq!(cameras[0].address.as_deref(), Some("http://10.0.0.7/"));
    assert_eq!(cameras[0].format.as_deref(), Some("H264 1280x720"));
    assert!(cameras[0].recorded.is_some());
    assert_eq!(
        bodies(&device, "GetMediaAttributes").await[0],
        "<tse:GetMediaAttributes><tse:RecordingTokens>REC7</tse:RecordingTokens><tse:Time>2026-01-02T03:04:00.000Z</tse:Time></tse:GetMediaAttributes>"
    );
}
