#!/bin/sh
# eyelet pull against a hub on loopback, with the faults that networks and hubs have. Usage: pull.sh EYELET HUB_SERVER MAKE_CHECKPOINT [WRAPPER…]
set -u
eyelet=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
server=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
make=$(cd "$(dirname "$3")" && pwd)/$(basename "$3")
shift 3
wrapper="$*"
. "$(dirname "$0")/lib.sh"
for v in $(env | sed -n 's/^\(HF_[A-Z_]*\)=.*/\1/p'); do unset "$v"; done
cd "$tmp" || exit 1
log=hub/log

fails() { # part of the one line of stderr, exit code, arguments…
    part=$1 want=$2
    shift 2
    run "$@"
    if [ "$rc" = "$want" ] && [ ! -s out ] && grep -qF -- "$part" err && [ "$(grep -c '^eyelet: ' err)" = 1 ]; then good; else bad "$* (exit $rc, expected: $part)"; fi
}

# ---- a hub: a checkpoint of which the weights are large, as hubs see it, and small files ----
commit=0123456789abcdef0123456789abcdef01234567
mkdir -p hub/api hub/files/onnx
: >hub/log
# shellcheck disable=SC2086
$wrapper "$make" --size tiny -o hub/files || exit 1
printf 'not read\n' >hub/files/README.md
printf 'not read either\n' >hub/files/onnx/model.onnx
head -c 2500 /dev/urandom >hub/files/part.safetensors
size() { wc -c <"$1" | tr -d ' '; }
git_id() { { printf 'blob %d\0' "$(size "$1")"; cat "$1"; } | sha1sum | cut -c1-40; }
sha() { sha256sum "$1" | cut -c1-64; }
entry() { # path below hub/files
    case $1 in
    *.safetensors) printf '{"rfilename": "%s", "size": %d, "blobId": "x", "lfs": {"sha256": "%s", "size": %d}}' "$1" 10 "$(sha "hub/files/$1")" \
        "$(size "hub/files/$1")" ;;
    *) printf '{"rfilename": "%s", "size": %d, "blobId": "%s"}' "$1" "$(size "hub/files/$1")" "$(git_id "hub/files/$1")" ;;
    esac
}
listing() { # name of the repository, its entries
    printf '{"sha": "%s", "cardData": {"license": "mit"}, "siblings": [%s]}' $commit "$2" >"hub/api/$1.json"
}
small=$(entry config.json)
some="$small, $(entry part.safetensors)"
rm -f hub/files/other.bin
tr '\000-\377' '\001-\377\000' <hub/files/part.safetensors >hub/files/other.bin
all=
for f in $(cd hub/files && find . -type f | sed 's/^..//' | grep -v '^other.bin\|^part' | LC_ALL=C sort); do all="$all${all:+, }$(entry "$f")"; done
listing tiny "$all"
for name in dirty short cut norange more away loop local etag down wait busy gated slow wrong; do listing $name "$some"; done
# shellcheck disable=SC2086
$wrapper "$server" hub >port 2>/dev/null &
child=$!
n=0
while [ ! -s port ] && [ $n -lt 100 ]; do
    sleep 0.1
    n=$((n + 1))
done
export HF_ENDPOINT="http://127.0.0.1:$(cat port)" HF_HOME="$tmp/home" HOME="$tmp"
cache=$tmp/home/hub
snapshot() { printf '%s/models--acme--%s/snapshots/%s' "$cache" "$1" $commit; }

# ---- a model, then used by its name ----
run pull acme/tiny
is 'its path' [ "$(cat out)" = "$(snapshot tiny)" ]
is 'the licence' grep -q 'licence mit$' err
is 'the weights' cmp -s hub/files/model.safetensors "$(snapshot tiny)/model.safetensors"
is 'links into blobs' [ "$(readlink "$(snapshot tiny)/config.json")" = "../../blobs/$(git_id hub/files/config.json)" ]
is 'the revision' [ "$(cat "$cache/models--acme--tiny/refs/main")" = $commit ]
is 'what eyelet does not read stays there' [ ! -e "$(snapshot tiny)/README.md" ]
is 'folders neither' [ ! -e "$(snapshot tiny)/onnx" ]
run tokens -m acme/tiny hello
cp out first
run tokens -m hub/files hello
is '-m OWNER/NAME' cmp -s out first
run tokens -m acme/tiny@$commit hello
is '-m OWNER/NAME@COMMIT' cmp -s out first
fails 'acme/none: no such file or folder, and no model that was pulled: acme/none@main is not in ' 1 tokens -m acme/none hello
: >hub/log
run pull acme/tiny --json
is 'nothing twice' [ "$(grep -c /resolve/ hub/log)" = 0 ]
is '--json' grep -q '"commit": "'$commit'".*"fetched_bytes": 0}$' out
run pull acme/tiny --all
is '--all' cmp -s hub/files/onnx/model.onnx "$(snapshot tiny)/onnx/model.onnx"
is 'links from folders' [ "$(readlink "$(snapshot tiny)/onnx/model.onnx")" = "../../../blobs/$(git_id hub/files/onnx/model.onnx)" ]
fails 'none of its ' 1 pull acme/tiny --include '*.gguf'
HF_ENDPOINT=http://127.0.0.1:1 run pull acme/tiny --offline
is '--offline' [ "$(cat out)" = "$(snapshot tiny)" ]
HF_HUB_OFFLINE=1 fails 'acme/none@main is not in ' 1 pull acme/none
HF_HUB_CACHE=$tmp/elsewhere fails '"eyelet pull acme/tiny" fetches it' 1 pull acme/tiny --offline

# ---- networks ----
run pull acme/cut
is 'a connection that is cut' cmp -s hub/files/part.safetensors "$(snapshot cut)/part.safetensors"
is 'is gone on with' grep -q 'part.safetensors bytes=1000-' hub/log
mkdir -p "$cache/models--acme--busy/blobs" "$cache/models--acme--norange/blobs" "$cache/models--acme--slow/blobs"
id=$(sha hub/files/part.safetensors)
head -c 700 hub/files/part.safetensors >"$cache/models--acme--busy/blobs/$id.incomplete"
run pull acme/busy
is 'an earlier call, gone on with' cmp -s hub/files/part.safetensors "$(snapshot busy)/part.safetensors"
is 'from its end' grep -q 'busy/resolve/.*part.safetensors bytes=700-' hub/log
is '429: waited as told' grep -q 'the hub answers 429; trying again in 1 s' err
head -c 700 /dev/zero >"$cache/models--acme--norange/blobs/$id.incomplete"
run pull acme/norange
is 'a hub that knows no ranges' cmp -s hub/files/part.safetensors "$(snapshot norange)/part.safetensors"
mkdir -p "$cache/models--acme--dirty/blobs"
head -c 700 /dev/zero >"$cache/models--acme--dirty/blobs/$id.incomplete"
run pull acme/dirty
is 'an earlier call left nonsense' grep -q 'what an earlier call left was damaged' err
is 'fetched anew' cmp -s hub/files/part.safetensors "$(snapshot dirty)/part.safetensors"
: >hub/log
# shellcheck disable=SC2086
$wrapper "$eyelet" pull acme/slow >out2 2>err2 </dev/null &
second=$!
sleep 0.3
run pull acme/slow
is 'two at once' cmp -s hub/files/part.safetensors "$(snapshot slow)/part.safetensors"
wait $second
rc=$?
is 'the other' cmp -s out out2
is 'only one fetched it' [ "$(grep -c 'slow/resolve/.*part' hub/log)" = 1 ]
fails 'part.safetensors: ' 1 pull acme/short -q
[ "$(grep -c 'short/resolve/.*part' hub/log)" = 5 ] && good || bad 'a hub that never sends all is given up'
fails 'the hub answers 503' 1 pull acme/down
fails 'asks for a wait of 4000 s' 1 pull acme/wait

# ---- hubs that err, or mean harm ----
fails 'part.safetensors: its bytes have the hash ' 1 pull acme/wrong
[ ! -e "$(snapshot wrong)/part.safetensors" ] && [ ! -e "$cache/models--acme--wrong/refs/main" ] && good || bad 'a wrong hash leaves nothing'
fails 'the hub sends more than the 2500 bytes it lists' 1 pull acme/more
fails 'the hub lists it as ' 1 pull acme/etag
fails 'more than 8 redirects' 1 pull acme/loop
fails 'a redirect to another protocol' 1 pull acme/local
hostile() { # name, entries, part of the message
    listing "$1" "$2"
    fails "$3" 1 pull "acme/$1"
}
ok=$(git_id hub/files/config.json)
for path in ../evil /etc/evil a/../../evil a//evil ./evil '' . a/.. 'a\\evil' 'a\nevil'; do
    hostile evil '{"rfilename": "'"$path"'", "size": 5, "blobId": "'"$ok"'"}' 'no path inside a repository'
done
hostile evil '{"rfilename": "config.json", "size": 5, "blobId": "../../../../evil"}' 'without its hash'
hostile evil '{"rfilename": "config.json", "size": 5}' 'without its hash'
hostile evil '{"rfilename": "config.json", "size": -5, "blobId": "'"$ok"'"}' 'without a size that can be'
hostile evil '{"rfilename": "config.json", "size": 9223372036854775807, "blobId": "'"$ok"'"}' 'without a size that can be'
hostile evil '{"rfilename": "config.json", "size": 17592186044416, "blobId": "'"$ok"'"}' 'GB are free in'
hostile evil "$small, $small" 'twice'
hostile evil '' 'lists 0 files'
printf '{"sha": "../../x", "siblings": []}' >hub/api/evil.json
fails 'has no commit' 1 pull acme/evil
printf '<html>no hub</html>' >hub/api/evil.json
fails 'is no JSON' 1 pull acme/evil
for name in ../x /x a/b/c a/.. a/..b .a/b a/b@../c 'a/b@x y' a--b/c a/b@ 'a/b@/x' "a/b
c"; do
    fails 'expected OWNER/NAME' 2 pull "$name"
done
fails 'are name and revision right?' 1 pull acme/absent

# ---- tokens ----
fails 'Access to this model is restricted; private or gated' 1 pull acme/gated
HF_TOKEN=bad fails "does HF_TOKEN's owner have access" 1 pull acme/gated
: >hub/log
HF_TOKEN=good run pull acme/gated
is 'a token opens it' cmp -s hub/files/part.safetensors "$(snapshot gated)/part.safetensors"
is 'to the hub' grep -q 'gated/resolve/.* Bearer good$' hub/log
printf 'good\n' >home/token
: >hub/log
run pull acme/away
is 'a redirect to another host' cmp -s hub/files/part.safetensors "$(snapshot away)/part.safetensors"
is "the token of huggingface_hub's login" grep -q 'away/resolve/.* Bearer good$' hub/log
is 'which never goes to another host' sh -c 'grep -q ^/elsewhere/ hub/log && ! grep ^/elsewhere/ hub/log | grep -v " -$"'

finish
