#!/usr/bin/python3
"""GStreamer as a player of HTTP URLs, HLS among them: whatever elements it finds decode the pictures, as fast as they come.

Prints the lines of frames.py. `pts_ms` is the player's own time of the picture.
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

import frames  # noqa: E402

MS = 1_000_000
CHAIN = "uridecodebin{} name=source caps=video/x-raw source. ! videoconvert ! video/x-raw,format=I420 ! appsink name=sink sync=false emit-signals=true max-buffers=0"


def on_picture(sink):
    sample = sink.emit("pull-sample")
    buffer, info = sample.get_buffer(), GstVideo.VideoInfo.new_from_caps(sample.get_caps())
    meta = GstVideo.buffer_get_video_meta(buffer)
    stride, offset = (meta.stride[0], meta.offset[0]) if meta else (info.stride[0], info.offset[0])
    luma = buffer.extract_dup(offset, stride * info.height)
    frames.picture(luma, stride, info.width, info.height, pts_ms=buffer.pts / MS)
    return Gst.FlowReturn.OK


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--new", action="store_true", help="the elements of playbin3: hlsdemux2, decodebin3")
    a = parser.parse_args()
    Gst.init(None)
    loop = GLib.MainLoop()
    pipeline = Gst.parse_launch(CHAIN.format("3" if a.new else ""))
    pipeline.get_by_name("source").set_property("uri", a.url)
    pipeline.get_by_name("sink").connect("new-sample", on_picture)
    ended = ["stopped", 0]

    def finish(how, code):
        ended[:] = [how, code]
        loop.quit()
        return GLib.SOURCE_REMOVE

    def on_message(_bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            frames.emit(event="error", text=f"{error.message}: {detail}")
            finish("error", 1)
        elif message.type == Gst.MessageType.WARNING:
            warning, detail = message.parse_warning()
            frames.emit(event="warning", text=f"{warning.message}: {detail}")
        elif message.type == Gst.MessageType.EOS:
            finish("eos", 0)

    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", on_message)
    pipeline.set_state(Gst.State.PLAYING)
    threading.Thread(target=frames.follow, args=(lambda _line: None,), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, finish, "stopped", 0)
    loop.run()
    frames.emit(event="end", how=ended[0])
    os._exit(ended[1])


if __name__ == "__main__":
    main()
