#!/usr/bin/env bash
# What the project does without: functions that cannot be used safely, arrays of variable length,
# compiler options that change bits, unfinished thoughts, paths of one machine. Exit 1 on
# findings.  usage: tests/lint/banned.sh [ROOT]
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
cd "${1:-$here/../..}" || exit 2
rc=0

files '*.c' '*.h' '*.cc' '*.cl' '*.clh' |
    check -f "$here/strip.awk" -f "$here/banned.awk" || rc=1

files '*.c' '*.h' '*.cc' '*.cl' '*.clh' '*.def' Makefile '*.mk' '*.sh' '*.yml' |
    check -f "$here/strip.awk" -f "$here/numerics.awk" || rc=1

files '*.c' '*.h' '*.cc' '*.cl' '*.clh' '*.def' Makefile '*.mk' '*.sh' '*.py' '*.awk' '*.md' \
    '*.yml' '*.conf' '*.service' '*.socket' '*.[1-8]' | check -f "$here/words.awk" || rc=1

# Only a compiler can tell an array of variable length. -fsyntax-only needs no object files; a
# file that does not compile here (a missing library) is the build's business, not this lint's.
read -ra cc <<<"${CC:-gcc}" # "ccache gcc" are two words
if command -v "${cc[0]}" >/dev/null; then
    includes=$(pkg-config --cflags jansson libmicrohttpd libsystemd libsodium 2>/dev/null)
    while read -r file; do
        isa=
        case $file in
        */impl/*) isa="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c" ;;
        esac
        # shellcheck disable=SC2086 # lists of options
        "${cc[@]}" -std=gnu11 -fsyntax-only -Wvla -I. $includes $isa "$file" 2>&1 |
            awk '/\[-Wvla\]/ {
                split($0, at, ":")
                print at[1] ":" at[2] ": an array of variable length: no limit and no failure"
                found = 1
            }
            END { exit found }' || rc=1
    done < <(files '*.c')
fi
exit $rc
