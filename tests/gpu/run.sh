#!/bin/sh
# Checks and times the OpenCL backend on a device, all in one call:
#
#   tests/gpu/run.sh [DEVICE]        DEVICE: as after "opencl:", default gpu
#
# with the programs that `make gpu-programs` leaves in B (default build), which may be carried to
# another machine; `make gpu DEVICE=...` does both. OUT=DIR keeps logs. PARTS chooses among: check
# models oracles bench steps. The first three run side by side (a driver compiles on one processor
# for each process), JOBS at a time, and say one line each; what is timed comes behind them, alone.
set -u
[ "${1-}" = job ] || cd "$(dirname "$0")/../.." || exit
B=${B:-build}
OUT=${OUT:-$B/gpu}

# ---- jobs: run.sh job NAME ARGUMENTS..., with what the caller has exported ----

job_check() { # what oclcheck is told
    "$B/oclcheck" --device "$DEVICE" --cache "$CACHE" "$@"
}
job_rows() { # what is beside the sums, as oclrows counts it
    "$B/oclrows" --device "$DEVICE" --cache "$CACHE" --shape 1000x2080x1100 --what "$1" \
        --tune wgmma=0 --tune "" --tune split=0 --tune wgmma_rows=65
}
job_groups() {
    "$B/oclgroups" --device "$DEVICE" --cache "$CACHE"
}
# … and a product that reads it, as it comes.
job_then() {
    "$B/oclrows" --device "$DEVICE" --cache "$CACHE" --shape "$1" --what "$2" --then 72 \
        --tune "wgmma=0 packs=0" --tune wgmma=0 --tune packs=0 --tune "" --tune split=0 \
        --tune "split=0 tile=32" --tune "split=0 tile=64" --tune "split=0 tile=128" \
        --tune "split=0 tile=176" --tune "split=0 tile=192"
}
# Rows that are written packed, against products that pack them.
job_packs() {
    for how in "" bundle=0 "bundle=0 split=0"; do
        RECURD_OCL_CACHE="$CACHE" "$B/oclpacks" "tests/check/$1" "$DEVICE" --tune "$how" \
            33 40 65 70 200 1000 || return 1
    done
}
# Sums of slices and the norms of their rows in one launch.
job_sums() {
    "$B/oclsums" "$DEVICE" 33 64 128 200 300 1000
}
# Bits of whole steps: as they are, with products that pack their rows, launch by launch.
job_digest() {
    for how in "" ,packs=0 ",bundle=0 persistent=0"; do
        for streams in 20 200; do
            RECURD_OCL_CACHE="$CACHE" "$B/steps" "tests/gpu/$1" "opencl:$DEVICE$how" \
                --prompt 2048 --digest $streams || return 1
        done | tee "$OUT/$1.steps"
        grep ^digest "$OUT/$1.steps" >"$OUT/$1.now" || return 1
        [ -n "$how" ] || cp "$OUT/$1.now" "$OUT/$1.first"
        cmp "$OUT/$1.now" "$OUT/$1.first" || return 1
    done
}
# Greedy ids and logits of a demo model: those of the definition, in any pieces, moved.
job_model() {
    to=$(mktemp -d) rc=0
    echo '[1, 467, 478, 265, 424, 4035, 408, 290, 265, 401, 616, 456]' >"$to/ids.json"
    "$B/recurd-eval" --model "$1" --tokens "$to/ids.json" --generate 32 --device ref >"$to/ref" ||
        rc=1
    for how in "" "--chunk 1" "--chunk 5 --batch 16" "--move --chunk 4"; do
        # shellcheck disable=SC2086 # words
        "$B/recurd-eval" --model "$1" --tokens "$to/ids.json" --generate 32 $how \
            --logits "$to/x.npy" --device "opencl:$DEVICE" >"$to/x" || rc=1
        [ -n "$how" ] || cp "$to/x.npy" "$to/first.npy"
        cmp "$to/x" "$to/ref" && cmp "$to/x.npy" "$to/first.npy" || rc=1
    done
    rm -r "$to"
    return $rc
}
# The reference results of a family: on tensor cores, where the device has them, and in float32.
job_oracle() {
    to=$(mktemp -d) rc=0
    for how in "" ,mma=0; do
        RECURD_OCL_CACHE="$to" "$B/golden" --device "opencl:$DEVICE$how" "$1" || rc=1
    done
    rm -r "$to"
    return $rc
}
run_job() {
    name=$(echo "$*" | tr -c 'a-zA-Z0-9.\n' '_')
    begin=$(date +%s)
    if "job_$@" >"$OUT/$name.log" 2>&1; then
        echo "ok $* ($(($(date +%s) - begin)) s)"
        return 0
    fi
    echo "FAILED $* ($(($(date +%s) - begin)) s):"
    tail -15 "$OUT/$name.log" | cut -c1-400
    return 1
}
if [ "${1-}" = job ]; then
    shift
    run_job "$@"
    exit
fi

# ---- checks, side by side: the longest first ----

DEVICE=${1:-gpu}
PARTS=${PARTS:-check models oracles bench steps}
JOBS=${JOBS:-$(nproc)}
CACHE=$OUT/cache
export B OUT DEVICE CACHE
mkdir -p "$CACHE"
failed=0

wants() {
    case " $PARTS " in *" $1 "*) ;; *) return 1 ;; esac
}
list() {
    if wants check; then
        echo check
        for m in qwen3.5-4b rwkv7-1.5b gdn-1.3b; do echo "digest $m"; done
        for m in packs packs-long packs-pairs bundle bundle-delta bundle-kda; do echo "packs $m"; done
    fi
    if wants models; then
        for m in models/demo/*/; do echo "model $m"; done
    fi
    if wants oracles; then
        find ${ORACLES:-tests/golden} -name expected.safetensors | grep -v /layer_ |
            xargs -n 1 dirname | sed 's/^/oracle /'
    fi
    if wants check; then
        echo groups
        echo sums
        for what in 3 10 34; do echo "rows $what"; done
        for what in 0 1 32 33 41; do
            for shape in 200x512x1000 8192x2048x300 24x96x200; do echo "then $shape $what"; done
        done
        for shape in 6x2048x2048x2x0x0x0 6x1000x5632x2x1x1x1 6x512x2048x0x0x0x0 \
            6x512x2048x1x0x0x0; do
            echo "check --op linear --shape $shape --class uniform"
        done
        for shape in 13x2x2x2x128x128x1x2x0x1x0x0 13x2x2x2x64x64x1x3x1x0x0x0 \
            13x16x16x16x64x128x1x2x0x1x0x0; do
            echo "check --aligned --op delta --shape $shape --class uniform"
        done
    fi
}
list >"$OUT/jobs"
if [ -s "$OUT/jobs" ]; then
    echo "== $(wc -l <"$OUT/jobs") checks"
    xargs -P "$JOBS" -L 1 tests/gpu/run.sh job <"$OUT/jobs" || failed=1
fi

# ---- times, alone ----

if wants bench; then
    echo "== host time of an enqueue"
    "$B/ocllaunch" "$DEVICE" || failed=1
    echo "== kernels alone"
    "$B/oclbench" --device "$DEVICE" --cache "$CACHE" ${BENCH:-} || failed=1
fi
if wants steps; then
    echo "== decode steps of a Gated DeltaNet 1.3B shape, random weights"
    RECURD_OCL_CACHE="$CACHE" "$B/steps" tests/gpu/gdn-1.3b "opencl:$DEVICE" 1 16 64 || failed=1
    RECURD_OCL_CACHE="$CACHE" RECURD_OCL_PROFILE=1 "$B/steps" tests/gpu/gdn-1.3b \
        "opencl:$DEVICE" 1 64 || failed=1
fi
[ $failed = 0 ] && echo "== all passed" || echo "== FAILED"
exit $failed
