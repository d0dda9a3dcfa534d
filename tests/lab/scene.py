"""One scene, painted as a pure function of time: ground, sensor noise, a moving object, titles and the clock."""

import numpy

import clock

# Five columns by seven rows, a row a digit of base 32, most significant bit on the left.
GLYPHS = {
    "0": "ehjlphe", "1": "4c4444e", "2": "eh1248v", "3": "v2421he", "4": "26aiv22", "5": "vgu11he",
    "6": "68guhhe", "7": "v124888", "8": "ehhehhe", "9": "ehhf12c", "A": "ehhvhhh", "B": "uhhuhhu",
    "C": "ehggghe", "D": "sihhhis", "E": "vgguggv", "F": "vgguggg", "G": "ehgnhhf", "H": "hhhvhhh",
    "I": "e44444e", "J": "72222ic", "K": "hikokih", "L": "ggggggv", "M": "hrllhhh", "N": "hhpljhh",
    "O": "ehhhhhe", "P": "uhhuggg", "Q": "ehhhlid", "R": "uhhukih", "S": "fgge11u", "T": "v444444",
    "U": "hhhhhhe", "V": "hhhhha4", "W": "hhhllla", "X": "hha4ahh", "Y": "hhha444", "Z": "v1248gv",
    ":": "0cc0cc0", ".": "00000cc", "-": "000v000", " ": "0000000",
}  # fmt: skip

# Limited-range Cb and Cr of the ground, so that a viewer tells two sites apart at a glance.
TINTS = {"grey": (128, 128), "blue": (170, 110), "orange": (96, 160), "green": (105, 105)}


def glyph_mask(text, scale):
    """The pixels that `text` covers, one blank column between letters, as a boolean array."""
    rows = numpy.zeros((7, 6 * len(text)), dtype=bool)
    for index, letter in enumerate(text.upper()):
        for row, digit in enumerate(GLYPHS.get(letter, GLYPHS["-"])):
            for column in range(5):
                rows[row, 6 * index + column] = int(digit, 32) >> (4 - column) & 1
    return rows.repeat(scale, axis=0).repeat(scale, axis=1)


class Scene:
    """Paints frames of one size. Two scenes with the same arguments paint the same pictures."""

    def __init__(self, width, height, title="", tint="grey", noise=6):
        if width % 2 or height % 2:
            raise ValueError("4:2:0 pictures have even sides")
        self.width, self.height, self.title = width, height, title
        across = numpy.linspace(60, 150, width)
        down = numpy.linspace(0, 40, height)
        self.ground = (across[None, :] + down[:, None]).astype(numpy.uint8)
        random = numpy.random.default_rng(20260101)
        self.grain = [random.integers(0, noise + 1, (height, width), dtype=numpy.uint8) for _ in range(7 if noise else 0)]
        side = height // 5
        checks = numpy.add.outer(numpy.arange(side) // 6, numpy.arange(side) // 6) % 2
        self.object = numpy.where(checks, 225, 35).astype(numpy.uint8)
        self.text_scale = max(2, width // 240)
        self.title_mask = glyph_mask(title, self.text_scale * 3) if title else None
        cb, cr = TINTS[tint]
        quarter = (height // 2) * (width // 2)
        self.chroma = bytes([cb]) * quarter + bytes([cr]) * quarter

    def frame(self, epoch_ms):
        """The picture at `epoch_ms` as planar 4:2:0 bytes."""
        luma = self.ground.copy()
        if self.grain:
            luma += self.grain[epoch_ms // 40 % len(self.grain)]
        self._put_object(luma, epoch_ms)
        if self.title_mask is not None:
            self._put_text(luma, self.title_mask, self.height // 4)
        moment = clock.iso(epoch_ms)
        text = glyph_mask(f"{moment[:10]} {moment[11:]}", self.text_scale)
        self._put_text(luma, text, clock.STRIP_HEIGHT + 4 * self.text_scale)
        clock.paint(luma, epoch_ms)
        return luma.tobytes() + self.chroma

    def _put_object(self, luma, epoch_ms):
        """A chequered square crosses the lower half once in four seconds and bounces."""
        side = self.object.shape[0]
        span = self.width - side
        way = epoch_ms % 8000 * span // 4000
        left = way if way <= span else 2 * span - way
        top = self.height - side - self.height // 8
        luma[top : top + side, left : left + side] = self.object

    def _put_text(self, luma, mask, top):
        """Light letters on a dark box, centred."""
        height, width = mask.shape
        width = min(width, self.width)
        left = (self.width - width) // 2
        box = luma[top : top + height, left : left + width]
        box[:] = numpy.where(mask[: box.shape[0], :width], clock.WHITE, box // 3 + 10)


def tone(start_ms, samples, rate):
    """Signed 16-bit mono sound: a quiet hum, and a loud beep for the first tenth of every second of UTC."""
    at = numpy.arange(samples) + start_ms * rate // 1000
    beep = numpy.where(at % rate < rate // 10, 9000, 0) * numpy.sin(2 * numpy.pi * 880 * at / rate)
    hum = 300 * numpy.sin(2 * numpy.pi * 110 * at / rate)
    return (beep + hum).astype(numpy.int16)
