#!/bin/sh
# Sets up, builds, and answers a question about a picture.
# Usage: scripts/demo.sh [MODEL [IMAGE [PROMPT]]]
#
# Until a trained default model ships, MODEL is a tiny FastVLM checkpoint with random weights, made on the spot: it shows the whole
# way from JPEG to text, not sense. BUILD=folder chooses the build folder.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
image=${2:-doc/demo.jpg}
prompt=${3:-Describe this image.}
scripts/setup.sh
test -e "$build/build.ninja" || meson setup "$build" >/dev/null
ninja -C "$build" eyelet test/support/make_checkpoint | tail -1
model=${1:-}
if [ -z "$model" ]; then
    model=$build/tiny
    "$build/test/support/make_checkpoint" --size tiny -o "$model"
    echo "demo: $model has random weights: expect random words"
fi
echo "demo: $build/eyelet run -m $model -i $image -p \"$prompt\" -n 32"
exec "$build/eyelet" run -m "$model" -i "$image" -p "$prompt" -n 32
