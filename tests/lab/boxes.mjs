// What mp4box.js makes of a file: boxes.mjs <folder of mp4box> <file> ...      Several files are read as one, a head and its segments.
// Prints a line of JSON: its tracks with the samples that could be taken out of it, and all that was found odd.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [library, ...paths] = process.argv.slice(2);
const { Log, createFile } = await import(pathToFileURL(resolve(library, "dist/mp4box.all.mjs")));

const odd = [];
Log.error = (where, what) => odd.push(`${where}: ${what}`);

const data = Buffer.concat(paths.map((path) => readFileSync(path)));
const file = createFile(true);
file.onError = (where, what) => odd.push(`${where}: ${what}`);
let tracks = [];
file.onReady = (info) => {
  tracks = info.tracks.map(({ id, codec }) => ({ id, codec, samples: 0, bytes: 0, first: null, last: null }));
  for (const track of tracks) file.setExtractionOptions(track.id, null, { nbSamples: 1000 });
  file.start();
};
file.onSamples = (id, _, samples) => {
  const track = tracks.find((track) => track.id === id);
  for (const sample of samples) {
    if (sample.data.length !== sample.size) odd.push(`a sample of ${sample.data.length} bytes, not ${sample.size}`);
    if (track.last !== null && sample.dts <= track.last) odd.push(`decoded at ${sample.dts} after ${track.last}`);
    track.first ??= sample.dts;
    track.last = sample.dts;
    track.samples += 1;
    track.bytes += sample.size;
  }
};
const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
buffer.fileStart = 0;
file.appendBuffer(buffer, true);
file.flush();

// From the first byte to the last, and none of them in two.
let end = 0;
for (const box of file.boxes) {
  if (box.start !== end) odd.push(`${box.type} begins at ${box.start}, not at ${end}`);
  end = box.start + box.size;
}
if (end !== data.length) odd.push(`boxes end at ${end} of ${data.length}`);
const within = (boxes) => {
  for (const box of boxes) {
    if (box.has_unparsed_data) odd.push(`${box.type} has more than it should`);
    if (box.boxes) within(box.boxes);
  }
};
within(file.boxes);
console.log(JSON.stringify({ tracks, odd }));
