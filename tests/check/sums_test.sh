#!/bin/sh
# kernels/numerics.sum guards the revision: what kernelcheck says when a digest, a line or the
# revision is another. Usage: sums_test.sh KERNELCHECK
set -u
check=$1
sums=$(mktemp) || exit 1
trap 'rm -f "$sums" "$sums.before"' EXIT
fail() {
    echo "sums_test: $1" >&2
    exit 1
}
run() { "$check" --op rnn --sums "$sums" "$@" >/dev/null 2>&1; }
edit() { sed "$1" kernels/numerics.sum >"$sums"; }

edit ''
run || fail "the sums as they are do not pass"
edit 's/^\(rnn  *simd.*\)[0-9a-f]$/\1x/;s/x$/0/'
cmp -s "$sums" kernels/numerics.sum && edit 's/^\(rnn  *simd.*\)[0-9a-f]$/\11/'
run && fail "moved bits pass"
run --write-sums && fail "moved bits are written without a new revision"
edit 's/^revision .*/revision 1/'
run && fail "sums of another revision pass"
run --write-sums && fail "one op alone is written for a new revision"
edit '/^rnn/d'
run && fail "an op without sums passes"
run --write-sums || fail "a new op is not written without a new revision"
cmp -s "$sums" kernels/numerics.sum || fail "written again, the sums are others"
# Lines of another processor, of its own C library, are neither compared nor lost.
if [ "$(uname -m)" = x86_64 ]; then
    edit '/^libm-neon/d; /^[a-z_]* *neon /d; s/^libm .*/&\nlibm-neon ab8a8d92/'
    echo 'rnn            neon -      50 0123456789abcdef' >>"$sums"
    echo 'rope           neon libm   10 0123456789abcdef' >>"$sums"
    sort "$sums" >"$sums.before"
    run || fail "lines of another processor are compared"
    run --write-sums || fail "lines of another processor keep others from being written"
    sort "$sums" | cmp -s - "$sums.before" || fail "lines of another processor are lost"
fi
edit 's/^rnn  *simd.*/rnn simd - 900 0123456789abcdef/'
run && fail "lost cases pass"
echo "sums_test: moved bits, lost lines and other revisions are refused"
