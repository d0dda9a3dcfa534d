#!/usr/bin/python3
"""GStreamer's rtspsrc as a player: as it is, or in ONVIF mode, where it seeks by absolute time and stamps pictures with it.

Prints the lines of frames.py. `pts_ms` is the player's own time of the picture; in ONVIF mode `capture_ms` is the UTC
that the recorder's header extension gave. Standard input takes `seek <ISO time>`, `pause`, `play`.
"""

import argparse
import os
import signal
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstApp, GstVideo  # noqa: E402, F401

import clock  # noqa: E402
import frames  # noqa: E402

MS = 1_000_000
# Nanoseconds since 1900 are far above any running time.
ABSOLUTE_NS_MIN = 1 << 60

VIDEO = {"H264": "rtph264depay ! h264parse ! avdec_h264", "H265": "rtph265depay ! h265parse ! avdec_h265", "JPEG": "rtpjpegdepay ! avdec_mjpeg"}


def since_1900_ns(text):
    return (clock.parse_iso(text) + clock.NTP_EPOCH_S * 1000) * MS


def times(buffer):
    """The time stamps of a buffer: UTC when it has one, the player's clock otherwise."""
    if ABSOLUTE_NS_MIN < buffer.pts < Gst.CLOCK_TIME_NONE:
        return {"capture_ms": buffer.pts / MS - clock.NTP_EPOCH_S * 1000}
    return {"pts_ms": None if buffer.pts == Gst.CLOCK_TIME_NONE else buffer.pts / MS}


class Player:
    def __init__(self, a):
        self.a, self.loop = a, GLib.MainLoop()
        self.pipeline = Gst.Pipeline.new(None)
        self.source = Gst.ElementFactory.make("rtspsrc", None)
        self.source.set_property("location", a.url)
        self.source.set_property("latency", a.latency)
        self.source.set_property("tcp-timeout", 0)
        Gst.util_set_object_arg(self.source, "protocols", a.transport)
        # The lab's certificate is its own.
        Gst.util_set_object_arg(self.source, "tls-validation-flags", "0")
        if a.onvif:
            # Not live, ONVIF mode crashes; with a jitter buffer, TCP loses its first packets.
            self.source.set_property("onvif-mode", True)
            self.source.set_property("is-live", True)
            self.source.set_property("onvif-rate-control", not a.unpaced)
        Gst.util_set_object_arg(self.source, "buffer-mode", "none" if a.onvif else a.buffer_mode)
        if a.user:
            name, password = a.user.split(":", 1)
            self.source.set_property("user-id", name)
            self.source.set_property("user-pw", password)
        self.source.connect("pad-added", self.on_pad)
        self.pipeline.add(self.source)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        self.code, self.open = 0, False

    def run(self):
        # PAUSED connects and sets up; PLAYING sends PLAY, for the seek that came in between.
        self.pipeline.set_state(Gst.State.PAUSED if self.a.onvif else Gst.State.PLAYING)
        threading.Thread(target=frames.follow, args=(lambda line: GLib.idle_add(self.obey, line),), daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, self.finish, "stopped", 0)
        self.loop.run()
        stop = threading.Thread(target=self.pipeline.set_state, args=(Gst.State.NULL,), daemon=True)
        stop.start()
        stop.join(2)
        os._exit(self.code)

    def finish(self, how, code):
        frames.emit(event="end", how=how)
        self.code = code
        self.loop.quit()
        return GLib.SOURCE_REMOVE

    def obey(self, line):
        words = line.split()
        if words[:1] == ["seek"]:
            frames.emit(event="seek", to=words[1])
            self.seek(words[1], None)
        elif words in (["pause"], ["play"]):
            self.pipeline.set_state(Gst.State.PAUSED if words == ["pause"] else Gst.State.PLAYING)
            frames.emit(event=words[0])

    def seek(self, start, stop):
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
        if self.a.key_frames:
            flags |= Gst.SeekFlags.TRICKMODE | Gst.SeekFlags.TRICKMODE_KEY_UNITS
        ends = [(Gst.SeekType.SET, since_1900_ns(at)) if at else (Gst.SeekType.NONE, -1) for at in (start, stop)]
        # Backwards, a segment is played from its stop to its start.
        first, last = ends if self.a.rate > 0 else reversed(ends)
        self.source.send_event(Gst.Event.new_seek(self.a.rate, Gst.Format.TIME, flags, *first, *last))

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            frames.emit(event="error", text=f"{error.message}: {detail}")
            self.finish("error", 1)
        elif message.type == Gst.MessageType.WARNING:
            warning, detail = message.parse_warning()
            frames.emit(event="warning", text=f"{warning.message}: {detail}")
        elif message.type == Gst.MessageType.PROGRESS and self.a.onvif and not self.open:
            kind, name, _ = message.parse_progress()
            if name == "open" and kind == Gst.ProgressType.COMPLETE:
                self.open = True
                if self.a.start:
                    self.seek(self.a.start, self.a.stop)
                self.pipeline.set_state(Gst.State.PLAYING)

    def on_pad(self, _source, pad):
        caps = (pad.get_current_caps() or pad.query_caps(None)).get_structure(0)
        stamp = "rtponvifparse ! " if self.a.onvif else ""
        if caps.get_string("media") == "video":
            decode = VIDEO[caps.get_string("encoding-name")]
            chain = f"queue ! {stamp}{decode} ! video/x-raw,format=I420 ! appsink name=sink sync=false async=false emit-signals=true max-buffers=0"
            got = self.on_picture
        else:
            chain = f"queue ! {stamp}appsink name=sink sync=false async=false emit-signals=true max-buffers=0"
            got = self.on_sound
        branch = Gst.parse_bin_from_description(chain, True)
        sink = branch.get_by_name("sink")
        sink.connect("new-sample", got)
        if got == self.on_picture:
            sink.connect("eos", lambda _sink: GLib.idle_add(self.finish, "eos", 0))
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def on_picture(self, sink):
        sample = sink.emit("pull-sample")
        buffer, info = sample.get_buffer(), GstVideo.VideoInfo.new_from_caps(sample.get_caps())
        meta = GstVideo.buffer_get_video_meta(buffer)
        stride, offset = (meta.stride[0], meta.offset[0]) if meta else (info.stride[0], info.offset[0])
        luma = buffer.extract_dup(offset, stride * info.height)
        frames.picture(luma, stride, info.width, info.height, **times(buffer))
        return Gst.FlowReturn.OK

    def on_sound(self, sink):
        buffer = sink.emit("pull-sample").get_buffer()
        frames.emit(event="sound", bytes=buffer.get_size(), **times(buffer))
        return Gst.FlowReturn.OK


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--onvif", action="store_true", help="ONVIF mode: absolute seeks and stamps")
    parser.add_argument("--start", metavar="TIME", help="in ONVIF mode")
    parser.add_argument("--stop", metavar="TIME", help="in ONVIF mode")
    parser.add_argument("--rate", type=float, default=1.0, help="in ONVIF mode; negative from --start back to --stop")
    parser.add_argument("--key-frames", action="store_true", help="in ONVIF mode: key frames alone")
    parser.add_argument("--unpaced", action="store_true", help="in ONVIF mode: Rate-Control: no")
    parser.add_argument("--user", metavar="NAME:PASSWORD")
    parser.add_argument("--transport", default="tcp", help="as rtspsrc names its protocols")
    parser.add_argument("--latency", type=int, default=200, help="ms of the jitter buffer")
    parser.add_argument("--buffer-mode", default="auto")
    Gst.init(None)
    Player(parser.parse_args()).run()


if __name__ == "__main__":
    main()
