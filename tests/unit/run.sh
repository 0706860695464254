#!/bin/sh
# Runs unit test programs, as many at a time as there are processors; what they say is shown in
# their order. A sanitizer's report fails the run even where the test framework exits 0 (a leak in
# a passing test). The time is for a test that hangs: no build is so slow.
if [ "$1" = --one ]; then # DIR PROGRAM
    name=$(basename "$3")
    log=$2/$name.log
    timeout 1800 "$3" >"$log" 2>&1
    rc=$?
    grep -E 'Synthesis' "$log" | sed "s|^|$name: |" >"$2/$name.said"
    if [ $rc -ne 0 ] || grep -qE 'Sanitizer|runtime error:' "$log"; then
        cat "$log" >>"$2/$name.said"
        echo "$3" >"$2/$name.bad"
    fi
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 "$0" --one "$dir"
bad=
for t in "$@"; do
    name=$(basename "$t")
    # A program of which nothing is known was not run.
    cat "$dir/$name.said" || bad="$bad $t"
    [ ! -e "$dir/$name.bad" ] || bad="$bad $t"
done
[ -z "$bad" ] || { echo "failed:$bad"; exit 1; }
