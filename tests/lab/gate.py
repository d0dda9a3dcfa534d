#!/usr/bin/python3
"""A door in front of a recorder: demands Digest with nonces that wear out, lets media overtake the answer to PLAY, or speaks
with the accent of recorders in the field.

Prints {"event": "ready", "url": ...} once it listens, and {"event": "stale"} for each answer to a worn-out nonce.
"""

import argparse
import asyncio
import hashlib
import re
import secrets

import accents
import frames

FIELD = re.compile(r'(\w+)="([^"]*)"')
# When less media than asked for comes, the answer to PLAY goes out after this long.
HELD_S = 1.0


def digest(*parts):
    return hashlib.md5(":".join(parts).encode()).hexdigest()


async def message(reader):
    """One `$` frame or RTSP message: (head or None, all its bytes)."""
    first = await reader.readexactly(1)
    if first == b"$":
        rest = await reader.readexactly(3)
        return None, first + rest + await reader.readexactly(int.from_bytes(rest[1:], "big"))
    head = first + await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
    return head.decode(), head + (await reader.readexactly(int(length[1])) if length else b"")


class Door:
    """One connection."""

    def __init__(self, a, client, recorder):
        self.a, self.client, self.recorder = a, client, recorder
        self.nonces, self.play_cseq = {}, None
        self.accent = accents.Accent(a.accent)

    def refusal(self, head):
        """The 401 that a request gets, None when it may pass."""
        if not self.a.user:
            return None
        name, password = self.a.user.split(":", 1)
        asked, stale = re.search(r"(?im)^authorization: *digest (.*)$", head), False
        if asked:
            method, uri = head.split(" ", 2)[:2]
            field = dict(FIELD.findall(asked[1]))
            want = digest(digest(name, "door", password), field.get("nonce", ""), digest(method, uri))
            right = field.get("username") == name and field.get("uri") == uri and field.get("response") == want
            left = self.nonces.get(field.get("nonce"), 0)
            if right and left:
                self.nonces[field["nonce"]] = left - 1
                return None
            stale = right
            if stale:
                frames.emit(event="stale")
        nonce = secrets.token_hex(8)
        self.nonces[nonce] = self.a.nonce_uses
        cseq = re.search(r"(?im)^cseq: *(\d+)", head)[1]
        extra = ", stale=true" if stale else ""
        return f'RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\nWWW-Authenticate: Digest realm="door", nonce="{nonce}"{extra}\r\n\r\n'.encode()

    async def requests(self):
        while True:
            head, whole = await message(self.client[0])
            refusal = self.refusal(head) if head else None
            if refusal:
                self.client[1].write(refusal)
                continue
            if head:
                whole = re.sub(rb"(?im)^authorization:.*\r\n", b"", whole)
                if head.startswith("PLAY "):
                    self.play_cseq = re.search(r"(?im)^cseq: *(\d+)", head)[1]
                answer, whole = self.accent.asked(whole)
                if answer:
                    self.client[1].write(answer)
                    continue
            else:
                whole = self.accent.frame_asked(whole)
            self.recorder[1].write(whole)
            await self.recorder[1].drain()

    async def answers(self):
        while True:
            head, whole = await message(self.recorder[0])
            if head and self.a.early and self.play_cseq and re.search(rf"(?im)^cseq: *{self.play_cseq}\s*$", head):
                self.play_cseq = None
                await self.overtake()
            self.client[1].write(self.accent.answered(whole) if head else self.accent.frame(whole))
            await self.client[1].drain()

    async def overtake(self):
        """Sends on the media that should follow an answer."""
        passed = 0
        try:
            async with asyncio.timeout(HELD_S):
                while passed < self.a.early:
                    _, whole = await message(self.recorder[0])
                    self.client[1].write(whole)
                    passed += len(whole)
        except TimeoutError:
            pass
        frames.emit(event="overtaken", bytes=passed)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="of the recorder")
    parser.add_argument("--user", metavar="NAME:PASSWORD", help="demand Digest")
    parser.add_argument("--nonce-uses", type=int, default=1, help="requests that a nonce is good for")
    parser.add_argument("--early", type=int, default=0, help="bytes of media that overtake the answer to PLAY")
    parser.add_argument("--accent", choices=accents.ACCENTS, default="plain", help="how it says what it says")
    a = parser.parse_args()

    async def come(*client):
        recorder = await asyncio.open_connection("127.0.0.1", a.port)
        door = Door(a, client, recorder)
        ways = [asyncio.create_task(door.requests()), asyncio.create_task(door.answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            # Either side may leave.
            await asyncio.gather(*ways, return_exceptions=True)
            client[1].close()
            recorder[1].close()

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    asyncio.get_running_loop().run_in_executor(None, frames.follow, lambda _line: None)
    frames.emit(event="ready", url=f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/cam1")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
