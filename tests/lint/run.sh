#!/usr/bin/env bash
# Every lint of the project, and cppcheck where it is installed. Exit 1 if one has findings.
# usage: tests/lint/run.sh [ROOT [BUILD]]      BUILD: where the objects are whose links are checked
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "${1:-$here/../..}" && pwd) || exit 2
rc=0
for lint in layers sizes banned; do
    bash "$here/$lint.sh" "$root" || rc=1
done
python3 "$here/names.py" "$root" || rc=1
bash "$here/selftest.sh" || rc=1
[ -z "${2:-}" ] || (cd "$root" && python3 "$here/cycles.py" "$2") || rc=1

cd "$root" || exit 2
if command -v cppcheck >/dev/null; then
    # Faults and portability only: style is the other lints' business.
    files=()
    for dir in base kernels models statecache scheduler server; do
        [ -d "$dir" ] && mapfile -O ${#files[@]} -t files < <(find "$dir" -name '*.c')
    done
    [ ${#files[@]} -eq 0 ] ||
        cppcheck --enable=warning,portability --std=c11 --library=posix --inline-suppr --quiet \
            --error-exitcode=1 --suppressions-list="$here/cppcheck.txt" \
            --template='{file}:{line}: {message} [{id}]' -I. "${files[@]}" || rc=1
fi
[ $rc -eq 0 ] && echo "lint: nothing found"
exit $rc
