"""The burned-in clock: UTC milliseconds as a strip of black and white cells, and the time notations of the lab.

The strip lies along the top edge: white, black, 41 bits of milliseconds since 1970 (most significant first), even parity.
A cell is as wide as a 44th of the picture (whole pixels) and STRIP_HEIGHT high, so a reader needs the width alone.
"""

import datetime

BITS = 41
CELLS = BITS + 3
STRIP_HEIGHT = 16
BLACK, WHITE = 16, 235
MIDDLE = (BLACK + WHITE) // 2
NTP_EPOCH_S = 2_208_988_800


def cell_width(width):
    """Pixels of one cell in a picture of this width."""
    cell = width // CELLS
    if cell < 4:
        raise ValueError(f"a picture {width} wide is too narrow for the clock strip")
    return cell


def paint(luma, epoch_ms):
    """Burns `epoch_ms` into a luma plane (a two-dimensional numpy array)."""
    cell = cell_width(luma.shape[1])
    bits = [(epoch_ms >> shift) & 1 for shift in range(BITS - 1, -1, -1)]
    for position, bit in enumerate([1, 0, *bits, sum(bits) & 1]):
        luma[:STRIP_HEIGHT, position * cell : (position + 1) * cell] = WHITE if bit else BLACK


def read(plane, stride, width):
    """The clock of a luma plane given as bytes, or None where the strip is damaged."""
    cell = cell_width(width)
    row = STRIP_HEIGHT // 2 * stride
    cells = [plane[row + position * cell + cell // 2] > MIDDLE for position in range(CELLS)]
    bits = cells[2:-1]
    if not cells[0] or cells[1] or sum(bits) & 1 != cells[-1]:
        return None
    value = 0
    for bit in bits:
        value = value << 1 | bit
    return value


def parse_iso(text):
    """Milliseconds since 1970 of an ISO 8601 time in UTC."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text} names no time zone")
    return round(moment.timestamp() * 1000)


def iso(epoch_ms):
    """`2026-01-01T12:00:00.040Z` of milliseconds since 1970."""
    moment = datetime.datetime.fromtimestamp(epoch_ms / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(epoch_ms) % 1000:03d}Z"
