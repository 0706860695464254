# shellcheck shell=bash disable=SC2034 # job and rc are for those who read this
# Read by stages.sh and .ci/run: commands that run beside each other or alone, each the first of a
# process group, so that a signal ends at once this script, and them with all that they started.
declare -A job_of=() # the name of each that runs, by its process
tick=
STILL_S=${STILL_S:-240}

stop() { # CODE
    trap '' HUP INT TERM
    for pid in "${!job_of[@]}"; do
        kill -- "-$pid"
    done 2>/dev/null
    [ -z "$tick" ] || kill "$tick" 2>/dev/null
    exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

begin() { # NAME COMMAND…
    set -m
    "${@:2}" </dev/null &
    set +m
    job_of[$!]=$1
}

# Waits for the first to end: $job is its name, $rc how it ended. Those that take long are named
# meanwhile: nothing else may be printed for half an hour.
awaited() { # WHO SAYS SO
    local pid names
    while :; do
        sleep "$STILL_S" >/dev/null 2>&1 &
        tick=$!
        wait -n -p pid "$tick" "${!job_of[@]}"
        rc=$?
        [ "$pid" = "$tick" ] || break
        names=$(printf ', %s' "${job_of[@]}")
        echo "$1: still: ${names:2}"
    done
    kill "$tick" 2>/dev/null
    wait "$tick" 2>/dev/null
    tick=
    job=${job_of[$pid]}
    unset "job_of[$pid]"
}
