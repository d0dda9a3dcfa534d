#!/usr/bin/python3
"""FFmpeg as a player: `ffmpeg` decodes the URL, this program reads the pictures and what FFmpeg had to say about them.

Prints the lines of frames.py. `pts_ms` is FFmpeg's time of the picture; its messages of level error and warning come as
events of that name, in the order of its log.
"""

import argparse
import re
import signal
import subprocess
import sys
import threading

import frames

SHOWN = re.compile(r"\bn: *\d+ pts: *\S+ pts_time:(\S+).* s:(\d+)x(\d+)")
LEVEL = re.compile(r"\[(fatal|error|warning)\] (.*)")


class Log:
    """FFmpeg's standard error: the times and sizes of the pictures to come, and the complaints."""

    def __init__(self, stream):
        self.stream, self.shown = stream, []
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for raw in self.stream:
            line = raw.decode(errors="replace").rstrip()
            shown, level = SHOWN.search(line), LEVEL.search(line)
            with self.changed:
                if shown:
                    self.shown.append((float(shown[1]) * 1000, int(shown[2]), int(shown[3])))
                self.changed.notify_all()
            if level:
                frames.emit(event="warning" if level[1] == "warning" else "error", text=level[2])
        with self.changed:
            self.stream = None
            self.changed.notify_all()

    def picture(self, index):
        """Its time, width and height; None where there is none."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.shown) > index or self.stream is None)
            return self.shown[index] if index < len(self.shown) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--transport", default="tcp", help="as FFmpeg names it: tcp, udp, http")
    parser.add_argument("--fast-start", action="store_true", help="do not probe beyond the SDP")
    parser.add_argument("--seconds", type=float, help="stop after that much media")
    a = parser.parse_args()
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info"]
    if a.url.startswith("rtsp"):
        command += ["-rtsp_transport", a.transport]
    if a.fast_start:
        command += ["-fflags", "nobuffer", "-analyzeduration", "0", "-probesize", "32"]
    command += ["-copyts", "-i", a.url, "-map", "0:v:0", "-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-vf", "showinfo=checksum=0,format=yuv420p|yuvj420p"]
    command += ["-t", str(a.seconds)] if a.seconds else []
    # Each picture in its own size, which a camera may change.
    command += ["-autoscale", "0", "-f", "rawvideo", "pipe:1"]
    player = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stopped = threading.Event()

    def stop(*_):
        stopped.set()
        player.kill()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=frames.follow, args=(lambda _line: None, player.kill), daemon=True).start()
    log = Log(player.stderr)
    index = 0
    while told := log.picture(index):
        at_ms, width, height = told
        whole = width * height * 3 // 2
        data = player.stdout.read(whole)
        if len(data) != whole:
            break
        frames.picture(data, width, width, height, pts_ms=at_ms)
        index += 1
    code = player.wait()
    frames.emit(event="end", how="stopped" if stopped.is_set() else "eos" if code == 0 else "error")
    sys.exit(0 if stopped.is_set() else code)


if __name__ == "__main__":
    main()
