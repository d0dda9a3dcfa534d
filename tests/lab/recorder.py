#!/usr/bin/python3
"""A recorder with ONVIF replay: GStreamer's RTSP server speaks the protocol, this program feeds it stored frames.

Prints one JSON object a line: {"event": "ready", "url": ...} once it listens, then every DESCRIBE and PLAY it is asked.
It obeys lines on its standard input, each answered by {"event": "done"}:

    refuse <connect|describe|setup|play> <status>    answers that request with the status (`connect` hangs up at once)
    wrong <start|other-hour|live>                     ignores the asked time: plays from its first frame, an hour later
                                                      than asked by its stamps, or as if it were a camera
    stall                                             keeps every session but sends no more media; a new play gets one picture
    heal                                              as at the start
    sessions                                          answers {"event": "sessions", "count": ...} first: those that are open
"""

import argparse
import signal
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402

import clock  # noqa: E402
import frames  # noqa: E402
import store  # noqa: E402

# "No stop" of a seek, as nanoseconds.
FAR = 1 << 62

# Where the C, E, D and T bits are in a packet of rtponviftimestamp: RTP header, extension header, NTP time.
FLAGS_AT = 12 + 4 + 8

# A packet whose bits this program has set; nothing else in these pipelines uses the flag.
MARKED = Gst.BufferFlags.DECODE_ONLY


class Faults:
    """What is wrong with this recorder at the moment."""

    def __init__(self, wrong=None, refuse=None):
        self.wrong, self.refuse, self.stalled = wrong, dict(refuse or {}), False

    def obey(self, line):
        words = line.split()
        if words[:1] == ["refuse"] and len(words) == 3:
            self.refuse[words[1]] = int(words[2])
        elif words[:1] == ["wrong"] and len(words) == 2:
            self.wrong = words[1]
        elif words == ["stall"]:
            self.stalled = True
        elif words == ["heal"]:
            self.__init__()
        else:
            frames.emit(event="error", text=line)
            return
        frames.emit(event="done", line=line)

    def status(self, method):
        return GstRtsp.RTSPStatusCode(self.refuse.get(method, 200))


class Edge:
    """The growing end of a recording: nothing is stored yet after it, and it moves with the wall clock."""

    def __init__(self, at):
        self.at, self.since = at, time.monotonic_ns()

    def wait_ns(self, pts):
        """Nanoseconds until `pts` is stored, at most 0 when it is."""
        return pts - self.at - (time.monotonic_ns() - self.since)


class Feeder:
    """One track of one session: turns the server's seeks into frames for its appsrc."""

    def __init__(self, recorder, kind, source):
        self.recorder, self.kind, self.source = recorder, kind, source
        self.lock = threading.Lock()
        self.wish = (1.0, 0, recorder.store.start, FAR, 0)
        self.edge, self.generation = recorder.edge, 0
        source.set_property("format", Gst.Format.TIME)
        source.set_property("stream-type", GstApp.AppStreamType.SEEKABLE)
        source.set_property("handle-segment-change", True)
        source.set_property("max-bytes", 1_000_000)
        source.set_property("duration", recorder.store.end)
        source.connect("need-data", self.on_need)
        source.connect("seek-data", self.on_seek)
        # appsrc tells the start of a seek alone; rate, stop and trick mode are in the event.
        source.get_static_pad("src").add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self.on_event)
        self.section_ends = set()
        self.rewind()

    def on_event(self, _pad, info):
        event = info.get_event()
        if event.type == Gst.EventType.SEEK:
            rate, _, flags, _, start, _, stop = event.parse_seek()
            self.wish = (rate, int(flags), start, stop if stop > 0 else FAR, event.parse_seek_trickmode_interval())
        return Gst.PadProbeReturn.OK

    def on_seek(self, _source, _start):
        self.rewind()
        return True

    def rewind(self):
        rate, _, start, stop, _ = self.wish
        stored, wrong = self.recorder.store, self.recorder.faults.wrong
        with self.lock:
            self.generation += 1
            self.shift, self.first, self.last_key, self.over, self.pending, self.began = 0, True, None, False, None, None
            begin = stored.start if wrong in ("start", "live") else max(start, stored.start)
            if rate < 0:
                self.frames = stored.backward(min(stop, stored.end)) if self.kind == "video" else iter(())
                return
            if wrong == "other-hour":
                self.shift = 3600 * store.SECOND
            elif wrong == "live":
                now = store.from_ms(time.time_ns() // store.MS)
                self.shift, self.edge = now - begin, Edge(begin)
                self.wish = (rate, 0, begin, FAR, 0)
            self.frames = stored.forward(self.kind, begin)

    def on_need(self, _source, _bytes):
        with self.lock:
            self.feed(self.generation)

    def later(self, generation):
        with self.lock:
            if generation == self.generation:
                self.feed(generation)
        return GLib.SOURCE_REMOVE

    def feed(self, generation):
        """Pushes one frame, or the end; waits for a frame that is not stored yet. The lock is held."""
        if self.over or (self.recorder.faults.stalled and not self.first):
            return
        frame, self.pending = self.pending or self.next_frame(), None
        if frame is None:
            self.over = True
            self.source.emit("end-of-stream")
            return
        wait_ns = max(self.edge.wait_ns(frame.pts) if self.edge else 0, self.too_fast_ns(frame.pts))
        if wait_ns > 0:
            self.pending = frame
            GLib.timeout_add(wait_ns // store.MS + 1, self.later, generation)
            return
        self.push(frame)

    def too_fast_ns(self, pts):
        """Nanoseconds until `pts` may go out where the recorder is slow."""
        speed, now = self.recorder.speed_max, time.monotonic_ns()
        if not speed:
            return 0
        self.began = self.began or (now, pts)
        return int((pts - self.began[1]) / speed) - (now - self.began[0])

    def next_frame(self):
        rate, flags, start, stop, interval = self.wish
        keys_only = flags & int(Gst.SeekFlags.TRICKMODE_KEY_UNITS)
        for frame in self.frames:
            if (rate > 0 and frame.dts >= stop) or (rate < 0 and frame.pts < start):
                return None
            if keys_only and self.kind == "video":
                if not frame.key or (interval and self.last_key is not None and abs(frame.pts - self.last_key) < interval):
                    continue
                self.last_key = frame.pts
            return frame
        return None

    def push(self, frame):
        rate, flags, start, stop, _ = self.wish
        buffer = Gst.Buffer.new_wrapped(frame.data)
        buffer.pts = frame.pts + self.shift
        if rate > 0:
            buffer.dts = frame.dts + self.shift
        if frame.duration:
            buffer.duration = frame.duration
        if not frame.key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        if frame.before_gap:
            self.section_ends.add(buffer.pts)
        if frame.after_gap and not self.first:
            buffer.set_flags(Gst.BufferFlags.DISCONT)
        if not self.first:
            self.source.emit("push-buffer", buffer)
            return
        self.first = False
        segment = Gst.Segment()
        segment.init(Gst.Format.TIME)
        segment.rate = rate
        segment.flags = Gst.SegmentFlags(flags & int(Gst.SegmentFlags.TRICKMODE | Gst.SegmentFlags.TRICKMODE_KEY_UNITS))
        stored = self.recorder.store
        if rate > 0:
            segment.start = segment.position = segment.time = self.origin(frame) + self.shift
            segment.stop = (stop if stop < FAR else max(stored.end, frame.pts + store.SECOND)) + self.shift
        else:
            segment.start = segment.time = max(start, stored.start)
            segment.stop = segment.position = max(min(stop, stored.end), frame.pts + frame.duration)
        self.source.push_sample(Gst.Sample.new(buffer, self.source.get_property("caps"), segment, None))

    def origin(self, frame):
        """Where the play's timeline begins: the same for both tracks, or sound and picture would drift apart."""
        if self.kind == "video":
            return min(frame.pts, frame.dts)
        begin = self.wish[2] if self.recorder.faults.wrong not in ("start", "live") else self.recorder.store.start
        entry = self.recorder.store.entry(max(begin, self.recorder.store.start))
        picture = self.recorder.store.video[entry]
        return min(frame.pts, picture.pts, picture.dts)

    def on_packet(self, pad, info):
        """Sets the E bit at the end of a section, which rtponviftimestamp does at the end of all only."""
        packet = info.get_buffer()
        if packet.pts not in self.section_ends or packet.has_flags(MARKED):
            return Gst.PadProbeReturn.OK
        flags = packet.extract_dup(FLAGS_AT, 1)[0]
        marked = packet.copy_deep()
        marked.fill(FLAGS_AT, bytes([flags | 0x40]))
        marked.set_flags(MARKED)
        pad.push(marked)
        return Gst.PadProbeReturn.DROP


def track(codec, payload_type, recorder):
    """(caps of the frames, payloader) of a codec."""
    mtu, aggregate = recorder.mtu, recorder.aggregate
    audio = f"rate={codec.rate},channels={codec.channels}"
    stap = "max-stap" if aggregate == "max" else aggregate
    return {
        "h264": ("video/x-h264,stream-format=byte-stream,alignment=au", f"h264parse ! rtph264pay pt={payload_type} mtu={mtu} config-interval=0 aggregate-mode={stap}"),
        "hevc": ("video/x-h265,stream-format=byte-stream,alignment=au", f"h265parse ! rtph265pay pt={payload_type} mtu={mtu} config-interval=0 aggregate-mode={aggregate}"),
        "mjpeg": (f"image/jpeg,width={codec.width},height={codec.height},framerate=25/1", f"rtpjpegpay mtu={mtu}"),
        "opus": (f"audio/x-opus,channel-mapping-family=0,{audio}", f"rtpopuspay pt={payload_type} mtu={mtu}"),
        "pcm_mulaw": (f"audio/x-mulaw,{audio}", f"rtppcmupay pt=0 mtu={mtu}"),
        "aac": (f"audio/mpeg,mpegversion=4,stream-format=raw,{audio},codec_data=(buffer){codec.extradata.hex()}", f"rtpmp4gpay pt={payload_type} mtu={mtu}"),
    }[codec.name]


class Factory(GstRtspServer.RTSPOnvifMediaFactory):
    """Makes the pipeline of one session."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder
        self.set_shared(False)
        self.set_media_gtype(GstRtspServer.RTSPOnvifMedia.__gtype__)
        # Without it every `Require: onvif-replay` is answered 551.
        self.set_replay_support(True)

    def do_create_element(self, _url):
        top, feeders = Gst.Bin.new(None), []
        for number, kind in enumerate(sorted(self.recorder.store.codecs, reverse=True)):
            caps, payloader = track(self.recorder.store.codecs[kind], 96 + number, self.recorder)
            source = Gst.ElementFactory.make("appsrc", f"source{number}")
            source.set_property("caps", Gst.Caps.from_string(caps))
            stamp = f"rtponviftimestamp name=stamp{number} ntp-offset=0 set-e-bit=true set-t-bit=true drop-out-of-segment=false"
            # identity takes the packets out of their lists, so that each can be looked at.
            pay = Gst.parse_bin_from_description(f"queue ! {payloader} ! identity ! {stamp} ! queue max-size-buffers=0", True)
            pay.set_name(f"pay{number}")
            stamper = pay.get_by_name(f"stamp{number}")
            stamper.set_clock(Gst.SystemClock.obtain())
            top.add(source)
            top.add(pay)
            source.link(pay)
            feeder = Feeder(self.recorder, kind, source)
            stamper.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, feeder.on_packet)
            feeders.append(feeder)
        self.recorder.keep(feeders)
        return top


class Recorder:
    """The server, its one camera and its faults."""

    def __init__(self, a):
        hidden = [tuple(map(clock.parse_iso, pair.split(","))) for pair in a.hide]
        self.store = store.Store(a.footage, hidden, a.clock_offset_ms, not a.no_audio)
        self.faults = Faults(a.wrong, dict((method, int(status)) for method, status in (pair.split("=") for pair in a.refuse)))
        self.edge = Edge(store.from_ms(clock.parse_iso(a.edge) + a.clock_offset_ms)) if a.edge else None
        self.mtu, self.aggregate, self.speed_max = a.mtu, a.aggregate, a.speed_max
        self.alive = []
        self.server = GstRtspServer.RTSPOnvifServer.new()
        self.server.set_address("127.0.0.1")
        self.server.set_service(str(a.port))
        factory = Factory(self)
        if a.user:
            self.demand_password(factory, *a.user.split(":", 1))
        if a.certificate:
            self.speak_tls(factory, a.certificate, a.key)
        self.server.get_mount_points().add_factory(f"/{a.camera}", factory)
        self.server.connect("client-connected", self.on_client)
        if not self.server.attach(None):
            raise SystemExit(f"cannot listen on port {a.port}")
        scheme = "rtsps" if a.certificate else "rtsp"
        self.url = f"{scheme}://127.0.0.1:{self.server.get_bound_port()}/{a.camera}"
        GLib.timeout_add_seconds(2, lambda: self.server.get_session_pool().cleanup() >= 0)

    def keep(self, feeders):
        """Holds the feeders of the latest sessions, which nothing in GStreamer does."""
        self.alive = (self.alive + feeders)[-256:]

    def speak_tls(self, factory, certificate, key):
        auth = self.server.get_auth()
        if not auth:
            # With an auth somebody must be let in.
            auth = GstRtspServer.RTSPAuth.new()
            token = GstRtspServer.RTSPToken.new()
            token.set_string("media.factory.role", "viewer")
            auth.set_default_token(token)
            self.let_in(factory)
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(certificate, key))
        self.server.set_auth(auth)

    def demand_password(self, factory, user, password):
        auth = GstRtspServer.RTSPAuth.new()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken.new()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(user, password, token)
        self.server.set_auth(auth)
        self.let_in(factory)

    def let_in(self, factory):
        rights = GstRtspServer.RTSPPermissions.new()
        rights.add_role("viewer")
        for right in ("access", "construct"):
            rights.add_permission_for_role("viewer", f"media.factory.{right}", True)
        factory.set_permissions(rights)

    def obey(self, line):
        if line.strip() == "sessions":
            frames.emit(event="sessions", count=self.server.get_session_pool().get_n_sessions())
            frames.emit(event="done", line=line)
            return
        self.faults.obey(line)

    def on_client(self, _server, client):
        if "connect" in self.faults.refuse:
            client.close()
            return
        client.connect("pre-describe-request", self.before, "describe")
        client.connect("pre-setup-request", self.before, "setup")
        client.connect("pre-play-request", self.before_play)

    def before(self, _client, _context, method):
        if method == "describe":
            frames.emit(event="describe")
        return self.faults.status(method)

    def before_play(self, _client, context):
        header = lambda field: (lambda found: found[1] if found[0] == GstRtsp.RTSPResult.OK else "")(context.request.get_header(field, 0))
        asked, scale = header(GstRtsp.RTSPHeaderField.RANGE), header(GstRtsp.RTSPHeaderField.SCALE)
        frames.emit(event="play", range=asked, scale=scale, require=header(GstRtsp.RTSPHeaderField.REQUIRE), rate_control=header(GstRtsp.RTSPHeaderField.RATE_CONTROL))
        status = self.faults.status("play")
        # A seek that leaves nothing to play aborts the whole server, so it never gets that far.
        if status == GstRtsp.RTSPStatusCode.OK and not self.playable(asked, scale.startswith("-")):
            return GstRtsp.RTSPStatusCode.INVALID_RANGE
        return status

    def playable(self, asked, reverse):
        if not asked.startswith("clock="):
            return True
        try:
            start, stop = (clock_ns(text) for text in (asked[6:].split(";")[0] + "-").split("-")[:2])
        except ValueError:
            return False
        if start is None:
            return False
        if reverse:
            return start > self.store.start and (stop is None or stop < start)
        if start >= self.store.end or (stop is not None and stop <= start):
            return False
        entry = self.store.video[self.store.entry(max(start, self.store.start))]
        return stop is None or entry.dts < stop


def clock_ns(text):
    """`20260101T120000.25Z` as nanoseconds since 1900, None when empty."""
    if not text:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    year, rest = whole[:4], whole[4:]
    # GStreamer's first PLAY names 1900, which Unix time cannot.
    if int(year) < 1970:
        return 0
    ms = clock.parse_iso(f"{year}-{rest[:2]}-{rest[2:4]}T{rest[5:7]}:{rest[7:9]}:{rest[9:11]}Z")
    return store.from_ms(ms) + int((fraction + "0" * 9)[:9])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", help="folder made by footage.py")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--camera", default="cam1")
    parser.add_argument("--user", metavar="NAME:PASSWORD", help="demand Digest")
    parser.add_argument("--certificate", help="speak TLS alone, with this (PEM)")
    parser.add_argument("--key", help="of the certificate")
    parser.add_argument("--hide", action="append", default=[], metavar="FROM,TO", help="nothing was recorded then (true time)")
    parser.add_argument("--clock-offset-ms", type=int, default=0, help="how far this recorder's clock is ahead of true time")
    parser.add_argument("--edge", metavar="TIME", help="still recording: this instant (true time) is now")
    parser.add_argument("--speed-max", type=float, help="media seconds a second, as a busy recorder has it")
    parser.add_argument("--refuse", action="append", default=[], metavar="METHOD=STATUS")
    parser.add_argument("--wrong", choices=["start", "other-hour", "live"])
    parser.add_argument("--no-audio", action="store_true")
    parser.add_argument("--mtu", type=int, default=1400)
    parser.add_argument("--aggregate", choices=["none", "zero-latency", "max"], default="none")
    a = parser.parse_args()
    Gst.init(None)
    recorder = Recorder(a)
    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    threading.Thread(target=frames.follow, args=(lambda line: GLib.idle_add(recorder.obey, line),), daemon=True).start()
    spans = [[store.iso(start), store.iso(end)] for start, end in recorder.store.spans]
    frames.emit(event="ready", url=recorder.url, recorded=spans, codecs={kind: codec.name for kind, codec in recorder.store.codecs.items()})
    loop.run()


if __name__ == "__main__":
    main()
