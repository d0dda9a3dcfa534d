//! What a recording holds: edges that are searched for, and segments.

use seamline_routing::Held;

use super::*;

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

/// One that lists its recordings by segments.
async fn with_segments() -> MockServer {
    let device = device().await;
    answers_now(
        &device,
        "GetServiceCapabilities",
        ok(&CAPABILITIES.replace("MaxRecordings=\"4\"", "SegmentExport=\"true\"")),
    )
    .await;
    device
}

#[tokio::test]
async fn segments_are_asked_for_where_they_are_offered() {
    let device = with_segments().await;
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
    let device = with_segments().await;
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
    answers_once(
        &device,
        "GetEventSearchResults",
        ok(&events("Completed", &gap)),
    )
    .await;
    recorder.coverage(question("REC7")).await.unwrap();
    let coverage = recorder.coverage(question("REC7")).await.unwrap();
    assert!(matches!(coverage.held(middle), Held::Recorded { .. }));
    assert!(recorder.shows_gaps());
}

#[tokio::test]
async fn without_a_search_the_bounds_are_known() {
    let device = device().await;
    answers_now(
        &device,
        "FindEvents",
        fault(500, "ter:ActionNotSupported", ""),
    )
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
    answers_once(&device, "GetEventSearchResults", ok(&first)).await;
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
