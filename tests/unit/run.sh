#!/bin/sh
# Runs unit test programs one after the other. A sanitizer's report fails the run even where the
# test framework exits 0 (a leak in a passing test).
log=$(mktemp)
trap 'rm -f "$log"' EXIT
bad=
for t in "$@"; do
    "$t" --timeout 120 >"$log" 2>&1
    rc=$?
    grep -E 'Synthesis' "$log" | sed "s|^|$(basename "$t"): |"
    if [ $rc -ne 0 ] || grep -qE 'Sanitizer|runtime error:' "$log"; then
        cat "$log"
        bad="$bad $t"
    fi
done
[ -z "$bad" ] || { echo "failed:$bad"; exit 1; }
