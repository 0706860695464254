#!/bin/sh
# Builds, checks and times the OpenCL backend on a machine that has a driver, an OpenCL loader and
# gcc. One call:
#
#   tests/gpu/run.sh [DEVICE]        DEVICE: as after "opencl:", default gpu
#
# DEPS=DIR names a folder with include/ and lib/ of jansson, sentencepiece, libsodium, pcre2 and
# utf8proc (and OpenCL headers); without them whole models are left out. OUT=DIR keeps logs.
# PARTS chooses among: check bench steps models oracles.
set -u
cd "$(dirname "$0")/../.."
DEVICE=${1:-gpu}
B=${B:-build/gpu}
DEPS=${DEPS:-}
OUT=${OUT:-$B}
PARTS=${PARTS:-check bench steps models oracles}
CC=${CC:-gcc}
CXX=${CXX:-g++}
JOBS=$(nproc)
mkdir -p "$B" "$OUT"
INC="-I."
[ -n "$DEPS" ] && INC="$INC -I$DEPS/include"
[ -d /usr/local/cuda/include/CL ] && INC="$INC -I/usr/local/cuda/include"
FLAGS="-O2 -ffp-contract=off -fno-math-errno -pthread -D_GNU_SOURCE $INC"
FLAGS="$FLAGS -DRECURD_VERSION=\"gpu\" -DRECURD_COMMIT=\"gpu\""
failed=0

compile() { # sources -> objects, in parallel
    for f in "$@"; do echo "$f"; done | B="$B" CC="$CC" CXX="$CXX" FLAGS="$FLAGS" \
        xargs -P "$JOBS" -I{} sh -c '
        o="$B/{}.o"; mkdir -p "$(dirname "$o")"
        case {} in
        */impl/*.c)
            "$CC" -std=gnu11 $FLAGS -mavx2 -mfma -mf16c -c {} -o "$B/{}.avx2.o" &&
            "$CC" -std=gnu11 $FLAGS -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c \
                -c {} -o "$B/{}.avx512.o" ;;
        *.cc) "$CXX" -std=c++17 $FLAGS -c {} -o "$o" ;;
        *) "$CC" -std=gnu11 $FLAGS -c {} -o "$o" ;;
        esac'
}
objects() {
    for f in "$@"; do
        case $f in
        */impl/*) echo "$B/$f.avx2.o $B/$f.avx512.o" ;;
        *) echo "$B/$f.o" ;;
        esac
    done
}

base/embed.sh "$B/sources.c" kernels/opencl/source.h "ocl_source ocl_sources" \
    kernels/opencl/src/*.cl kernels/opencl/src/*.clh kernels/opencl/src/nvidia/*.cl etc/tuning/*.tune
$CC -std=gnu11 $FLAGS -c "$B/sources.c" -o "$B/sources.o"
KERNELS="$(find base kernels -name '*.c')"
CHECKS="$(ls tests/check/*.c | grep -vE '/(check|kernelcheck|bench|oclcheck|oclbundle|oclpacks)\.c$')"
compile $KERNELS $CHECKS tests/check/oclcheck.c tests/gpu/bench.c \
    tests/gpu/launch.c tests/gpu/rows.c tests/gpu/groups.c || exit 1
$CC -pthread -o "$B/oclcheck" $(objects $KERNELS $CHECKS tests/check/oclcheck.c) "$B/sources.o" \
    -ldl -lm || exit 1
for prog in bench launch rows groups; do
    $CC -pthread -o "$B/ocl$prog" $(objects $KERNELS tests/gpu/$prog.c) "$B/sources.o" -ldl -lm ||
        exit 1
done
echo "== built in $B"

case " $PARTS " in *" check "*)
    echo "== every kernel against its definition, and the numerics contract"
    "$B/oclcheck" --device "$DEVICE" --cache "$B/cache" >"$OUT/check.log" 2>&1 || failed=1
    tail -60 "$OUT/check.log"
    for shape in 6x2048x2048x2x0x0x0 6x1000x5632x2x1x1x1 6x512x2048x0x0x0x0 6x512x2048x1x0x0x0; do
        "$B/oclcheck" --device "$DEVICE" --cache "$B/cache" --op linear --shape $shape \
            --class uniform >"$OUT/linear.log" 2>&1 || failed=1
        tail -3 "$OUT/linear.log"
    done
    for shape in 13x2x2x2x128x128x1x2x0x1x0x0 13x2x2x2x64x64x1x3x1x0x0x0 \
        13x16x16x16x64x128x1x2x0x1x0x0; do
        "$B/oclcheck" --device "$DEVICE" --cache "$B/cache" --aligned --op delta --shape $shape \
            --class uniform >"$OUT/delta.log" 2>&1 || failed=1
        tail -1 "$OUT/delta.log"
    done
    for what in 3 10 34; do
        "$B/oclrows" --device "$DEVICE" --cache "$B/cache" --shape 1000x2080x1100 --what $what \
            --tune wgmma=0 --tune "" --tune split=0 --tune wgmma_rows=65 || failed=1
    done
    for what in 0 1 32 33 41; do for shape in 200x512x1000 8192x2048x300 24x96x200; do
        "$B/oclrows" --device "$DEVICE" --cache "$B/cache" --shape $shape --what $what --then 72 \
            --tune "wgmma=0 packs=0" --tune wgmma=0 --tune packs=0 --tune "" --tune split=0 \
            --tune "split=0 tile=32" --tune "split=0 tile=64" --tune "split=0 tile=128" \
            --tune "split=0 tile=176" --tune "split=0 tile=192" || failed=1
    done; done
    "$B/oclgroups" --device "$DEVICE" --cache "$B/cache" || failed=1 ;;
esac
case " $PARTS " in *" bench "*)
    echo "== host time of an enqueue"
    "$B/ocllaunch" "$DEVICE" || failed=1
    echo "== kernels alone"
    "$B/oclbench" --device "$DEVICE" --cache "$B/cache" ${BENCH:-} || failed=1 ;;
esac
if [ -z "$DEPS" ]; then
    echo "== whole models left out: DEPS is not set"
    exit $failed
fi
MODELS="$(find models -name '*.c' -o -name '*.cc')"
EVAL="$(ls programs/recurd-eval/*.c; find scheduler statecache -name '*.c')"
compile $MODELS $EVAL tests/gpu/steps.c tests/check/oclpacks.c tests/golden/golden.c \
    tests/golden/distance.c || exit 1
LIBS="-L$DEPS/lib -Wl,-rpath,$PWD/$DEPS/lib -ljansson -lsentencepiece -lsodium -lpcre2-8 -lutf8proc"
link() { # name, sources
    name=$1
    shift
    $CXX -pthread -o "$B/$name" $(objects $KERNELS $MODELS "$@") "$B/sources.o" ${EXTRA:-} $LIBS \
        -ldl -lm || exit 1
}
link recurd-eval $EVAL
link steps tests/gpu/steps.c
link oclpacks tests/check/oclpacks.c
link golden tests/golden/golden.c tests/golden/distance.c
case " $PARTS " in *" check "*)
    echo "== rows that are written packed, against products that pack them"
    for m in packs packs-long packs-pairs bundle bundle-delta bundle-kda; do
        for how in "" bundle=0 "bundle=0 split=0"; do
            RECURD_OCL_CACHE="$B/cache" "$B/oclpacks" tests/check/$m "$DEVICE" --tune "$how" \
                33 40 65 70 200 1000 || failed=1
        done
    done ;;
esac
case " $PARTS " in *" steps "*)
    echo "== bits of whole steps, rows packed by who makes them and by products"
    for m in gdn-1.3b rwkv7-1.5b qwen3.5-4b; do
        for how in "" ,packs=0; do
            "$B/steps" tests/gpu/$m "opencl:$DEVICE$how" --prompt 2048 --digest 200 >"$OUT/digest.log" ||
                failed=1
            cat "$OUT/digest.log"
            grep ^digest "$OUT/digest.log" >"$B/digest$how.txt" || failed=1
        done
        cmp "$B/digest.txt" "$B/digest,packs=0.txt" && echo "$m: same bits" || failed=1
    done
    echo "== decode steps of a Gated DeltaNet 1.3B shape, random weights"
    "$B/steps" tests/gpu/gdn-1.3b "opencl:$DEVICE" 1 16 64 || failed=1
    RECURD_OCL_PROFILE=1 "$B/steps" tests/gpu/gdn-1.3b "opencl:$DEVICE" 1 64 || failed=1 ;;
esac
case " $PARTS " in *" models "*)
    echo "== demo models: greedy ids on the device and in the definition"
    for m in models/demo/*/; do
        echo '[1, 467, 478, 265, 424, 4035, 408, 290, 265, 401, 616, 456]' >"$B/ids.json"
        "$B/recurd-eval" --model "$m" --tokens "$B/ids.json" --generate 32 --device ref >"$B/ref.out"
        for how in "" "--chunk 1" "--chunk 5 --batch 16" "--move --chunk 4"; do
            "$B/recurd-eval" --model "$m" --tokens "$B/ids.json" --generate 32 $how \
                --logits "$B/x.npy" --device "opencl:$DEVICE" >"$B/x.out" || failed=1
            [ -n "$how" ] || cp "$B/x.npy" "$B/first.npy"
            cmp "$B/x.out" "$B/ref.out" && echo "$m $how: same ids as the definition"
            cmp "$B/x.npy" "$B/first.npy" && echo "$m $how: same bits" || failed=1
        done
    done ;;
esac
families() { # device: each by itself, as kernels compile on one processor
    find ${ORACLES:-tests/golden} -name expected.safetensors | grep -v /layer_ | xargs -n 1 dirname |
        B="$B" TO="$1" xargs -P "$JOBS" -I{} sh -c '
        "$B/golden" --device "$TO" {} >"$B/golden.$$" 2>/dev/null
        rc=$?
        sed -n 3p "$B/golden.$$"
        rm "$B/golden.$$"
        exit $rc' || failed=1
}
case " $PARTS " in *" oracles "*)
    echo "== reference results of every model family, products in float32"
    families "opencl:$DEVICE,mma=0"
    echo "== … and on tensor cores, where the device has them"
    families "opencl:$DEVICE" ;;
esac
[ $failed = 0 ] && echo "== all passed" || echo "== FAILED"
exit $failed
