#!/bin/sh
# Runs the standard set of workloads and writes a report: index.html, table.md, one JSON each.
#
#   bench_serve.sh [--quick] [--build DIR] [--out DIR]        the daemon on both demo models
#   bench_serve.sh --model DIR [--load-format dummy] …        the daemon on this model
#   bench_serve.sh --url URL [--model NAME] …                 any OpenAI-compatible server
#
# Workloads that need sessions run when POST /v1/sessions works, the restart only on an own daemon.
set -eu
cd "$(dirname "$0")/../.."

build=build out=build/report url='' model='' quick='' format=auto port=18473 extra=''
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1; shift; continue ;;
    --build | --out | --url | --model | --load-format | --port | --daemon-args) ;;
    *) echo "bench_serve.sh: unknown option $1" >&2; exit 2 ;;
    esac
    [ $# -ge 2 ] || { echo "bench_serve.sh: $1 needs a value" >&2; exit 2; }
    case $1 in
    --build) build=$2 ;;
    --out) out=$2 ;;
    --url) url=$2 ;;
    --model) model=$2 ;;
    --load-format) format=$2 ;;
    --port) port=$2 ;;
    --daemon-args) extra=$2 ;;
    esac
    shift 2
done
bench=$build/recurd-bench daemon=$build/recurd
[ -x "$bench" ] || { echo "bench_serve.sh: $bench is missing; run make first" >&2; exit 2; }
mkdir -p "$out"
rm -f "$out"/*.json
state=$(mktemp -d)
pidfile=$state/pid

# Starts the daemon and returns when it answers; also run by the restart workload, as a script.
cat > "$state/start.sh" <<END
#!/bin/sh
if [ -s "$pidfile" ]; then
    kill "\$(cat "$pidfile")" 2>/dev/null
    while kill -0 "\$(cat "$pidfile")" 2>/dev/null; do sleep 0.05; done
fi
# The queue holds the 10,000 streams of the last workload; nothing else differs from the defaults.
setsid "$daemon" --listen 127.0.0.1:$port --state-dir "$state/states" --queue 12000 \\
    --connections 12000 $extra --load-format $format \${1:+--model "\$1"} \\
    >>"$out/daemon.log" 2>&1 &
echo \$! >"$pidfile"
for i in \$(seq 600); do
    curl -sf "http://127.0.0.1:$port/v1/models" >/dev/null && exit 0
    kill -0 "\$(cat "$pidfile")" 2>/dev/null || break
    sleep 0.1
done
echo "the daemon does not answer; see $out/daemon.log" >&2
exit 1
END
chmod +x "$state/start.sh"
mkdir -p "$state/states"
: > "$out/daemon.log"

stop() {
    if [ -s "$pidfile" ]; then
        kill "$(cat "$pidfile")" 2>/dev/null || true
        while kill -0 "$(cat "$pidfile")" 2>/dev/null; do sleep 0.05; done
        rm -f "$pidfile"
    fi
}
trap 'stop; rm -rf "$state"' EXIT
trap 'exit 130' INT TERM

files=''
seconds=${quick:+3}
seconds=${seconds:-10}

# run NAME LABEL OPTION...: one workload; a failing one is said and does not end the set.
run() {
    name=$1 label=$2
    shift 2
    echo "== $label"
    if "$bench" --url "$target" $named --label "$label" --json "$out/$name.json" --quiet \
        --ignore-eos "$@"; then
        :
    else
        echo "bench_serve.sh: $label ended with exit code $?" >&2
        failed=1
    fi
    [ -s "$out/$name.json" ] && files="$files $out/$name.json"
    return 0
}

# has_sessions: whether the target keeps states by name.
has_sessions() {
    curl -sf -X POST -H 'Content-Type: application/json' -d '{}' "$target/v1/sessions" >/dev/null
}

# workloads TAG NAME: the standard set.
workloads() {
    t=$1 n=$2
    run "$t-1-single" "$n: one stream" --concurrency 1 --duration "$seconds" \
        --input-tokens 128 --output-tokens 128
    run "$t-2-sweep" "$n: sweep" --sweep concurrency:1,2,4,8,16,32,64 --duration "$seconds" \
        --input-tokens 64 --output-tokens 64
    run "$t-3-open" "$n: open loop, mixed lengths" --rate 4 --duration $((seconds * 2)) \
        --input-tokens lognormal:200:0.6 --output-tokens lognormal:60:0.5 --slo ttft=500 \
        --slo tpot=50
    run "$t-4-burst" "$n: bursty arrivals" --rate 4 --arrival gamma --burstiness 0.25 \
        --duration $((seconds * 2)) --input-tokens 128 --output-tokens 64
    run "$t-5-prefix" "$n: shared prefix of 1,500, own 100" --concurrency 4 \
        --duration "$seconds" --prefix-tokens 1500 --input-tokens 100 --output-tokens 32
    run "$t-6-history" "$n: conversations, history sent again" --concurrency 4 --requests 12 \
        --turns 6 --input-tokens 500 --turn-tokens 50 --output-tokens 32 --return-token-ids
    if has_sessions; then
        run "$t-7-sessions" "$n: conversations in sessions" --concurrency 4 --requests 12 \
            --turns 6 --input-tokens 500 --turn-tokens 50 --output-tokens 32 --session
        run "$t-8-fork" "$n: one prompt of 1,000, 8 forks" --concurrency 1 --requests 4 --fork 8 \
            --input-tokens 1000 --turn-tokens 20 --output-tokens 32
        run "$t-9-idle" "$n: 1,000 tokens, rest, resume" --rate 1 --requests 16 --idle 5 \
            --input-tokens 1000 --turn-tokens 20 --output-tokens 32
        [ -n "$url" ] || run "$t-a-restart" "$n: 1,000 tokens, restart, resume" --rate 1 \
            --requests 16 --input-tokens 1000 --turn-tokens 20 --output-tokens 32 \
            --restart "$state/start.sh $dir"
    fi
    run "$t-b-verify" "$n: correctness under load" --verify --requests 32 --concurrency 16 \
        --input-tokens uniform:5:300 --output-tokens uniform:5:60 --return-token-ids
    [ -n "$quick$url" ] || run "$t-c-streams" "$n: 10,000 open streams" --rate inf \
        --requests 10000 --input-tokens 8 --output-tokens 8 --fail-if 'requests.failed>0'
}

failed='' named='' dir=''
if [ -n "$url" ]; then
    target=$url
    named=${model:+--model $model}
    workloads server "${model:-server}"
else
    target=http://127.0.0.1:$port
    for dir in ${model:-models/demo/gated-deltanet models/demo/rwkv7}; do
        "$state/start.sh" "$dir"
        workloads "$(basename "$dir")" "$(basename "$dir")"
        stop
        rm -rf "$state/states"
        mkdir -p "$state/states"
    done
fi
[ -n "$files" ] || { echo 'bench_serve.sh: nothing was measured' >&2; exit 1; }
# shellcheck disable=SC2086 # the names are ours and have no spaces
"$bench" report --title 'recurd: serving' --html "$out/index.html" --markdown "$out/table.md" $files
echo "$out/index.html"
cat "$out/table.md"
[ -z "$failed" ]
