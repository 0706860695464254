#!/usr/bin/env bash
# Who may include whom. An include points down or sideways, never up:
#
#   base < kernels < models < statecache < scheduler < server
#
# statecache never sees models, an architecture sees the build vocabulary alone, and a library's
# header appears only where layers.awk says. Exit 1 on findings.
# usage: tests/lint/layers.sh [ROOT]
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
cd "${1:-$here/../..}" || exit 2
files '*.c' '*.h' '*.cc' '*.cl' '*.clh' | check -f "$here/strip.awk" -f "$here/layers.awk"
