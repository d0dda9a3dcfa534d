"""How the lab's programs talk to a test: a JSON object a line for each picture, error and end; commands on standard input."""

import hashlib
import json
import os
import stat
import sys
import time

import clock


def picture(luma, stride, width, height, **times):
    """A decoded picture: its burned-in clock, what it looks like, and when it arrived here (monotonic)."""
    rows = luma if stride == width else b"".join(luma[row * stride : row * stride + width] for row in range(height))
    seen = {"clock_ms": clock.read(luma, stride, width), "md5": hashlib.md5(rows[: width * height]).hexdigest()}
    emit(event="picture", **times, **seen)


def emit(**fields):
    """One line, stamped with the monotonic clock that all processes of a machine share."""
    line = json.dumps({**fields, "arrival_ns": time.monotonic_ns()}) + "\n"
    try:
        os.write(1, line.encode())
    except BrokenPipeError:
        os._exit(0)


def follow(obey, at_end=None):
    """Calls `obey` for each line of standard input. The end of a pipe is the end of the test: it ends this process."""
    for line in sys.stdin:
        obey(line)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        if at_end:
            at_end()
        os._exit(0)
