#!/usr/bin/python3
"""A client of an ImageServer, written from what is known of the wire alone; it shares no code with any server of the lab.

Reads a JSON object a line from standard input and writes one a line for each answer: who drives it decides what is right. Everything
that does not follow the wire to the byte ends it with {"error": ...}: header names as recorders spell them, one blank behind the
colon, exactly so many bytes as announced, the trailer behind each body and the right end of a multipart.

{"do": "open", "port": 7563, "tls": "ca.pem" | null}          a connection; several may be open, the newest is used
{"do": "use", "index": 0}                                     another one of them, in the order in which they were opened
{"do": "connect", "camera": GUID, "token": T, ...}            jpeg, allframes, multipart, mask, stream, raw (more XML)
{"do": "ask", "method": "goto", "time": ms, ...}              any other element by its name; the answer is waited for
{"do": "pipeline", "calls": [{...}, ...]}                     all are sent at once, all answers are waited for
{"do": "send", "method": ...}                                 sent, nothing is waited for; {"do": "read"} reads one message
{"do": "batch", "calls": [{...}, ...]}                        as pipeline, nothing is waited for; {"do": "answers", "count": n} reads them
{"do": "raw", "text": ...}                                    these characters, as they are
{"do": "scrub", "seed": n, "count": n, "from": ms, "to": ms}  random requests one after another: a line each, short
{"do": "export", "from": ms, "until": ms}                     goto, then next up to there: what came, and a digest of all of it
{"do": "crowd", "port": n, "clients": n, "seconds": s, ...}   so many clients of one camera, each at random instants: how many answers
{"do": "time", "count": n, ...}                               how long goto and next take: medians and percentiles, milliseconds
{"do": "close"}
"""

import hashlib
import json
import random
import re
import socket
import ssl
import struct
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

END = b"\r\n\r\n"
GENERIC = "application/x-genericbytedata-octet-stream"
PATIENCE = 10.0
HEADERS = ("RequestId", "Prev", "Current", "Next", "Content-length", "Content-type", "PrivacyMask")


class Broken(Exception):
    """The other side does not speak as it must."""


class Connection:
    def __init__(self, port, ca=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca:
            context = ssl.create_default_context(cafile=ca)
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = bytearray()
        self.number = 0
        # Of one message, as it came.
        self.wire = hashlib.sha256()
        self.wire_bytes = 0

    def fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("closed by the server")
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        taken = bytes(self.buffer[:count])
        self.came(count)
        return taken

    def came(self, count):
        self.wire.update(self.buffer[:count])
        self.wire_bytes += count
        del self.buffer[:count]

    def until(self, mark):
        start = 0
        while True:
            at = self.buffer.find(mark, start)
            if at >= 0:
                taken = bytes(self.buffer[:at])
                self.came(at + len(mark))
                return taken
            start = max(len(self.buffer) - len(mark) + 1, 0)
            self.fill()

    def call(self, method, **elements):
        """The bytes of a call, with its number."""
        self.number += 1
        number = elements.pop("requestid", self.number)
        inner = "".join(f"<{name}>{value if name in ('transcode', 'clientcapabilities', 'attributes') else escape(str(value))}</{name}>" for name, value in elements.items())
        text = f'<?xml version="1.0" encoding="UTF-8"?><methodcall><requestid>{number}</requestid><methodname>{method}</methodname>{inner}</methodcall>'
        return text.encode() + END, number

    def send(self, method, **elements):
        data, number = self.call(method, **elements)
        self.socket.sendall(data)
        return number

    def message(self):
        """The next one: its kind and what is in it."""
        while len(self.buffer) < 1:
            self.fill()
        self.wire, self.wire_bytes = hashlib.sha256(), 0
        if self.buffer[:1] == b"<":
            text = self.until(END)
            if b"\r\n" in text or b"\n\n" in text:
                raise Broken("line ends inside of a document")
            return self.document(ElementTree.fromstring(text.decode()))
        return self.image()

    @staticmethod
    def document(root):
        told = {"kind": root.tag}
        for child in root:
            if child.tag == "alarms" or child.tag == "alarm":
                continue
            told[child.tag] = (child.text or "").strip()
        if root.tag == "methodresponse":
            told["alarms"] = [[int(alarm.get(name)) for name in ("starttime", "alarmtime", "endtime")] for alarm in root.iter("alarm")]
        if root.tag == "livepackage":
            told["status"] = {item.get("id"): item.get("value") for item in root.iter("statusitem")}
        return told

    def image(self):
        first, *lines = self.until(END).decode("latin-1").split("\r\n")
        if first != "ImageResponse":
            raise Broken(f"neither a document nor an image: {first[:80]!r}")
        headers = {}
        for line in lines:
            parts = line.split(": ")
            if len(parts) != 2 or not parts[1]:
                raise Broken(f"a line that some clients cannot split: {line!r}")
            headers[parts[0]] = parts[1]
        for name in headers:
            if name not in HEADERS and name.lower() in {known.lower() for known in HEADERS}:
                raise Broken(f"{name} is spelt otherwise by recorders")
        kind = headers.get("Content-type", "")
        boundary = re.search(r'boundary="?([^";]+)"?', kind)
        if kind.startswith("multipart/"):
            if "Content-length" in headers:
                raise Broken("a multipart with a length")
            bodies = self.parts(boundary[1].encode())
        else:
            bodies = [self.take(int(headers["Content-length"]))]
            if self.take(4) != END:
                raise Broken("no trailer behind a body")
        told = {"kind": "image", "type": kind.split(";")[0], "parts": len(bodies), "bytes": sum(map(len, bodies))}
        for name in ("Prev", "Current", "Next", "RequestId"):
            if name in headers:
                told[name.lower()] = int(headers[name])
        if "PrivacyMask" in headers:
            told["mask"] = headers["PrivacyMask"]
        told["wire"] = {"bytes": self.wire_bytes, "sha256": self.wire.hexdigest()}
        told["md5"] = hashlib.md5(b"|".join(self.still(body) for body in bodies)).hexdigest()
        pictures = [picture for body in bodies for picture in self.pictures(body)]
        told["pictures"] = len(pictures)
        if pictures:
            told["sync"], told["first"], told["last"] = pictures[0]["sync"], pictures[0]["time"], pictures[-1]["time"]
            told["codec"] = pictures[0]["codec"]
            # Live pictures come one by one.
            if "prev" in told and not pictures[0]["key"]:
                raise Broken("a group that does not begin with a key picture")
            if "prev" in told and any(picture["sync"] != told["current"] for picture in pictures):
                raise Broken(f"pictures of another group than {told['current']}: {pictures[0]}")
        return told

    def parts(self, boundary):
        bodies = []
        while True:
            line = self.until(b"\r\n")
            if line == b"--" + boundary + b"--":
                if self.take(2) != b"\r\n":
                    raise Broken("a multipart ends without an empty line")
                return bodies
            if line != b"--" + boundary:
                raise Broken(f"no boundary: {line[:80]!r}")
            head = dict(line.split(": ") for line in self.until(END).decode("latin-1").split("\r\n"))
            if head.get("Content-type") != GENERIC:
                raise Broken(f"a part of {head}")
            bodies.append(self.take(int(head["Content-length"])))
            if self.take(2) != b"\r\n":
                raise Broken("a part longer than it says")

    @staticmethod
    def still(body):
        """A body without what counts packets, which no two servers count alike."""
        return body[:8] + b"\0\0" + body[10:] if body[:2] == b"\0\x10" else body

    @staticmethod
    def pictures(body):
        found, at = [], 0
        if body[:2] == b"\xff\xd8":
            return found
        while at < len(body):
            kind, length = struct.unpack_from(">HI", body, at)
            if kind != 0x10 and not found:
                # Sound and the like: what is in it is not known.
                return found
            if kind != 0x10 or at + length > len(body):
                raise Broken(f"GenericByteData of type {kind:#x} and length {length}")
            codec, _, flags, sync, moment, _ = struct.unpack_from(">HHHQQI", body, at + 6)
            found.append({"codec": codec, "key": bool(flags & 1), "sync": sync, "time": moment})
            at += length
        return found


def connect_elements(order):
    stream = f"&streamid={order['stream']}" if "stream" in order else ""
    word = lambda name, usual=False: "yes" if order.get(name, usual) else "no"  # noqa: E731
    elements = {
        "username": order.get("username", "a"),
        "password": order.get("password", "a"),
        "cameraid": order["camera"],
        "alwaysstdjpeg": word("jpeg"),
        "connectparam": f"id={order['camera']}{stream}&connectiontoken={order['token']}",
        "clientcapabilities": f"<privacymask>{word('mask')}</privacymask><privacymaskversion>1</privacymaskversion>"
        f"<multipartdata>{word('multipart', True)}</multipartdata><datarestriction>no</datarestriction>",
    }
    if order.get("jpeg"):
        elements["transcode"] = f"<allframes>{word('allframes')}</allframes><width>640</width><height>360</height>"
    if "requestid" in order:
        elements["requestid"] = order["requestid"]
    return elements


def checked(answer, number):
    """Answers come in the order of the calls."""
    got = answer.get("requestid")
    if got is None or int(got) != number:
        raise Broken(f"the answer to call {number} is {answer}")
    return answer


SCRUBS = ("goto", "goto", "goto", "next", "next", "next", "next", "previous", "previous", "begin", "end", "nextsequence", "previoussequence")


def scrub(connection, order):
    """Random requests; a line each with where that led."""
    chance = random.Random(order["seed"])
    methods = order.get("methods", SCRUBS)
    for index in range(order["count"]):
        method = "goto" if index == 0 else chance.choice(methods)
        elements = {"time": chance.randrange(order["from"], order["to"])} if method == "goto" else {}
        number = connection.send(method, **elements)
        answer = checked(connection.message(), number)
        short = {name: answer.get(name) for name in ("prev", "current", "next", "md5", "pictures", "kind")}
        say(scrub=index, method=method, asked=elements.get("time"), **short)
    return {"scrubbed": order["count"]}


def export(connection, order):
    """As fast as it comes: every unit from one instant to another, and whether their times go on."""
    digest, told, last = hashlib.md5(), {"units": 0, "pictures": 0, "bytes": 0}, None
    begun = time.monotonic()
    number = connection.send("goto", time=order["from"])
    while True:
        answer = checked(connection.message(), number)
        if answer["kind"] != "image" or last is not None and answer["current"] <= last:
            raise Broken(f"behind {last}: {answer}")
        last = answer["current"]
        digest.update(answer["md5"].encode())
        told["units"], told["pictures"], told["bytes"] = told["units"] + 1, told["pictures"] + answer["pictures"], told["bytes"] + answer["bytes"]
        if told["units"] == order.get("tell"):
            say(at=last)
        if answer["next"] == last or answer["next"] >= order["until"]:
            return {**told, "last": last, "md5": digest.hexdigest(), "took_s": time.monotonic() - begun}
        number = connection.send("next")


def crowd(order):
    """Each client on a connection and a thread of its own."""
    counts, errors, until = [], [], time.monotonic() + order["seconds"]

    def scrubs(seed):
        chance, count = random.Random(seed), 0
        try:
            connection = Connection(order["port"])
            number = connection.send("connect", **connect_elements(order))
            checked(connection.message(), number)
            while time.monotonic() < until:
                number = connection.send("goto", time=chance.randrange(order["from"], order["to"]))
                checked(connection.message(), number)
                count += 1
                time.sleep(order["pause"])
        except (Broken, EOFError, OSError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        counts.append(count)

    threads = [threading.Thread(target=scrubs, args=(seed,)) for seed in range(order["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": sum(counts), "least": min(counts), "errors": errors[:3]}


def timed(connection, order):
    chance, took = random.Random(order.get("seed", 1)), {"goto": [], "next": []}
    for _ in range(order["count"]):
        for method, elements in (("goto", {"time": chance.randrange(order["from"], order["to"])}), ("next", {})):
            begun = time.perf_counter()
            number = connection.send(method, **elements)
            checked(connection.message(), number)
            took[method].append((time.perf_counter() - begun) * 1000)
    told = {}
    for method, all_ms in took.items():
        all_ms.sort()
        told[method] = {"median": all_ms[len(all_ms) // 2], "p99": all_ms[len(all_ms) * 99 // 100]}
    return {"took": told}


def say(**fields):
    print(json.dumps(fields), flush=True)


def obey(order, state):
    do = order["do"]
    if do == "open":
        state["connection"] = Connection(order["port"], order.get("tls"))
        state.setdefault("all", []).append(state["connection"])
        return {"opened": True}
    if do == "use":
        state["connection"] = state["all"][order["index"]]
        return {"used": order["index"]}
    if do == "crowd":
        return crowd(order)
    connection = state["connection"]
    if do == "connect":
        number = connection.send("connect", **connect_elements(order))
        return checked(connection.message(), number)
    if do in ("ask", "send"):
        elements = {name: value for name, value in order.items() if name not in ("do", "method")}
        number = connection.send(order["method"], **elements)
        begun = time.monotonic()
        if do == "send":
            return {"sent": number}
        return {**checked(connection.message(), number), "took_ms": (time.monotonic() - begun) * 1000}
    if do == "pipeline":
        calls = [connection.call(call.pop("method"), **call) for call in order["calls"]]
        connection.socket.sendall(b"".join(data for data, _ in calls))
        return {"answers": [checked(connection.message(), number) for _, number in calls]}
    if do == "read":
        return connection.message()
    if do == "answers":
        # Of calls that were sent before.
        return {"answers": [connection.message() for _ in range(order["count"])]}
    if do == "batch":
        calls = [connection.call(call.pop("method"), **call) for call in order["calls"]]
        connection.socket.sendall(b"".join(data for data, _ in calls))
        return {"numbers": [number for _, number in calls]}
    if do == "raw":
        connection.socket.sendall(order["text"].encode("latin-1"))
        return {"sent": len(order["text"])}
    if do == "flood":
        # Sends until the other side closes; never reads.
        data = order["text"].encode("latin-1") * order.get("times", 1)
        connection.socket.settimeout(order.get("patience", PATIENCE))
        sent = 0
        try:
            while sent < order["bytes"]:
                sent += connection.socket.send(data)
        except OSError as error:
            return {"flooded": sent, "ended": type(error).__name__}
        return {"flooded": sent, "ended": None}
    if do == "scrub":
        return scrub(connection, order)
    if do == "export":
        return export(connection, order)
    if do == "time":
        return timed(connection, order)
    if do == "close":
        connection.socket.close()
        return {"closed": True}
    raise ValueError(do)


def main():
    state = {}
    for line in sys.stdin:
        try:
            say(**obey(json.loads(line), state))
        except (EOFError, OSError) as error:
            say(gone=f"{type(error).__name__}: {error}")
        except (Broken, KeyError, ValueError, TypeError, struct.error, ElementTree.ParseError) as error:
            say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
