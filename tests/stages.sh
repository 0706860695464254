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
declare -A stage_of=()
stop() { # each beside others is the first of a process group
    for pid in "${!stage_of[@]}"; do kill -- "-$pid"; done 2>/dev/null
    exit 130
}
trap stop INT TERM

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
    local pid rc stage
    wait -n -p pid "${!stage_of[@]}"
    rc=$?
    stage=${stage_of[$pid]}
    unset "stage_of[$pid]"
    echo "== $stage"
    cat "$logs/$stage.log"
    ended "$stage" $rc
}

start=$SECONDS
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ ${#stage_of[@]} -lt "${LANES:-$(nproc)}" ] || next_ended
    set -m
    run quietly "$1" &
    set +m
    stage_of[$!]=$1
    shift
done
while [ ${#stage_of[@]} -gt 0 ]; do
    next_ended
done
[ $# -eq 0 ] || shift
for stage in "$@"; do
    echo "== $stage"
    run aloud "$stage"
    ended "$stage" $?
done
echo "== stages: $((SECONDS - start)) s"
printf '%s\n' "${table[@]}"
grep -hiE '^[^a-z]*skipped' "$logs"/*.log 2>/dev/null | sort -u | sed 's/^/    /'
echo "test: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
