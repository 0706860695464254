#!/bin/bash
# The Debian packages as an administrator meets them: lintian; then in a root of its own made by
# debootstrap: installed, served, upgraded, removed, purged. States, sessions and the edited
# configuration file must be there for as long as they were promised.
# Prints "skipped: …" for what this machine cannot do: lintian, debootstrap, root, network.
# usage: MAKE=make tests/packages/run.sh BUILD        ROOT=DIR: a root that is there already, kept
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$1
make=${MAKE:-make}
conf=/etc/recurd/recurd.conf
state=/var/lib/recurd
failed=0
# shellcheck source-path=SCRIPTDIR
. tests/packages/root.sh
absent() { ! [ -e "$1" ]; }

version=$(sed -n 's/^VERSION *:= *//p' Makefile)
next=$version+next
$make -s --no-print-directory B="$build" deb
old=("$build"/deb/*_"${version}"_*.deb)
$make -s --no-print-directory B="$build" deb VERSION="$next"
new=("$build"/deb/*_"${next}"_*.deb)
check "three packages of each version" test ${#old[@]},${#new[@]} = 3,3

if command -v lintian >/dev/null; then
    check "lintian finds nothing" lintian --allow-root --fail-on error,warning "${old[@]}"
else
    echo "skipped: lintian is not installed"
fi
open_root || exit $failed
cp "${old[@]}" "${new[@]}" "$root/packages/"

# start: the command of the unit, with the folders that it has there.
start() {
    local command
    command=$(tests/packages/unit_command.sh "$root")
    install -d -m 700 "$root$state" "$root/var/cache/recurd"
    # shellcheck disable=SC2086
    chroot "$root" $command --listen "unix:/run/recurd.socket" >"$work/daemon" 2>&1 &
    pid=$!
    for _ in $(seq 120); do
        ! grep -q 'serving' "$work/daemon" || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    cat "$work/daemon" >&2
    return 1
}
stop() { kill "$pid" && wait "$pid"; pid=; }
ask() { # METHOD PATH [JSON]
    python3 tests/packages/ask.py "$root/run/recurd.socket" "$@"
}
say() { ask POST /v1/completions "{\"model\":\"gated-deltanet\",\"prompt\":\"$1\",\"max_tokens\":20,\"temperature\":0,\"session\":\"$2\"}"; }
session_of() { sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -1; }
same_turns() { ask GET "/v1/sessions/$1" | grep -q "\"turns\": *$2[,}]"; }

packages() { inside sh -c "apt-get install -y -qq --no-install-recommends /packages/*_$1_*.deb"; }

check "installed, with what it depends on" packages "$version"
check "no dependency is missing" inside apt-get check -qq
for p in recurd recurd-bench recurd-eval recurd-state recurd-convert; do
    check "$p --help" inside $p --help
done
check "the configuration file is marked so" grep -q "^ $conf " <(inside dpkg-query -W -f '${Conffiles}\n' recurd)
check "the unit's command starts and serves the demo model" start
id=$(ask POST /v1/sessions '{}' | session_of)
check "a session is made" test -n "$id"
check "a turn in it" say "Once upon a time" "$id"
check "stopped" stop
check "its state is whole" inside recurd-state check $state
echo "# mine" >>"$root$conf"

check "upgraded" packages "$next"
check "the new version is there" test "$(inside dpkg-query -W -f '${Version}' recurd)" = "$next"
check "the edited configuration file stays" grep -q '^# mine' "$root$conf"
check "it starts again" start
check "the session is still there" same_turns "$id" 1
check "and goes on" say " and then" "$id"
check "by one turn" same_turns "$id" 2
check "stopped again" stop

check "removed" inside apt-get remove -y -qq recurd recurd-bench recurd-models-demo
check "no program is left" absent "$root/usr/bin/recurd"
check "no unit is left" absent "$root/usr/lib/systemd/system/recurd.service"
check "the configuration file stays" test -e "$root$conf"
check "the states stay" test -e "$root$state/key"
check "purged" inside apt-get purge -y -qq recurd recurd-bench recurd-models-demo
check "the configuration file is gone" absent "$root/etc/recurd"
check "the states are gone" absent "$root$state"
leftovers=$(inside sh -c "find / -xdev -name '*recurd*' -not -path '/packages/*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/var/cache/apt/*'")
check "nothing of that name is left" test -z "$leftovers"
[ -z "$leftovers" ] || echo "$leftovers"
[ $failed -eq 0 ] && echo "packages: everything holds"
exit $failed
