#!/usr/bin/python3
"""Chromium as a player: opens a page, plays a video in it, and reads the burned-in clock of every picture that it presents.

Prints the lines of frames.py: `pts_ms` is the picture's media time, `md5` is always empty, since what a canvas gives is no decoder's output; besides, `ahead_ms` is how much it had behind
the picture, and `decoded` how many it had decoded. With
--video, the page is used only for its origin: its body becomes one video element with that source; with --script besides, which is hls.js, the
source is a playlist that the script plays. What the page logs as an error, and what fails in the video, come as errors. Commands on standard input: `seek <seconds>`, `do <script>`, `shot <file>`, `stop`; each is answered by {"event": "done"},
`do` by {"event": "value"} with what the script came to.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile

import websockets

import frames

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0",
    "--window-size=1000,760",
]  # fmt: skip

# Runs in the page before its own scripts: every video that appears is watched.
WATCH = """
(() => {
  const tell = (event) => window.seamlineSeen(JSON.stringify(event));
  const canvas = document.createElement('canvas');
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const clock = (video) => {
    const width = video.videoWidth, cell = Math.floor(width / 44);
    canvas.width = width; canvas.height = 16;
    pen.drawImage(video, 0, 0, width, 16, 0, 0, width, 16);
    const row = pen.getImageData(0, 8, width, 1).data;
    const bits = [...Array(44).keys()].map((at) => row[4 * (at * cell + (cell >> 1)) + 1] > 125 ? 1 : 0);
    const time = bits.slice(2, 43);
    const parity = time.reduce((sum, bit) => sum ^ bit, 0);
    return bits[0] === 1 && bits[1] === 0 && parity === bits[43] ? time.reduce((value, bit) => 2 * value + bit, 0) : null;
  };
  const watch = (video) => {
    if (video.seamlineWatched) return;
    video.seamlineWatched = true;
    const seen = (now, shown) => {
      video.requestVideoFrameCallback(seen);
      let clock_ms = null;
      try { clock_ms = clock(video); } catch (error) { tell({ event: 'error', text: String(error) }); }
      const at = video.currentTime, held = [...Array(video.buffered.length).keys()];
      const ahead_ms = 1000 * Math.max(0, ...held.filter((nth) => video.buffered.start(nth) <= at).map((nth) => video.buffered.end(nth) - at));
      const decoded = video.getVideoPlaybackQuality().totalVideoFrames;
      tell({ event: 'picture', clock_ms, md5: '', pts_ms: shown.mediaTime * 1000, ahead_ms, decoded });
    };
    video.requestVideoFrameCallback(seen);
    video.addEventListener('error', () => tell({ event: 'error', text: 'video: ' + (video.error && video.error.message) }));
    video.addEventListener('ended', () => tell({ event: 'end', how: 'eos' }));
    video.addEventListener('waiting', () => tell({ event: 'waiting', at: video.currentTime }));
  };
  new MutationObserver(() => document.querySelectorAll('video').forEach(watch)).observe(document, { childList: true, subtree: true });
})();
"""

PLAY = """
document.body.innerHTML = '<video style="width: 100%%" muted autoplay playsinline></video>';
document.querySelector('video').src = %s;
"""

# What is not fatal the player mends by itself: whether anything was to be seen of it, the pictures tell.
PLAY_HLS = """
document.body.innerHTML = '<video style="width: 100%%" muted autoplay playsinline></video>';
window.player = new Hls();
player.on(Hls.Events.ERROR, (name, what) => seamlineSeen(JSON.stringify({
  event: what.fatal ? 'error' : 'warning', text: 'hls.js: ' + what.details + ' ' + (what.error ? what.error.message : ''),
})));
player.loadSource(new URL(%s, location.href).href);
player.attachMedia(document.querySelector('video'));
"""


class Page:
    """A tab, by the DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.last, self.waiting = socket, 0, {}

    async def call(self, method, **parameters):
        self.last += 1
        answer = self.waiting[self.last] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": self.last, "method": method, "params": parameters}))
        return await answer

    async def run(self, script):
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, userGesture=True, returnByValue=True)
        if "exceptionDetails" in answer:
            frames.emit(event="error", text=json.dumps(answer["exceptionDetails"])[:500])
        return answer.get("result", {}).get("value")

    async def listen(self):
        async for message in self.socket:
            message = json.loads(message)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message.get("result", {}))
            elif message["method"] == "Runtime.bindingCalled":
                frames.emit(**json.loads(message["params"]["payload"]))
            elif message["method"] == "Runtime.exceptionThrown":
                frames.emit(event="error", text=json.dumps(message["params"]["exceptionDetails"])[:500])
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                entry = message["params"]["entry"]
                frames.emit(event="warning", text=f"{entry['text']} {entry.get('url', '')}")


async def obey(page, line):
    word, _, rest = line.strip().partition(" ")
    if word == "seek":
        await page.run(f"document.querySelector('video').currentTime = {float(rest)}")
    elif word == "do":
        frames.emit(event="value", value=await page.run(rest))
        return
    elif word == "shot":
        picture = await page.call("Page.captureScreenshot", format="png")
        with open(rest, "wb") as file:
            file.write(base64.b64decode(picture["data"]))
    frames.emit(event="done")


async def play(a, folder):
    port_file = os.path.join(folder, "DevToolsActivePort")
    for _ in range(400):
        if os.path.exists(port_file) and len(open(port_file).read().split()) == 2:
            break
        await asyncio.sleep(0.05)
    port, path = open(port_file).read().split()
    async with websockets.connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as browser:
        root = Page(browser)
        listening = asyncio.ensure_future(root.listen())
        target = (await root.call("Target.createTarget", url="about:blank"))["targetId"]
        async with websockets.connect(f"ws://127.0.0.1:{port}/devtools/page/{target}", max_size=None) as socket:
            page = Page(socket)
            reading = asyncio.ensure_future(page.listen())
            for domain in ["Page", "Runtime", "Log"]:
                await page.call(f"{domain}.enable")
            await page.call("Runtime.addBinding", name="seamlineSeen")
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
            await page.call("Page.navigate", url=a.page)
            for _ in range(200):
                if await page.run("document.readyState") == "complete" and await page.run("location.href") != "about:blank":
                    break
                await asyncio.sleep(0.05)
            if a.script:
                with open(a.script) as script:
                    await page.run(script.read())
                await page.run(PLAY_HLS % json.dumps(a.video))
            elif a.video:
                await page.run(PLAY % json.dumps(a.video))
            frames.emit(event="ready", url=a.page)
            loop = asyncio.get_running_loop()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                if line.strip() == "stop":
                    break
                await obey(page, line)
            reading.cancel()
        listening.cancel()
    frames.emit(event="end", how="stopped")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page")
    parser.add_argument("--video", help="source of a video element")
    parser.add_argument("--script", help="a file: hls.js")
    a = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="chromium-")
    browser = subprocess.Popen(["/usr/bin/chromium", *FLAGS, f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(play(a, folder))
    finally:
        browser.terminate()
        browser.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
