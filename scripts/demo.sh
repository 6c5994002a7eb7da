#!/bin/sh
# Sets up, builds, and says what is in a picture.
# Usage: scripts/demo.sh [MODEL [IMAGE [PROMPT]]]
#
# Without MODEL it is the default one, models/captioner.gguf. Where that is not there, a tiny FastVLM checkpoint with random weights is
# made on the spot: it shows the whole way from JPEG to text, not sense. BUILD=folder chooses the build folder.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
scripts/setup.sh
if [ ! -e "$build/build.ninja" ]; then
    meson setup "$build" >/dev/null
elif [ -e models/captioner.gguf ] && [ ! -e "$build/captioner.gguf" ]; then
    meson setup --reconfigure "$build" >/dev/null # the model came after the build folder
fi
show() { # arguments of eyelet
    echo "demo: $build/eyelet $*"
    exec "$build/eyelet" "$@"
}
if [ $# -gt 0 ]; then
    ninja -C "$build" eyelet | tail -1
    show run -m "$1" -i "${2:-doc/demo.jpg}" -p "${3:-Describe this image.}" -n 32
elif [ -e models/captioner.gguf ]; then
    ninja -C "$build" eyelet captioner.gguf | tail -1
    show run -i doc/demo.jpg
fi
ninja -C "$build" eyelet test/support/make_checkpoint | tail -1
"$build/test/support/make_checkpoint" --size tiny -o "$build/tiny"
echo "demo: $build/tiny has random weights: expect random words"
show run -m "$build/tiny" -i doc/demo.jpg -p "Describe this image." -n 32
