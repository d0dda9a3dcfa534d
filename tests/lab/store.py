"""What the lab's recorder has stored: the frames of a folder made by footage.py, with gaps, on the recorder's own clock.

All times here are nanoseconds since 1900, which is how GStreamer's ONVIF replay counts.
"""

import bisect
import dataclasses
import os

import av

import clock

MS = 1_000_000
SECOND = 1000 * MS
# Two neighbours further apart than this have a gap between them.
GAP_NS = 500 * MS


def from_ms(epoch_ms):
    return (epoch_ms + clock.NTP_EPOCH_S * 1000) * MS


def iso(ns):
    return clock.iso(ns // MS - clock.NTP_EPOCH_S * 1000)


@dataclasses.dataclass(slots=True)
class Frame:
    pts: int
    dts: int
    duration: int
    key: bool
    data: bytes
    after_gap: bool = False
    before_gap: bool = False


@dataclasses.dataclass(slots=True)
class Codec:
    name: str
    extradata: bytes
    rate: int
    channels: int
    width: int
    height: int


class Store:
    """Frames per kind (`video`, `audio`), each list in decoding order, without what lies in a hidden range.

    `hidden` are pairs of milliseconds of true time. `offset_ms` is how far this recorder's clock is ahead of true time;
    every stamp is moved by it, the pictures keep the truth.
    """

    def __init__(self, folder, hidden=(), offset_ms=0, with_audio=True):
        self.codecs, stored = {}, {"video": [], "audio": []}
        names = sorted((name for name in os.listdir(folder) if name.endswith(".nut")), key=lambda name: int(name.split(".")[0]))
        if not names:
            raise SystemExit(f"no recordings in {folder}")
        for name in names:
            self._read(os.path.join(folder, name), int(name.split(".")[0]), stored)
        offset = offset_ms * MS
        self.video = _seekable(stored["video"], [(from_ms(a), from_ms(b)) for a, b in hidden])
        self.spans = _spans(self.video)
        self.audio = _within(stored["audio"], self.spans) if with_audio else []
        if not with_audio:
            self.codecs.pop("audio", None)
        ends = {max(frame.pts for frame in self.video if frame.pts < end) for _, end in self.spans}
        for frame in (*self.video, *self.audio):
            frame.before_gap = frame.pts in ends
            frame.pts += offset
            frame.dts += offset
        self.spans = [(start + offset, end + offset) for start, end in self.spans]

    def _read(self, path, first_ms, stored):
        with av.open(path) as source:
            for stream in source.streams:
                context = stream.codec_context
                rate, channels = (context.sample_rate, context.channels) if stream.type == "audio" else (0, 0)
                width, height = (context.width, context.height) if stream.type == "video" else (0, 0)
                self.codecs[stream.type] = Codec(context.name, bytes(context.extradata or b""), rate, channels, width, height)
            packets = [packet for packet in source.demux() if packet.pts is not None]
            base = min(packet.pts * packet.time_base for packet in packets if packet.stream.type == "video")
            at = lambda value, packet: from_ms(first_ms) + round((value * packet.time_base - base) * SECOND)
            for packet in packets:
                video = packet.stream.type == "video"
                data, codec = bytes(packet), self.codecs[packet.stream.type]
                if video and packet.is_keyframe and not data.startswith(codec.extradata):
                    # The parameter sets stand before every key frame, as cameras send them.
                    data = codec.extradata + data
                dts = packet.pts if packet.dts is None else min(packet.pts, packet.dts)
                frame = Frame(at(packet.pts, packet), at(dts, packet), round((packet.duration or 0) * packet.time_base * SECOND), not video or packet.is_keyframe, data)
                stored[packet.stream.type].append(frame)

    @property
    def start(self):
        return self.spans[0][0]

    @property
    def end(self):
        return self.spans[-1][1]

    def entry(self, at):
        """Index of the frame that play from `at` starts with: the key frame at or before, or the next recording's first."""
        start, end = next(((start, end) for start, end in self.spans if at < end), (None, None))
        if start is None:
            return None
        at = max(at, start)
        return max(index for index, frame in enumerate(self.video) if frame.key and frame.pts <= at)

    def forward(self, kind, at):
        """Frames from the entry point for `at` onwards; sound from the instant of that picture."""
        index = self.entry(at)
        if index is None:
            return iter(())
        if kind == "video":
            return iter(self.video[index:])
        first = bisect.bisect_left(self.audio, self.video[index].pts, key=lambda frame: frame.pts)
        return iter(self.audio[first:])

    def backward(self, at):
        """Pictures from `at` back: groups last to first, each in its own order. The first of a group counts as after a gap."""
        groups = []
        for frame in self.video:
            if frame.key:
                groups.append([])
            groups[-1].append(frame)
        for group in reversed(groups):
            for index, frame in enumerate(f for f in group if f.pts <= at):
                yield dataclasses.replace(frame, after_gap=index == 0)


def _seekable(frames, hidden):
    """The pictures outside the hidden ranges from which each recorded stretch can be decoded."""
    kept, key, last = [], None, None
    for frame in frames:
        if any(start <= frame.pts < end for start, end in hidden):
            key = None
            continue
        if key is None:
            if not frame.key:
                continue
            key = frame.pts
            leading = True
        if leading and frame.pts < key:
            continue
        leading = leading and not (frame.key and frame.pts > key)
        frame.after_gap = last is not None and frame.pts - last > GAP_NS
        last = frame.pts if last is None else max(last, frame.pts)
        kept.append(frame)
    return kept


def _spans(video):
    """The recorded stretches, half open."""
    spans = []
    for frame in video:
        until = frame.pts + frame.duration
        if not spans or frame.after_gap:
            spans.append([frame.pts, until])
        spans[-1][1] = max(spans[-1][1], until)
    return [tuple(span) for span in spans]


def _within(audio, spans):
    kept, last = [], None
    for frame in audio:
        if any(start <= frame.pts < end for start, end in spans):
            frame.after_gap = last is not None and frame.pts - last > GAP_NS
            last = frame.pts
            kept.append(frame)
    return kept
