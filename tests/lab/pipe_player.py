#!/usr/bin/python3
"""A client that writes an elementary stream (H.264, Annex B) to its standard output, as a player: `pipe_player.py COMMAND...`.

Prints the lines of frames.py; lines of its standard error that begin with `[error]` come as events of that name.
"""

import subprocess
import sys
import threading

import annexb
import frames

CHUNK = 65536


def complaints(stream):
    for raw in stream:
        line = raw.decode(errors="replace").rstrip()
        if line.startswith("[error] "):
            frames.emit(event="error", text=line[8:])


def main():
    client = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    threading.Thread(target=frames.follow, args=(lambda _line: None, client.kill), daemon=True).start()
    reader = threading.Thread(target=complaints, args=(client.stderr,))
    reader.start()
    decoder = annexb.Decoder()
    while data := client.stdout.read(CHUNK):
        decoder.feed(data)
    decoder.finish()
    reader.join()
    code = client.wait()
    frames.emit(event="end", how="eos" if code == 0 else "error")


if __name__ == "__main__":
    main()
