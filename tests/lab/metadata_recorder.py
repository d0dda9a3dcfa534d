#!/usr/bin/python3
"""A recorder of ONVIF metadata alone: one XML document every 100 ms, cut into packets at random, replayed by absolute time.

GStreamer has no payloader for metadata in Debian, so this program speaks the little RTSP that a replay client needs. Every document
names its recorder and its time, so that a reader sees which site it came from and whether one is whole.
"""

import argparse
import random
import re
import socketserver
import struct

import clock
import frames

EVERY_MS = 100
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=metadata\r\nt=0 0\r\na=control:*\r\n"
    "m=application 0 RTP/AVP 98\r\na=rtpmap:98 vnd.onvif.metadata/90000\r\na=control:meta\r\na=x-onvif-track:META\r\n"
)
END, TERMINAL = 0x40, 0x10


def document(site, ms):
    filling = "".join(f'<tt:Object ObjectId="{n}"/>' for n in range(ms // EVERY_MS % 40))
    frame = f'<tt:Frame UtcTime="{clock.iso(ms)}" Source="{site}">{filling}</tt:Frame>'
    return f'<tt:MetadataStream xmlns:tt="http://www.onvif.org/ver10/schema"><tt:VideoAnalytics>{frame}</tt:VideoAnalytics></tt:MetadataStream>'.encode()


def pieces(whole, dice):
    """The document in one to three packets; the root's name stays in the first."""
    cuts = sorted(dice.sample(range(40, len(whole)), dice.randrange(3)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)])]


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            if line.startswith(b"$"):
                # Receiver reports: four bytes of head, of which the line may have eaten more.
                continue
            head = {}
            while (field := self.rfile.readline().strip()):
                name, _, value = field.decode().partition(":")
                head[name.strip().lower()] = value.strip()
            self.answer(line.decode().split()[0], head)

    def answer(self, method, head):
        a = self.server.a
        body, more = "", ""
        if method == "DESCRIBE":
            body, more = SDP, f"Content-Base: {self.server.url}/\r\nContent-Type: application/sdp\r\n"
        elif method == "SETUP":
            more = f"Transport: {head['transport']}\r\n"
        elif method == "PLAY":
            more = f"Range: {head['range']}\r\n"
        session = "Session: 4711\r\n" if method != "DESCRIBE" else ""
        self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {head['cseq']}\r\n{session}{more}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if method == "PLAY":
            self.play(head["range"], a)

    def play(self, wish, a):
        year, month, day, hour, minute, second, fraction = re.match(r"clock=(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\.\d+)?Z", wish).groups()
        start = clock.parse_iso(f"{year}-{month}-{day}T{hour}:{minute}:{second}Z") + round(float(fraction or 0) * 1000)
        first, end = clock.parse_iso(a.start), clock.parse_iso(a.start) + a.seconds * 1000
        hidden = [tuple(map(clock.parse_iso, pair.split(","))) for pair in a.hide]
        times = [ms for ms in range(first, end, EVERY_MS) if not any(f <= ms < u for f, u in hidden)]
        times = [ms for ms in times if ms > start - EVERY_MS]
        dice, sequence = random.Random(start), 1000
        for ms, following in zip(times, [*times[1:], None]):
            flags = (END | TERMINAL) if following is None else END if following - ms > EVERY_MS else 0
            parts = pieces(document(a.site, ms), dice)
            for index, part in enumerate(parts):
                last = index + 1 == len(parts)
                # Packets are stamped as they leave: the times of one document differ.
                stamp = (ms * 90 + index) & 0xFFFFFFFF
                seconds, rest = divmod(ms, 1000)
                extension = struct.pack(">HHIIBBH", 0xABAC, 3, seconds + clock.NTP_EPOCH_S, (rest << 32) // 1000, flags if last else 0, 0, 0)
                packet = struct.pack(">BBHII", 0x90, 98 | (0x80 if last else 0), sequence & 0xFFFF, stamp, 0x4711) + extension + part
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                sequence += 1


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True

    def handle_error(self, _request, _address):
        """A client that goes away in mid-play is no news."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site")
    parser.add_argument("--start", required=True)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--hide", action="append", default=[], metavar="FROM,TO")
    a = parser.parse_args()
    with Server(("127.0.0.1", 0), Session) as server:
        server.a = a
        server.url = f"rtsp://127.0.0.1:{server.server_address[1]}/cam1"
        frames.emit(event="ready", url=server.url)
        server.serve_forever()


if __name__ == "__main__":
    main()
