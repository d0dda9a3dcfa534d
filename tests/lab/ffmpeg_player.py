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

SHOWN = re.compile(r"\bn: *\d+ pts: *\S+ pts_time:(\S+)")
SIZE = re.compile(r"Video: rawvideo.* (\d+)x(\d+)")
LEVEL = re.compile(r"\[(fatal|error|warning)\] (.*)")


class Log:
    """FFmpeg's standard error: the times of the pictures to come, their size, and the complaints."""

    def __init__(self, stream):
        self.stream, self.times, self.size = stream, [], None
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for raw in self.stream:
            line = raw.decode(errors="replace").rstrip()
            shown, size, level = SHOWN.search(line), SIZE.search(line), LEVEL.search(line)
            with self.changed:
                if shown:
                    self.times.append(float(shown[1]) * 1000)
                if size:
                    self.size = (int(size[1]), int(size[2]))
                self.changed.notify_all()
            if level:
                frames.emit(event="warning" if level[1] == "warning" else "error", text=level[2])
        with self.changed:
            self.stream = None
            self.changed.notify_all()

    def wait_size(self):
        with self.changed:
            self.changed.wait_for(lambda: self.size or self.stream is None)
            return self.size

    def time_of(self, index):
        with self.changed:
            self.changed.wait_for(lambda: len(self.times) > index or self.stream is None, timeout=5)
            return self.times[index] if index < len(self.times) else None


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
    command += ["-f", "rawvideo", "pipe:1"]
    player = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stopped = threading.Event()

    def stop(*_):
        stopped.set()
        player.kill()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=frames.follow, args=(lambda _line: None, player.kill), daemon=True).start()
    log = Log(player.stderr)
    size = log.wait_size()
    if size:
        width, height = size
        index, whole = 0, width * height * 3 // 2
        while len(data := player.stdout.read(whole)) == whole:
            frames.picture(data, width, width, height, pts_ms=log.time_of(index))
            index += 1
    code = player.wait()
    frames.emit(event="end", how="stopped" if stopped.is_set() else "eos" if code == 0 else "error")
    sys.exit(0 if stopped.is_set() else code)


if __name__ == "__main__":
    main()
