#!/usr/bin/env bash
# Runs every stage although one failed, and ends with one table: what passed, what failed, what was
# left out and why. A test that leaves something out says so in a line that begins with "skipped".
# usage: MAKE=make tests/stages.sh LOGDIR STAGE…        a stage is a target of the Makefile
set -u
logs=$1
shift
mkdir -p "$logs"
table=() passed=0 failed=0 skipped=0
for stage in "$@"; do
    echo "== $stage"
    start=$SECONDS
    ${MAKE:-make} "$stage" 2>&1 | tee "$logs/$stage.log"
    rc=${PIPESTATUS[0]}
    n=$(grep -ciE '^[^a-z]*skipped' "$logs/$stage.log")
    skipped=$((skipped + n))
    if [ "$rc" -eq 0 ]; then
        passed=$((passed + 1)) word=passed
    else
        failed=$((failed + 1)) word=FAILED
    fi
    table+=("$(printf '%-14s %-7s %5d s%s' "$stage" $word $((SECONDS - start)) \
        "$([ "$rc" -eq 0 ] || echo "   $logs/$stage.log")")")
done
echo "== stages"
printf '%s\n' "${table[@]}"
grep -hiE '^[^a-z]*skipped' "$logs"/*.log 2>/dev/null | sort -u | sed 's/^/    /'
echo "test: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
