#!/bin/sh
# Every OpenCL kernel at small shapes in oclgrind, an interpreter that reports reads and writes out
# of bounds, data races and API misuse: oclgrind.sh OCLCHECK [OP ...]
# Exit 1 when anything is reported or a result is wrong.
set -u
check=$1
shift
lib=/usr/lib/oclgrind/liboclgrind-rt-icd.so
[ -e $lib ] || { echo "oclgrind is not installed: $lib"; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo $lib >"$dir/oclgrind.icd"
export OCL_ICD_VENDORS="$dir" OCLGRIND_LOG="$dir/log" OCLGRIND_DATA_RACES=1 OCLGRIND_CHECK_API=1
# Uninitialised reads are left out: that plugin of oclgrind 21.10 stops at LLVM's freeze
# instruction and takes memory that one kernel wrote for another for unwritten.
failed=0
# op and shape (tests/check/ops.c names the parameters), tuning words
while read -r op shape tune; do
    case " $* " in "  " | *" $op "*) ;; *) continue ;; esac
    : >"$dir/log"
    if ! timeout 120 "$check" --quick --device oclgrind --class uniform --op "$op" \
        --shape "$shape" ${tune:+--tune "$tune"} >"$dir/out" 2>&1 || [ -s "$dir/log" ]; then
        echo "FAIL $op $shape $tune"
        tail -5 "$dir/out"
        head -20 "$dir/log"
        failed=1
    else
        echo "ok   $op $shape $tune"
    fi
done <<'LIST'
embed 1x15x1
gather 2x17
linear 0x17x3x2x1x1x2
linear 2x33x70x2x1x1x1
linear 2x33x70x0x0x0x0
linear 2x20x40x2x1x1x1 mma=1
square 1x4x2x5x7
norm 2x0x1x33x1x0x0x0x0
norm 2x1x2x20x1x1x2x2x0
ew 2x0x17
groupsum 1x7x15
softmax 1x7x15
rope 1x3x8x8x0
conv 2x19x4x1x1x0x0
conv 1x7x3x1x0x1x0
shift 2x17x0
decay 2x2x2x2x2x2x5x7x3x0
decay 2x2x2x2x2x2x12x7x4x1 state_split=4
delta 2x2x2x2x8x7x1x2x0x0x0
delta 2x2x2x2x8x7x1x3x1x0x0 state_split=4
attention 2x2x1x5x7x0x0x0
attention 2x2x1x8x8x5x0x0
attention_keep 2x2x1x8x8x5x0x0
rnn 2x17
logsum 2x17
scan 2x17x4x1
topk 1x1x8x2x1x1x1x0
experts 1x3x16x9x2x0x2
blocks 1x3x16x9x0x1x2
columns 1x9x12
first 2
LIST
exit $failed
