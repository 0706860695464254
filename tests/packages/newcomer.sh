#!/bin/bash
# The first minutes of somebody new, in a clean root: the guide's page installs the package, the unit's
# command starts, a browser (this machine's) chats, the server stops and starts again, the conversation
# goes on. Prints what each took. Then what the other pages of the guide tell root to do.
# Prints "skipped: …" for what this machine cannot do: Chromium, debootstrap, root, network.
# usage: MAKE=make tests/packages/newcomer.sh BUILD     ROOT=DIR: a root that is there already, kept
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$1
make=${MAKE:-make}
failed=0
# shellcheck source-path=SCRIPTDIR
. tests/packages/root.sh

$make -s --no-print-directory B="$build" deb
open_root || exit $failed
version=$(sed -n 's/^VERSION *:= *//p' Makefile)
cp "$build"/deb/*_"${version}"_*.deb "$root/packages/"
root_commands() { python3 tests/guide/blocks.py "etc/guide/$1" ${2:+"$2"}; }

mapfile -t install < <(root_commands start.md Install)
python3 tests/packages/newcomer.py "$root" "${install[@]}" || failed=1

# What needs no service manager, of the pages that have more for root to do.
mkdir -p "$root/etc/prometheus"
for page in proxy keys tuning monitoring; do
    while read -r command; do
        case $command in
        systemctl* | journalctl*) echo "skipped: $page.md: $command: no service manager in this root" ;;
        *) check "$page.md: $command" inside sh -c "$command" </dev/null ;;
        esac
    done < <(root_commands $page.md)
done
[ $failed -eq 0 ] && echo "newcomer: everything holds"
exit $failed
