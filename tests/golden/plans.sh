#!/usr/bin/env bash
# The plans of ten families against the stored ones, so that every change of the builder or of a pass
# is seen. After a change that is meant: --update, and the difference is part of the review.
# usage: tests/golden/plans.sh RECURD-EVAL [--update]
eval=$1
here=$(cd "$(dirname "$0")" && pwd)
models="public/gated_deltanet public/rwkv7 public/mamba2 public/mamba public/mla public/nsa
        public/yoco public/rodimus hf/hf_qwen3_5_moe hf/hf_zamba2"
rc=0
mkdir -p "$here/plans"
for m in $models; do
    want=$here/plans/${m#*/}.txt
    got=$("$eval" --plan "$here/$m") || { echo "plans: $m has none"; rc=1; continue; }
    if [ "${2-}" = --update ]; then
        printf '%s\n' "$got" >"$want"
    elif ! printf '%s\n' "$got" | diff -u "$want" - >"/tmp/plan.$$"; then
        echo "plans: $m differs from $want (tests/golden/plans.sh $eval --update if that is meant)"
        head -20 "/tmp/plan.$$" | cut -c1-200
        rc=1
    fi
done
rm -f "/tmp/plan.$$"
[ $rc -eq 0 ] && echo "plans: $(echo $models | wc -w) as stored"
exit $rc
