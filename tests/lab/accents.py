"""How recorders in the field say what RTSP lets them say in more than one way, or get wrong: rewrites what a plain one says."""

import re

ACCENTS = [
    "plain",
    "lower-case",
    "bare",
    "relative-info",
    "queries",
    "own-channels",
    "no-sets",
    "no-base",
    "two-videos",
    "loose-lines",
    "no-pause",
    "no-keep-alive",
]
SETS = re.compile(rb";?\s*sprop-[a-z-]+=[^;\r\n]+")
QUERY = b"profile=1&token=a/b"


def header(head, name, value):
    """The head with a header replaced, or left out where `value` is None."""
    line = b"" if value is None else name + b": " + value + b"\r\n"
    return re.sub(rb"(?im)^" + name + rb":.*\r\n", lambda _: line, head)


class Accent:
    """Of one connection."""

    def __init__(self, name):
        self.name, self.methods, self.channels = name, {}, {}

    def asked(self, whole):
        """A request, as the plain recorder behind understands it; or an answer to it, as bytes and None."""
        method = whole.split(b" ", 1)[0]
        cseq = re.search(rb"(?im)^cseq: *(\d+)", whole)[1]
        self.methods[cseq] = method
        refusal = b"RTSP/1.0 %s\r\nCSeq: " + cseq + b"\r\n\r\n"
        if self.name == "no-pause" and method == b"PAUSE":
            return refusal % b"501 Not Implemented", None
        if self.name == "no-keep-alive" and method in (b"GET_PARAMETER", b"SET_PARAMETER"):
            return refusal % b"405 Method Not Allowed", None
        if self.name == "queries":
            whole = re.sub(rb"^(\S+ rtsp://\S+?)/?\?" + re.escape(QUERY), rb"\1", whole)
        if self.name == "two-videos" and re.match(rb"SETUP \S+/small ", whole):
            # A second stream that is set up and stays silent.
            transport = re.search(rb"(?im)^transport:.*\r\n", whole)[0]
            session = (re.search(rb"(?im)^session:.*\r\n", whole) or [b"Session: small\r\n"])[0]
            return b"RTSP/1.0 200 OK\r\nCSeq: " + cseq + b"\r\n" + session + transport + b"\r\n", None
        return None, whole

    def frame(self, whole):
        return whole[:1] + self.channels.get(whole[1:2], whole[1:2]) + whole[2:]

    def frame_asked(self, whole):
        back = {theirs: ours for ours, theirs in self.channels.items()}
        return whole[:1] + back.get(whole[1:2], whole[1:2]) + whole[2:]

    def answered(self, whole):
        head, body = whole.split(b"\r\n\r\n", 1)
        head += b"\r\n"
        cseq = re.search(rb"(?im)^cseq: *(\d+)", head)
        method = self.methods.pop(cseq[1], b"") if cseq else b""
        told = getattr(self, "said_" + self.name.replace("-", "_"), None)
        if told:
            head, body = told(method, head, body)
        if body:
            head = header(head, b"Content-Length", str(len(body)).encode())
        whole = head + b"\r\n" + body
        if self.name == "loose-lines":
            # Bare line feeds, and an empty line in front.
            whole = b"\r\n" + head.replace(b"\r\n", b"\n") + b"\n" + body
        return whole

    def said_lower_case(self, method, head, body):
        return re.sub(rb"(?m)^([A-Za-z-]+):", lambda name: name[0].lower(), head), body

    def said_bare(self, method, head, body):
        head = re.sub(rb"(?im)^(session: *[^;\r\n]+).*(?=\r\n)", rb"\1", head)
        head = re.sub(rb"(?im)^transport:.*;interleaved=(\d+-\d+).*\r\n", rb"Transport: interleaved=\1;RTP/AVP/TCP\r\n", head)
        if method == b"PLAY":
            head = header(header(head, b"Range", None), b"RTP-Info", None)
        return head, body

    def said_relative_info(self, method, head, body):
        return re.sub(rb"url=rtsp://[^/]+/[^/;]+/", b"url=", head), body

    def said_queries(self, method, head, body):
        if method == b"DESCRIBE" and body:
            base = re.search(rb"(?im)^content-base: *(\S+?)/?\r\n", head)[1]
            head = header(head, b"Content-Base", base + b"?" + QUERY)
            body = re.sub(rb"(?m)^a=control:(stream=\d+)", lambda c: b"a=control:" + base + b"/" + c[1] + b"?" + QUERY, body)
            body = re.sub(rb"(?m)^a=control:\*", b"a=control:" + base + b"?" + QUERY, body)
        return head, body

    def said_own_channels(self, method, head, body):
        asked = re.search(rb"(?im)^transport:.*interleaved=(\d+)-(\d+)", head)
        if method == b"SETUP" and asked:
            media, control = int(asked[1]), int(asked[2])
            # RTP on the odd one, and others than were asked for.
            theirs = (media + 21, media + 20)
            self.channels[bytes([media])], self.channels[bytes([control])] = bytes([theirs[0]]), bytes([theirs[1]])
            head = re.sub(rb"interleaved=\d+-\d+", b"interleaved=%d-%d" % theirs, head)
        return head, body

    def said_no_sets(self, method, head, body):
        return head, SETS.sub(b"", body)

    def said_no_base(self, method, head, body):
        return header(head, b"Content-Base", None), body

    def said_two_videos(self, method, head, body):
        if method == b"DESCRIBE" and body:
            small = b"m=video 0 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\na=fmtp:99 packetization-mode=1\r\na=control:small\r\n"
            body += small
        return head, body

    def said_loose_lines(self, method, head, body):
        head = re.sub(rb"^RTSP/1.0 200 OK", b"RTSP/1.0 200", head)
        return re.sub(rb"(?im)^session: *([^;\r\n]+).*(?=\r\n)", rb"Session:  \1 ; timeout = 30", head), body
