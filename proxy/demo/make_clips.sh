#!/bin/bash
# Makes the clips of `seamline demo` anew: one minute of the camera `gate` from 2026-01-01T12:00:00Z, as two sites hold it.
#
#   proxy/demo/<site>/<UTC of the first picture>.mp4      480x270, 25 pictures/s, H.264 and AAC, about ten seconds a file
#
# The pictures show the site's name, the time of day and the machine-readable clock of tests/lab/clock.py; a beep marks
# every full second. The sites differ as two recorders do: profile, group length, rate. Each lacks one file, so that a
# playback has to change sites twice.
#
# Sound is one stream that runs through all files of a site: in each file its first frame starts a little after the first
# picture, and an edit list says by how much.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_site() { # name missing-file options...
  local site=$1 missing=$2 made
  shift 2
  made=$(/usr/bin/python3 ../../tests/lab/footage.py --cache "$work" --container mp4 --title "$site" --size 480x270 \
    --start 2026-01-01T12:00:00Z --seconds 60 --segment 10 --noise 0 --audio aac --audio-rate 16000 --audio-bitrate 24 "$@")
  rm -rf "$site"
  mkdir "$site"
  cp "$made"/*.mp4 "$site/"
  rm "$site/$missing"
}

make_site primary 20260101T120020Z.mp4 --profile high --gop 25 --phase 25 --crf 27 --tint blue
make_site secondary 20260101T120040Z.mp4 --profile main --gop 50 --phase 50 --crf 30 --tint orange
du -cb -- */*.mp4 | tail -n 1
