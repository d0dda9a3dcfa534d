#!/usr/bin/python3
"""A vendor's recorder as clients meet it: a listing over HTTP and playback over RTSP by the times in the URL.

Hikvision (ISAPI search, `Streaming/tracks`), Dahua (`mediaFileFind.cgi`, `cam/playback`), Axis (`record/list.cgi`, `recordingid`) and
Nx (`recordedTimePeriods`, `pos`), with the quirks that are known of them: local times, some with a `Z` that lies; ends told
to the second; no stamps on the pictures; sequence numbers from 0; play at the pace of the clock that starts at the key frame at
or before the second that was asked for, and runs over gaps as if there were none and beyond the end that was asked for.

Prints {"event": "ready", "url": <HTTP, on the same port RTSP>} once it listens, then every DESCRIBE and PLAY it is asked.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import re
import secrets
import struct
import threading
import urllib.parse
import zoneinfo
from datetime import datetime, timedelta, timezone

import clock
import frames
import store

REALM = "vendor"
TICKS = 90_000
PAYLOAD_MAX = 1200


def epoch_ms(ns):
    return ns // store.MS - clock.NTP_EPOCH_S * 1000


class Login:
    """Digest with `qop=auth`, as these recorders demand it over HTTP and RTSP."""

    def __init__(self, user):
        self.user, self.nonce = user, secrets.token_hex(8)

    def accepts(self, method, value):
        if not self.user:
            return True
        fields = {key: bare or quoted for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', value or "")}
        md5 = lambda text: hashlib.md5(text.encode()).hexdigest()
        name, password = self.user.split(":", 1)
        ha1, ha2 = md5(f"{name}:{REALM}:{password}"), md5(f"{method}:{fields.get('uri')}")
        middle = f"{fields.get('nc')}:{fields.get('cnonce')}:auth:" if "qop" in fields else ""
        return fields.get("nonce") == self.nonce and fields.get("response") == md5(f"{ha1}:{self.nonce}:{middle}{ha2}")

    def challenge(self):
        return f'Digest realm="{REALM}", nonce="{self.nonce}", qop="auth"'


class Vendor:
    def __init__(self, a):
        hidden = [tuple(map(clock.parse_iso, pair.split(","))) for pair in a.hide]
        self.store = store.Store(a.footage, hidden, 0, False)
        # Recordings of Axis end where the camera begins another, without a gap.
        self.recordings = list(self.store.spans)
        for at in sorted(store.from_ms(clock.parse_iso(text)) for text in a.split):
            start, end = next(span for span in self.recordings if span[0] < at < span[1])
            index = self.recordings.index((start, end))
            self.recordings[index : index + 1] = [(start, at), (at, end)]
        self.kind, self.tells, self.speed = a.kind, a.tells, a.speed
        self.zone = zoneinfo.ZoneInfo(a.zone)
        self.login, self.searches = Login(a.user), {}
        extradata = self.store.codecs["video"].extradata
        self.sets = [base64.b64encode(nal).decode() for nal in nals(extradata)]
        self.profile = next(nal for nal in nals(extradata) if nal[0] & 31 == 7)[1:4].hex()

    # Times.

    def local(self, ns):
        return datetime.fromtimestamp(epoch_ms(ns) / 1000, self.zone)

    def written(self, ns, form):
        """To the second, cut off."""
        return self.local(ns).strftime(form)

    def read(self, text, form):
        return self.from_datetime(datetime.strptime(text, form).replace(tzinfo=self.zone))

    def from_datetime(self, at):
        return store.from_ms(round((at - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(milliseconds=1)))

    # Listings.

    def answer(self, method, target, body):
        """(status, body) of an HTTP request."""
        url = urllib.parse.urlsplit(target)
        query = {key.lower(): values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        path = url.path
        if self.kind == "hikvision" and path == "/ISAPI/ContentMgmt/search" and method == "POST":
            return 200, self.search(body)
        if self.kind == "hikvision" and path == "/ISAPI/System/time":
            now = datetime.now(self.zone)
            shown = now.strftime("%Y-%m-%dT%H:%M:%S%z")
            return 200, f"<Time><timeMode>NTP</timeMode><localTime>{shown[:-2]}:{shown[-2:]}</localTime><timeZone>X0</timeZone></Time>"
        if self.kind == "dahua" and path == "/cgi-bin/global.cgi":
            return 200, f"result={datetime.now(self.zone):%Y-%m-%d %H:%M:%S}\r\n"
        if self.kind == "dahua" and path == "/cgi-bin/mediaFileFind.cgi":
            return 200, self.find(query)
        if self.kind == "axis" and path == "/axis-cgi/record/list.cgi":
            items = "".join(
                f'<recording diskid="SD_DISK" recordingid="{self.recording(span)}" starttime="{store.iso(span[0])}" stoptime="{store.iso(span[1])}" recordingstatus="completed" source="1"/>'
                for span in self.recordings
            )
            count = len(self.recordings)
            return 200, f'<?xml version="1.0"?><root><recordings totalnumberofrecordings="{count}" numberofrecordings="{count}">{items}</recordings></root>'
        if self.kind == "nx" and path == "/ec2/recordedTimePeriods":
            periods = [{"startTimeMs": str(epoch_ms(start)), "durationMs": str((end - start) // store.MS)} for start, end in self.store.spans]
            return 200, json.dumps({"error": "0", "reply": periods})
        if self.kind == "nx" and path == "/api/ping":
            return 200, "{}"
        return 404, ""

    def recording(self, span):
        return f"{self.local(span[0]):%Y%m%d_%H%M%S}_AB12_ACCC8E000001"

    def search(self, body):
        value = lambda name: re.search(f"<{name}>([^<]*)</{name}>", body)[1]
        form = "%Y-%m-%dT%H:%M:%SZ"
        after, before, position = value("startTime"), value("endTime"), int(value("searchResultPostion"))
        found = [(start, end) for start, end in self.spans(form) if end > after and start < before]
        page = found[position : position + 1]
        items = "".join(
            f"<searchMatchItem><trackID>{value('trackID')}</trackID><timeSpan><startTime>{start}</startTime><endTime>{end}</endTime></timeSpan></searchMatchItem>"
            for start, end in page
        )
        more = "MORE" if position + 1 < len(found) else "OK" if found else "NO MATCHES"
        return (
            f'<CMSearchResult xmlns="http://www.isapi.org/ver20/XMLSchema"><searchID>{value("searchID")}</searchID><responseStatus>true</responseStatus>'
            f"<responseStatusStrg>{more}</responseStatusStrg><numOfMatches>{len(page)}</numOfMatches><matchList>{items}</matchList></CMSearchResult>"
        )

    def find(self, query):
        action, form = query["action"], "%Y-%m-%d %H:%M:%S"
        if action == "factory.create":
            name = str(len(self.searches) + 1)
            self.searches[name] = []
            return f"result={name}\r\n"
        found = self.searches.get(query["object"])
        if action == "findFile":
            after, before = query["condition.starttime"], query["condition.endtime"]
            found[:] = [(start, end) for start, end in self.spans(form) if end > after and start < before]
            return "OK\r\n" if found else "Error\r\n"
        if action == "findNextFile":
            page, found[:] = found[: int(query["count"])], found[int(query["count"]) :]
            lines = [f"found={len(page)}"]
            for number, (start, end) in enumerate(page):
                lines += [f"items[{number}].Channel=0", f"items[{number}].StartTime={start}", f"items[{number}].EndTime={end}"]
            return "\r\n".join(lines) + "\r\n"
        if action == "destroy":
            del self.searches[query["object"]]
        return "OK\r\n"

    def spans(self, form):
        return [(self.written(start, form), self.written(end, form)) for start, end in self.store.spans]

    # Playback.

    def start_of(self, target, headers):
        """The instant that a URL asks for; None for one that is not ours."""
        url = urllib.parse.urlsplit(target)
        query = {key.lower(): values[0].split("/")[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        path = url.path.split("/trackID=")[0].rstrip("/")
        try:
            if self.kind == "hikvision" and path == "/Streaming/tracks/101":
                return self.read(query["starttime"], "%Y%m%dT%H%M%SZ")
            if self.kind == "dahua" and path == "/cam/playback" and query["channel"] == "1":
                return self.read(query["starttime"], "%Y_%m_%d_%H_%M_%S")
            if self.kind == "nx" and path == "/cam1":
                return store.from_ms(int(query["pos"]))
            if self.kind == "axis" and path == "/axis-media/media.amp":
                span = next(span for span in self.recordings if self.recording(span) == query["recordingid"])
                asked = re.match(r"clock=(\d{8}T\d{6})(\.\d+)?Z", headers.get("range", ""))
                if not asked:
                    return span[0]
                at = datetime.strptime(asked[1], "%Y%m%dT%H%M%S").replace(tzinfo=timezone.utc)
                return max(span[0], self.from_datetime(at) + round(float(asked[2] or 0) * store.SECOND))
        except (KeyError, ValueError, StopIteration):
            pass
        return None


def nals(data):
    """The units of an Annex B stream."""
    return [nal for nal in re.split(rb"\x00\x00\x00?\x01", data) if nal]


class Connection:
    """One connection: HTTP and RTSP share a port."""

    def __init__(self, vendor, reader, writer):
        self.vendor, self.reader, self.writer = vendor, reader, writer
        # It is reported that these start at 0.
        self.sequence, self.ssrc, self.task = 0, secrets.randbits(32), None

    async def serve(self):
        try:
            while True:
                first = await self.reader.readexactly(1)
                if first == b"$":
                    _, length = struct.unpack("!BH", await self.reader.readexactly(3))
                    await self.reader.readexactly(length)
                    continue
                head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode()
                line, *rest = head.split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
                asked = (await self.reader.readexactly(int(headers.get("content-length", 0)))).decode()
                method, target, protocol = line.split(" ")
                if protocol.startswith("HTTP"):
                    status, more, body = self.http(method, target, headers, asked)
                else:
                    status, more, body = self.handle(method, target, headers)
                    more = [f"CSeq: {headers.get('cseq', 0)}", *more]
                length = [f"Content-Length: {len(body.encode())}"]
                self.writer.write("\r\n".join([f"{protocol} {status} X", *more, *length, "", body]).encode())
                if method == "PLAY" and status == 200:
                    self.task = asyncio.create_task(self.play(self.start))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if self.task:
                self.task.cancel()
            self.writer.close()

    def http(self, method, target, headers, body):
        vendor = self.vendor
        if not vendor.login.accepts(method, headers.get("authorization")):
            return 401, [f"WWW-Authenticate: {vendor.login.challenge()}"], ""
        status, answer = vendor.answer(method, target, body)
        return status, [], answer

    def handle(self, method, target, headers):
        vendor = self.vendor
        if method == "OPTIONS":
            return 200, ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"], ""
        if not vendor.login.accepts(method, headers.get("authorization")):
            return 401, [f"WWW-Authenticate: {vendor.login.challenge()}"], ""
        if method == "DESCRIBE":
            frames.emit(event="describe")
            if vendor.start_of(target, {}) is None:
                return 404, [], ""
            sets = ",".join(vendor.sets)
            sdp = (
                f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=Media\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 H264/{TICKS}\r\n"
                f"a=fmtp:96 packetization-mode=1;profile-level-id={vendor.profile};sprop-parameter-sets={sets}\r\na=control:trackID=1\r\n"
            )
            return 200, ["Content-Type: application/sdp"], sdp
        if method == "SETUP":
            return 200, ["Session: 12345678;timeout=60", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"], ""
        if method == "PLAY":
            frames.emit(event="play", range=headers.get("range", ""), scale="", require=headers.get("require", ""), rate_control=target)
            at = vendor.start_of(target, headers)
            index = None if at is None else vendor.store.entry(at)
            if index is None:
                return 404, [], ""
            self.start, self.origin = index, secrets.randbits(28)
            first = vendor.store.video[index].pts
            more = ["Session: 12345678"]
            if vendor.tells == "rtp-info":
                rtptime = (self.origin + (at - first) * TICKS // store.SECOND) & 0xFFFFFFFF
                more += ["Range: npt=0.000-", f"RTP-Info: url={target};seq=0;rtptime={rtptime}"]
            return 200, more, ""
        return 200, ["Session: 12345678"], ""

    async def play(self, index):
        vendor, began = self.vendor, asyncio.get_running_loop().time()
        video = vendor.store.video
        shift, previous = 0, None
        ends = min((end for _, end in vendor.recordings if end > video[index].pts), default=None) if vendor.kind == "axis" else None
        for frame in video[index:]:
            if ends is not None and frame.pts >= ends:
                break
            if previous and frame.after_gap:
                # As if there were no gap; not where every recording is played for itself.
                if vendor.tells == "rtp-info":
                    shift += frame.pts - previous.pts - 40 * store.MS
            previous = frame
            elapsed = frame.pts - video[index].pts - shift
            if vendor.tells == "report" and elapsed % (5 * store.SECOND) < 40 * store.MS:
                self.report(frame.pts, elapsed)
            self.packets(frame, elapsed)
            await self.writer.drain()
            wait = elapsed / store.SECOND / vendor.speed - (asyncio.get_running_loop().time() - began)
            await asyncio.sleep(max(wait, 0))
        self.frame(1, struct.pack("!BBHI", 0x81, 203, 1, self.ssrc))

    def ticks(self, elapsed):
        return (self.origin + elapsed * TICKS // store.SECOND) & 0xFFFFFFFF

    def report(self, pts, elapsed):
        """In footage time, as it should not be but is welcome."""
        seconds, rest = divmod(pts, store.SECOND)
        self.frame(1, struct.pack("!BBHIIIIII", 0x80, 200, 6, self.ssrc, seconds, (rest << 32) // store.SECOND, self.ticks(elapsed), 0, 0))

    def packets(self, frame, elapsed):
        units = nals(frame.data)
        for unit in units:
            last = unit is units[-1]
            if len(unit) <= PAYLOAD_MAX:
                self.packet(unit, last, elapsed, frame.pts)
                continue
            kind, body = unit[0], unit[1:]
            for at in range(0, len(body), PAYLOAD_MAX):
                end = at + PAYLOAD_MAX >= len(body)
                header = bytes([kind & 0x60 | 28, kind & 31 | (0x80 if at == 0 else 0) | (0x40 if end else 0)])
                self.packet(header + body[at : at + PAYLOAD_MAX], last and end, elapsed, frame.pts)

    def packet(self, payload, marker, elapsed, pts):
        stamp = b""
        if self.vendor.tells == "stamps":
            seconds, rest = divmod(pts, store.SECOND)
            stamp = struct.pack("!HHIIBBH", 0xABAC, 3, seconds, (rest << 32) // store.SECOND, 0, 0, 0)
        head = struct.pack("!BBHII", 0x90 if stamp else 0x80, 96 | (0x80 if marker else 0), self.sequence, self.ticks(elapsed), self.ssrc)
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.frame(0, head + stamp + payload)

    def frame(self, channel, packet):
        self.writer.write(struct.pack("!cBH", b"$", channel, len(packet)) + packet)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["hikvision", "dahua", "axis", "nx"])
    parser.add_argument("footage", help="folder made by footage.py")
    parser.add_argument("--zone", default="UTC", help="of its local times")
    parser.add_argument("--user", metavar="NAME:PASSWORD", help="demand Digest")
    parser.add_argument("--hide", action="append", default=[], metavar="FROM,TO", help="nothing was recorded then (true time)")
    parser.add_argument("--tells", choices=["nothing", "rtp-info", "report", "stamps"], default="nothing", help="what dates its pictures")
    parser.add_argument("--split", action="append", default=[], metavar="TIME", help="one recording ends then, and the next begins")
    parser.add_argument("--speed", type=float, default=1.0)
    vendor = Vendor(parser.parse_args())
    server = await asyncio.start_server(lambda *way: Connection(vendor, *way).serve(), "127.0.0.1", 0)
    threading.Thread(target=frames.follow, args=(lambda line: None,), daemon=True).start()
    frames.emit(event="ready", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
