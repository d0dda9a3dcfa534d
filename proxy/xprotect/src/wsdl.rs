//! What a recorder's SOAP service offers, as WSDL: what all sites answer together. Served where the recorder's own is not to be had.

use std::fmt::Write;

use crate::soap::{RECORDER, RECORDER_PATH};

/// Names with their types.
type Members = &'static [(&'static str, &'static str)];

/// Operations with their parameters behind the token, and what comes back.
const OPERATIONS: [(&str, Members, &str); 11] = [
    ("GetVersion", &[], "s:int"),
    ("SequencesGetTypes", &[DEVICE], "tns:ArrayOfSequenceType"),
    (
        "SequencesGet",
        &[
            DEVICE,
            ("sequenceType", "g:guid"),
            ("minTime", "s:dateTime"),
            ("maxTime", "s:dateTime"),
            ("maxCount", "s:int"),
        ],
        ENTRIES,
    ),
    (
        "SequencesGetAround",
        &[
            DEVICE,
            ("sequenceType", "g:guid"),
            ("centerTime", "s:dateTime"),
            ("maxCountBefore", "s:int"),
            ("maxCountAfter", "s:int"),
        ],
        ENTRIES,
    ),
    (
        "SequencesGetAroundWithSpan",
        &[
            DEVICE,
            ("sequenceType", "g:guid"),
            ("centerTime", "s:dateTime"),
            ("maxTimeBefore", "tns:TimeDuration"),
            ("maxCountBefore", "s:int"),
            ("maxTimeAfter", "tns:TimeDuration"),
            ("maxCountAfter", "s:int"),
        ],
        ENTRIES,
    ),
    ("GetRetentionTimeLimit", &[DEVICE], "s:dateTime"),
    (
        "TimeLineInformationGet",
        &[
            DEVICE,
            ("timeLineInformationTypes", "tns:ArrayOfGuid"),
            ("timeLineInformationBeginTime", "s:dateTime"),
            ("timeLineInformationInterval", "tns:TimeDuration"),
            ("timeLineInformationCount", "s:int"),
        ],
        "tns:ArrayOfTimeLineInformationData",
    ),
    ("JPEGGetAt", STILL, "tns:JPEGData"),
    ("JPEGGetAtOrBefore", STILL, "tns:JPEGData"),
    ("JPEGGetAtOrAfter", STILL, "tns:JPEGData"),
    (
        "JPEGGetLive",
        &[DEVICE, ("maxWidth", "s:int"), ("maxHeight", "s:int")],
        "tns:JPEGData",
    ),
];

/// Types with their members; a star marks what comes any number of times.
const TYPES: [(&str, Members); 9] = [
    ("TimeDuration", &[("MicroSeconds", "s:long")]),
    ("SequenceType", &[("Id", "g:guid"), ("Name", "s:string")]),
    (
        "ArrayOfSequenceType",
        &[("SequenceType*", "tns:SequenceType")],
    ),
    (
        "SequenceEntry",
        &[
            ("TimeBegin", "s:dateTime"),
            ("TimeTrigged", "s:dateTime"),
            ("TimeEnd", "s:dateTime"),
        ],
    ),
    (
        "ArrayOfSequenceEntry",
        &[("SequenceEntry*", "tns:SequenceEntry")],
    ),
    (
        "TimeLineInformationData",
        &[
            ("DeviceId", "g:guid"),
            ("Type", "g:guid"),
            ("BeginTime", "s:dateTime"),
            ("Interval", "tns:TimeDuration"),
            ("Count", "s:int"),
            ("Data", "s:string"),
        ],
    ),
    (
        "ArrayOfTimeLineInformationData",
        &[("TimeLineInformationData*", "tns:TimeLineInformationData")],
    ),
    (
        "JPEGData",
        &[("Time", "s:dateTime"), ("Data", "s:base64Binary")],
    ),
    ("ArrayOfGuid", &[("guid*", "g:guid")]),
];

const DEVICE: (&str, &str) = ("deviceId", "g:guid");
const STILL: Members = &[DEVICE, ("time", "s:dateTime")];
const ENTRIES: &str = "tns:ArrayOfSequenceEntry";
const GUIDS: &str = "http://microsoft.com/wsdl/types/";
const PORT: &str = "RecorderCommandServiceSoap";

/// The document; `origin` is where the service is reached, such as `http://host:7563`.
pub fn recorder(origin: &str) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><wsdl:definitions xmlns:wsdl=\"http://schemas.xmlsoap.org/wsdl/\" \
         xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\" xmlns:s=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:g=\"{GUIDS}\" xmlns:tns=\"{RECORDER}\" targetNamespace=\"{RECORDER}\"><wsdl:types>\
         <s:schema elementFormDefault=\"qualified\" targetNamespace=\"{GUIDS}\"><s:simpleType name=\"guid\">\
         <s:restriction base=\"s:string\"/></s:simpleType><s:element name=\"guid\" type=\"g:guid\"/></s:schema>\
         <s:schema elementFormDefault=\"qualified\" targetNamespace=\"{RECORDER}\"><s:import namespace=\"{GUIDS}\"/>"
    );
    for (name, members) in TYPES {
        let _ = write!(text, "<s:complexType name=\"{name}\">");
        sequence(&mut text, members.iter().copied());
        text.push_str("</s:complexType>");
    }
    for (name, parameters, result) in OPERATIONS {
        let token = (name != "GetVersion").then_some(("token", "s:string"));
        let _ = write!(text, "<s:element name=\"{name}\"><s:complexType>");
        sequence(
            &mut text,
            token.into_iter().chain(parameters.iter().copied()),
        );
        let _ = write!(
            text,
            "</s:complexType></s:element><s:element name=\"{name}Response\"><s:complexType>"
        );
        sequence(&mut text, [(&*format!("{name}Result"), result)].into_iter());
        text.push_str("</s:complexType></s:element>");
    }
    text.push_str("</s:schema></wsdl:types>");
    for (name, ..) in OPERATIONS {
        for (message, element) in [("SoapIn", ""), ("SoapOut", "Response")] {
            let _ = write!(
                text,
                "<wsdl:message name=\"{name}{message}\"><wsdl:part name=\"parameters\" element=\"tns:{name}{element}\"/></wsdl:message>"
            );
        }
    }
    let _ = write!(text, "<wsdl:portType name=\"{PORT}\">");
    for (name, ..) in OPERATIONS {
        let _ = write!(
            text,
            "<wsdl:operation name=\"{name}\"><wsdl:input message=\"tns:{name}SoapIn\"/><wsdl:output message=\"tns:{name}SoapOut\"/></wsdl:operation>"
        );
    }
    let _ = write!(
        text,
        "</wsdl:portType><wsdl:binding name=\"{PORT}\" type=\"tns:{PORT}\"><soap:binding transport=\"http://schemas.xmlsoap.org/soap/http\"/>"
    );
    for (name, ..) in OPERATIONS {
        let _ = write!(
            text,
            "<wsdl:operation name=\"{name}\"><soap:operation soapAction=\"{RECORDER}/{name}\" style=\"document\"/><wsdl:input>\
             <soap:body use=\"literal\"/></wsdl:input><wsdl:output><soap:body use=\"literal\"/></wsdl:output></wsdl:operation>"
        );
    }
    let _ = write!(
        text,
        "</wsdl:binding><wsdl:service name=\"RecorderCommandService\"><wsdl:port name=\"{PORT}\" binding=\"tns:{PORT}\">\
         <soap:address location=\"{origin}{RECORDER_PATH}\"/></wsdl:port></wsdl:service></wsdl:definitions>"
    );
    text
}

/// The members of a type: at most one each, but for those with a star.
fn sequence<'a>(text: &mut String, members: impl Iterator<Item = (&'a str, &'a str)>) {
    text.push_str("<s:sequence>");
    for (name, kind) in members {
        let (name, most) = match name.strip_suffix('*') {
            Some(name) => (name, "unbounded"),
            None => (name, "1"),
        };
        let _ = write!(
            text,
            "<s:element minOccurs=\"0\" maxOccurs=\"{most}\" name=\"{name}\" type=\"{kind}\"/>"
        );
    }
    text.push_str("</s:sequence>");
}

#[cfg(test)]
mod tests {
    use seamline_xml::Element;

    use super::*;

    #[test]
    fn it_names_each_operation_and_where_they_are() {
        let root = Element::parse(recorder("https://h:7563").as_bytes()).unwrap();
        let port = root.child("portType").unwrap();
        assert_eq!(port.children().count(), OPERATIONS.len());
        let address = root.at(&["service", "port", "address"]).unwrap();
        let expected = format!("https://h:7563{RECORDER_PATH}");
        assert_eq!(address.attribute("location"), Some(&*expected));
    }
}
