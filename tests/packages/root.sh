#!/bin/bash
# Sourced by tests that need a clean root: made by debootstrap, or ROOT=DIR, which is kept. SUITE=NAME:
# another release. Sets $root and $work; says "skipped: …" for what this machine cannot do.
work=$(mktemp -d)
root=${ROOT:-$work/root}
pid=

check() { # what, command…
    local what=$1
    shift
    if "$@" >/dev/null 2>"$work/why"; then
        echo "ok      $what"
    else
        echo "FAILED  $what"
        sed 's/^/        /' "$work/why"
        failed=1 # the caller's
    fi
}
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# Nothing but /proc is mounted, and nothing is removed in which something still is.
cleanup() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    ! mountpoint -q "$root/proc" || umount "$root/proc"
    if grep -q " $work/" /proc/self/mountinfo; then
        echo "left: $work, in which something is mounted"
    else
        rm -rf --one-file-system "$work"
    fi
}
trap cleanup EXIT

# open_root: 0, or 1 after a line that says why not.
open_root() {
    local suite
    if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
        echo "skipped: the clean root needs root and debootstrap"
        return 1
    fi
    # shellcheck disable=SC1091
    suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
    if ! [ -e "$root/usr/bin/apt-get" ] && ! debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" \
        ${MIRROR:+"$MIRROR"} >"$work/log" 2>&1; then
        echo "skipped: debootstrap $suite: $(tail -1 "$work/log")"
        return 1
    fi
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc" 2>/dev/null || true
    cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    # Packages start no services here: they would take this machine's ports.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/packages"
    rm -f "$root"/packages/*
    inside apt-get update -qq || {
        echo "skipped: no package lists in the clean root"
        return 1
    }
}
