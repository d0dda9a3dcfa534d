#!/usr/bin/python3
"""An ONVIF device (Profile G) over SOAP in front of the lab's recorder: device, recording, search and replay services.

Prints one JSON object a line: {"event": "ready", "url": ...} once it listens, then {"event": "asked", "operation": ...,
"proof": "none" | "digest" | "token", "status": ...} for every request. It obeys lines on its standard input, each answered
by {"event": "done"}:

    rtsp <url>                     where recordings are replayed from now on
    fault <operation> <code>       answers that operation with this subcode, such as ter:ActionNotSupported
    raw <operation> <kind>         answers it with something else: html, dtd, endless, truncated, empty, deep, hang
    heal                           as at the start

Quirks, as devices in the field have them (--quirk):

    leak            service and replay addresses name a host that nobody reaches
    stale-uri       the first replay address leads nowhere, later ones are right
    segments        offers ListRecordedSegments
    synthetic       tells two events, for the first and the last picture, whatever lies between
    no-start-state  ignores IncludeStartState
    descending      the latest event first
    whole-scope     ignores the scope of a search
    dialect         misspells the dialect, binds other prefixes, marks every event as Changed
    old             does not know GetServices
    no-search       has no FindEvents
"""

import argparse
import base64
import datetime
import hashlib
import http.server
import json
import os
import threading
import time
import xml.sax.saxutils
from xml.etree import ElementTree

import clock
import frames

ONVIF = "http://www.onvif.org/ver10"
NAMESPACES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "tt": f"{ONVIF}/schema",
    "ter": f"{ONVIF}/error",
    "tns1": f"{ONVIF}/topics",
    "wsnt": "http://docs.oasis-open.org/wsn/b-2",
    "tds": f"{ONVIF}/device/wsdl",
    "trc": f"{ONVIF}/recording/wsdl",
    "tse": f"{ONVIF}/search/wsdl",
    "trp": f"{ONVIF}/replay/wsdl",
}
SERVICES = {"tds": "device", "trc": "recording", "tse": "search", "trp": "replay"}
OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
SECURITY = {"wsse": f"{OASIS}-wssecurity-secext-1.0.xsd", "wsu": f"{OASIS}-wssecurity-utility-1.0.xsd"}
# Open to everybody (ONVIF Core, access classes).
OPEN = {"GetSystemDateAndTime", "GetServices", "GetCapabilities", "GetServiceCapabilities"}
NOWHERE = "192.0.2.1"
# A token's time may be this far from the device's.
TOKEN_SLACK_S = 30
TRACKS = [("VIDEO001", "Video"), ("AUDIO001", "Audio")]
TOPIC = "RecordingHistory/Track/State"


class Fault(Exception):
    """Subcodes, outermost first."""

    def __init__(self, *codes):
        super().__init__("/".join(codes))
        self.codes = codes


def tag(name, *inner, **attributes):
    """An element; strings among `inner` are markup already."""
    said = "".join(f" {key}={xml.sax.saxutils.quoteattr(str(value))}" for key, value in attributes.items())
    return f"<{name}{said}>{''.join(inner)}</{name}>"


def text(name, value, **attributes):
    return tag(name, xml.sax.saxutils.escape(str(value)), **attributes)


class Recording:
    def __init__(self, description):
        fields = dict(pair.split("=", 1) for pair in description.split(","))
        self.token = fields["token"]
        self.source, self.name = fields.get("source", f"urn:lab:{self.token}"), fields.get("name", self.token)
        self.address = fields.get("address", "")
        # One, or `H264+2026-01-01T12:00:06Z+H265`: the second from that time on.
        told = fields.get("encoding", "H264").split("+")
        self.encodings = list(zip([0, *map(clock.parse_iso, told[1::2])], told[::2]))
        spans = fields.get("spans", "").split("+") if fields.get("spans") else []
        self.spans = sorted(tuple(map(clock.parse_iso, span.split("/"))) for span in spans)

    def edges(self, start, end, with_start_state, synthetic):
        """(time, track, present, start state) within [start, end), in order of time."""
        spans = [(self.spans[0][0], self.spans[-1][1])] if synthetic and self.spans else self.spans
        found = []
        for track, _ in TRACKS:
            if with_start_state:
                found.append((start, track, any(a < start < b for a, b in spans), True))
            for a, b in spans:
                found += [(at, track, present, False) for at, present in ((a, True), (b, False)) if start <= at < end]
        return sorted(found, key=lambda edge: (edge[0], not edge[3]))


class Device:
    """What the device knows and what is wrong with it."""

    def __init__(self, a):
        self.quirks, self.page, self.rtsp = set(a.quirk), a.page, a.rtsp
        self.keep = a.keep
        self.offset_ms, self.growing = a.clock_offset_ms, a.growing
        self.recordings = [Recording(description) for description in a.recording]
        self.user, self.password = (a.user.split(":", 1) + [""])[:2] if a.user else (None, None)
        self.auth = a.auth
        self.nonce, self.tokens = base64.b16encode(os.urandom(8)).decode(), set()
        self.faults, self.raw, self.searches, self.uris_told = {}, {}, {}, 0
        self.lock = threading.Lock()
        self.port = None

    def obey(self, line):
        words = line.split()
        if words[:1] == ["rtsp"] and len(words) == 2:
            self.rtsp = words[1]
        elif words[:1] == ["fault"] and len(words) == 3:
            self.faults[words[1]] = words[2]
        elif words[:1] == ["raw"] and len(words) == 3:
            self.raw[words[1]] = words[2]
        elif words == ["heal"]:
            self.faults, self.raw = {}, {}
        else:
            frames.emit(event="error", text=line)
            return
        frames.emit(event="done", line=line)

    def now_ms(self):
        return time.time_ns() // 1_000_000 + self.offset_ms

    def recording(self, token):
        for recording in self.recordings:
            if recording.token == token:
                return recording
        raise Fault("ter:InvalidArgVal", "ter:NoRecording")

    def address(self, prefix):
        host = NOWHERE if "leak" in self.quirks else f"127.0.0.1:{self.port}"
        return f"http://{host}/onvif/{SERVICES[prefix]}_service"

    def answer(self, prefix, operation, request):
        if operation in self.faults:
            raise Fault(self.faults[operation])
        method = getattr(self, f"{prefix}_{operation}", None)
        if method is None:
            raise Fault("ter:ActionNotSupported")
        return tag(f"{prefix}:{operation}Response", method(request))

    # The device service.

    def tds_GetSystemDateAndTime(self, _):
        now = datetime.datetime.fromtimestamp(self.now_ms() / 1000, datetime.timezone.utc)
        of_day = tag("tt:Time", text("tt:Hour", now.hour), text("tt:Minute", now.minute), text("tt:Second", now.second))
        day = tag("tt:Date", text("tt:Year", now.year), text("tt:Month", now.month), text("tt:Day", now.day))
        zone = tag("tt:TimeZone", text("tt:TZ", "UTC0"))
        utc = tag("tt:UTCDateTime", of_day, day)
        return tag("tds:SystemDateAndTime", text("tt:DateTimeType", "NTP"), text("tt:DaylightSavings", "false"), zone, utc)

    def tds_GetServices(self, _):
        if "old" in self.quirks:
            raise Fault("ter:ActionNotSupported")
        version = tag("tds:Version", text("tt:Major", 2), text("tt:Minor", 60))
        return "".join(tag("tds:Service", text("tds:Namespace", NAMESPACES[prefix]), text("tds:XAddr", self.address(prefix)), version) for prefix in SERVICES)

    def tds_GetCapabilities(self, _):
        flags = "".join(text(f"tt:{name}", "false") for name in ("ReceiverSource", "MediaProfileSource", "DynamicRecordings", "DynamicTracks"))
        recording = tag("tt:Recording", text("tt:XAddr", self.address("trc")), flags, text("tt:MaxStringLength", 64))
        search = tag("tt:Search", text("tt:XAddr", self.address("tse")), text("tt:MetadataSearch", "false"))
        replay = tag("tt:Replay", text("tt:XAddr", self.address("trp")))
        return tag("tds:Capabilities", tag("tt:Extension", recording, search, replay))

    def tds_GetDeviceInformation(self, _):
        return "".join(text(f"tds:{name}", "lab") for name in ("Manufacturer", "Model", "FirmwareVersion", "SerialNumber", "HardwareId"))

    # The recording service.

    def trc_GetServiceCapabilities(self, _):
        segments = {"SegmentExport": "true"} if "segments" in self.quirks else {}
        return tag("trc:Capabilities", DynamicRecordings="false", DynamicTracks="false", **segments)

    def source(self, recording):
        fields = {"SourceId": recording.source, "Name": recording.name, "Location": "lab", "Description": "", "Address": recording.address}
        return tag("tt:Source", *(text(f"tt:{name}", value) for name, value in fields.items()))

    def trc_GetRecordings(self, _):
        def item(recording):
            retention = text("tt:MaximumRetentionTime", "PT0S")
            configuration = tag("tt:Configuration", self.source(recording), text("tt:Content", ""), retention)
            tracks = [
                tag("tt:Track", text("tt:TrackToken", token), tag("tt:Configuration", text("tt:TrackType", kind), text("tt:Description", "")))
                for token, kind in TRACKS
            ]
            return tag("trc:RecordingItem", text("tt:RecordingToken", recording.token), configuration, tag("tt:Tracks", *tracks))

        return "".join(map(item, self.recordings))

    def trc_ListRecordedSegments(self, request):
        if "segments" not in self.quirks:
            raise Fault("ter:ActionNotSupported")
        start, end = (clock.parse_iso(find(request, "tt", name)) for name in ("From", "Until"))
        spans = [span for span in self.recording(find(request, "trc", "RecordingToken")).spans if span[1] > start and span[0] < end]
        count = min(int(find(request, "trc", "MaxResults") or self.page), self.page)
        listed = [
            tag("trc:Segment", text("trc:StartTime", clock.iso(a)), text("trc:EndTime", clock.iso(b)), text("trc:MediaType", "video/mp4"))
            for a, b in spans[:count]
        ]
        return tag("trc:Results", *listed, text("trc:HasMoreResults", str(len(spans) > count).lower()))

    # The search service.

    def tse_GetServiceCapabilities(self, _):
        return tag("tse:Capabilities", MetadataSearch="false", GeneralStartEvents="false")

    def tse_GetRecordingSummary(self, _):
        spans = [span for recording in self.recordings for span in recording.spans]
        first, last = min(a for a, _ in spans), max(b for _, b in spans)
        return tag("tse:Summary", text("tt:DataFrom", clock.iso(first)), text("tt:DataUntil", clock.iso(last)), text("tt:NumberRecordings", len(self.recordings)))

    def information(self, recording, name):
        first, last = recording.spans[0][0], recording.spans[-1][1]
        tracks = [
            tag(
                "tt:Track",
                text("tt:TrackToken", token),
                text("tt:TrackType", kind),
                text("tt:Description", ""),
                text("tt:DataFrom", clock.iso(first)),
                text("tt:DataTo", clock.iso(last)),
            )
            for token, kind in TRACKS
        ]
        bounds = text("tt:EarliestRecording", clock.iso(first)) + text("tt:LatestRecording", clock.iso(last))
        status = text("tt:RecordingStatus", "Recording" if self.growing else "Stopped")
        return tag(name, text("tt:RecordingToken", recording.token), self.source(recording), bounds, text("tt:Content", ""), *tracks, status)

    def tse_GetRecordingInformation(self, request):
        return self.information(self.recording(find(request, "tse", "RecordingToken")), "tse:RecordingInformation")

    def tse_GetMediaAttributes(self, request):
        recording = self.recording(find(request, "tse", "RecordingTokens"))
        asked = clock.parse_iso(find(request, "tse", "Time"))
        ends = [start for start, _ in recording.encodings[1:]] + [recording.spans[-1][1]]
        spans = [(max(start, recording.spans[0][0]), end, encoding) for (start, encoding), end in zip(recording.encodings, ends)]
        begins, until, encoding = next((span for span in spans if asked < span[1]), spans[-1])
        bounds = text("tt:DataFrom", clock.iso(recording.spans[0][0])) + text("tt:DataTo", clock.iso(recording.spans[-1][1]))
        track = tag("tt:TrackInformation", text("tt:TrackToken", "VIDEO001"), text("tt:TrackType", "Video"), text("tt:Description", ""), bounds)
        video = tag("tt:VideoAttributes", text("tt:Width", 640), text("tt:Height", 360), text("tt:Encoding", encoding), text("tt:Framerate", 25))
        attributes = tag("tt:TrackAttributes", track, video)
        span = text("tt:From", clock.iso(begins)) + text("tt:Until", clock.iso(until))
        return tag("tse:MediaAttributes", text("tt:RecordingToken", recording.token), attributes, span)

    def begin(self, results):
        with self.lock:
            token = f"search-{len(self.searches)}"
            self.searches[token] = results
        return text("tse:SearchToken", token)

    def results(self, request):
        """The next page of a search, and its state."""
        token, asked = find(request, "tse", "SearchToken"), int(find(request, "tse", "MaxResults") or self.page)
        with self.lock:
            left = self.searches.get(token)
            if left is None:
                raise Fault("ter:InvalidArgVal", "ter:InvalidToken")
            count = min(asked, self.page)
            page, rest = left[:count], left[count:]
            self.searches[token] = rest or None
        return tag("tse:ResultList", text("tt:SearchState", "Searching" if rest else "Completed"), *page)

    def tse_FindRecordings(self, _):
        return self.begin([self.information(recording, "tt:RecordingInformation") for recording in self.recordings])

    def tse_GetRecordingSearchResults(self, request):
        return self.results(request)

    def tse_FindEvents(self, request):
        if "no-search" in self.quirks:
            raise Fault("ter:ActionNotSupported")
        start = clock.parse_iso(find(request, "tse", "StartPoint"))
        end = clock.parse_iso(find(request, "tse", "EndPoint") or clock.iso(self.now_ms()))
        scope = [element.text for element in request.iter(f"{{{NAMESPACES['tt']}}}IncludedRecordings")]
        wanted = [recording for recording in self.recordings if "whole-scope" in self.quirks or not scope or recording.token in scope]
        topic = find(request, "wsnt", "TopicExpression") or ""
        if not topic.endswith(TOPIC):
            return self.begin([])
        with_start = find(request, "tse", "IncludeStartState") == "true" and "no-start-state" not in self.quirks
        found = [(recording, edge) for recording in wanted for edge in recording.edges(start, end, with_start, "synthetic" in self.quirks)]
        found.sort(key=lambda pair: pair[1][0], reverse="descending" in self.quirks)
        return self.begin([self.event(recording, *edge) for recording, edge in found])

    def event(self, recording, at, track, present, start_state):
        odd = "dialect" in self.quirks
        dialect = f"{ONVIF}/tev/topicExpression/ConcreteSe" + ("" if odd else "t")
        operation = "Changed" if odd or not start_state else "Initialized"
        source = tag("tt:Source", tag("tt:SimpleItem", Name="RecordingToken", Value=recording.token), tag("tt:SimpleItem", Name="Track", Value=track))
        data = tag("tt:Data", tag("tt:SimpleItem", Name="IsDataPresent", Value=str(present).lower()))
        message = tag("wsnt:Message", tag("tt:Message", source, data, UtcTime=clock.iso(at), PropertyOperation=operation))
        topic = text("wsnt:Topic", f"tns1:{TOPIC}", Dialect=dialect)
        heads = text("tt:RecordingToken", recording.token) + text("tt:TrackToken", track) + text("tt:Time", clock.iso(at))
        return tag("tt:Result", heads, tag("tt:Event", topic, message), text("tt:StartStateEvent", str(start_state).lower()))

    def tse_GetEventSearchResults(self, request):
        return self.results(request)

    def tse_EndSearch(self, request):
        with self.lock:
            if self.searches.get(find(request, "tse", "SearchToken")) is None:
                raise Fault("ter:InvalidArgVal", "ter:InvalidToken")
            self.searches[find(request, "tse", "SearchToken")] = None
        return text("tse:Endpoint", clock.iso(self.now_ms()))

    # The replay service.

    def trp_GetServiceCapabilities(self, _):
        return tag("trp:Capabilities", ReversePlayback="true", SessionTimeoutRange="1 60", RTP_RTSP_TCP="true")

    def trp_GetReplayUri(self, request):
        self.recording(find(request, "trp", "RecordingToken"))
        if find(request, "tt", "Protocol") != "RTSP":
            raise Fault("ter:InvalidArgVal", "ter:InvalidStreamSetup")
        self.uris_told += 1
        uri = self.rtsp
        if "leak" in self.quirks:
            uri = uri.replace("127.0.0.1", NOWHERE)
        if "stale-uri" in self.quirks and self.uris_told == 1:
            uri += "-of-yesterday"
        return text("trp:Uri", uri)

    # Who may ask.

    def admits(self, method, path, header, request, operation):
        """How the asker proved who it is; a fault or None when it did not."""
        proof = "token" if request.find(f".//{{{SECURITY['wsse']}}}UsernameToken") is not None else "digest" if header else "none"
        if not self.user or operation in OPEN:
            return proof, True
        if self.auth in ("digest", "both") and header and self.digest_fits(method, path, header):
            return proof, True
        return proof, self.auth in ("token", "both") and proof == "token" and self.token_fits(request)

    def digest_fits(self, method, path, header):
        said = {key.strip(): value.strip().strip('"') for key, value in (part.split("=", 1) for part in header.removeprefix("Digest").split(","))}
        md5 = lambda *parts: hashlib.md5(":".join(parts).encode()).hexdigest()
        ha1, ha2 = md5(self.user, "lab", self.password), md5(method, path)
        expected = md5(ha1, self.nonce, said.get("nc", ""), said.get("cnonce", ""), "auth", ha2)
        return said.get("username") == self.user and said.get("nonce") == self.nonce and said.get("uri") == path and said.get("response") == expected

    def token_fits(self, request):
        said = lambda space, name: request.findtext(f".//{{{SECURITY[space]}}}{name}") or ""
        nonce, created = said("wsse", "Nonce"), said("wsu", "Created")
        digest = hashlib.sha1(base64.b64decode(nonce) + created.encode() + self.password.encode()).digest()
        fresh = abs(clock.parse_iso(created) - self.now_ms()) <= TOKEN_SLACK_S * 1000 and nonce not in self.tokens
        self.tokens.add(nonce)
        return fresh and said("wsse", "Username") == self.user and said("wsse", "Password") == base64.b64encode(digest).decode()


def find(request, prefix, name):
    return request.findtext(f".//{{{NAMESPACES[prefix]}}}{name}")


def envelope(body, swapped):
    spaces = "".join(f' xmlns:{prefix}="{space}"' for prefix, space in NAMESPACES.items())
    written = f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope{spaces}><s:Body>{body}</s:Body></s:Envelope>'
    if swapped:
        for prefix in ("tt", "tse", "s", "wsnt"):
            written = written.replace(f"<{prefix}:", f"<n-{prefix}:").replace(f"</{prefix}:", f"</n-{prefix}:").replace(f"xmlns:{prefix}=", f"xmlns:n-{prefix}=")
    return written.encode()


def fault(codes):
    inner = ""
    for code in reversed(codes):
        inner = tag("s:Subcode", text("s:Value", code), inner)
    return tag("s:Fault", tag("s:Code", text("s:Value", "s:Sender"), inner), tag("s:Reason", text("s:Text", "/".join(codes), **{"xml:lang": "en"})))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    device = None

    def log_message(self, *_):
        pass

    def do_POST(self):
        device = self.device
        asked_bytes = self.rfile.read(int(self.headers["Content-Length"]))
        request = ElementTree.fromstring(asked_bytes)
        asked = request.find(f"{{{NAMESPACES['s']}}}Body")[0]
        space, operation = asked.tag[1:].split("}")
        prefix = next(prefix for prefix, known in NAMESPACES.items() if known == space)
        path, header = self.path, self.headers.get("Authorization")
        proof, admitted = device.admits("POST", path, header, request, operation)
        status, headers = 200, {}
        if not admitted:
            status, body = 400, fault(["ter:NotAuthorized"])
            if device.auth != "token":
                status, headers = 401, {"WWW-Authenticate": f'Digest realm="lab", qop="auth", nonce="{device.nonce}"'}
        elif operation in device.raw:
            frames.emit(event="asked", operation=operation, proof=proof, status=0)
            self.odd(device.raw[operation])
            return
        else:
            try:
                body = device.answer(prefix, operation, asked)
            except Fault as error:
                status, body = 400, fault(error.codes)
        frames.emit(event="asked", operation=operation, proof=proof, status=status)
        answer = envelope(body, "dialect" in device.quirks)
        if device.keep:
            kept = {"operation": operation, "status": status, "request": asked_bytes.decode(), "answer": answer.decode()}
            with device.lock, open(device.keep, "a", encoding="utf-8") as file:
                file.write(json.dumps(kept) + "\n")
        self.say(status, answer, headers)

    def say(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def odd(self, kind):
        """What is no answer."""
        if kind == "hang":
            time.sleep(3600)
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"<a>" * 4096)
            except OSError:
                self.close_connection = True
        else:
            self.say(200, {
                "html": b"<html><body>Please log in</body></html>",
                "dtd": b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>',
                "truncated": envelope(tag("tse:X"), False)[:-30],
                "empty": b"",
                "deep": b"<a>" * 100_000,
            }[kind])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--rtsp", default="rtsp://127.0.0.1:554/cam1", help="where recordings are replayed")
    parser.add_argument("--recording", action="append", default=[], metavar="token=T,spans=FROM/TO+FROM/TO", help="also source=, name=, address=, encoding=")
    parser.add_argument("--user", metavar="NAME:PASSWORD")
    parser.add_argument("--auth", choices=["digest", "token", "both"], default="digest")
    parser.add_argument("--clock-offset-ms", type=int, default=0, help="how far its clock is ahead of true time")
    parser.add_argument("--growing", action="store_true", help="the last span is being written")
    parser.add_argument("--page", type=int, default=100, help="most results in one answer")
    parser.add_argument("--keep", metavar="FILE", help="adds every question and its answer, a JSON object a line")
    parser.add_argument("--quirk", action="append", default=[])
    a = parser.parse_args()
    device = Handler.device = Device(a)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", a.port), Handler)
    server.daemon_threads = True
    device.port = server.server_address[1]
    threading.Thread(target=frames.follow, args=(device.obey,), daemon=True).start()
    frames.emit(event="ready", url=f"http://127.0.0.1:{device.port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
