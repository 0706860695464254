# Sourced by the lints. Bytes, not characters, so that every awk agrees on what it reads.
LC_ALL=C
export LC_ALL

# files PATTERN…: the project's files of these names, sorted, relative to the working directory.
# New files count before they are committed; build outputs and the lints themselves never.
files() {
    local names=() p
    for p in "$@"; do names+=(-o -name "$p"); done
    find . -type d \( -name .git -o -name 'build*' -o -path ./tests/lint \) -prune -o \
        -type f \( "${names[@]:1}" \) -print | sed 's|^\./||' | sort
}

# check AWK-ARGUMENTS…: one awk over the files named on standard input; fails if it prints.
check() {
    local list out
    mapfile -t list
    [ ${#list[@]} -gt 0 ] || return 0
    out=$(awk "$@" "${list[@]}" 2>&1) || out="${out:-awk failed}"
    [ -z "$out" ] && return 0
    printf '%s\n' "$out"
    return 1
}
