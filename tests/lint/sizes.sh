#!/usr/bin/env bash
# What fits a head and a screen: files of at most 800 lines, headers of 250, functions of 80,
# lines of 100 columns. Exit 1 on findings.
# usage: tests/lint/sizes.sh [ROOT]
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
cd "${1:-$here/../..}" || exit 2
files '*.c' '*.h' '*.cc' '*.cl' '*.clh' | check -f "$here/sizes.awk"
