#!/bin/sh
# Every portable OpenCL kernel at small shapes in oclgrind, an interpreter that reports reads and
# writes out of bounds, data races, reads of values that nobody wrote, and API misuse:
#
#   oclgrind.sh [--parse] OCLCHECK [OP ...]
#
# Two processes at a time. Exit 1 when anything is reported or a result is wrong. --parse: only
# whether oclcheck understands every row, which takes no oclgrind and no time.
set -u
lib=/usr/lib/oclgrind/liboclgrind-rt-icd.so

# Without optimisation: oclgrind 21.10 stops at LLVM's freeze instruction, which only the optimiser
# writes, and a value that nobody reads is not read by a shortcut either.
one() { # OCLCHECK DIR OP SHAPE [TUNING WORD]
    log=$2/$3.$4.log out=$2/$3.$4.out
    : >"$log"
    if OCL_ICD_VENDORS=$2 OCLGRIND_LOG=$log OCLGRIND_DATA_RACES=1 OCLGRIND_UNINITIALIZED=1 \
        OCLGRIND_CHECK_API=1 OCLGRIND_BUILD_OPTIONS=-cl-opt-disable \
        "$1" --quick --device oclgrind --class uniform --op "$3" --shape "$4" \
        ${5:+--tune "$5"} >"$out" 2>&1 && [ ! -s "$log" ]; then
        echo "ok   $3 $4 ${5-}"
        return 0
    fi
    echo "FAIL $3 $4 ${5-}"
    tail -5 "$out"
    head -20 "$log"
    return 1
}
parse() { # as one
    "$1" --parse --op "$3" --shape "$4" ${5:+--tune "$5"} || { echo "FAIL $3 $4 ${5-}"; return 1; }
}
case $1 in
--one | --parse-one)
    what=${1#--}
    shift
    "${what%-one}" "$@"
    exit
    ;;
esac
how=--one
if [ "$1" = --parse ]; then
    how=--parse-one
    shift
elif [ ! -e $lib ]; then
    echo "oclgrind is not installed: $lib"
    exit 1
fi

check=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo $lib >"$dir/oclgrind.icd"
# op and shape (tests/check/ops.c names the parameters), a tuning word
while read -r line; do
    case " $* " in "  " | *" ${line%% *} "*) echo "$line" ;; esac
done <<'LIST' | xargs -r -P "$(nproc)" -L 1 "$0" $how "$check" "$dir"
embed 1x15x1
ngram 2x3x8x17x2
gather 2x17
linear 0x17x3x2x1x1x2
linear 2x33x70x2x1x1x1
linear 2x33x70x0x0x0x0
linear 2x20x40x2x1x1x1 mma=1
square 1x4x2x5x7
norm 2x0x1x33x1x0x0x0x0
norm 2x0x2x40x1x0x1x1x0 many_rows=2
norm 2x1x2x20x1x1x2x2x0
ew 2x0x17
groupsum 1x7x15
softmax 1x7x15
rope 1x3x8x8x0x0
rope 5x2x32x16x0x3
conv 2x19x4x1x1x0x0
conv 1x7x3x1x0x1x0
shift 2x17x0
shift 2x20x0
decay 2x2x2x2x2x2x5x7x3x0x0
decay 2x2x2x2x2x2x12x7x4x1x0 state_split=4
delta 2x2x2x2x8x7x1x2x0x0x0x0
delta 2x2x2x2x8x7x1x3x1x0x0x0 state_split=4
delta 2x1x1x1x8x8x1x3x1x0x0x0 many_rows=2
attention 2x2x1x5x7x0x0x0
attention 2x2x1x8x8x5x0x0
attention 0x4x2x5x7x0x1x0 mma=1
attention 7x18x1x40x33x5x0x0 mma=1
attention_keep 2x2x1x8x8x5x0x0
rnn 2x17
logsum 2x17
scan 2x17x4x1
topk 1x1x8x2x1x1x1x0x0
experts 1x3x16x9x2x0x2
blocks 1x3x16x9x0x1x2
columns 1x9x12
sample 31 sample=8
sample 257 sample=16
first 2
wkv 2x17
fenwick 2x2x7x5
mesa 2x2x7x5
trapezoid 2x2x7x5
rotate 2x3x8x3x2
path 2x2x1x5x7x3
wall 2x2x1x5x7x3
parallax 2x2x1x5x7x3
deltaformer 2x2x1x5x7x0
nsa 2x4x2x5x7x6x4x2
moba 2x2x1x5x7x4x2
indexer 2x2x5x4x2x1
indexed 2x4x2x5x7x4x2x0
pool 2x7x4x2
sinkhorn 2x1x4x20
LIST
