#!/bin/sh
# The matrix unit on a machine that has one: bits, then speed. Eight minutes at most.
#
#   tests/cpu/amx.sh pack            builds, and puts programs and libraries into build/amx
#   tests/cpu/amx.sh run [RESULTS]   where the CPU has AMX, from the same tree; needs only glibc
#
# Bits: a million random products of tiles, of bf16 and of bytes, every AMX kernel against its
# definition and against the sums in kernels/numerics.sum, and one golden family of every kind of
# layer. Speed: products by inputs of 16 bits beside those by vectors; the others as shares of the
# limits of the same minute; then whole models with and without.
set -u
cd "$(dirname "$0")/../.." || exit 1
at=build/amx
programs="kernelcheck golden speed"

pack() {
    make ${CC:+CC="$CC"} ${CXX:+CXX="$CXX"} $(for p in $programs; do echo "build/$p"; done) || exit 1
    rm -rf "$at" && mkdir -p "$at/lib" || exit 1
    for p in $programs; do
        strip -o "$at/$p" "build/$p" || exit 1
        ldd "build/$p"
    done | awk '$3 ~ /^\// && $1 !~ /^(libc|libm|libdl|libpthread|librt)[.]so/ {print $3}' |
        sort -u | while read -r so; do cp -L "$so" "$at/lib/" || exit 1; done
    du -sh "$at"
    ls "$at/lib"
}

failed=0
# title, seconds at most, command …
step() {
    title=$1 most=$2
    shift 2
    printf '\n== %s\n' "$title"
    began=$(date +%s)
    timeout "$most" "$@"
    rc=$?
    [ $rc -eq 0 ] || { echo "FAIL $title: exit $rc"; failed=1; }
    echo "-- $(($(date +%s) - began)) s"
}
quiet() { "$@" | grep -v '^ok   golden\|^$' | tail -n 40; }

speed() { # model, flags …
    model=$1
    shift
    for kernels in amx,float32 int16,float32 int16-vnni,float32 float32; do
        printf '%-20s %-16s ' "$kernels" "$*"
        timeout 25 "$at/speed" --rounds 3 --dummy --kernels "$kernels" "$@" "$model" || failed=1
    done
}

run() {
    export LD_LIBRARY_PATH="$PWD/$at/lib"
    flags=$(grep -m1 '^flags' /proc/cpuinfo)
    grep -m1 'model name' /proc/cpuinfo
    for f in amx_tile amx_int8 amx_bf16 avx512_vnni avx512_bf16 avx512_fp16; do
        case " $flags " in *" $f "*) printf '%s ' "$f" ;; *) printf 'no-%s ' "$f" ;; esac
    done
    echo "$(nproc) CPUs"
    "$at/kernelcheck" --list --op linear
    step "a million random products of tiles" 40 "$at/kernelcheck" --tiles 1000000
    step "AMX kernels: bits of the definition, digests" 90 "$at/kernelcheck" --variant '*amx'
    step "golden families" 25 "$at/golden" --kernels amx,float32 tests/golden/public/rwkv7 tests/golden/public/mamba2 \
        tests/golden/public/gated_deltanet tests/golden/hf/hf_qwen3_5_moe
    for q in q8 q4; do
        step "the demo model, $q, inputs of 16 bits" 25 "$at/golden" --kernels int16,float32 \
            --quantize $q models/demo/rwkv7
    done
    step "inputs of 16 bits: tiles beside vectors" 140 "$at/kernelcheck" --beside --variant int16-amx
    for shape in '[07489]x4096x1024x2x0x0x0' '1[02]x4096x1024x2x0x0x0' \
        '0x4096x1024x3x0x0x0' '4x4096x1024x3x0x0x0' '1[02]x4096x1024x3x0x0x0' \
        '0x4096x1024x10x0x0x0' '4x4096x1024x10x0x0x0' '1[02]x4096x1024x10x0x0x0'; do
        step "products $shape" 20 "$at/kernelcheck" --bench --op linear --variant '*[m5]*' \
            --shape "$shape"
    done
    echo
    echo "| model | parameters | 1 | | 4 | | 16 | | 32 | | prompt | read |"
    speed tests/bench/rwkv7-0.4b
    speed tests/bench/rwkv7-0.4b --quantize q8
    speed tests/bench/rwkv7-0.4b --quantize q4
    [ $failed -eq 0 ] && echo "all well" || echo "FAILED"
    return $failed
}

case ${1-} in
pack) pack ;;
run)
    if [ -n "${2-}" ]; then
        run >"$2" 2>&1
        rc=$?
        cat "$2"
        exit $rc
    fi
    run
    ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
