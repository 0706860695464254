#!/usr/bin/env bash
# Builds every fuzz target with libFuzzer, ASan and UBSan, and runs each for a while.
# usage: tests/fuzz/run.sh SECONDS [TARGET...]      TARGET: checkpoint, config, … (default: all)
# Exit 1 on any crash; the input that caused it stays in build/fuzz. Needs clang.
# FUZZ_SEED=N: the same inputs in the same order every time, so that CI does not depend on luck.
set -u
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET...]}
shift
cd "$(dirname "$0")/../.." || exit 2
out=build/fuzz
command -v clang >/dev/null || { echo "fuzz: clang is missing (apt-get install clang)"; exit 2; }

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in tests/fuzz/fuzz_*.c; do
        name=${file#tests/fuzz/fuzz_}
        targets+=("${name%.c}")
    done
fi
# What parses bytes from outside, and the scheduler behind it; kernels and devices are not built.
list() { printf '%s\n' "$@" | sed "s|^|$out/|; s|\.cc*$|.o|"; }
mapfile -t sources < <(find base kernels/*.c scheduler statecache models server \
                       \( -name '*.c' -o -name '*.cc' \) ! -name served.c)
mapfile -t objects < <(list "${sources[@]}" server/page/texts.c)
mapfile -t mains < <(printf "$out/tests/fuzz/fuzz_%s.o\n" "${targets[@]}")
make -s -j2 B=$out SAN=fuzzer-no-link,address,undefined CC=clang CXX=clang++ \
     CFLAGS="-O1 -g -fno-sanitize-recover=all -DSESSION_BUCKETS=64" "${objects[@]}" "${mains[@]}" || exit 1
rm -f $out/libfuzz.a
ar rcs $out/libfuzz.a "${objects[@]}"

# Freed memory is kept from use for a while, but not so much that every input gets fresh pages.
export ASAN_OPTIONS=${ASAN_OPTIONS:-quarantine_size_mb=16}
# What the targets leave is this run's own.
TMPDIR=$(mktemp -d) || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
libs=$(pkg-config --libs libmicrohttpd jansson sentencepiece libsystemd libsodium inih libpcre2-8 \
       libutf8proc libcurl $(pkg-config --exists hiredis && echo hiredis) \
       $(pkg-config --exists libzstd && echo libzstd))
rc=0
for name in "${targets[@]}"; do
    # shellcheck disable=SC2086 # libs is a list of words
    clang++ -fsanitize=fuzzer,address,undefined -pthread -o "$out/fuzz_$name" \
        "$out/tests/fuzz/fuzz_$name.o" $out/libfuzz.a $libs -ldl -lm || exit 1
    mkdir -p "$out/corpus/$name"
    echo "fuzz: $name for $seconds s"
    if "$out/fuzz_$name" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" \
        -rss_limit_mb=4096 -max_len=16384 -artifact_prefix="$out/$name-" -print_final_stats=1 "$out/corpus/$name" \
        "tests/fuzz/corpus/$name" >"$out/$name.log" 2>&1; then
        grep -E 'stat::(number_of_executed_units|average_exec_per_sec)' "$out/$name.log"
    else
        tail -40 "$out/$name.log"
        echo "fuzz: $name failed; $out/$name.log has it all"
        rc=1
    fi
done
exit $rc
