#!/usr/bin/env python3
"""aiortsp as a player: a client in Python that shares nothing with GStreamer, FFmpeg or us.

Prints the lines of frames.py. Standard input takes `seek <ISO time>`, `pause`, `play`. Needs aiortsp 1.4 from PyPI.
"""

import argparse
import asyncio
import os
import ssl
from urllib.parse import urlparse

from aiortsp.rtsp.connection import RTSPConnection
from aiortsp.rtsp.session import RTSPMediaSession
from aiortsp.transport import RTPTransportClient, transport_for_scheme

import annexb
import clock
import frames

SCHEMES = {"tcp": "rtspt", "udp": "rtsp", "tls": "rtsps"}
RTCP_BYE = 203


class Client(RTPTransportClient):
    """Feeds the packets of the picture to the decoder; a BYE or a closed connection is the end."""

    def __init__(self, decoder, payload_type, loop):
        self.decoder, self.payload_type, self.loop = decoder, payload_type, loop
        self.depacketizer, self.over = annexb.Depacketizer(), asyncio.Event()

    def handle_rtp(self, rtp):
        if rtp.pt == self.payload_type:
            # dpkt leaves a header extension in front of the payload.
            payload = rtp.data
            if rtp.x:
                payload = payload[4 + 4 * int.from_bytes(payload[2:4], "big") :]
            try:
                self.decoder.feed(self.depacketizer.push(payload))
            except (ValueError, BrokenPipeError) as error:
                frames.emit(event="error", text=str(error))

    def handle_rtcp(self, rtcp):
        if any(getattr(packet, "pt", None) == RTCP_BYE for packet in getattr(rtcp, "packets", [])):
            self.loop.call_soon(self.over.set)

    def handle_closed(self, error):
        self.loop.call_soon(self.over.set)


async def play(a):
    loop = asyncio.get_running_loop()
    url = urlparse(a.url)
    tls = ssl._create_unverified_context() if a.transport == "tls" else None
    async with RTSPConnection(url.hostname, url.port, url.username, url.password, ssl=tls) as connection:
        async with transport_for_scheme(SCHEMES[a.transport])(connection, timeout=a.timeout) as transport:
            async with RTSPMediaSession(connection, a.url, transport=transport) as session:
                decoder = annexb.Decoder()
                client = Client(decoder, session.sdp.media_payload_type(), loop)
                transport.subscribe(client)
                reply = await session.play(seek=clock.parse_iso(a.start) / 1000, speed=a.speed)
                frames.emit(event="play", status=reply.status)
                commands = asyncio.Queue()
                reader = loop.run_in_executor(None, listen, loop, commands)
                while not client.over.is_set():
                    waits = [asyncio.ensure_future(client.over.wait()), asyncio.ensure_future(commands.get())]
                    done, rest = await asyncio.wait(waits, timeout=20, return_when=asyncio.FIRST_COMPLETED)
                    for wait in rest:
                        wait.cancel()
                    if not done:
                        await session.keep_alive()
                    elif waits[1] in done:
                        await obey(session, waits[1].result())
                del reader
                await loop.run_in_executor(None, decoder.finish)
                frames.emit(event="end", how="eos")


async def obey(session, line):
    words = line.split()
    if words[:1] == ["seek"]:
        await session.pause()
        await session.play(seek=clock.parse_iso(words[1]) / 1000)
    elif words == ["pause"]:
        session.transport.paused = True
        await session.pause()
    elif words == ["play"]:
        session.transport.paused = False
        await session._send("PLAY")
    frames.emit(event=words[0])


def listen(loop, commands):
    frames.follow(lambda line: loop.call_soon_threadsafe(commands.put_nowait, line))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--start", metavar="TIME", required=True)
    parser.add_argument("--transport", choices=SCHEMES, default="tcp")
    parser.add_argument("--speed", type=float, default=1)
    parser.add_argument("--timeout", type=float, default=15)
    try:
        asyncio.run(play(parser.parse_args()))
    except Exception as error:  # whatever aiortsp makes of it
        frames.emit(event="error", text=repr(error))
        frames.emit(event="end", how="error")
        os._exit(1)
    # The thread that reads commands would keep the interpreter alive.
    os._exit(0)


if __name__ == "__main__":
    main()
