#!/bin/sh
# Installs the Debian packages named as arguments that are missing; says what to do where it can't.
# A name that ends in "?" is left out where the distribution does not have it.
set -eu
if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "deps: this is not a Debian system; please install the equivalents of: $*" >&2
    exit 0
fi
missing=
for p in "$@"; do
    dpkg-query -W -f '${Status}' "${p%\?}" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $p"
done
[ -n "$missing" ] || exit 0
as_root=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        echo "deps: not root; please run: apt-get install$missing" >&2
        exit 1
    fi
fi
export DEBIAN_FRONTEND=noninteractive
install() { $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
names() { # the missing packages; `?` ones only if they exist, when $1 says so
    for p in $missing; do
        case $p in
        *\?) [ -z "$1" ] || apt-cache show "${p%\?}" >/dev/null 2>&1 || continue ;;
        esac
        echo "${p%\?}"
    done
}
echo "deps: installing$missing"
# The package lists of a fresh machine may be missing or old: refresh them if the first try fails.
if ! install $(names '') 2>/dev/null; then
    $as_root apt-get update -qq
    have=$(names exist)
    [ -z "$have" ] || install $have ||
        { echo "deps: apt-get failed; please run: apt-get install$missing" >&2; exit 1; }
fi
