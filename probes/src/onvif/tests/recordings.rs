//! Its recordings, and the names that they go by.

use super::*;
use crate::onvif::recordings::TRACKS_MAX;

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

/// One that does not list its recordings: they can be searched for.
async fn without_recordings() -> MockServer {
    let device = device().await;
    answers_now(
        &device,
        "GetRecordings",
        fault(400, "ter:ActionNotSupported", ""),
    )
    .await;
    answers(
        &device,
        "FindRecordings",
        ok(&FOUND.replace("FindEvents", "FindRecordings")),
    )
    .await;
    device
}

#[tokio::test]
async fn a_device_without_that_list_is_searched_for_recordings() {
    let device = without_recordings().await;
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
    let device = without_recordings().await;
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

#[tokio::test]
async fn a_recording_has_so_many_tracks_and_no_more() {
    let device = device().await;
    let track =
        "<tt:Track><tt:TrackToken>T</tt:TrackToken><tt:TrackType>Video</tt:TrackType></tt:Track>";
    let many = INFORMATION.replace("<tt:Content/>", &track.repeat(10 * TRACKS_MAX));
    answers_now(&device, "GetRecordingInformation", ok(&many)).await;
    let recorder = recorder(&device);
    let information = recorder.0.device.information("REC7").await.unwrap();
    assert_eq!(information.picture_tracks().len(), TRACKS_MAX);
}
