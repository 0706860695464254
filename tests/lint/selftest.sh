#!/usr/bin/env bash
# The lints against samples that must be refused, and samples that must not: a lint that finds
# nothing because it is broken looks exactly like clean code. Exit 1 if one is wrong.
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
wrong=0 cases=0

# sample FILE: a tree with this one file, its text on standard input.
sample() {
    rm -rf "${tmp:?}/tree"
    mkdir -p "$tmp/tree/$(dirname "$1")"
    cat >"$tmp/tree/$1"
}

run() { case $1 in names) python3 "$here/names.py" "$tmp/tree" ;; *) bash "$here/$1.sh" "$tmp/tree" ;; esac; }

complain() {
    echo "tests/lint/selftest.sh: $1"
    printf '%s\n' "${2:-(no output)}" | sed 's/^/    /'
    wrong=1
}

# refuse LINT FILE:LINE WORDS: the sample must be refused there, once, with these words.
refuse() {
    local out status
    cases=$((cases + 1))
    out=$(run "$1")
    status=$?
    [ $status -eq 1 ] || complain "$1 leaves with $status instead of 1 for $2 ($3)" "$out"
    case $out in
    "$2: "*"$3"*) ;;
    *) complain "$1 should say at $2: … $3" "$out" ;;
    esac
    [ "$(printf '%s\n' "$out" | wc -l)" -eq 1 ] || complain "$1 says more than one thing" "$out"
}

# accept LINT WHY
accept() {
    local out
    cases=$((cases + 1))
    out=$(run "$1") || complain "$1 refuses $2" "$out"
    [ -z "$out" ] || complain "$1 talks about $2" "$out"
}

# include FILE HEADER: a sample whose third line includes it.
include() { printf '/* s */\n\n#include %s\n' "$2" | sample "$1"; }

# ---- layers ----
up() { include "$1" "\"$2\"" && refuse layers "$1:3" "never point up"; }
up base/x.c kernels/plan.h
up base/x.h server/http/http.h
up kernels/x.c models/model.h
up kernels/cpu/x.c scheduler/sched.h
up models/x.c statecache/value/slots.h
up statecache/x.c scheduler/sched.h
up scheduler/x.h server/http/http.h

down() { include "$1" "\"$2\"" && accept layers "$1 -> $2"; }
down base/x.c base/err.h
down kernels/x.c base/err.h
down kernels/cpu/x.c kernels/plan.h
down kernels/x.c kernels/ops.def
down models/x.c kernels/plan.h
down models/x.cc models/text/spm_shim.h
down statecache/x.c kernels/backend.h
down scheduler/x.c models/model.h
down scheduler/x.c statecache/value/slots.h
down server/x.c scheduler/sched.h
down server/x.c base/err.h
down server/x.c models/text/tokenizer.h
down programs/x.c server/http/http.h
up server/x.c programs/x.h
down tests/unit/x.c server/http/http.h
down tests/unit/x.c tests/unit/help.h

include statecache/x.c '"models/model.h"' && refuse layers statecache/x.c:3 "never sees models"
include models/arch/x.c '"models/model.h"' && refuse layers models/arch/x.c:3 "only models/build/build.h"
include server/x.c '"models/model.h"' && refuse layers server/x.c:3 "the server sees what is served"
include models/arch/x.c '"base/err.h"' && refuse layers models/arch/x.c:3 "only models/build/build.h"
include models/arch/x.c '<unistd.h>' && refuse layers models/arch/x.c:3 "and ISO C"
include models/arch/x.c '"models/build/build.h"' && accept layers "the build vocabulary"
include models/arch/x.c '<math.h>' && accept layers "arithmetic in an architecture"
include models/x.c '"models/arch/rwkv7.h"' && refuse layers models/x.c:3 "archs.def"
include base/x.c '"err.h"' && refuse layers base/x.c:3 "start at the root"
include base/x.c '"../base/err.h"' && refuse layers base/x.c:3 "start at the root"
include base/x.c '"base/../server/http.h"' && refuse layers base/x.c:3 "start at the root"
include server/x.c '"tests/unit/help.h"' && refuse layers server/x.c:3 "depend on its tests"
include kernels/opencl/src/x.cl '<math.h>' && refuse layers kernels/opencl/src/x.cl:3 ".clh files"
include kernels/opencl/src/x.cl '"common.clh"' && accept layers "shared device code"

only() { include "$1" "<$2>" && refuse layers "$1:3" "only"; }
only kernels/cpu/x.c CL/cl.h
only server/x.c CL/opencl.h
only tests/unit/x.c CL/cl.h
only scheduler/x.c microhttpd.h
only models/model.c jansson.h
only scheduler/x.c jansson.h
only models/text/tokenizer.c sentencepiece_processor.h
only base/log.c systemd/sd-journal.h
only base/x.c sodium.h
only models/x.c ini.h
only server/x.c immintrin.h
only tests/load/x.c criterion/criterion.h

may() { include "$1" "<$2>" && accept layers "$1 -> $2"; }
may kernels/opencl/x.c CL/cl.h
may server/http/http.c microhttpd.h
may server/api.c jansson.h
may models/files/config.c jansson.h
may models/files/safetensors.c jansson.h
may models/text/tokenizer.c jansson.h
may programs/recurd-bench/bench.c jansson.h
may models/text/spm_shim.cc sentencepiece_processor.h
may models/text/spm_shim.cc string
may server/process/daemon.c systemd/sd-daemon.h
may kernels/cpu/x.c immintrin.h
may tests/unit/test_x.c criterion/criterion.h
may base/x.c sys/random.h

include base/x.c '<zlib.h>' && refuse layers base/x.c:3 "no row"
include server/x.c '<zlib.h>' && refuse layers server/x.c:3 "no row"
sample base/x.c <<<'  #  include "server/http/http.h" /* indented */' && refuse layers base/x.c:1 "up"
sample base/x.c <<<'/* #include "server/http/http.h" */' && accept layers "a comment"
printf '/*\n#include "server/http/http.h"\n*/\n' | sample base/x.c && accept layers "a long comment"
printf '/* a */ /*\n*/ #include "server/http/http.h"\n' | sample base/x.c &&
    refuse layers base/x.c:2 "up"

# ---- sizes ----
lines() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) print "int x;" }'; }
lines 800 | sample base/x.c && accept sizes "800 lines"
lines 801 | sample base/x.c && refuse sizes base/x.c:801 "801 lines, at most 800"
lines 250 | sample base/x.h && accept sizes "250 lines of a header"
lines 251 | sample base/x.h && refuse sizes base/x.h:251 "251 lines, at most 250"
lines 251 | sample tests/unit/x.h && accept sizes "251 lines of a test's rig"
lines 801 | sample kernels/opencl/src/x.cl && refuse sizes kernels/opencl/src/x.cl:801 "at most 800"
lines 801 | sample models/x.cc && refuse sizes models/x.cc:801 "at most 800"
lines 801 | sample build/x.c && accept sizes "what the build wrote"

column() { awk -v n="$1" 'BEGIN { while (n-- > 0) printf "x"; print "" }'; }
column 100 | sample base/x.c && accept sizes "100 columns"
column 101 | sample base/x.c && refuse sizes base/x.c:1 "101 columns, at most 100"
printf '/* %s */\n' "$(awk 'BEGIN { for (i = 0; i < 94; i++) printf "\303\251" }')" |
    sample base/x.c && accept sizes "100 columns of two bytes each"
printf '\tint x;\n' | sample base/x.c && refuse sizes base/x.c:1 "a tab"
printf 'int x; \n' | sample base/x.c && refuse sizes base/x.c:1 "end of the line"

body() { printf '%s\n' "$2" && [ -z "$3" ] || echo "{"; lines "$1" | sed 's/^/    /'; echo "}"; }
body 78 'static int f(void)' brace | sample base/x.c && accept sizes "a function of 80 lines"
body 79 'static int f(void)' brace | sample base/x.c &&
    refuse sizes base/x.c:2 "function f has 81 lines, at most 80"
body 199 'kernel void k(global float *x) {' '' | sample kernels/opencl/src/x.cl &&
    refuse sizes kernels/opencl/src/x.cl:1 "function k has 201 lines"
{ body 40 'int f(void)' brace; body 40 'char *g(int a)' brace; body 79 'int *h(int a)' brace; } |
    sample base/x.c && refuse sizes base/x.c:88 "function h has 81"
body 100 'static const struct row rows[] = {' '' | sed 's/^}/};/' | sample base/x.c &&
    accept sizes "a long table"

# ---- banned ----
call() { printf 'void f(void);\n%s\n' "$2" | sample base/x.c && refuse banned base/x.c:2 "$1"; }
call strcpy 'int a = strcpy(b, c);'
call strcat 'int a = (strcat (b, c));'
call sprintf 'int a = sprintf(b, c);'
call vsprintf 'int a = vsprintf(b, c, d);'
call strtok 'int a = strtok(b, c);'
call atoi 'int a = atoi(b);'
call gets 'int a = gets(b);'
call alloca 'int a = alloca(8);'
call rand 'int a = rand() % 6;'
call 'no limit' '#define A(n) alloca(n)'
call strcpy 'int a = x("\"", y) + strcpy(b, "//");'
call strcpy "int a = '\"' + strcpy(b, c);"
call 'variable length' 'void f(void) { int n = 3; n++; char a[n]; (void)a; }'
call 'compiler change bits' '#pragma STDC FP_CONTRACT ON'
call 'compiler change bits' 'const char *o = "-cl-fast-relaxed-math";'
call 'unfinished' '/* TODO: later */'
call 'unfinished' 'int a; // FIXME'
call 'unfinished' '/* XXX */'
call 'path of one machine' 'const char *p = "/home/me/model";'
call 'path of one machine' '/* see /root/x */'
call 'tracker' '/* see issue #12 */'

fine() { printf '%s\n' "$2" | sample base/x.c && accept banned "$1"; }
fine "a comment about strcpy" '/* not strcpy(a, b): it has no limit */'
fine "a text about sprintf" 'const char *t = "sprintf(a) \" gets(b)";'
fine "longer names" 'int a(void); int my_rand(void); int snprintfx(void); int strtok_r_(void);'
fine "a name that ends like one" 'int budgets(int x);'
fine "a template of mkstemp" 'const char *t = "/tmp/x.XXXXXX";'
fine "a constant length" 'void f(void); void f(void) { enum { N = 4 }; char a[N]; (void)a; }'
fine "a comment about options" '/* -ffast-math is never used */'
fine "an apostrophe in a comment" "/* don't */ int a; /* can't */"

echo 'CFLAGS = -O2 -ffast-math' | sample Makefile && refuse banned Makefile:1 "change bits"
echo '# no -ffast-math here' | sample Makefile && accept banned "a makefile's comment"
echo 'See TODO.' | sample docs/x.md && refuse banned docs/x.md:1 "unfinished"
echo 'ExecStart=/root/recurd' | sample systemd/x.service && refuse banned systemd/x.service:1 "machine"
echo 'ProtectHome=yes' | sample systemd/x.service && accept banned "a unit file"

# ---- names ----
echo 'See `base/gone.c`.' | sample x.md && refuse names x.md:1 "called base/gone.c"
echo 'Run `tests/gone.sh now`.' | sample x.md && refuse names x.md:1 "called tests/gone.sh"
echo 'Both are in `x.{md,h}`.' | sample x.md && refuse names x.md:1 "called x.h"
echo 'Folder [map](../gone/README.md).' | sample d/x.md && refuse names d/x.md:1 "called ../gone"
printf '/* What gone.c needs. */\n' | sample base/x.h && refuse names base/x.h:1 "called gone.c"
printf '#!/bin/sh\n# Runs gone.py.\n' | sample x.sh && refuse names x.sh:2 "called gone.py"
echo '`d/x.md`, `x`, `d/`, `<name>.md`, `d/*.md`, `../d/x.md`, `/v1/x`, `a`, gone.c' | sample d/x.md &&
    accept names "names that are there"
printf '```\n`gone.c`\n```\n    `gone.c`\n' | sample x.md && accept names "a transcript"
printf '/* A file. */\nint x; // as gone.c\n' | sample base/x.c && refuse names base/x.c:2 "called gone.c"
printf '/* A file. */\nconst char *x = "gone.c";\n' | sample base/x.c && accept names "a text in code"
: | sample d/x1 && touch "$tmp"/tree/d/x{2..11} && refuse names d "11 files and no README.md"
touch "$tmp/tree/d/README.md" && accept names "a folder with a page"

[ $wrong -eq 0 ] && [ $# -eq 0 ] && echo "lint selftest: $cases samples judged rightly"
exit $wrong
