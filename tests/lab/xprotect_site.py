#!/usr/bin/python3
"""An XProtect site as clients meet it: a management server and a recording server, over footage of the lab.

Management server: OpenID discovery, the token endpoint, SOAP `Login` with an access token and with HTTP Basic, `GetConfiguration`; the rest
of it is in xprotect_server.py.
Recording server, one port: ImageServer (connect, goto, next, previous, begin, end, nextsequence, previoussequence, alarms, live,
stop, connectupdate; native pictures, one by one or a group in several parts) and the SOAP service for sequences. It tells the two apart
by the first byte. Written from what is known of the wire alone.

Prints {"event": "ready", "url": <management server>} once it listens, and a line for each login and each call. Commands on standard
input: `reset` (the next body is cut off in its middle), `cut N` (likewise, behind so many pictures of the next group but the first), `stall` (likewise, but the connection stays), `no-trailer`, `codec` (from the
next picture on of another codec), `empty` (nothing is recorded), `expire` (no token given so far is good any more), `lost` (the camera is
gone, in live), `no-permission` (nobody may log in), `list` (see --unlisted), `listen` (each call is told of as it came), `heal` (none of
these); `wsdl` (its SOAP service describes itself, by a name of its own), `says-stopped` (it answers `stop`); `gather N` (no answer with pictures before so many calls are there, once); `slow MS` (so much later is each answer with pictures from now on); `hang-up` (every connection is closed); `move URL` (whatever its management server is asked is to be asked there). Answers that are none, for the next request of pictures: see LIES. A fault that was met is told of.
"""

import argparse
import base64
import bisect
import copy
import json
import math
import os
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timedelta, timezone
from xml.sax.saxutils import escape

import clock
import frames
import store
import xprotect_server as management

SERVER = "http://videoos.net/2/XProtectCSServerCommand"
RECORDER = "http://videoos.net/2/XProtectCSRecorderCommand"
CAMERA = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
HARDWARE = "aaaaaaaa-2222-3333-4444-555555555555"
# Of the second recording server.
TWIN_OTHER = "88888888-2222-3333-4444-555555555555"
TWIN_HARDWARE = "eeeeeeee-2222-3333-4444-555555555555"
TWIN_RECORDING_SERVER = "cccccccc-2222-3333-4444-555555555555"
RECORDING_SERVER = "bbbbbbbb-2222-3333-4444-555555555555"
MICROPHONE = "55555555-2222-3333-4444-555555555555"
SEQUENCES = {
    "RecordingWithTriggerSequence": "0601d294-b7e5-4d93-9614-9658561ad5e4",
    "RecordingSequence": "f9c62604-d0c5-4050-ae25-72de51639b14",
    "MotionSequence": "53cb5e33-2183-44bd-9491-8364d2457480",
}
GENERIC = "application/x-genericbytedata-octet-stream"
CAPABILITIES = ("privacymask", "privacymaskversion", "multipartdata", "datarestriction")
CODECS = {"mjpeg": 0x1, "h264": 0xA, "hevc": 0xE, "h265": 0xE}
OTHER_CODEC = 0xC
END = b"\r\n\r\n"
DECLARED = '<?xml version="1.0" encoding="utf-8"?>'
# Longer answers of the management server come in chunks.
CHUNKED_FROM = 100_000
# A group of pictures can be read this long after it is complete.
WRITTEN_MS = 1000
# What the next answer with pictures is instead, by the command of that name.
LIES = ("endless", "huge", "numbers", "otherwhen", "other-request", "words", "junk", "xml-bomb")
# The reference's pictures: a key picture and one that refers to it, of H.264 in name.
GOLDEN_MS = 1735689600000
GOLDEN = (bytes.fromhex("00000001674280000000000168ce000000016588"), bytes.fromhex("00000001419a"))
# The end of a recording that goes on is told as this much later than now.
AHEAD_MS = 4000


def epoch_ms(ns):
    return ns // store.MS - clock.NTP_EPOCH_S * 1000


def date_time(ms):
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}0000Z"


def from_date_time(text):
    """UTC, also where it does not say so."""
    text = re.sub(r"\.(\d+)", lambda fraction: "." + (fraction[1] + "000000")[:6], text.strip())
    text = text if re.search(r"(Z|[+-]\d\d:\d\d)$", text) else text + "Z"
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(milliseconds=1))


def speech_of(camera):
    """The microphone that is recorded when the camera is."""
    return "5a" + camera[2:]


def local(tag):
    return tag.rsplit("}", 1)[-1]


def fields(element):
    """The texts of an element's children by their local names."""
    return {local(child.tag): (child.text or "").strip() for child in element}


class Group:
    def __init__(self, pictures):
        self.data = [frame.data for frame in pictures]
        # Stamped as they arrive: in decoding order, whatever order they are shown in.
        self.times = sorted(epoch_ms(frame.pts) for frame in pictures)
        self.end = max(epoch_ms(frame.pts + frame.duration) for frame in pictures)
        self.key = self.times[0]


class Golden:
    """A group of the reference."""

    data = GOLDEN

    def __init__(self, key):
        self.key, self.times, self.end = key, [key, key + 100], key + 1000


class Moved:
    """The same pictures another time."""

    def __init__(self, group, ms):
        self.data, self.times, self.end, self.key = group.data, [time + ms for time in group.times], group.end + ms, group.key + ms


class Still:
    """One picture, for who wants every one of them by itself."""

    def __init__(self, key, end):
        self.key, self.end = key, end


class Site:
    def __init__(self, a):
        hidden = [tuple(map(clock.parse_iso, pair.split(","))) for pair in a.hide]
        offset = a.clock_offset_ms
        self.edge = bool(a.edge)
        if a.edge:
            offset += round(time.time() * 1000) - clock.parse_iso(a.edge)
        self.ahead_ms = a.clock_offset_ms
        self.record(a, hidden, offset)
        self.twin, self.uri = None, a.hardware
        self.mask, self.lacks, self.slow_s, self.gather, self.cut, self.moved = a.mask, a.lacks, 0.0, 0, 0, None
        self.user, self.life_s, self.page = a.user, a.token_life, a.page
        # A user who may see one camera of the two, and who has which token.
        self.narrow, self.child, self.pad = a.narrow_user, a.child, a.pad
        self.windows, self.schemes, self.extended = a.windows_user, a.windows_schemes.split(","), a.extended_protection
        self.certificate = None
        if a.tls:
            with open(a.tls.split(",")[0]) as file:
                self.certificate = file.read()
        self.users = {}
        self.camera, self.cameras, self.unlisted = a.camera.lower(), a.names.split(","), a.unlisted
        self.tokens, self.access, self.count = {token: math.inf for token in a.known_token}, {}, 0
        # Access tokens are of one server.
        self.number = os.urandom(4).hex()
        self.lock = threading.Lock()
        self.faults = set()
        self.open = set()
        self.public, self.own_range = a.public_port, a.local_range
        self.sequence = 0
        if a.twin:
            guid, _, gap = a.twin.partition(",")
            # Logins and faults are those of the site.
            self.twin = copy.copy(self)
            self.twin.camera = guid.lower()
            self.twin.record(a, [tuple(map(clock.parse_iso, gap.split(",")))] if gap else [], offset)

    def record(self, a, hidden, offset):
        footage = store.Store(a.footage, hidden, offset, False)
        self.codec = CODECS[footage.codecs["video"].name]
        self.spans = [(epoch_ms(start), epoch_ms(end)) for start, end in footage.spans]
        pictures = []
        for frame in footage.video:
            if frame.key:
                pictures.append([])
            pictures[-1].append(frame)
        self.groups = [Group(group) for group in pictures]
        length = self.spans[-1][1] - self.spans[0][0] if self.spans else 0
        again = range(1, a.repeat)
        self.groups += [Moved(group, length * count) for count in again for group in self.groups]
        self.spans += [(start + length * count, end + length * count) for count in again for start, end in self.spans]
        self.golden = a.golden
        if a.golden:
            self.groups = [Golden(GOLDEN_MS + ms) for ms in (-1000, 0, 1000)]
            self.spans = [(GOLDEN_MS - 1000, GOLDEN_MS + 2000)]
        self.stills = [Still(at, end) for group in self.groups for at, end in zip(group.times, [*group.times[1:], group.end])]

    def now_ms(self):
        return round(time.time() * 1000) + self.ahead_ms

    # Tokens.

    def login(self, how, user=""):
        """A token with the seconds it is good for."""
        with self.lock:
            self.count += 1
            token = f"TOKEN#{self.count:08d}-0000-4000-8000-0000000000aa#vmshost//ServerConnector#"
            self.tokens[token] = time.monotonic() + self.life_s
            self.users[token] = user
        frames.emit(event="call", name=f"login {how}")
        return token

    def is_good(self, token):
        return time.monotonic() < self.tokens.get(token, 0)

    def accepts(self, name, password):
        return not self.user or f"{name}:{password}" in (self.user, self.narrow)

    # What is recorded.

    def readable(self):
        if "empty" in self.faults:
            return []
        now = self.now_ms()
        return [group for group in self.groups if not self.edge or group.end + WRITTEN_MS <= now]

    def at(self, groups, ms):
        """Index of the group at or before an instant; the first one where there is none."""
        return max(bisect.bisect_right(groups, ms, key=lambda group: group.key) - 1, 0)

    def take(self, fault):
        with self.lock:
            if fault not in self.faults:
                return False
            self.faults.discard(fault)
        frames.emit(event="call", name=f"met {fault}")
        return True

    def obey(self, line):
        word = line.strip()
        if word.startswith("gather "):
            self.gather = int(word.split()[1])
        elif word.startswith("slow "):
            self.slow_s = int(word.split()[1]) / 1000
        elif word.startswith("cut "):
            self.cut = int(word.split()[1])
        elif word.startswith("move "):
            self.moved = word.split()[1]
        elif word == "heal":
            self.faults.clear()
        elif word == "expire":
            self.tokens.clear()
        elif word == "hang-up":
            for connection in list(self.open):
                connection.shutdown(socket.SHUT_RDWR)
        else:
            self.faults.add(word)
        frames.emit(event="done")


class Gone(Exception):
    """This connection is over."""


class Handler(socketserver.BaseRequestHandler):
    """One connection: HTTP, and at the recording server ImageServer by its first byte."""

    site = None
    context = None
    is_recorder = False

    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context:
            self.request = self.context.wrap_socket(self.request, server_side=True)
        self.buffer = b""
        self.site.open.add(self.request)

    def finish(self):
        self.site.open.discard(self.request)

    def handle(self):
        try:
            while True:
                while not self.buffer:
                    self.more()
                if self.is_recorder and self.buffer[:1] in (b"<", b"\xef", b"\r", b"\n"):
                    ImageServer(self).serve()
                else:
                    self.http()
        except (Gone, OSError):
            pass

    def more(self, patience=None):
        """Receives; False when nothing came within `patience` seconds."""
        self.request.settimeout(patience)
        try:
            data = self.request.recv(65536)
        except TimeoutError:
            return False
        finally:
            self.request.settimeout(None)
        if not data:
            raise Gone
        self.buffer += data
        return True

    def until(self, mark):
        while mark not in self.buffer:
            self.more()
        whole, self.buffer = self.buffer.split(mark, 1)
        return whole

    # HTTP.

    def http(self):
        first, *lines = self.until(END).decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            self.more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        answer = self.recorder_answer if self.is_recorder else self.server_answer
        status, kind, content, *more = answer(method, target.lower(), headers, body)
        date = datetime.fromtimestamp(self.site.now_ms() / 1000, timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        content = content.encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in (more[0] if more else {}).items())
        if status == 101:
            return self.echo(more)
        length = f"Content-Length: {len(content)}"
        if len(content) > CHUNKED_FROM and not self.is_recorder:
            # As servers send what is long.
            length, pieces = "Transfer-Encoding: chunked", [content[at : at + 16000] for at in range(0, len(content), 16000)]
            content = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{length}\r\n{more}Date: {date}\r\n\r\n"
        self.request.sendall(head.encode() + content)

    def echo(self, more):
        """A switched connection: what comes goes back."""
        self.request.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{more}\r\n".encode())
        while True:
            while not self.buffer:
                self.more()
            data, self.buffer = self.buffer, b""
            self.request.sendall(data)

    def server_answer(self, method, path, headers, body):
        site, host = self.site, headers.get("host", "localhost")
        scheme = "https" if self.context else "http"
        if site.moved:
            frames.emit(event="call", name="met move")
            return 307, "text/html", "<html/>", {"Location": f"{site.moved}{path}"}
        if path == "/idp/.well-known/openid-configuration" and "no-oauth" not in site.faults:
            told = {
                "issuer": f"{scheme}://{host}/IDP",
                "server_version": "25.2.1.1",
                "authorization_endpoint": f"{scheme}://{host}/IDP/connect/authorize",
                "token_endpoint": f"{scheme}://{host}/IDP/connect/token",
            }
            return 200, "application/json", json.dumps(told, separators=(",", ":"))
        if path in ("/idp/connect/token", "/api/idp/connect/token") and method == "POST":
            form = {name: values[0] for name, values in urllib.parse.parse_qs(body.decode()).items()}
            if path.startswith("/idp/") and form.get("grant_type") == "windows_credentials":
                refused = management.windows(self, headers)
                if refused:
                    return refused
                form |= {"grant_type": "password", "username": self.windows, "password": None}
            form.setdefault("password", "")
            if form.get("grant_type") != "password" or form.get("client_id") not in ("GrantValidatorClient", "VmsClient"):
                return 400, "application/json", '{"error":"unsupported_grant_type"}'
            if form["password"] is not None and not site.accepts(form.get("username", ""), form["password"]):
                frames.emit(event="call", name="refused password")
                return 400, "application/json", '{"error":"invalid_grant","error_description":"LockedOrInvalid"}'
            site.access[access := f"access-{site.number}-{len(site.access)}"] = form.get("username", "")
            frames.emit(event="call", name="access")
            return 200, "application/json", f'{{"access_token":"{access}","expires_in":3600,"token_type":"Bearer","scope":"managementserver"}}'
        route, _, query = path.partition("?")
        if query.startswith(("wsdl", "singlewsdl")) and route.startswith("/managementserver/"):
            return 200, "text/xml; charset=utf-8", management.description(host, scheme)
        if route == management.OLDER:
            refused = management.windows(self, headers)
            shown = base64.b64decode(headers.get("authorization", "").partition(" ")[2] or "").partition(b":")[0]
            return refused or self.server_operation(*said(body), "older", getattr(self, "windows", None) or shown.decode("latin-1"))
        if route.startswith("/api/"):
            return self.gateway_answer(method, route, headers)
        if route == "/away":
            return 302, "text/html", "<html/>", {"Location": f"{scheme}://{host}/IDP/login", "Set-Cookie": f"a=b; Domain={host.split(':')[0]}; Path=/"}
        if route == "/big":
            return 200, "application/octet-stream", "x" * (3 << 20)
        if route == "/managementserver/viewsservice.svc":
            # A service that nobody knows, and that tells where recorders are.
            return 200, "text/xml", f"<View><Recorder>{scheme}://localhost:{site.port}/</Recorder></View>"
        if route == "/managementserver/serviceregistrationservice.svc":
            return 200, "text/xml; charset=utf-8", envelope(management.services(host))
        if path in ("/managementserver/servercommandserviceoauth.svc", "/managementserver/servercommandservice.svc"):
            kind, _, credentials = headers.get("authorization", "").partition(" ")
            if path.endswith("oauth.svc"):
                allowed, name = kind.lower() == "bearer" and credentials in site.access, site.access.get(credentials)
            else:
                name, _, password = base64.b64decode(credentials or "").decode().partition(":")
                allowed = kind.lower() == "basic" and site.accepts(name, password)
            if not allowed:
                frames.emit(event="call", name=f"refused {kind.lower()}")
                return 401, "text/html", "<html>401</html>"
            return self.server_operation(*said(body), kind.lower(), name)
        return 404, "text/html", "<html>404</html>"

    def gateway_answer(self, method, path, headers):
        site, host = self.site, headers.get("host", "localhost")
        scheme = "https" if self.context else "http"
        if path == "/api/.well-known/uris":
            told = {
                "ProductVersion": "25.2.1.1",
                "UnsecureManagementServer": f"http://{management.MACHINE}/",
                "SecureManagementServer": f"https://{management.MACHINE}/",
                "IdentityProvider": f"{scheme}://{host}/IDP",
                "ApiGateways": [f"{scheme}://{host}/API/"],
            }
            return 200, "application/json", json.dumps(told, separators=(",", ":"))
        kind, _, credentials = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or credentials not in site.access:
            return 401, "application/json", '{"error":{"httpCode":401}}'
        if headers.get("upgrade", "").lower() == "websocket":
            return 101, "", "", {"Upgrade": "websocket", "Connection": "Upgrade"}
        return management.gateway(site, path, scheme, host, RECORDING_SERVER, site.camera, HARDWARE)

    def server_operation(self, operation, parameters, how, user):
        site = self.site
        if operation == "Login" and "no-permission" in site.faults:
            return fault("s:51000", "VMO61008: You do not have sufficient permissions")
        if operation == "Login":
            token = site.login(how, user)
            return soap(
                SERVER,
                operation,
                f"<RegistrationTime>{date_time(site.now_ms())}</RegistrationTime><TimeToLive><MicroSeconds>{round(site.life_s * 1e6)}</MicroSeconds>"
                f"</TimeToLive><TimeToLiveLimited>false</TimeToLiveLimited><Token>{escape(token)}</Token>",
            )
        if operation in ("Logout", "RegisterIntegration"):
            return 200, "text/xml; charset=utf-8", envelope(f'<{operation}Response xmlns="{SERVER}"/>')
        if operation in ("GetConfiguration", "QueryRecorderInfo"):
            token = fields(parameters).get("token")
            if not site.is_good(token):
                return fault("s:51000", "VMO61008: You do not have sufficient permissions")
            named = list(zip((site.camera, OTHER), site.cameras))[site.unlisted and "list" not in site.faults :]
            if site.narrow and site.users.get(token) == site.narrow.split(":")[0]:
                named = named[1:]
            recorder = self.recorder_info(site, RECORDING_SERVER, "Recorder", HARDWARE, named)
            if site.twin:
                named = zip((site.twin.camera, TWIN_OTHER), (f"{name} B" for name in site.cameras))
                twin = self.recorder_info(site.twin, TWIN_RECORDING_SERVER, "Recorder B", TWIN_HARDWARE, named)
                recorder += f"</RecorderInfo><RecorderInfo>{twin}"
            if operation == "QueryRecorderInfo":
                return soap(SERVER, operation, recorder)
            return soap(SERVER, operation, f"<Recorders><RecorderInfo>{recorder}</RecorderInfo></Recorders><ServerName>vms</ServerName>")
        if operation == "GetVersion":
            return soap(SERVER, operation, "25", text=True)
        if operation in ("GetViewGroups", "BookmarkGet", "BookmarkSearchTime", "BookmarkCreate", "RestrictedMediaQueryAll"):
            values = fields(parameters)
            if not site.is_good(values.get("token")):
                return fault("s:51000", "VMO61008: You do not have sufficient permissions")
            return soap(SERVER, operation, f"<Item><Name>{operation} of {escape(site.users.get(values['token'], ''))}</Name></Item>")
        return fault("s:Client", f"unknown {operation}")

    def recorder_info(self, site, number, name, hardware, named):
        cameras = "".join(
            f"<CameraInfo><DeviceId>{guid}</DeviceId><DeviceIndex>{index}</DeviceIndex><HardwareId>{hardware}</HardwareId><Name>{escape(name)}</Name>"
            f"<RecorderId>{number}</RecorderId><CameraSecurity><Browse>true</Browse></CameraSecurity></CameraInfo>"
            for index, (guid, name) in enumerate(named)
        )
        scheme = "https" if self.context else "http"
        is_near = not site.public or self.client_address[0].startswith(site.own_range)
        port = site.port if is_near else site.public
        return (
            f"<Cameras>{cameras}</Cameras><Description>{'x' * site.pad}</Description><Hardware><HardwareInfo><HardwareId>{hardware}</HardwareId><Name>Axis</Name>"
            f"<RecorderId>{number}</RecorderId><Uri>{escape(site.uri)}</Uri></HardwareInfo></Hardware><HostName>recorder</HostName>"
            f"<Microphones><MicrophoneInfo><DeviceId>{speech_of(site.camera)}</DeviceId><HardwareId>{hardware}</HardwareId><Name>Speech</Name><RecorderId>{number}</RecorderId>"
            f"<MicrophoneSecurity><Browse>true</Browse></MicrophoneSecurity></MicrophoneInfo></Microphones>"
            f"<Name>{name}</Name><RecorderId>{number}</RecorderId><WebServerUri>{scheme}://localhost:{port}/</WebServerUri>"
            "<XmlEncoding>utf-8</XmlEncoding>"
        )

    def recorder_answer(self, method, path, headers, body):
        site = self.site
        if path.endswith(".asmx?wsdl") and "wsdl" in site.faults:
            return 200, "text/xml; charset=utf-8", management.description(f"rec.example:{site.port}", "http")
        if path.split("?")[0] != "/recordercommandservice/recordercommandservice.asmx" or method != "POST":
            return 404, "text/html", "<html>404</html>"
        if b"xmlns:ns0" in body:
            return fault("soap:Server", "prefixed bodies are mis-handled")
        operation, parameters = said(body)
        if "listen" in site.faults:
            frames.emit(event="call", name=f"heard {body.decode()}")
        values = fields(parameters)
        if operation == "GetVersion":
            return soap(RECORDER, operation, "25", text=True)
        if not values.get("token"):
            return fault("soap:Client", "No token supplied", (20001, 1))
        if not site.is_good(values["token"]):
            return fault("soap:Client", "Token invalid", (20001, 2))
        if operation == "SequencesGetTypes":
            types = (f"<SequenceType><Id>{guid}</Id><Name>{name}</Name></SequenceType>" for name, guid in SEQUENCES.items())
            return soap(RECORDER, operation, "".join(types))
        if operation == "SequencesGet":
            frames.emit(event="call", name="sequences")
            begin, end = from_date_time(values["minTime"]), from_date_time(values["maxTime"])
            if values["deviceId"].lower() not in (site.camera, speech_of(site.camera)) or values["sequenceType"].lower() != SEQUENCES["RecordingSequence"]:
                return soap(RECORDER, operation, "")
            now, spans = site.now_ms(), [] if "empty" in site.faults else site.spans
            told = []
            for start, stop in spans:
                if site.edge and stop > now:
                    # What is being recorded ends later than now, it says.
                    stop = now + AHEAD_MS
                if start < end and stop > begin and (not site.edge or start <= now):
                    told.append((start, stop))
            told = told[: min(int(values["maxCount"]), site.page)]
            return soap(
                RECORDER,
                operation,
                "".join(
                    f"<SequenceEntry><TimeBegin>{date_time(start)}</TimeBegin><TimeTrigged>{date_time(start)}</TimeTrigged><TimeEnd>{date_time(stop)}</TimeEnd></SequenceEntry>"
                    for start, stop in told
                ),
            )
        if operation in ("SequencesGetAround", "SequencesGetAroundWithSpan"):
            center = from_date_time(values["centerTime"])
            spans = [] if values["deviceId"].lower() != site.camera or "empty" in site.faults else site.spans
            before = [span for span in spans if span[1] <= center]
            told = before[len(before) - min(int(values["maxCountBefore"]), len(before)) :]
            told += [span for span in spans if span[1] > center][: int(values["maxCountAfter"])]
            entries = "".join(f"<SequenceEntry><TimeBegin>{date_time(a)}</TimeBegin><TimeTrigged>{date_time(a)}</TimeTrigged><TimeEnd>{date_time(b)}</TimeEnd></SequenceEntry>" for a, b in told)
            return soap(RECORDER, operation, entries)
        if operation == "TimeLineInformationGet":
            begin, count = from_date_time(values["timeLineInformationBeginTime"]), int(values["timeLineInformationCount"])
            interval = int(parameters.find(f"{{{RECORDER}}}timeLineInformationInterval/{{{RECORDER}}}MicroSeconds").text) // 1000
            kinds = [guid.text for guid in parameters.iter("{http://microsoft.com/wsdl/types/}guid")]
            bits = bytearray((count + 7) // 8)
            for bit in range(count):
                at = begin + bit * interval
                if any(start < at + interval and at < end for start, end in site.spans):
                    bits[bit // 8] |= 1 << bit % 8
            data = base64.b64encode(bits).decode()
            rows = "".join(
                f"<TimeLineInformationData><DeviceId>{values['deviceId']}</DeviceId><Type>{kind}</Type><BeginTime>{date_time(begin)}</BeginTime>"
                f"<Interval><MicroSeconds>{interval * 1000}</MicroSeconds></Interval><Count>{count}</Count><Data>{data}</Data></TimeLineInformationData>"
                for kind in kinds
            )
            return soap(RECORDER, operation, rows)
        if operation == "GetRetentionTimeLimit":
            return soap(RECORDER, operation, date_time(site.spans[0][0]))
        if operation.startswith("JPEGGetAt"):
            frames.emit(event="call", name="still")
            groups = site.readable()
            if values["deviceId"].lower() != site.camera or not groups:
                return fault("soap:Server", "No image", (40001, 0))
            asked = from_date_time(values["time"])
            index = site.at(groups, asked)
            if operation == "JPEGGetAtOrAfter" and groups[index].key < asked:
                index = min(index + 1, len(groups) - 1)
            at = groups[index].key
            if operation == "JPEGGetAt" and at != asked:
                return soap(RECORDER, operation, "")
            # Which site it is of is what a test wants to see; pictures are long.
            data = base64.b64encode(site.camera.encode() + bytes(100_000)).decode()
            return soap(RECORDER, operation, f"<Time>{date_time(at)}</Time><Data>{data}</Data>")
        if operation == "JPEGGetLive":
            return soap(RECORDER, operation, f"<Time>{date_time(site.now_ms())}</Time><Data>{base64.b64encode(site.camera.encode()).decode()}</Data>")
        return fault("soap:Server", f"Method '{operation}' not supported", (40000, 0))


def said(body):
    """The operation of an envelope, and its element."""
    envelope = ElementTree.fromstring(body)
    inner = next(child for child in envelope if local(child.tag) == "Body")
    return local(inner[0].tag), inner[0]


def soap(namespace, operation, inner, text=False):
    result = f"<{operation}Result>{inner}</{operation}Result>" if inner or text else f"<{operation}Result />"
    return 200, "text/xml; charset=utf-8", envelope(f'<{operation}Response xmlns="{namespace}">{result}</{operation}Response>')


def fault(code, text, numbers=None):
    detail = f"<detail><ErrorNumber>{numbers[0]}</ErrorNumber><SubErrorNumber>{numbers[1]}</SubErrorNumber></detail>" if numbers else ""
    inner = f"<soap:Fault><faultcode>{code}</faultcode><faultstring>{escape(text)}</faultstring>{detail}</soap:Fault>"
    return 500, "text/xml; charset=utf-8", envelope(inner)


def envelope(inner):
    return f'{DECLARED}<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>{inner}</soap:Body></soap:Envelope>'


class ImageServer:
    """The XML of one connection, and the pictures it asks for."""

    def __init__(self, connection):
        self.connection, self.site = connection, connection.site
        self.token, self.multipart, self.current = None, False, None

    def serve(self):
        while True:
            text = self.connection.until(END).lstrip(b"\xef\xbb\xbf\r\n").decode()
            call = ElementTree.fromstring(text)
            values, name = fields(call), (call.findtext("methodname") or "").strip()
            number = values.get("requestid", "0")
            frames.emit(event="call", name=f"heard {text}" if "listen" in self.site.faults else name)
            if name in ("connect", "connectupdate"):
                self.connect(name, number, values, call)
                continue
            if not self.token:
                raise Gone
            if not self.site.is_good(self.token):
                # The session dies with the token that it was opened with.
                raise Gone
            if name in ("goto", "next", "previous", "begin", "end", "nextsequence", "previoussequence"):
                self.pictures(name, number, values)
            elif name == "alarms":
                alarms = "".join(f'<alarm starttime="{start}" alarmtime="{start}" endtime="{end}"/>' for start, end in self.site.spans)
                self.answer(number, name, f"<alarms>{alarms}</alarms>")
            elif name == "live":
                self.live(number)
            elif name == "picture-of-another-kind":
                self.connection.request.sendall(f"ImageResponse\r\nRequestId: {number}\r\nContent-length: 2\r\nContent-type: image/jpeg\r\n\r\n".encode() + b"\xff\xd8" + END)
            elif name not in ("stop", "never-answered"):
                self.answer(number, name, "<errorreason>Unknown method</errorreason>")

    def answer(self, number, name, inner):
        text = f"{DECLARED}<methodresponse><requestid>{number}</requestid><methodname>{name}</methodname>{inner}</methodresponse>"
        self.connection.request.sendall(text.encode() + END)

    def connect(self, name, number, values, call):
        match = re.fullmatch(r"id=([^&]*)(?:&streamid=[^&]*)?&connectiontoken=(.*)", values.get("connectparam", ""))
        device, token = match.groups() if match else (values.get("cameraid", ""), "")
        if not self.site.is_good(token):
            return self.answer(number, name, "<connected>no</connected><errorreason>Invalid token</errorreason>")
        if device.lower() not in (self.site.camera, speech_of(self.site.camera), OTHER, TWIN_OTHER, MICROPHONE):
            return self.answer(number, name, "<connected>no</connected><errorreason>Unknown device</errorreason>")
        self.token = token
        inner = "<connected>yes</connected><errorreason>Success</errorreason>"
        if name == "connect":
            word = lambda path: (call.findtext(path) or "").strip()
            able = {name: word(f"clientcapabilities/{name}") == "yes" and name not in self.site.lacks for name in CAPABILITIES}
            self.is_speech = device.lower() == speech_of(self.site.camera)
            self.holds, self.is_sound = device.lower() == self.site.camera or self.is_speech, device.lower() == MICROPHONE
            self.multipart, self.masks = able["multipartdata"] or "single" in self.site.lacks, able["privacymask"]
            self.jpeg = word("alwaysstdjpeg") == "yes" and "jpeg" not in self.site.lacks
            self.all_frames = word("transcode/allframes") == "yes"
            echo = "".join(f"<{name}>{'yes' if is_able else 'no'}</{name}>" for name, is_able in able.items())
            inner += f"<clientcapabilities>{echo}</clientcapabilities>"
        return self.answer(number, name, inner)

    def sound(self, name, number, values):
        """Blocks of half a second, headers that nobody knows, and what no picture would be: nothing, other kinds, odd times."""
        step = {"next": 500, "previous": -500}.get(name, 0)
        self.current = at = int(values.get("time", 0)) // 500 * 500 or (self.current or GOLDEN_MS) + step
        packet = lambda kind, payload: struct.pack(">HI", kind, 6 + len(payload)) + payload  # noqa: E731
        bodies = {
            0: packet(0x20, struct.pack(">HHQ", 7, 8000, at) + b"sound") * 3,
            1: b"",
            2: struct.pack(">HI", 0xFEF0, 0) + bytes(10) + packet(0x20, b"more"),
            3: packet(0x77, b"nobody knows"),
            4: struct.pack(">H", 3) + bytes(40),
        }
        body = bodies[at // 500 % len(bodies)]
        # It does not say where the next block begins, but where it would be due.
        head = f"ImageResponse\r\nRequestId: {number}\r\nPrev: {at - 499}\r\nCurrent: {at}\r\nNext: {at + 501}\r\n"
        self.send(f"{head}Content-length: {len(body)}\r\nContent-type: {GENERIC}\r\nSampling: 8000\r\n\r\n".encode(), body, END)

    def pictures(self, name, number, values):
        site = self.site
        if self.is_sound:
            return self.sound(name, number, values)
        groups = site.readable() if self.holds else []
        if self.jpeg and self.all_frames and groups:
            groups = site.stills
        time.sleep(site.slow_s)
        # This one is one of them.
        while self.connection.buffer.count(END) + 1 < site.gather:
            self.connection.more()
        site.gather = 0
        for lie in LIES:
            if site.take(lie):
                return self.lie(lie, number, values)
        if not groups:
            head = f"ImageResponse\r\nRequestId: {number}\r\nPrev: 0\r\nCurrent: 0\r\nNext: 0\r\nContent-length: 0\r\nContent-type: {GENERIC}\r\n\r\n"
            return self.send(head.encode(), b"", END)
        last = len(groups) - 1
        here = site.at(groups, self.current) if self.current is not None else 0
        gaps = [index for index in range(1, len(groups)) if groups[index].key - groups[index - 1].end > 500] if "sequence" in name else []
        index = {
            "goto": lambda: site.at(groups, int(values["time"])),
            "next": lambda: min(here + 1, last),
            "previous": lambda: max(here - 1, 0),
            "begin": lambda: 0,
            "end": lambda: last,
            "nextsequence": lambda: next((gap for gap in gaps if gap > here), last),
            "previoussequence": lambda: max((gap for gap in [0, *gaps] if gap < here), default=0),
        }[name]()
        group = groups[index]
        self.current = group.key
        times = f"Prev: {groups[max(index - 1, 0)].key}\r\nCurrent: {group.key}\r\nNext: {groups[min(index + 1, last)].key}\r\n"
        head = f"ImageResponse\r\nRequestId: {number}\r\n{times}"
        mask = f"PrivacyMask: {site.mask}\r\n" if self.masks and site.mask else ""
        if self.is_speech:
            # A block of sound, in which only its kind and length are known to everybody; whose it is is what a test wants to see.
            body = struct.pack(">HI", 0x20, 6 + 200) + site.camera.encode().ljust(200, b"s")
            head += f"Content-length: {len(body)}\r\nContent-type: {GENERIC}\r\n\r\n"
            return self.send(head.encode(), body, END)
        if self.jpeg:
            # As all sites would make it of the same picture.
            body = b"\xff\xd8\xff\xfe\0\x0a" + struct.pack(">Q", group.key) + b"\xff\xd9"
            head += f"Content-length: {len(body)}\r\nContent-type: image/jpeg\r\n{mask}\r\n"
            return self.send(head.encode(), body, END)
        count = 1 if values.get("keyframesonly") == "yes" or not self.multipart else len(group.data)
        packets = [self.packet(group, position) for position in range(count)]
        if len(packets) == 1 and not self.multipart:
            head += f"Content-length: {len(packets[0])}\r\nContent-type: {GENERIC}\r\n{mask}\r\n"
            return self.send(head.encode(), packets[0], END)
        boundary = "gop0" if site.golden else f"gop{index}"
        head += f'Content-type: multipart/related; boundary={boundary}; type="{GENERIC}"\r\n{mask}\r\n'
        mark = f"--{boundary}"
        body = b"".join(f"{mark}\r\nContent-length: {len(packet)}\r\nContent-type: {GENERIC}\r\n\r\n".encode() + packet + b"\r\n" for packet in packets)
        if site.cut and name == "next":
            body, site.cut = body[: body.index(packets[site.cut])], 0
            site.faults.add("short")
        return self.send(head.encode(), body, f"{mark}--".encode() + END)

    def lie(self, lie, number, values):
        """What is no answer, or one to something else."""
        peer, at = self.connection.request, int(values.get("time", 0)) or self.current or 1
        head = lambda current, more, id=number: f"ImageResponse\r\nRequestId: {id}\r\nPrev: {current}\r\nCurrent: {current}\r\nNext: {current}\r\n{more}Content-type: {GENERIC}\r\n\r\n".encode()
        if lie == "endless":
            kind = head(at, "").replace(f"Content-type: {GENERIC}".encode(), b"Content-type: multipart/related; boundary=e")
            peer.sendall(kind)
            part = f"--e\r\nContent-length: {1 << 20}\r\nContent-type: {GENERIC}\r\n\r\n".encode() + bytes(1 << 20) + b"\r\n"
            while True:
                peer.sendall(part)
        if lie == "huge":
            peer.sendall(head(at, "Content-length: 99999999999\r\n") + bytes(1 << 16))
            time.sleep(30)
            raise Gone
        if lie == "otherwhen":
            groups = self.site.groups
            group = groups[-1]
            packet = self.packet(group, 0)
            return peer.sendall(head(group.key - 3_600_000, f"Content-length: {len(packet)}\r\n") + packet + END)
        if lie == "other-request":
            return peer.sendall(head(at, "Content-length: 0\r\n", id=int(number) + 7) + END)
        if lie == "words":
            return self.answer(number, "goto", "<errorreason>The database is being repaired</errorreason>")
        document = {
            "numbers": head("9" * 40, f"Content-length: -{'9' * 30}\r\n"),
            "junk": os.urandom(4096),
            "xml-bomb": b'<!DOCTYPE a [<!ENTITY b "' + b"b" * 1000 + b'"><!ENTITY c "' + b"&b;" * 1000 + b'">]><methodresponse>&c;</methodresponse>' + END,
        }[lie]
        return peer.sendall(document)

    def packet(self, group, position):
        site, data = self.site, group.data[position]
        codec = OTHER_CODEC if "codec" in site.faults else site.codec
        site.sequence = position if site.golden else (site.sequence + 1) & 0xFFFF
        header = struct.pack(">HIHHHQQI", 0x10, 32 + len(data), codec, site.sequence, int(position == 0), group.key, group.times[position], 0)
        return header + data

    def send(self, head, body, trailer):
        peer = self.connection.request
        short = self.site.take("short")
        if short or self.site.take("reset"):
            peer.sendall(head + body[: len(body) if short else len(body) // 2])
            # What was sent arrives before the end does.
            time.sleep(0.05)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            raise Gone
        if self.site.take("stall"):
            peer.sendall(head + body[: len(body) // 2])
            time.sleep(30)
            raise Gone
        peer.sendall(head + body + (b"" if self.site.take("no-trailer") else trailer))

    def live(self, number):
        """One picture an answer, from the latest group on, until anything but `connectupdate` is asked."""
        site, peer = self.site, self.connection.request
        sent, status_at = None, 0
        while True:
            now = site.now_ms()
            if time.monotonic() >= status_at:
                status_at = time.monotonic() + 2
                lost = int("lost" in site.faults)
                status = f'<statusitem id="1" value="1" /><statusitem id="5" value="{lost}" />'
                peer.sendall(f"{DECLARED}<livepackage><status><statustime>{now}</statustime>{status}</status></livepackage>".encode() + END)
            if "lost" not in site.faults:
                begun = [group for group in site.groups if group.key <= now]
                for group in begun[-1:] if sent is None else begun[-2:]:
                    for position, at in enumerate(group.times):
                        if at <= now and (sent is None or at > sent):
                            sent, packet = at, self.packet(group, position)
                            head = f"ImageResponse\r\nRequestId: {number}\r\nCurrent: {at}\r\nContent-length: {len(packet)}\r\nContent-type: {GENERIC}\r\n\r\n"
                            peer.sendall(head.encode() + packet + END)
            if not site.is_good(self.token):
                raise Gone
            self.connection.more(0.02)
            while END in self.connection.buffer:
                text = self.connection.until(END).decode()
                call = ElementTree.fromstring(text)
                values, name = fields(call), call.findtext("methodname")
                frames.emit(event="call", name=f"heard {text}" if "listen" in site.faults else name)
                if name == "connectupdate":
                    self.connect(name, values.get("requestid", "0"), values, call)
                elif name in ("ptz", "getpresetlist"):
                    self.answer(values.get("requestid", "0"), name, "<errorreason>Success</errorreason>")
                else:
                    if name == "stop" and "says-stopped" in site.faults:
                        self.answer(values.get("requestid", "0"), name, "<errorreason>Success</errorreason>")
                    return


def sealed(files):
    """How TLS is spoken with a certificate and its key; None of none."""
    if not files:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.split(","))
    return context


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Who does not trust our certificate leaves in the middle of the handshake."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", help="folder made by footage.py")
    parser.add_argument("--port", type=int, default=0, help="of the recording server")
    parser.add_argument("--server-port", type=int, default=0, help="of the management server")
    parser.add_argument("--user", metavar="NAME:PASSWORD")
    parser.add_argument("--narrow-user", metavar="NAME:PASSWORD", help="another, who may see one of the two cameras")
    parser.add_argument("--windows-user", metavar="DOMAIN\\NAME:PASSWORD", help="an account of Windows, let in by NTLM")
    parser.add_argument("--windows-schemes", default="negotiate,ntlm", help="how it may prove itself over HTTP")
    parser.add_argument("--extended-protection", action="store_true", help="a proof inside TLS must be bound to the certificate")
    parser.add_argument("--hardware", metavar="URL", default="http://10.0.0.17/", help="of the device that its cameras are of")
    parser.add_argument("--names", default="Gate,Yard", help="of its two cameras")
    parser.add_argument("--twin", metavar="GUID[,FROM,TO]", help="a second recording server, with the same camera by this GUID, and nothing then")
    parser.add_argument("--child", metavar="URL", help="a site below this one")
    parser.add_argument("--pad", type=int, default=0, help="bytes by which a configuration is longer")
    parser.add_argument("--public-port", type=int, metavar="PORT", help="of the recording server, for clients outside of the local range")
    parser.add_argument("--local-range", metavar="PREFIX", default="127.0.0.1", help="of addresses that are told the recording server's own port")
    parser.add_argument("--hide", action="append", default=[], metavar="FROM,TO", help="nothing was recorded then (true time)")
    parser.add_argument("--clock-offset-ms", type=int, default=0, help="how far its clock is ahead of true time")
    parser.add_argument("--edge", metavar="TIME", help="still recording: this instant (true time) is now")
    parser.add_argument("--token-life", type=float, default=14400, help="seconds that a token is good for")
    parser.add_argument("--page", type=int, default=1000, help="sequences in one answer, at most")
    parser.add_argument("--camera", metavar="GUID", default=CAMERA, help="of the camera that is recorded")
    parser.add_argument("--unlisted", action="store_true", help="no configuration tells of the camera before the command `list`")
    parser.add_argument("--known-token", action="append", default=[], metavar="TOKEN", help="good from the start, as if it had been given")
    parser.add_argument("--repeat", type=int, default=1, help="all of it so many times, one behind the other")
    parser.add_argument("--golden", action="store_true", help="the pictures of the reference instead of footage")
    parser.add_argument("--mask", metavar="TEXT", help="it tells clients that mask by themselves")
    parser.add_argument("--lacks", action="append", default=[], metavar="CAPABILITY", help="what it does not grant, such as multipartdata; jpeg: all is native, whatever is asked; single: all comes in parts, whatever is asked")
    parser.add_argument("--tls", metavar="CERTIFICATE,KEY", help="PEM files; both servers speak TLS alone")
    parser.add_argument("--recorder-tls", metavar="CERTIFICATE,KEY", help="PEM files of the recording server, where it has others")
    parser.add_argument("--no-oauth", action="store_true", help="as before 2021: no access tokens")
    a = parser.parse_args()
    site = Site(a)
    if a.no_oauth:
        site.faults.add("no-oauth")
    contexts = [sealed(a.tls), sealed(a.recorder_tls or a.tls)]
    context = contexts[0]
    kinds = [
        type(name, (Handler,), {"site": site, "context": context, "is_recorder": recorder})
        for name, recorder, context in (("Management", False, contexts[0]), ("Recording", True, contexts[1]))
    ]
    management, recording = (Server(("127.0.0.1", port), kind) for port, kind in zip((a.server_port, a.port), kinds))
    site.port = recording.server_address[1]
    servers = [management, recording]
    if site.twin:
        servers.append(Server(("127.0.0.1", 0), type("Twin", (kinds[1],), {"site": site.twin})))
        site.twin.port = servers[-1].server_address[1]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=frames.follow, args=(site.obey,), daemon=True).start()
    frames.emit(event="ready", url=f"{'https' if context else 'http'}://localhost:{management.server_address[1]}")
    threading.Event().wait()


if __name__ == "__main__":
    main()
