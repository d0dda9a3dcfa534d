"""Independent witnesses of the SOAP on both sides: the schemas of ONVIF's WSDLs, and zeep as a client.

Needs `onvif-zeep` from PyPI, which carries the WSDLs: run by `tests/run soap` in a folder of packages of its own. Starts the
lab's device, lets the program list, map and look for replay addresses there, and holds every request and answer against the
schemas. Then zeep asks the device what the program asks, and must find the same recordings. Prints a line; exits with 1.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import onvif
from lxml import etree

LAB = pathlib.Path(__file__).parent
WSDLS = pathlib.Path(onvif.__file__).parent.parent / "wsdl"
SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
SCHEMA = "{http://www.w3.org/2001/XMLSchema}schema"
SPANS = "2026-01-01T11:00:00Z/2026-01-01T11:30:00.5Z+2026-01-01T11:40:00.25Z/2026-01-01T12:00:00Z"
USER, PASSWORD = "viewer", "s3cret"
# What the program must have asked, or the check would have checked nothing.
EXPECTED = {
    "GetSystemDateAndTime",
    "GetServices",
    "GetServiceCapabilities",
    "GetRecordings",
    "GetRecordingInformation",
    "GetMediaAttributes",
    "FindEvents",
    "GetEventSearchResults",
    "GetReplayUri",
}


def schemas():
    """A schema for each namespace of a service."""
    found = {}
    for name in ("devicemgmt", "recording", "search", "replay"):
        path = WSDLS / f"{name}.wsdl"
        schema = etree.parse(str(path)).find(f".//{SCHEMA}")
        # On its own, with all prefixes that it inherits, and imports from where it came.
        alone = etree.fromstring(etree.tostring(schema), base_url=str(path))
        found[schema.get("targetNamespace")] = etree.XMLSchema(etree.ElementTree(alone))
    return found


def faults_of(known, what, envelope):
    body = etree.fromstring(envelope.encode()).find(f"{SOAP}Body")
    said = body[0]
    if said.tag == f"{SOAP}Fault":
        return []
    schema = known[etree.QName(said).namespace]
    alone = etree.fromstring(etree.tostring(said))
    if schema.validate(alone):
        return []
    return [f"{what}: {error.message}" for error in schema.error_log]


class Device:
    """The lab's device, which keeps what it is asked."""

    def __init__(self, folder, name, *options):
        self.kept = folder / name
        command = ["/usr/bin/python3", "-B", str(LAB / "onvif_device.py"), f"--keep={self.kept}", f"--recording=token=REC1,name=Gate,source=urn:cam:1,spans={SPANS}", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def exchanges(self):
        return [json.loads(line) for line in self.kept.read_text().splitlines()] if self.kept.exists() else []

    def close(self):
        self.process.kill()
        self.process.wait()


def ask(program, folder, devices):
    """Lets the program ask both devices everything."""
    site = lambda name: f'[[site]]\nname = "{name}"\n'
    recorder = lambda name, device: f'[[recorder]]\nname = "{name}"\nsite = "{name}"\nkind = "onvif"\nurl = "{device.url}"\nusername = "{USER}"\npassword = "{PASSWORD}"\n'
    camera = '[[camera]]\nid = "gate"\ncopies = [{ recorder = "a", remote = "REC1" }, { recorder = "b", remote = "Gate" }]\n'
    config = folder / "seamline.toml"
    config.write_text("".join(site(name) for name in "ab") + "".join(map(recorder, "ab", devices)) + camera)
    run = lambda *words: subprocess.run([program, *words, "-c", str(config)], capture_output=True, text=True, timeout=60)
    mapped = run("map", "--primary", "a", "--secondary", "b")
    assert mapped.returncode == 0 and "configured as" in mapped.stdout, mapped
    listed = run("coverage", "gate", "--json")
    periods = [copy["recorded"] for copy in json.loads(listed.stdout)["copies"]]
    assert listed.returncode == 0 and periods[0] == periods[1] and len(periods[0]) == 2, listed
    # Nobody replays there: it is the question for the address that counts.
    run("check", "--probe")


def ask_with_zeep(url):
    """The same by the other client: (recordings, edges, replay address)."""
    host, port = url.removeprefix("http://").split(":")
    camera = onvif.ONVIFCamera(host, int(port), USER, PASSWORD, str(WSDLS))
    for service in camera.devicemgmt.GetServices({"IncludeCapability": False}):
        camera.xaddrs[service.Namespace] = service.XAddr
    recordings = [item.RecordingToken for item in camera.create_recording_service().GetRecordings()]
    search = camera.create_search_service()
    start = datetime.datetime(2026, 1, 1, 10, tzinfo=datetime.timezone.utc)
    # Past the wrapper, which takes no element as it is.
    token = search.ws_client.FindEvents(
        StartPoint=start,
        EndPoint=start + datetime.timedelta(hours=3),
        Scope={"IncludedRecordings": ["REC1"]},
        SearchFilter={"_value_1": [topic()]},
        IncludeStartState=True,
        KeepAliveTime=datetime.timedelta(seconds=30),
    )
    edges, state = 0, "Searching"
    while state != "Completed":
        page = search.GetEventSearchResults({"SearchToken": token, "MaxResults": 2})
        edges, state = edges + len(page.Result), page.SearchState
    information = search.GetRecordingInformation("REC1")
    attributes = search.GetMediaAttributes({"RecordingTokens": ["REC1"], "Time": information.LatestRecording})
    assert attributes[0].TrackAttributes[0].VideoAttributes.Encoding == "H264", attributes
    setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
    uri = camera.create_replay_service().GetReplayUri({"StreamSetup": setup, "RecordingToken": "REC1"})
    return recordings, edges, uri


def topic():
    """Mixed content, which zeep cannot make."""
    expression = etree.Element("{http://docs.oasis-open.org/wsn/b-2}TopicExpression", nsmap={"tns1": "http://www.onvif.org/ver10/topics"})
    expression.set("Dialect", "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet")
    expression.text = "tns1:RecordingHistory/Track/State"
    return expression


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the seamline to be checked")
    a = parser.parse_args()
    known, wrong, asked = schemas(), [], set()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        devices = [
            Device(folder, "a", f"--user={USER}:{PASSWORD}", "--auth=token", "--page=2"),
            Device(folder, "b", f"--user={USER}:{PASSWORD}", "--auth=digest", "--quirk=old"),
        ]
        try:
            ask(os.path.abspath(a.program), folder, devices)
            for device in devices:
                for exchange in device.exchanges():
                    asked.add(exchange["operation"])
                    for side in ("request", "answer"):
                        wrong += faults_of(known, f"{side} {exchange['operation']}", exchange[side])
            recordings, edges, uri = ask_with_zeep(devices[0].url)
            for exchange in devices[0].exchanges():
                wrong += faults_of(known, f"answer to zeep {exchange['operation']}", exchange["answer"])
        finally:
            for device in devices:
                device.close()
    wrong += [f"never asked: {operation}" for operation in sorted(EXPECTED - asked)]
    # Two tracks, each with its start state and four edges.
    if (recordings, edges, uri) != (["REC1"], 10, "rtsp://127.0.0.1:554/cam1"):
        wrong.append(f"zeep found {recordings}, {edges} edges, {uri}")
    print("\n".join(sorted(set(wrong))) or f"soap ok: {len(asked)} operations hold against the schemas, zeep agrees")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
