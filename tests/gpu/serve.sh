#!/bin/bash
# What the state cache costs on a GPU: random weights served over HTTP, 64 and 256 streams, prompts
# of 64 tokens, 256 written, with the cache and without. One call, some four minutes:
#
#   tests/gpu/serve.sh [DEVICE]      DEVICE: as after "opencl:", default gpu
#
# B=DIR holds recurd, recurd-bench and ocl_fault (default build). BASE=PROGRAM, another recurd to
# measure beside. LD_LIBRARY_PATH as they need it. OUT=DIR keeps logs.
set -u
cd "$(dirname "$0")/../.."
DEVICE=${1:-gpu}
B=${B:-build}
OUT=${OUT:-$B/serve}
BASE=${BASE:-}
PORT=${PORT:-43019}
URL=http://127.0.0.1:$PORT
failed=0
mkdir -p "$OUT"

start() { # program, model, slots, MiB of states
    "$1" --model "$2" --load-format dummy --device "opencl:$DEVICE" --listen "127.0.0.1:$PORT" \
        --cache-dir "$OUT/kernels" --slots "$3" --state-memory "$4" --queue 4096 --queue-share 4096 \
        --step-tokens $(($3 > 256 ? 2 * $3 : 512)) >"$OUT/server.log" 2>&1 &
    server=$!
    for _ in $(seq 600); do
        kill -0 "$server" 2>/dev/null || break
        grep -q 'ready after' "$OUT/server.log" && break
        sleep 0.2
    done
    echo "== $1, $(basename "$2"), $3 slots, $4 MiB of states:" \
        "$(grep -o 'ready after.*' "$OUT/server.log" || tail -1 "$OUT/server.log")"
    kill -0 "$server" 2>/dev/null
}
stop() {
    kill "$server"
    wait "$server" || failed=1
    grep -iE 'warn|error' "$OUT/server.log" | sort | uniq -c | head -5
}
load() { # streams, requests
    "$B/recurd-bench" --url "$URL" --concurrency "$1" --requests "$2" --input-tokens 64 \
        --output-tokens 256 --ignore-eos --prompt-as ids --vocab 10:4000 --quiet \
        --json "$OUT/load.json" || failed=1
    python3 - "$1" "$OUT/load.json" <<'PY' || failed=1
import json
import sys
d = json.load(open(sys.argv[2]))
print("   %s streams: %.0f tokens/s, TPOT p50 %.2f ms, TTFT p50 %.0f ms, failed %d" % (
    sys.argv[1], d["throughput"]["output_tokens_per_s"], d["latency"]["tpot"]["p50_ms"],
    d["latency"]["ttft"]["p50_ms"], d["requests"]["failed"]))
PY
}
loads() { load 64 192; load 256 768; load 64 192; }

"$B/ocl_fault" "opencl:$DEVICE" 1 1 || failed=1 # also: states come back with their bits
for m in tests/gpu/gdn-1.3b tests/gpu/rwkv7-1.5b; do
    start "$B/recurd" $m 256 0 && loads && stop
    if start "$B/recurd" $m 256 32768; then
        loads
        "$B/recurd-bench" --url "$URL" --verify --requests 32 --concurrency 32 --input-tokens 100 \
            --output-tokens 64 --ignore-eos --prompt-as ids --vocab 10:4000 --quiet
        [ $? = 0 ] && echo "   every token and logprob the same, alone and together" || failed=1
        python3 - "$URL/metrics" <<'PY'
import sys
import urllib.request
for line in urllib.request.urlopen(sys.argv[1]).read().decode().splitlines():
    if line.startswith(("recurd_cache_captures", "recurd_cache_evictions")):
        print("   " + line)
PY
        stop
    fi
    [ -n "$BASE" ] && start "$BASE" $m 256 32768 && loads && stop
done
# More than one fill takes; more than there is (it must end at once, and say both numbers).
start "$B/recurd" tests/gpu/gdn-1.3b 1200 0 && stop || failed=1
start "$B/recurd" tests/gpu/gdn-1.3b 4000 0 && stop && failed=1
[ $failed = 0 ] && echo "== all passed" || echo "== FAILED"
exit $failed
