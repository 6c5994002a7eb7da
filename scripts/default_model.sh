#!/bin/sh
# Makes the default model anew, from pictures and captions to models/captioner.gguf: trains a student by three recipes, one after the
# other, rounds it to int8 and 4 bits for training pictures, and judges all three on pictures that it was not trained on: the second part's student on the dev split,
# the last one's on the 200 pictures of it that are left.
# Usage: scripts/default_model.sh DATA [OUT]
#   DATA  flickr8k/ (images/, captions.txt, Flickr_8k.{train,dev}Images.txt), captions_text/, weights/, as recipes/flickr8k.json
#         names them
#   OUT   folder of the run, default_model unless given. Stopped, the same command goes on where it was.
# BUILD=build, SPLIT=dev. It takes hours on two cores.
set -eu
if [ $# -lt 1 ]; then
    sed -n '4,7p' "$0" >&2
    exit 2
fi
root=$(dirname "$0")/..
data=$1
out=${2:-default_model}
eyelet=$root/${BUILD:-build}/eyelet
mkdir -p "$out/calibration"
train() { # recipe, folder of the run, further arguments
    recipe=$1
    run=$2
    shift 2
    if [ -d "$run/checkpoints" ]; then set -- "$@" --resume; fi
    "$eyelet" train caption "$recipe" -o "$run" --data "$data" "$@"
}
train "$root/recipes/flickr8k.json" "$out/run"
train "$root/recipes/flickr8k_cider.json" "$out/run_cider" --set student.path="$out/run/student"

# What the dev split could tell is told by now: but for each fifth of its pictures they are trained on as well.
mkdir -p "$out/all"
ln -sfn "$(cd "$data/flickr8k/images" && pwd)" "$out/all/images"
cp "$data/flickr8k/captions.txt" "$out/all/"
awk 'NR % 5 == 0 { sub(/\r$/, ""); print }' "$data/flickr8k/Flickr_8k.devImages.txt" >"$out/all/Flickr_8k.devImages.txt"
# shellcheck disable=SC2012
ls "$out/all/images" | grep -vxFf "$out/all/Flickr_8k.devImages.txt" >"$out/all/Flickr_8k.trainImages.txt"
train "$root/recipes/flickr8k_all.json" "$out/run_all" --set student.path="$out/run_cider/student" --set data.path="$out/all"

# Ranges and rounding see training pictures only.
awk 'NR % 94 == 1 { sub(/\r$/, ""); print }' "$data/flickr8k/Flickr_8k.trainImages.txt" | while read -r name; do
    cp "$data/flickr8k/images/$name" "$out/calibration/"
done
cp "$data/flickr8k/captions.txt" "$out/calibration/"
export CALIBRATION="$out/calibration" SPLIT="${SPLIT:-dev}"
"$root/scripts/before_after.sh" "$out/run_cider/student" "$data/flickr8k" "$out/judged" # which has seen none of the dev split
"$root/scripts/before_after.sh" "$out/run_all/student" "$out/all" "$out"
mkdir -p "$root/models"
cp "$out/int8.gguf" "$root/models/captioner.gguf"
echo "models/captioner.gguf: $(wc -c <"$out/int8.gguf") bytes; meson setup --reconfigure ${BUILD:-build} finds it"
