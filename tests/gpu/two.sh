#!/bin/sh
# A model split over two devices: the same bits as on one, and one that fits no single card. One
# call, some three minutes on two H200:
#
#   tests/gpu/two.sh [DEVICE [DEVICE]]   as after "--device", default opencl:nvidia:0 opencl:nvidia:1
#
# B=DIR holds `steps` (make build/steps; default build), LD_LIBRARY_PATH what it needs. SMALL and
# LARGE: folders of config.json, default gdn-1.3b and gdn-80b here (161 GB); LARGE= leaves it out.
# OUT=DIR keeps built kernels. LIMIT: seconds for the large model.
set -u
cd "$(dirname "$0")/../.."
ONE=${1:-opencl:nvidia:0}
TWO=$ONE+${2:-opencl:nvidia:1}
B=${B:-build}
OUT=${OUT:-$B/two}
SMALL=${SMALL-tests/gpu/gdn-1.3b}
LARGE=${LARGE-tests/gpu/gdn-80b}
LIMIT=${LIMIT:-150}
failed=0
mkdir -p "$OUT"
RECURD_OCL_CACHE=${RECURD_OCL_CACHE:-$OUT/kernels}
export RECURD_OCL_CACHE
mkdir -p "$RECURD_OCL_CACHE"

steps() { # device, model, log, ...: what it printed, and its digests to the log
    device=$1 model=$2 log=$3
    shift 3
    echo "== $(basename "$model") on $device"
    timeout "$LIMIT" "$B/steps" "$model" "$device" "$@" >"$log" 2>"$log.err" || failed=1
    cat "$log"
    grep -vE 'tokenizer' "$log.err" | cut -c 1-240
}

steps "$ONE" "$SMALL" "$OUT/one" --prompt 2048 --digest 1 16 64
for rows in 256 512; do
    steps "$TWO+rows=$rows" "$SMALL" "$OUT/two" --prompt 2048 --digest 1 16 64
    one=$(grep '^digest' "$OUT/one") two=$(grep '^digest' "$OUT/two")
    if [ -n "$one" ] && [ "$one" = "$two" ]; then
        echo "   the same bits as on one device"
    else
        echo "   OTHER BITS than on one device"
        failed=1
    fi
done
[ -n "$LARGE" ] && steps "$TWO" "$LARGE" "$OUT/large" --prompt 2048 --digest 1 16 64
[ $failed = 0 ] && echo "== all passed" || echo "== FAILED"
exit $failed
