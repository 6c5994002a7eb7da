#!/bin/sh
# eyelet batch: order, answers equal to eyelet run's, what fails, resuming, formats, names. Usage: batch.sh EYELET MAKE_CHECKPOINT [WRAPPER…]
set -u
eyelet=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
make=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1

fails() { # part of the one line of stderr, exit code, arguments…
    part=$1 want=$2
    shift 2
    run "$@"
    if [ "$rc" = "$want" ] && grep -qF -- "$part" err && [ "$(grep -c '^eyelet: ' err)" = 1 ]; then good; else bad "$* (exit $rc, expected: $part)"; fi
}
images() { sed 's/^{"image": "\(.*\)", "\(caption\|error\)": .*/\1/' "$1"; }
without_times() { sed 's/, "timings": {.*}}$/}/' "$1"; }
same_lines() { # two files say the same but for times
    without_times "$1" >a.lines
    without_times "$2" >b.lines
    [ -s a.lines ] && cmp -s a.lines b.lines
}

# shellcheck disable=SC2086
$wrapper "$make" --size tiny -o model || exit 1
mkdir pics pics/in
picture() { # file, letter that begins its pixels
    { printf 'P6 4 4 255\n'; printf '%s%s' "$2" 'bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY' | head -c 48; } >"$1"
}
i=0
for c in a h Q z 7 M; do
    i=$((i + 1))
    picture "pics/p$i.ppm" $c$c$c$c$c$c
done
printf 'not a picture' >pics/p3.ppm
printf 'no picture either' >pics/notes.txt
picture pics/in/deep.ppm dddddd
export EYELET_MODEL=model EYELET_PREDICT=6 EYELET_IGNORE_EOS=1 EYELET_TEMP=0.9 EYELET_SEED=5

# ---- usage ----
fails 'nothing to do: name a folder, pictures, a list of them, or "-"' 2 batch
fails '--resume needs -o: the file to go on with' 2 batch pics --resume
fails '--json needs -o' 2 batch pics --json
fails '/nowhere: cannot read: No such file' 1 batch /nowhere
fails 'standard input (-) is named 2 times' 1 batch - -

# ---- a folder: order, a picture that fails, the answers of eyelet run ----
run batch pics -o all.jsonl --jobs 3 --report report.html
is 'a folder' [ "$(images all.jsonl | tr '\n' ' ')" = 'pics/p1.ppm pics/p2.ppm pics/p3.ppm pics/p4.ppm pics/p5.ppm pics/p6.ppm ' ]
is 'a line for what failed' grep -q '^{"image": "pics/p3.ppm", "error": "pics/p3.ppm: not a known image' all.jsonl
is 'a summary' grep -q '^5 captions in .* 3 jobs' err
is 'the number of failures' grep -q '^1 pictures failed' err
for p in 1 5; do
    run run -i "pics/p$p.ppm" --json
    sed 's/^{"text": \(.*\), "finish_reason.*/\1/' out >one
    sed -n "${p}p" all.jsonl | sed 's/.*"caption": \(.*\), "finish_reason.*/\1/' >line
    is "the answer of eyelet run, $p" cmp -s one line
done
is 'a page' grep -q '</html>' report.html
is 'no request from the page' sh -c '! grep -oE "(src|href)=\"[^\"]{0,20}" report.html | grep -v "src=\"data:image/"'
run batch pics --jobs 1 -t 2
cp out one.jsonl
is 'one job, standard output' same_lines all.jsonl one.jsonl
run batch -r pics -o deep.jsonl -q
is 'folders in folders' [ "$(images deep.jsonl | head -1)" = pics/in/deep.ppm ]
is 'quiet' [ ! -s err ]
run batch pics/p5.ppm pics/p1.ppm
is 'pictures' [ "$(images out | tr '\n' ' ')" = 'pics/p5.ppm pics/p1.ppm ' ]
fails 'pics/p3.ppm: not a known image' 1 batch pics --strict -o strict.jsonl -q
[ "$(wc -l <strict.jsonl)" = 3 ] && good || bad '--strict ends behind the first failure'

# ---- captions that are JSON ----
run batch pics --jobs 2 --predict 40 --json-schema '{"properties": {"n": {"type": "boolean"}}, "required": ["n"]}'
tr -d ' ' <out | sed 's/\\n//g' | grep -c '"caption":"{\\"n\\":\(true\|false\)}"' >count
is 'captions of a schema' [ "$(cat count)" = 5 ]
fails 'the keyword "not" is not done' 1 batch pics --json-schema '{"not": {}}'

# ---- files that are there ----
fails 'all.jsonl: holds ' 1 batch pics -o all.jsonl
run batch pics -o deep.jsonl --overwrite --json
is '--overwrite' same_lines all.jsonl deep.jsonl
is 'a summary as JSON' grep -q '^{"output": "deep.jsonl", "captions": 5, "failed": 1, "held": 0, ' out
run batch pics -o all.jsonl --resume
is 'nothing left to do' grep -q '^6 were in all.jsonl already' err
head -n 2 all.jsonl >cut.jsonl
sed -n 3p all.jsonl | head -c 40 >>cut.jsonl
run batch pics -o cut.jsonl --resume
is 'a half-written line is cut off' grep -q 'half written (40 bytes)' err
is '--resume' same_lines all.jsonl cut.jsonl
sed -n '1p;2p;4p;6p' all.jsonl >some.jsonl # the list has changed since
run batch pics -o some.jsonl --resume
is '--resume of another list' [ "$(images some.jsonl | tr '\n' ' ')" = 'pics/p1.ppm pics/p2.ppm pics/p4.ppm pics/p6.ppm pics/p3.ppm pics/p5.ppm ' ]
echo '{"text": 1}' >other.jsonl
fails 'other.jsonl: line 1 is none that "eyelet batch" wrote' 1 batch pics -o other.jsonl --resume

# ---- killed in the middle ----
mkfifo feed
: >killed.jsonl
# shellcheck disable=SC2086
$wrapper "$eyelet" batch - -o killed.jsonl -q <feed 2>err &
pid=$!
exec 3>feed
printf 'pics/p1.ppm\npics/p2.ppm\n' >&3
n=0
while [ "$(wc -l <killed.jsonl)" -lt 2 ] && [ $n -lt 600 ]; do
    sleep 0.1
    n=$((n + 1))
done
run batch pics -o killed.jsonl --resume
if [ "$rc" = 1 ] && grep -q 'another "eyelet batch" is writing it' err; then good; else bad 'two writers'; fi
kill -9 $pid
wait $pid 2>/dev/null
exec 3>&-
run batch pics -o killed.jsonl --resume
is 'resumed after kill -9' same_lines all.jsonl killed.jsonl
is 'two were kept' grep -q '^2 were in' err

# ---- a line in, a line out ----
mkfifo ask
# shellcheck disable=SC2086
$wrapper "$eyelet" batch - -q <ask >answers 2>err &
pid=$!
exec 3>ask
for p in 1 2; do # the next question comes behind the answer
    printf 'pics/p%d.ppm\r\n\n' $p >&3
    n=0
    while [ "$(wc -l <answers)" -lt $p ] && [ $n -lt 600 ]; do
        sleep 0.1
        n=$((n + 1))
    done
done
exec 3>&-
wait $pid
rc=$?
head -n 2 all.jsonl >two.jsonl
is 'each line is answered at once' same_lines two.jsonl answers

# ---- lists, names ----
picture 'pics/in/ä, "猫".ppm' ffffff
picture "pics/in/two
lines.ppm" gggggg
printf 'pics/p1.ppm\0pics/in/two\nlines.ppm\0pics/in/ä, "猫".ppm' >list0
run batch --null list0
is 'names with line ends' grep -q '^{"image": "pics/in/two\\nlines.ppm", "caption": ' out
is 'names with quotes' grep -q '^{"image": "pics/in/ä, \\"猫\\".ppm", "caption": ' out
run batch --null list0 -o list.csv -q
is 'CSV' grep -q '^"pics/in/ä, ""猫"".ppm",' list.csv
is 'CSV: head' grep -q '^image,caption,tokens,finish_reason,error,image_decode_ms,.*,total_ms$' list.csv
cp list.csv full.csv
{ head -c $(($(wc -c <full.csv) - 5)) full.csv; } >list.csv
run batch --null list0 -o list.csv --resume
is 'CSV: half a line' [ "$(cut -d, -f1 list.csv | tr -d '\n')" = "$(cut -d, -f1 full.csv | tr -d '\n')" ]
is 'CSV: two were kept' grep -q '^2 were in' err
printf 'pics/p1.ppm\nnowhere.jpg\n' >list
head -c 5000 /dev/zero | tr '\0' x >>list
printf '\npics/p2.ppm' >>list
run batch list
is 'lines that are no pictures' [ "$(images out | cut -c1-20 | tr '\n' ' ')" = 'pics/p1.ppm nowhere.jpg xxxxxxxxxxxxxxxxxxxx pics/p2.ppm ' ]
is 'a line too long' grep -q 'list: line 3 is longer than 4095 bytes' out
run batch list0
is 'zero bytes without --null' grep -q 'list0: line 1 holds a zero byte' out
if [ "$(id -u)" != 0 ]; then
    mkdir shut pics/shut
    chmod 0 shut pics/shut
    fails 'shut: cannot read: Permission denied' 1 batch shut
    run batch -r pics
    is 'a folder inside that is shut' grep -q '"image": "pics/shut", "error": "pics/shut: cannot be read as a folder' out
    chmod 700 shut pics/shut
fi

# ---- no space ----
(ulimit -f 1 && run batch pics pics pics -o full.jsonl; [ "$rc" = 1 ] && grep -q 'full.jsonl: cannot write: File too large; what it holds is complete' err) &&
    [ "$(tail -c 2 full.jsonl)" = '}' ] && good || bad 'a full disk'
if [ -e /dev/full ]; then
    # shellcheck disable=SC2086
    $wrapper "$eyelet" batch pics >/dev/full 2>err
    if [ $? = 1 ] && grep -q 'standard output: cannot write: No space left on device' err; then good; else bad 'standard output is full'; fi
    fails '/dev/full: cannot write: No space left on device' 1 batch pics -o full2.jsonl -q --report /dev/full
fi

finish
