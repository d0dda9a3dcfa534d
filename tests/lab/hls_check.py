#!/usr/bin/env python3
"""What RFC 8216bis demands of playlists and their segments, read by m3u8, a parser that this project did not write.

hls_check.py URL       of a multivariant playlist. Prints a line for each fault, then how many segments were looked at.
"""

import sys
import urllib.request
from datetime import timedelta

import m3u8

PLAYLIST = "application/vnd.apple.mpegurl"
HELD = {b"moof", b"traf", b"moov", b"trak", b"mdia", b"minf", b"stbl"}
# What EXTINF and the samples may be apart: playlists are made of what is known of the recordings, and each segment goes on to
# the first random access point behind its end. All segments together may be apart no further.
NEAR_S = 2.1
faults, apart = [], []


def fault(where, what):
    faults.append(f"{where}: {what}")


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers.get_content_type(), answer.read()


def boxes(data, at=0, end=None):
    """Each box of a file and of what is in it: its name and its body."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > end:
            fault("a file", f"box {name} of {size} bytes leaves it")
            return
        yield name, data[at + 8 : at + size]
        if name in HELD:
            yield from boxes(data, at + 8, at + size)
        at += size


def number(data, at, size=4):
    return int.from_bytes(data[at : at + size], "big")


def playlist(url):
    kind, text = fetch(url)
    if kind != PLAYLIST:
        fault(url, f"is {kind}")
    if text.startswith(b"\xef\xbb\xbf") or not text.startswith(b"#EXTM3U\n"):
        fault(url, "does not begin with #EXTM3U")
    return m3u8.loads(text.decode("utf-8"), uri=url)


def timescale(url):
    """The ticks a second of the first track of a head."""
    _, head = fetch(url)
    found = list(boxes(head))
    names = [name for name, _ in found]
    if b"moov" not in names or b"moof" in names:
        fault(url, f"is no head: {names}")
        return None
    mdhd = dict(reversed(found))[b"mdhd"]
    return number(mdhd, 20 if mdhd[0] == 1 else 12)


def run(body):
    """How long its samples are, and whether the first one is a sync sample, as far as a run says so itself."""
    flags, count, at, lasts, first = number(body, 1, 3), number(body, 4), 8, 0, None
    at += 4 * bool(flags & 1)
    if flags & 4:
        first = number(body, at)
        at += 4
    for nth in range(count):
        if flags & 0x100:
            lasts += number(body, at)
            at += 4
        at += 4 * bool(flags & 0x200)
        if flags & 0x400:
            if nth == 0 and first is None:
                first = number(body, at)
            at += 4
        at += 4 * bool(flags & 0x800)
    return lasts, first


def segment(url, ticks, duration, empty, independent):
    kind, data = fetch(url)
    if kind != "video/mp4":
        fault(url, f"is {kind}")
    lasts, first, track, leading = 0, None, None, None
    for name, body in boxes(data):
        if name == b"tfhd":
            track = number(body, 4)
            leading = track if leading is None else leading
        elif name == b"trun" and track == leading:
            length, sync = run(body)
            lasts += length
            first = sync if first is None else first
        elif name == b"moov":
            fault(url, "has a head in it")
    if leading is None:
        fault(url, "has no fragment")
    if empty:
        return len(data)
    if ticks and abs(lasts / ticks - duration) > NEAR_S:
        fault(url, f"EXTINF is {duration}, its samples last {lasts / ticks:.3f}")
    if independent and first is not None and first & 0x10000:
        fault(url, "EXT-X-INDEPENDENT-SEGMENTS, and it begins with no sync sample")
    apart.append(lasts / ticks - duration if ticks else 0)
    return len(data)


def main():
    top = playlist(sys.argv[1])
    if len(top.playlists) != 1:
        fault(sys.argv[1], "is no multivariant playlist of one")
    variant = top.playlists[0]
    media = playlist(variant.absolute_uri)
    gaps = [segment.gap_tag for segment in media.segments]
    if int(media.version or 1) < (8 if any(gaps) else 6):
        fault("EXT-X-VERSION", f"is {media.version}")
    if media.playlist_type == "vod" and not media.is_endlist:
        fault("EXT-X-PLAYLIST-TYPE", "VOD without EXT-X-ENDLIST")
    expected, heads, peak = None, {}, 0
    for each in media.segments:
        where = each.uri
        if each.duration is None or round(each.duration) > media.target_duration:
            fault(where, f"{each.duration} s, target {media.target_duration}")
        told = each.program_date_time
        if told and expected and not each.discontinuity and abs(told - expected) > timedelta(milliseconds=1):
            fault(where, f"EXT-X-PROGRAM-DATE-TIME {told}, expected {expected}")
        expected = told or expected
        if expected is None:
            fault(where, "has no date")
        else:
            expected += timedelta(seconds=each.duration)
        if each.init_section is None and not each.gap_tag:
            fault(where, "has no EXT-X-MAP")
            continue
        ticks = None
        if each.init_section is not None:
            head = each.init_section.absolute_uri
            if head not in heads:
                heads[head] = timescale(head)
                if len(heads) > 1 and not each.discontinuity:
                    fault(where, "another head without EXT-X-DISCONTINUITY")
            ticks = heads[head]
        size = segment(each.absolute_uri, ticks, each.duration, each.gap_tag, media.is_independent_segments)
        if each.duration >= media.target_duration / 2:
            peak = max(peak, size * 8 / each.duration)
    if peak > variant.stream_info.bandwidth:
        fault("BANDWIDTH", f"is {variant.stream_info.bandwidth}, a segment has {peak:.0f}")
    if abs(sum(apart)) > NEAR_S:
        fault("EXTINF", f"all are {-sum(apart):.3f} s longer than their samples")
    for line in faults:
        print(line)
    print(f"{len(media.segments)} segments, {len(heads)} heads, {sum(map(bool, gaps))} gaps, {len(faults)} faults")
    sys.exit(bool(faults))


main()
