#!/usr/bin/env bash
# Runs every stage although one failed, and ends with one table: what passed, what failed, what was
# left out and why. A test that leaves something out says so in a line that begins with "skipped".
# usage: MAKE=make tests/stages.sh LOGDIR STAGE… [-- STAGE…]     a stage is a target of the Makefile
#
# Those before -- use one processor each: LANES of them (as many as there are processors) run beside
# each other, and each is shown whole when it ends. Those after it follow one another, shown as they
# run: they use every processor, or measure what others would disturb.
set -u
logs=$1
shift
mkdir -p "$logs"
rm -f "$logs"/*.log
table=() passed=0 failed=0 skipped=0
# shellcheck source=tests/jobs.sh
. "$(dirname "$0")/jobs.sh"

quietly() { ${MAKE:-make} "$1" >"$logs/$1.log" 2>&1; }
aloud() {
    ${MAKE:-make} "$1" 2>&1 | tee "$logs/$1.log"
    return "${PIPESTATUS[0]}"
}
run() {  # HOW STAGE: its seconds and CPU seconds go to a file
    local TIMEFORMAT='%0R %0U %0S'
    { time "$1" "$2"; } 2>"$logs/$2.time"
}
ended() {  # STAGE RC
    local word=FAILED n wall user sys
    read -r wall user sys < <(tail -1 "$logs/$1.time")
    n=$(grep -ciE '^[^a-z]*skipped' "$logs/$1.log")
    skipped=$((skipped + n))
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1)) word=passed
    else
        failed=$((failed + 1))
    fi
    table+=("$(printf '%-14s %-7s %5d s, CPU %5d s%s' "$1" $word "$wall" $((user + sys)) \
        "$([ "$2" -eq 0 ] || echo "   $logs/$1.log")")")
}
next_ended() {
    awaited test
    echo "== $job"
    cat "$logs/$job.log"
    ended "$job" "$rc"
}

start=$SECONDS
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ ${#job_of[@]} -lt "${LANES:-$(nproc)}" ] || next_ended
    begin "$1" run quietly "$1"
    shift
done
while [ ${#job_of[@]} -gt 0 ]; do
    next_ended
done
[ $# -eq 0 ] || shift
for stage in "$@"; do
    echo "== $stage"
    begin "$stage" run aloud "$stage"
    awaited test
    ended "$job" "$rc"
done
echo "== stages: $((SECONDS - start)) s"
printf '%s\n' "${table[@]}"
grep -hiE '^[^a-z]*skipped' "$logs"/*.log 2>/dev/null | sort -u | sed 's/^/    /'
echo "test: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
