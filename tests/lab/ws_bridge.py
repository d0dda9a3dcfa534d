#!/usr/bin/python3
"""RTSP players know no WebSocket: each TCP connection here becomes one WebSocket there, as ONVIF defines RTSP over it.

Prints {"event": "ready", "url": ...} once it listens, and {"event": "error", ...} when the other side refuses or sends
what is no binary message.
"""

import argparse
import asyncio

import websockets

import frames

PROTOCOL = "rtsp.onvif.org"


async def up(reader, socket, pieces):
    while data := await reader.read(65536):
        step = pieces or len(data)
        for at in range(0, len(data), step):
            await socket.send(data[at : at + step])
    await socket.close()


async def down(socket, writer):
    async for message in socket:
        if not isinstance(message, bytes):
            frames.emit(event="error", text="a text message")
            return
        writer.write(message)
        await writer.drain()


async def bridge(a, reader, writer):
    try:
        async with websockets.connect(a.url, subprotocols=[PROTOCOL], max_size=None, ping_interval=1) as socket:
            if socket.subprotocol != PROTOCOL:
                frames.emit(event="error", text=f"subprotocol {socket.subprotocol}")
                return
            tasks = [asyncio.create_task(up(reader, socket, a.pieces)), asyncio.create_task(down(socket, writer))]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
    except (OSError, websockets.WebSocketException) as error:
        frames.emit(event="error", text=repr(error))
    finally:
        writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--pieces", type=int, default=0, help="at most so many bytes of a client in one message")
    a = parser.parse_args()
    server = await asyncio.start_server(lambda reader, writer: bridge(a, reader, writer), "127.0.0.1", 0)
    asyncio.get_running_loop().run_in_executor(None, frames.follow, lambda _line: None)
    frames.emit(event="ready", url=f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
