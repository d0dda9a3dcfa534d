#!/usr/bin/env python3
"""Draws demo.svg, the picture of the README, from a run of the demo's script and two frames of its clips.

  proxy/demo/make_picture.py path/to/seamline        needs ffmpeg
"""
import base64
import pathlib
import subprocess
import sys
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).parent
COLOURS = {"█": "#4c9be8", "▓": "#e8a13c", "·": "#5c6370"}
TEXT, DIM, GOOD, BAD, PAPER = "#d7dae0", "#8a919e", "#7fc97f", "#e06c75", "#1b1f27"
WIDTH, ROW, CELL, TOP, LEFT = 900, 17, 7.83, 250, 24
FRAMES = [("primary", "20260101T120010Z.mp4", 3.5), ("secondary", "20260101T120010Z.mp4", 4.5)]


def frame(site, clip, second):
    """One picture of a clip as JPEG."""
    command = ["ffmpeg", "-v", "error", "-ss", str(second), "-i", HERE / site / clip, "-frames:v", "1"]
    command += ["-vf", "scale=384:-2", "-q:v", "5", "-f", "mjpeg", "-"]
    return base64.b64encode(subprocess.run(command, check=True, capture_output=True).stdout).decode()


def line(text, y):
    """One line of the terminal: runs of block characters as bars, the rest as text."""
    out, x = [], 0
    while x < len(text):
        end = x
        while end < len(text) and (text[end] if text[end] in COLOURS else " ") == (text[x] if text[x] in COLOURS else " "):
            end += 1
        left, run = LEFT + x * CELL, text[x:end]
        if run[0] in COLOURS and len(run) > 2:
            height = 3 if run[0] == "·" else ROW - 4
            out.append(f'<rect x="{left:.1f}" y="{y - height + 1 if height > 3 else y - 6:.1f}" width="{len(run) * CELL:.1f}"'
                       f' height="{height}" fill="{COLOURS[run[0]]}"/>')
        elif run.strip():
            colour = COLOURS.get(run[0], TEXT)
            if "kill -9" in text or "failed:" in text:
                colour = BAD
            elif "verdict" in text or "is back" in text:
                colour = GOOD
            elif "╷" in text or text.strip().startswith("rtsp://"):
                colour = DIM
            out.append(f'<text x="{left:.1f}" y="{y}" fill="{colour}" xml:space="preserve">{escape(run)}</text>')
        x = end
    return "".join(out)


def main():
    run = subprocess.run([sys.argv[1], "demo", "--script", "outage"], check=True, capture_output=True, text=True)
    lines = run.stdout.strip("\n").split("\n")
    height = TOP + ROW * (len(lines) + 1)
    body = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}"/>',
            '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13">']
    for index, (site, clip, second) in enumerate(FRAMES):
        x = LEFT + index * 430
        body.append(f'<image x="{x}" y="20" width="384" height="216" href="data:image/jpeg;base64,{frame(site, clip, second)}"/>')
    body.append(f'<text x="{LEFT + 395}" y="134" font-size="24" fill="{TEXT}">→</text>')
    body += [line(text, TOP + ROW * (row + 1)) for row, text in enumerate(lines)]
    body.append("</g></svg>")
    (HERE / "demo.svg").write_text("\n".join(body) + "\n")


main()
