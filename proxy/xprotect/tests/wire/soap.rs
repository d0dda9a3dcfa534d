//! What is asked by SOAP: logins, configurations, sequences.

use seamline_routing::{TimeRange, Timestamp};
use seamline_xml::Limits;
use seamline_xprotect::{
    configuration::{Camera, Configuration, Hardware, RecordingServer},
    login::{self, Discovery, Session},
    sequences::{self, Entry, Query},
    soap::{self, Fault, SoapError},
};

use crate::{CAMERA, NOON_MS};

#[test]
fn logins() {
    let told = br#"{"issuer":"x","server_version":"25.2.1.1","token_endpoint":"https://vms.example/IDP/connect/token"}"#;
    let discovery: Discovery = serde_json::from_slice(told).unwrap();
    assert_eq!(discovery.major(), Some(25));
    let sent = serde_json::to_string(&discovery).unwrap();
    assert!(sent.contains("\"server_version\":\"25."), "{sent}");

    let asked = login::login("6a0f7b52-0000-4000-8000-000000000001", "");
    let asked = soap::asked(&asked).unwrap();
    assert_eq!(asked.name(), "Login");
    assert_eq!(
        asked.text("instanceId"),
        Some("6a0f7b52-0000-4000-8000-000000000001")
    );
    assert_eq!(asked.text("currentToken"), None);

    let golden = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
        <LoginResponse xmlns=\"http://videoos.net/2/XProtectCSServerCommand\"><LoginResult xmlns:i=\"x\">\
        <RegistrationTime>2025-06-01T10:00:00.0000000Z</RegistrationTime><TimeToLive><MicroSeconds>14400000000</MicroSeconds></TimeToLive>\
        <TimeToLiveLimited>false</TimeToLiveLimited><Token>TOKEN#0f1e2d3c#vmshost//ServerConnector#</Token>\
        </LoginResult></LoginResponse></s:Body></s:Envelope>";
    let read = |bytes: &[u8]| {
        let result = soap::result(bytes, "Login", Limits::ANSWER)
            .unwrap()
            .unwrap();
        Session::read(&result).unwrap()
    };
    let session = read(golden.as_bytes());
    assert_eq!(session.lives.as_secs(), 4 * 3600);
    assert_eq!(login::renew_after(session.lives).as_secs(), 4 * 3600 - 30);
    assert_eq!(
        login::renew_after(std::time::Duration::from_secs(10)).as_secs(),
        5
    );
    let sent = session.write("2025-06-01T10:00:00.0000000Z");
    assert_eq!(read(&sent), session);
    let text = String::from_utf8(sent).unwrap();
    let at = |name: &str| text.find(name).unwrap();
    assert!(
        at("<RegistrationTime>") < at("<TimeToLive>") && at("<TimeToLiveLimited>") < at("<Token>")
    );
    assert!(!format!("{session:?}").contains("TOKEN"));
}

#[test]
fn a_configuration() {
    let answer = format!(
        "<e:Envelope xmlns:e='x'><e:Body><GetConfigurationResponse><GetConfigurationResult><Recorders><RecorderInfo>\
         <Cameras><CameraInfo><DeviceId>{CAMERA}</DeviceId><DeviceIndex>1</DeviceIndex><HardwareId>AB</HardwareId><Name>Cam 1</Name>\
         <RecorderId>r</RecorderId><CameraSecurity><Browse>false</Browse></CameraSecurity></CameraInfo><CameraInfo/></Cameras>\
         <Hardware><HardwareInfo><HardwareId>ab</HardwareId><Uri>http://10.0.0.9/</Uri></HardwareInfo></Hardware>\
         <Microphones><MicrophoneInfo><DeviceId>M1</DeviceId><Name>Cam 1</Name><MicrophoneSecurity><Live>false</Live></MicrophoneSecurity>\
         </MicrophoneInfo></Microphones><Name>rec</Name><RecorderId>r</RecorderId><WebServerUri>http://rec.example:7563/</WebServerUri>\
         </RecorderInfo></Recorders></GetConfigurationResult></GetConfigurationResponse></e:Body></e:Envelope>"
    );
    let result = soap::result(answer.as_bytes(), "GetConfiguration", Limits::ANSWER).unwrap();
    let configuration = Configuration::read(&result.unwrap());
    let camera = Camera {
        id: CAMERA.to_owned(),
        name: "Cam 1".to_owned(),
        hardware: "AB".to_owned(),
        channel: Some(1),
        may_play: Some(false),
        may_live: None,
        may_list: None,
    };
    let hardware = Hardware {
        id: "ab".to_owned(),
        uri: "http://10.0.0.9/".to_owned(),
    };
    let recorder = RecordingServer {
        id: "r".to_owned(),
        name: "rec".to_owned(),
        uri: "http://rec.example:7563/".to_owned(),
        cameras: vec![camera.clone()],
        hardware: vec![hardware.clone()],
        others: vec![Camera {
            id: "M1".to_owned(),
            name: "Cam 1".to_owned(),
            may_live: Some(false),
            ..Camera::default()
        }],
    };
    // By its name a camera is meant.
    for (remote, id) in [("m1", "M1"), ("Cam 1", CAMERA)] {
        let found = configuration.camera(remote).unwrap();
        assert_eq!(found.map(|(_, camera)| camera.id.as_str()), Some(id));
    }
    assert_eq!(recorder.hardware_of(&camera), Some(&hardware));
    assert_eq!(configuration.recorders, [recorder]);
}

#[test]
fn sequences_and_faults() {
    let window = TimeRange::new(
        Timestamp::from_unix_ms(NOON_MS),
        Timestamp::from_unix_ms(NOON_MS + 86_400_000),
    );
    let query = Query {
        token: "TOKEN#..",
        device: CAMERA,
        window: window.unwrap(),
        count_max: 1000,
    };
    let sent = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>\
         <SequencesGet xmlns=\"http://videoos.net/2/XProtectCSRecorderCommand\"><token>TOKEN#..</token><deviceId>{CAMERA}</deviceId>\
         <sequenceType>f9c62604-d0c5-4050-ae25-72de51639b14</sequenceType><minTime>2025-01-01T00:00:00.000Z</minTime>\
         <maxTime>2025-01-02T00:00:00.000Z</maxTime><maxCount>1000</maxCount></SequencesGet></soap:Body></soap:Envelope>"
    );
    assert_eq!(String::from_utf8(query.write()).unwrap(), sent);
    let result = |bytes: &[u8]| soap::result(bytes, Query::OPERATION, Limits::ANSWER);
    let envelope = |inner: &str| {
        format!(
            "<soap:Envelope xmlns:soap='x'><soap:Body><SequencesGetResponse>{inner}</SequencesGetResponse></soap:Body></soap:Envelope>"
        )
    };
    let golden = envelope(
        "<SequencesGetResult><SequenceEntry><TimeBegin>2025-01-01T00:00:00.0590000Z</TimeBegin><TimeTrigged>2025-01-01T00:00:00.0590000Z\
         </TimeTrigged><TimeEnd>2025-01-01T00:10:00</TimeEnd></SequenceEntry></SequencesGetResult>",
    );
    let at = |ms: i64| Timestamp::from_unix_ms(NOON_MS + ms);
    let entry = Entry::plain(at(59), at(600_000));
    let read = result(golden.as_bytes()).unwrap();
    assert_eq!(sequences::entries(read.as_ref()).unwrap(), [entry]);
    // With what set it off.
    let entry = Entry {
        trigged: at(7_000),
        ..entry
    };
    let read = result(&sequences::answer(&[entry])).unwrap();
    assert_eq!(sequences::entries(read.as_ref()).unwrap(), [entry]);
    for empty in ["<SequencesGetResult />", ""] {
        let read = result(envelope(empty).as_bytes()).unwrap();
        assert_eq!(sequences::entries(read.as_ref()).unwrap(), []);
    }

    let fault = Fault {
        code: "soap:Client".to_owned(),
        text: "Token invalid".to_owned(),
        number: Some((20_001, 2)),
    };
    let golden = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\">\
        <soap:Body><soap:Fault><faultcode>soap:Client</faultcode><faultstring>Token invalid</faultstring><detail>\
        <ErrorNumber>20001</ErrorNumber><SubErrorNumber>2</SubErrorNumber></detail></soap:Fault></soap:Body></soap:Envelope>";
    assert_eq!(String::from_utf8(fault.write()).unwrap(), golden);
    assert_eq!(
        result(golden.as_bytes()),
        Err(SoapError::Fault(fault.clone()))
    );
    assert!(fault.is_token());
    assert_eq!(result(b"<html/>"), Err(SoapError::NoAnswer));
}
