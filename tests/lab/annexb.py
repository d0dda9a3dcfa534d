"""H.264 of clients that do not decode: taken from RTP where need be, decoded by FFmpeg, read like any player's pictures."""

import subprocess
import threading

import ffmpeg_player
import frames

START = b"\0\0\0\1"
STAP_A, FU_A = 24, 28


class Depacketizer:
    """RFC 6184, packetization modes 0 and 1: the NAL units of packets, each with a start code."""

    def __init__(self):
        self.fragments = None

    def push(self, payload):
        kind = payload[0] & 0x1F
        if 1 <= kind <= 23:
            return START + payload
        if kind == STAP_A:
            out, at = b"", 1
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                out += START + payload[at + 2 : at + 2 + size]
                at += 2 + size
            return out
        if kind == FU_A:
            if payload[1] & 0x80:
                self.fragments = [START + bytes([payload[0] & 0xE0 | payload[1] & 0x1F])]
            if self.fragments is not None:
                self.fragments.append(payload[2:])
                if payload[1] & 0x40:
                    whole, self.fragments = b"".join(self.fragments), None
                    return whole
            return b""
        raise ValueError(f"a packet of type {kind} in packetization mode 1")


class Decoder:
    """FFmpeg behind a pipe; its pictures come out as events of frames.py."""

    def __init__(self):
        command = ["ffmpeg", "-hide_banner", "-nostats", "-loglevel", "level+info", "-probesize", "4096"]
        command += ["-f", "h264", "-i", "pipe:0", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        size = ffmpeg_player.Log(self.process.stderr).wait_size()
        if size:
            width, height = size
            whole = width * height * 3 // 2
            while len(data := self.process.stdout.read(whole)) == whole:
                frames.picture(data, width, width, height)

    def feed(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def finish(self):
        """All that was fed is decoded and shown."""
        self.process.stdin.close()
        self.reader.join(10)
        self.process.wait(10)
