#!/usr/bin/python3
"""Recorders that hand out MP4 over HTTP: MediaMTX's playback server, and a recorder that offers HLS of what it stored.

MediaMTX is rebuilt from its source (August 2026, internal/playback, internal/recordstore, internal/recorder): how files are found,
joined, cut to the window of `/list` (with its slip of the first entry) and muxed by `/get`, down to the rounding of times, the part
of a second, the pictures since the key frame without duration, the 404 between two stretches and the silent end at one.
Its files begin at nanoseconds that no microsecond tells, and follow each other every ten seconds.

Prints {"event": "ready", "url": ...} once it listens, then {"event": "play", "rate_control": <path and query>} for what it is asked.
"""

import argparse
import base64
import bisect
import dataclasses
import http.server
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from datetime import datetime, timezone

import clock
import store

SECOND = 1_000_000_000
VIDEO_SCALE = 90_000
NON_SYNC = 1 << 16


def unix_ns(ns):
    return ns - clock.NTP_EPOCH_S * SECOND


def rfc3339_ns(ns):
    """As Go writes RFC3339Nano: no more digits than needed."""
    text = datetime.fromtimestamp(ns // SECOND, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{ns % SECOND:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"


def parse_rfc3339(text):
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise ValueError(text)
    whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    return round(whole.timestamp()) * SECOND + int((found[2] or "0")[:9].ljust(9, "0"))


def quotient(a, b):
    """Division of whole numbers as Go does it: towards zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def to_ticks(ns, scale):
    """durationGoToMp4."""
    seconds = quotient(ns, SECOND)
    return seconds * scale + quotient((ns - seconds * SECOND) * scale, SECOND)


def to_ns(ticks, scale):
    """durationMp4ToGo."""
    seconds = quotient(ticks, scale)
    return seconds * SECOND + quotient((ticks - seconds * scale) * SECOND, scale)


@dataclasses.dataclass(slots=True)
class Sample:
    dts: int
    duration: int
    offset: int
    sync: bool
    data: bytes


@dataclasses.dataclass(slots=True)
class Segment:
    """A file: its start, and samples of each track, in ticks from there."""

    start: int
    stream: int
    number: int
    zero: int
    tracks: list

    def duration(self, scales):
        ends = [to_ns(samples[-1].dts + samples[-1].duration, scale) for samples, scale in zip(self.tracks, scales) if samples]
        return max(ends, default=0)


def nals(data):
    """The NAL units of a byte stream."""
    return [nal for nal in re.split(rb"\x00\x00\x00\x01|\x00\x00\x01", data) if nal]


def avcc(data):
    return b"".join(struct.pack(">I", len(nal.rstrip(b"\0") or nal)) + (nal.rstrip(b"\0") or nal) for nal in nals(data))


def box(kind, *parts):
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def boxes(data):
    at = 0
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        yield data[at + 4 : at + 8], data[at : at + size]
        at += size


def part(number, tracks):
    """moof and mdat as mediacommon's fmp4.Part writes them: (id, base time, samples) of each track."""
    sizes = [sum(len(sample.data) for sample in samples) for _, _, samples in tracks]

    def moof(offset):
        trafs = []
        for (track, base, samples), size in zip(tracks, sizes):
            flags = 0x301
            if any(not sample.sync for sample in samples):
                flags |= 0x400
            if any(sample.offset for sample in samples):
                flags |= 0x800
            entries = b""
            for sample in samples:
                entries += struct.pack(">II", sample.duration, len(sample.data))
                entries += struct.pack(">I", 0 if sample.sync else NON_SYNC) if flags & 0x400 else b""
                entries += struct.pack(">i", sample.offset) if flags & 0x800 else b""
            trun = box(b"trun", struct.pack(">IIi", 1 << 24 | flags, len(samples), offset), entries)
            trafs.append(box(b"traf", box(b"tfhd", struct.pack(">II", 0x020000, track)), box(b"tfdt", struct.pack(">IQ", 1 << 24, base)), trun))
            offset += size
        return box(b"moof", box(b"mfhd", struct.pack(">II", 0, number)), *trafs)

    return moof(len(moof(0)) + 8) + box(b"mdat", *(sample.data for _, _, samples in tracks for sample in samples))


class Recorder:
    def __init__(self, a):
        hidden = [tuple(map(clock.parse_iso, pair.split(","))) for pair in a.hide]
        self.store = store.Store(a.footage, hidden, 0, a.audio)
        self.kinds = [kind for kind in ("video", "audio") if getattr(self.store, kind)]
        self.scales = [VIDEO_SCALE if kind == "video" else self.store.codecs[kind].rate for kind in self.kinds]
        self.header = self.make_header(a.footage)
        self.segments = [segment for stream, span in enumerate(self.store.spans) for segment in self.cut(stream, span, a.odd_ns)]

    def make_header(self, folder):
        """ftyp and moov, by FFmpeg."""
        first = min((name for name in os.listdir(folder) if name.endswith(".nut")), key=lambda name: int(name.split(".")[0]))
        with tempfile.TemporaryDirectory() as work:
            out = os.path.join(work, "header.mp4")
            maps = [argument for kind in self.kinds for argument in ("-map", f"0:{kind[0]}")]
            command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-i", os.path.join(folder, first), *maps, "-c", "copy", "-t", "1"]
            command += ["-movflags", "empty_moov+default_base_moof+frag_keyframe", "-use_editlist", "0", "-video_track_timescale", str(VIDEO_SCALE), out]
            subprocess.run(command, check=True)
            with open(out, "rb") as made:
                return b"".join(whole for kind, whole in boxes(made.read()) if kind in (b"ftyp", b"moov"))

    def cut(self, stream, span, odd_ns):
        """The files of a recorded stretch: a new one at the first key frame after every ten seconds."""
        frames = {kind: [frame for frame in getattr(self.store, kind) if span[0] <= frame.pts < span[1]] for kind in self.kinds}
        starts, due = [], None
        for frame in frames["video"]:
            if frame.key and (due is None or frame.pts >= due):
                starts.append(frame.pts)
                due = (frame.pts // (10 * SECOND) + 1) * 10 * SECOND
        segments = []
        for number, start in enumerate(starts):
            tracks = []
            for kind, scale in zip(self.kinds, self.scales):
                of = frames[kind]
                # Pictures belong to the file of the key frame that they follow.
                file_of, current = [], -1
                for frame in of:
                    if kind == "video":
                        if current + 1 < len(starts) and frame.key and frame.pts >= starts[current + 1]:
                            current += 1
                        file_of.append(current)
                    else:
                        file_of.append(bisect.bisect_right(starts, frame.pts) - 1)
                ticks = [quotient((frame.dts - span[0]) * scale, SECOND) for frame in of]
                samples = []
                zero = quotient((start - span[0]) * scale, SECOND)
                first_dts = next((tick for tick, file in zip(ticks, file_of) if file == number), zero) if kind == "video" else zero
                for index, (frame, tick, file) in enumerate(zip(of, ticks, file_of)):
                    if file != number:
                        continue
                    length = ticks[index + 1] - tick if index + 1 < len(of) else round(frame.duration * scale / SECOND)
                    data = avcc(frame.data) if kind == "video" else frame.data
                    offset = quotient((frame.pts - frame.dts) * scale, SECOND)
                    samples.append(Sample(tick - first_dts, length, offset, frame.key, data))
                tracks.append(samples)
            segments.append(Segment(unix_ns(start) + odd_ns, stream, number, start - span[0], tracks))
        return segments


class MediaMtx(Recorder):
    def find(self, start, end):
        """recordstore.FindSegments."""
        found = [segment for segment in self.segments if end is None or not end < segment.start]
        if not found:
            return None
        if start is not None and start >= found[0].start:
            for index in range(len(found) - 1):
                if found[index].start <= start < found[index + 1].start:
                    return found[index:]
            found = found[-1:]
            if found[-1].start > start:
                return None
        return found

    @staticmethod
    def joins(before, after):
        """segmentFMP4CanBeConcatenated, with its own box in the files."""
        return before.stream == after.stream and before.number + 1 == after.number

    def list(self, query):
        times = {}
        for key in ("start", "end"):
            if query.get(key):
                try:
                    times[key] = parse_rfc3339(query[key])
                except ValueError:
                    return 400, {"status": "error", "error": f"invalid {key}"}
        start, end = times.get("start"), times.get("end")
        nothing = (404, {"status": "error", "error": "no recording segments found"})
        found = self.find(start, end)
        if found is None:
            return nothing
        entries, before = [], None
        for segment in found:
            length = segment.duration(self.scales)
            if before and self.joins(before, segment):
                entries[-1][1] = segment.start + length - entries[-1][0]
            else:
                entries.append([segment.start, length])
            before = segment
        if start is not None:
            if entries[0][0] + entries[0][1] < start:
                entries = entries[1:]
                if not entries:
                    return nothing
            elif entries[0][0] < start:
                entries[0][1] -= start - entries[0][0]
                entries[0][0] = start
        if end is not None and entries[-1][0] + entries[-1][1] > end:
            entries[-1][1] = end - entries[-1][0]
        shown = [{"start": rfc3339_ns(at), "duration": length / SECOND, "url": "http://elsewhere/get"} for at, length in entries]
        return 200, shown

    def get(self, query):
        """The status, and the parts of the movie as they are written, or what to say."""
        try:
            start = parse_rfc3339(query.get("start", ""))
            length = int(float(query.get("duration", "")) * SECOND)
        except ValueError:
            return 400, {"status": "error", "error": "invalid start or duration"}
        found = self.find(start, start + length)
        if found is None:
            return 404, {"status": "error", "error": "no recording segments found"}
        parts = self.mux(found, start, length)
        try:
            first = next(parts)
        except StopIteration:
            return 404, {"status": "error", "error": "no recording segments found"}

        def written():
            yield self.header + first
            yield from parts

        return 200, written()

    def mux(self, found, start, length):
        """seekAndMux into muxerFMP4."""
        first, before, tracks, number = found[0], None, [[None, 0, []] for _ in self.kinds], 0
        for segment in found:
            if before and not self.joins(before, segment):
                break
            before = segment
            dts_ns = segment.zero - first.zero + first.start - start
            terminated = False
            for part_samples in self.parts(segment):
                if terminated:
                    break
                for index, (scale, samples) in enumerate(zip(self.scales, part_samples)):
                    track, dts = tracks[index], None
                    for sample in samples:
                        dts = sample.dts + to_ticks(dts_ns, scale)
                        if dts >= to_ticks(length, scale):
                            terminated = True
                            break
                        if self.write(track, dts, sample, scale):
                            yield from self.flush(tracks, number, False)
                            number += 1
                        dts += sample.duration
                    if dts is not None and track[2] and track[0] is not None:
                        track[2][-1].duration = max(dts - track[1], 0)
        yield from self.flush(tracks, number, True)

    def parts(self, segment):
        """The parts of a second in a file: the samples of each track."""
        places = [0] * len(self.kinds)
        second = 1
        while any(place < len(samples) for place, samples in zip(places, segment.tracks)):
            taken = []
            for index, (scale, samples) in enumerate(zip(self.scales, segment.tracks)):
                begin = places[index]
                while places[index] < len(samples) and samples[places[index]].dts < second * scale:
                    places[index] += 1
                taken.append(samples[begin : places[index]])
            second += 1
            yield taken

    @staticmethod
    def write(track, dts, sample, scale):
        """writeSample; whether the track has a part's worth of samples. A track is [first dts, last dts, samples]."""
        copy = Sample(0, 0, sample.offset, sample.sync, sample.data)
        if dts < 0:
            if sample.sync:
                track[2].clear()
            track[2].append(copy)
            return False
        if track[0] is None:
            track[0] = dts
            if sample.sync:
                track[2].clear()
        else:
            track[2][-1].duration = max(dts - track[1], 0)
        track[2].append(copy)
        track[1] = dts
        return track[1] - track[0] >= scale

    @staticmethod
    def flush(tracks, number, final):
        written = []
        for index, track in enumerate(tracks):
            if track[0] is not None and (len(track[2]) > 1 or final and track[2]):
                written.append((index + 1, track[0], list(track[2]) if final else track[2][:-1]))
                if not final:
                    track[2] = track[2][-1:]
                    track[0] = track[1]
        if written:
            yield part(number, written)

    def answer(self, path, query):
        if path == "/list":
            return self.list(query)
        if path == "/get":
            return self.get(query)
        return 404, "404 page not found"


class Hls(Recorder):
    """One playlist of all that there is; a segment from key frame to key frame, about two seconds long."""

    def __init__(self, a):
        super().__init__(a)
        self.template = a.playlist
        self.chunks = {}
        lines = ["#EXTM3U", "#EXT-X-VERSION:8", "#EXT-X-TARGETDURATION:10", "#EXT-X-PLAYLIST-TYPE:VOD", '#EXT-X-MAP:URI="init.mp4"']
        end_before = None
        for segment in self.segments:
            video, audio = segment.tracks[0], segment.tracks[1] if len(segment.tracks) > 1 else []
            keys = [index for index, sample in enumerate(video) if sample.sync]
            for nth, key in enumerate(keys):
                samples = video[key : keys[nth + 1] if nth + 1 < len(keys) else None]
                begin, end = samples[0].dts, samples[-1].dts + samples[-1].duration
                lasts = (end - begin) / VIDEO_SCALE
                at_ms = round((segment.start - a.odd_ns + to_ns(begin, VIDEO_SCALE)) / 1_000_000)
                name = f"media/{at_ms}.m4s"
                # Times within a stretch go on from file to file.
                base = to_ticks(segment.zero, VIDEO_SCALE)
                tracks = [(1, base + begin, samples)]
                if audio:
                    scale = self.scales[1]
                    of = [sample for sample in audio if begin * scale <= sample.dts * VIDEO_SCALE < end * scale]
                    if of:
                        tracks.append((2, to_ticks(segment.zero, scale) + of[0].dts, of))
                self.chunks[name] = box(b"styp", b"msdh\0\0\0\0msdhmsix") + part(len(self.chunks) + 1, tracks)
                if end_before is not None and at_ms - end_before > 500:
                    gap = at_ms - end_before
                    lines += ["#EXT-X-DISCONTINUITY", "#EXT-X-GAP", f"#EXTINF:{gap / 1000:.3f},", "gap.m4s", "#EXT-X-DISCONTINUITY"]
                    end_before = None
                if end_before is None:
                    lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{clock.iso(at_ms)}")
                lines += [f"#EXTINF:{lasts:.5f},", name]
                end_before = at_ms + lasts * 1000
        self.playlist = "\n".join([*lines, "#EXT-X-ENDLIST", ""])

    def answer(self, path, query):
        if path == "/cam1/index.m3u8":
            return 200, iter([self.playlist.encode()])
        if path == "/cam1/init.mp4":
            return 200, iter([self.header])
        if path.startswith("/cam1/media/"):
            chunk = self.chunks.get(path.removeprefix("/cam1/"))
            if chunk:
                return 200, iter([chunk[at : at + 8192] for at in range(0, len(chunk), 8192)])
        return 404, "not found"


def handler(recorder, user, said):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            said({"event": "play", "rate_control": self.path})
            shown = self.headers.get("Authorization", "")
            if user and shown != "Basic " + base64.b64encode(user.encode()).decode():
                self.whole(401, {"status": "error", "error": "authentication error"}, {"WWW-Authenticate": 'Basic realm="mediamtx"'})
                return
            status, body = recorder.answer(url.path, query)
            if isinstance(body, (dict, list, str)):
                self.whole(status, body, {})
                return
            self.send_response(status)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Accept-Ranges", "none")
            self.end_headers()
            try:
                for piece in body:
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def whole(self, status, body, headers):
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["mediamtx", "hls"])
    parser.add_argument("footage", help="folder made by footage.py")
    parser.add_argument("--hide", action="append", default=[], help="FROM,TO: not recorded")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--odd-ns", type=int, default=321, help="nanoseconds by which files begin behind a whole microsecond")
    parser.add_argument("--user", help="NAME:PASSWORD, demanded by Basic")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--playlist")
    a = parser.parse_args()
    recorder = {"mediamtx": MediaMtx, "hls": Hls}[a.kind](a)
    lock = threading.Lock()

    def said(event):
        with lock:
            print(json.dumps(event), flush=True)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", a.port), handler(recorder, a.user, said))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    said({"event": "ready", "url": f"http://127.0.0.1:{server.server_port}"})
    sys.stdin.read()


if __name__ == "__main__":
    main()
