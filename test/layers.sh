#!/bin/sh
# The layers point one way: each room includes only itself and the rooms below it; tools see only the public headers.
# Also: no allocator outside base, no printing in the library.
set -u
cd "$1" || exit 1
bad=0

room() { # name, rooms it may include
    name=$1
    shift
    allowed="eyelet|$name"
    for r in "$@"; do allowed="$allowed|$r"; done
    found=$(grep -rnE '^#include "' "src/$name" --include='*.[ch]' --include='*.def' | grep -vE "#include \"($allowed)/" || true)
    if [ -n "$found" ]; then
        printf 'src/%s may include only: %s %s\n%s\n' "$name" "$name" "$*" "$found"
        bad=1
    fi
}
room base
room tensor base
room kernels base tensor
room format base tensor
room onnx base tensor format
room image base
room text base tensor format
room graph base tensor
room engine base tensor kernels graph
room model base tensor format graph
room export base tensor format onnx graph model
room session base tensor kernels format image text graph engine model
room pack base tensor kernels format image text graph engine model session
room genie base tensor kernels format image text graph engine model session pack
room train base tensor kernels format image text graph engine model session pack

found=$(grep -rnE '^#include "' tools --include='*.[ch]' | grep -vE '#include "(eyelet/|[a-z_]+\.h")' || true)
[ -z "$found" ] || { printf 'tools may include only eyelet/ and their own headers\n%s\n' "$found"; bad=1; }

found=$(grep -rnE '\b(malloc|calloc|realloc|aligned_alloc|strdup)\(' src --include='*.[ch]' | grep -v '^src/base/' || true)
[ -z "$found" ] || { printf 'allocation belongs to src/base\n%s\n' "$found"; bad=1; }

found=$(grep -rnE '\b(printf|puts|fputs|exit|abort)\(' src --include='*.c' | grep -vE '(sn|vsn|_)printf|eye_[a-z_]*printf' || true)
[ -z "$found" ] || { printf 'the library neither prints nor exits\n%s\n' "$found"; bad=1; }

[ "$bad" = 0 ] && echo "layers: ok"
exit "$bad"
