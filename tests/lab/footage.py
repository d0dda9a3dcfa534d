#!/usr/bin/python3
"""Makes recordings of one scene, as one recorder would have stored them, and says where they are.

Prints the folder of the recordings on the last line. It holds segments named by the time of their first picture
(`<milliseconds since 1970>.nut`: NUT keeps timestamps exact) and `frames.txt`: a line `<clock ms> <luma md5> <key 0|1>` for every picture, decoded,
which tells a bit-exact picture from a damaged one and one site's picture from another's.

Folders are kept by what they were made from, so that all tests share one; whoever comes first makes it.
"""

import argparse
import bisect
import fcntl
import fractions
import hashlib
import json
import os
import shutil
import subprocess

import av

import clock
import scene

# Part of the cache key: raise it when the same arguments give other pictures.
RECIPE = 6
WHOLE = "whole.nut"

# What the tracks' clocks may differ by, rounded as they are.
CLOCK_SLACK_MS = 0.5

# The header in front lets a reader start at once; a movie clock of 1/48000 s keeps the start of AAC exact.
CONTAINER_OPTIONS = {"mp4": {"movflags": "+faststart", "movie_timescale": "48000"}}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True, help="folder of all recordings made so far")
    parser.add_argument("--start", default="2026-01-01T12:00:00Z")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--segment", type=float, default=10, help="nominal seconds of a file; it is cut at the next key frame")
    parser.add_argument("--container", choices=["nut", "mp4"], default="nut")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--codec", choices=["h264", "h265", "mjpeg"], default="h264")
    parser.add_argument("--profile", default="high", help="of H.264 and H.265; of MJPEG its quantizer, 2 to 31")
    parser.add_argument("--gop", type=int, default=50, help="frames from key frame to key frame")
    parser.add_argument("--phase", type=int, default=0, help="frames by which the first key frame comes before --start")
    parser.add_argument("--bitrate", type=int, default=800, help="kbit/s of video")
    parser.add_argument("--b-frames", type=int, default=0)
    parser.add_argument("--open-gop", action="store_true")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--audio", choices=["none", "g711", "aac", "opus"], default="none")
    parser.add_argument("--audio-rate", type=int, default=16000, help="Hz, of AAC")
    parser.add_argument("--audio-bitrate", type=int, default=32, help="kbit/s, of AAC")
    parser.add_argument("--title", default="", help="name painted large")
    parser.add_argument("--tint", choices=sorted(scene.TINTS), default="grey")
    parser.add_argument("--noise", type=int, default=6, help="amplitude of the sensor noise, 0-20")
    parser.add_argument("--crf", type=int, help="constant quality instead of --bitrate")
    return parser.parse_args()


def video_options(a):
    if a.codec == "mjpeg":
        # The Huffman tables of RFC 2435.
        return ["-c:v", "mjpeg", "-huffman", "default", "-q:v", a.profile, "-pix_fmt", "yuvj420p"]
    quality = ["-crf", str(a.crf)] if a.crf else ["-b:v", f"{a.bitrate}k", "-maxrate", f"{a.bitrate * 3 // 2}k", "-bufsize", f"{a.bitrate * 2}k"]
    common = ["-g", str(a.gop), "-keyint_min", str(a.gop), "-bf", str(a.b_frames), *quality]
    if a.codec == "h264":
        params = [f"slices={a.slices}", "scenecut=0", f"open-gop={int(a.open_gop)}", "sliced-threads=0", "b-adapt=0"]
        return ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", a.profile, *common, "-x264-params", ":".join(params)]
    params = [
        "log-level=error", "scenecut=0", "b-adapt=0", f"keyint={a.gop}", f"min-keyint={a.gop}", f"slices={a.slices}",
        f"open-gop={int(a.open_gop)}", f"bframes={a.b_frames}",
    ]  # fmt: skip
    return ["-c:v", "libx265", "-preset", "ultrafast", *common, "-x265-params", ":".join(params)]


def audio_options(a):
    if a.audio == "g711":
        return ["-c:a", "pcm_mulaw"]
    if a.audio == "opus":
        return ["-c:a", "libopus", "-b:a", f"{a.audio_bitrate}k", "-frame_duration", "20"]
    return ["-c:a", "aac", "-b:a", f"{a.audio_bitrate}k"]


def encode(a, into):
    """The whole stretch as one stream in `into` (NUT: it keeps every timestamp exact). Returns the time of its first picture."""
    width, height = map(int, a.size.split("x"))
    frame_ms = 1000 // a.fps
    start_ms = clock.parse_iso(a.start) - a.phase * frame_ms
    frames = round(a.seconds * a.fps) + a.phase
    picture = scene.Scene(width, height, a.title, a.tint, a.noise)
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", a.size, "-r", str(a.fps), "-i", "pipe:0"]
    if a.audio != "none":
        rate, chunk = {"g711": (8000, 160), "opus": (48000, 960)}.get(a.audio, (a.audio_rate, 1024))
        sound = into + ".pcm"
        scene.tone(start_ms, frames * rate * frame_ms // 1000, rate).tofile(sound)
        command += ["-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", sound, "-af", f"asetnsamples={chunk}:p=0", *audio_options(a)]
    command += ["-pix_fmt", "yuv420p", *video_options(a), "-flags", "+bitexact", "-f", "nut", into]
    coder = subprocess.Popen(command, stdin=subprocess.PIPE)
    for index in range(frames):
        coder.stdin.write(picture.frame(start_ms + index * frame_ms))
    coder.stdin.close()
    if coder.wait():
        raise SystemExit("the encoder failed")
    return start_ms


class Cut:
    """Where the stream is cut: at the first key frame at or after --start, then at the next one after each --segment."""

    def __init__(self, a, packets):
        start_ms, length_ms = clock.parse_iso(a.start), a.segment * 1000
        self.starts_ms, due_ms = [], start_ms
        for at_ms, packet in packets:
            if packet.stream.type == "video" and packet.is_keyframe and at_ms >= due_ms:
                self.starts_ms.append(at_ms)
                due_ms = start_ms + ((at_ms - start_ms) // length_ms + 1) * length_ms
        if not self.starts_ms:
            raise SystemExit("no key frame after --start")

    def share_out(self, packets):
        """Packets per file, in decoding order; what was encoded only to set the phase is left out.

        So are the leading pictures of the first key frame, which nothing could decode. Pictures stay with the key frame they follow in decoding order, sound goes by its time.
        """
        files, current = [[] for _ in self.starts_ms], -1
        for at_ms, packet in packets:
            if packet.stream.type == "video":
                if current + 1 < len(self.starts_ms) and packet.is_keyframe and at_ms >= self.starts_ms[current + 1]:
                    current += 1
                index = -1 if current == 0 and at_ms < self.starts_ms[0] else current
            else:
                index = bisect.bisect_right(self.starts_ms, at_ms + CLOCK_SLACK_MS) - 1
            if index >= 0:
                files[index].append((at_ms, packet))
        return files


def write_segment(path, source, zero_ms, first_ms, packets, options):
    """One file whose pts 0 is `first_ms`."""
    with av.open(path, "w", options=options) as out:
        streams = {stream.index: out.add_stream(template=stream) for stream in source.streams}
        for _, packet in packets:
            shift = round(fractions.Fraction(first_ms - zero_ms) / 1000 / packet.time_base)
            packet.pts = max(packet.pts - shift, 0)
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = streams[packet.stream.index]
            out.mux(packet)


def cut(a, stream, start_ms, folder):
    """Writes the segments into `folder`."""
    with av.open(stream) as source:
        packets = [packet for packet in source.demux() if packet.pts is not None]
        # Reordering and the priming of AAC move the stream's zero, never one track against the other.
        first = min(packet.pts * packet.time_base for packet in packets if packet.stream.type == "video")
        zero_ms = start_ms - first * 1000
        packets = [(float(zero_ms + packet.pts * packet.time_base * 1000), packet) for packet in packets]
        for mine in Cut(a, packets).share_out(packets):
            # Leading pictures of an open group are shown before its key frame: the first picture shown names the file.
            first_ms = round(min(at_ms for at_ms, packet in mine if packet.stream.type == "video"))
            name = segment_name(a, first_ms)
            write_segment(os.path.join(folder, name), source, zero_ms, first_ms, mine, CONTAINER_OPTIONS.get(a.container, {}))


def segment_name(a, first_ms):
    """Milliseconds since 1970 for the lab's recorder, whole seconds of UTC for a folder of MP4 files."""
    if a.container != "mp4":
        return f"{first_ms}.{a.container}"
    moment = clock.iso(first_ms)
    return moment[:19].replace("-", "").replace(":", "") + "Z.mp4"


def write_frames(folder):
    """Decodes everything, in order, and notes what each picture looks like."""
    names = sorted(name for name in os.listdir(folder) if name.endswith((".nut", ".mp4")) and name != WHOLE)
    with av.open(os.path.join(folder, names[0])) as first:
        decoder = av.CodecContext.create(first.streams.video[0].codec_context.name, "r")
        decoder.extradata = first.streams.video[0].codec_context.extradata
    rows = []

    def note(frames):
        for frame in frames:
            plane = frame.planes[0]
            data = memoryview(bytes(plane))
            luma = b"".join(data[row * plane.line_size : row * plane.line_size + frame.width] for row in range(frame.height))
            rows.append((clock.read(luma, frame.width, frame.width), hashlib.md5(luma).hexdigest(), int(frame.key_frame)))

    for name in names:
        with av.open(os.path.join(folder, name)) as source:
            for packet in source.demux(source.streams.video[0]):
                if packet.size:
                    note(decoder.decode(av.Packet(bytes(packet))))
    note(decoder.decode(None))
    if any(ms is None for ms, _, _ in rows):
        raise SystemExit(f"a clock strip did not survive the encoder: {folder}")
    with open(os.path.join(folder, "frames.txt"), "w") as out:
        out.writelines(f"{ms} {digest} {key}\n" for ms, digest, key in rows)


def make(a, folder):
    work = folder + ".part"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    stream = os.path.join(work, WHOLE)
    cut(a, stream, encode(a, stream), work)
    for leftover in (stream, stream + ".pcm"):
        if os.path.exists(leftover):
            os.remove(leftover)
    write_frames(work)
    os.rename(work, folder)


def main():
    a = arguments()
    recipe = {name: value for name, value in vars(a).items() if name != "cache"}
    key = hashlib.sha256(json.dumps([RECIPE, recipe], sort_keys=True).encode()).hexdigest()[:16]
    os.makedirs(a.cache, exist_ok=True)
    folder = os.path.join(os.path.abspath(a.cache), key)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(folder):
            make(a, folder)
    print(folder)


if __name__ == "__main__":
    main()
