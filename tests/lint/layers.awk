# The rules of layers.sh; runs after strip.awk.

# A library's header (a pattern), who may include it (a pattern), the sentence otherwise.
function rule(header, where, sentence) {
    rules++
    of[rules] = header; at[rules] = where; why[rules] = sentence
}

BEGIN {
    n = split("base kernels models statecache scheduler server programs", names, " ")
    for (i = 1; i <= n; i++) layer[names[i]] = i

    rule("^CL/", "^kernels/opencl/", "OpenCL headers belong in kernels/opencl only")
    rule("^microhttpd[.]h$", "^server/", "libmicrohttpd belongs in server only")
    rule("^jansson[.]h$",
         "^(server|programs|tests)/|^base/jsonread[.]|^models/text/(chat|toolcall)/|" \
         "^models/(convert_(values|pth)|files/(config|gguf_config|safetensors[a-z_]*|json[a-z]*)|" \
         "text/(tok[a-z_]*|bpe[a-z_]*|gguf_vocab|spm|constrain/(define|schema[a-z_]*)))[.]",
         "jansson belongs in server, programs, readers and writers of model JSON and chat only")
    rule("^sentencepiece", "^models/text/spm_shim[.]cc$",
         "sentencepiece belongs in models/text/spm_shim.cc only")
    rule("^systemd/", "^(server|programs)/", "systemd headers belong in server only")
    rule("^curl/", "^(server/otlp/|statecache/shared/(wire|s3_http)[.]c$)",
         "libcurl belongs in server/otlp, statecache/shared/wire.c and s3_http.c only")
    rule("^hiredis/", "^statecache/shared/wire[.]c$",
         "hiredis belongs in statecache/shared/wire.c only")
    rule("^zstd[.]h$", "^statecache/store/compress[.]c$|^tests/unit/test_compress[.]c$",
         "libzstd belongs in statecache/store/compress.c only")
    rule("^ini[.]h$", "^server/", "inih belongs in server only")
    rule("^sodium", "^(models|statecache|server|programs|tests)/",
         "libsodium belongs in models, statecache and server only")
    rule("^(pcre2|utf8proc)[.]h$", "^models/", "text libraries belong in the tokenizers only")
    rule("^criterion/", "^tests/unit/", "Criterion belongs in tests/unit only")
    rule("(intrin|arm_neon|cpuid)[.]h$", "^(kernels|tests)/",
         "instruction sets belong in kernels only")
    rule("^dlfcn[.]h$", "^(kernels/opencl|server/http/guard[.]c|tests)",
         "dlfcn.h belongs in kernels/opencl and guard.c only")

    # What the C library and the kernel bring; anything else needs a row above.
    std = "^(assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|" \
          "signal|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|" \
          "string|tgmath|threads|time|wchar|wctype)[.]h$"
    posix = "^((sys|linux|netinet|arpa|net|asm)/[a-z0-9_/-]+|dirent|endian|fcntl|fnmatch|ftw|" \
            "getopt|glob|grp|libgen|malloc|netdb|poll|pthread|pwd|regex|sched|semaphore|spawn|" \
            "strings|termios|unistd|execinfo|link)[.]h$"
}

function say(sentence) { printf "%s:%d: includes %s: %s\n", FILENAME, FNR, header, sentence }

FNR == 1 {
    in_comment = 0
    own = FILENAME
    sub(/\/.*/, "", own)
    in_arch = FILENAME ~ /^models\/arch\/[^\/]*[.]c$/
    in_map = FILENAME ~ /^models\/arch\/gguf_[^\/]*[.]c$/
    cxx = FILENAME ~ /[.]cc$/
    device = FILENAME ~ /[.]clh?$/
}

function project(    dir) {
    dir = header
    if (!sub(/\/.*/, "", dir)) dir = ""
    if (own == "etc" && dir == "etc" && header !~ /[.][.]/)
        ; # what the build makes pages of; nothing else may include it
    else if (header ~ /[.][.]/ || (dir != "tests" && !(dir in layer)))
        say("paths start at the root, as base/err.h")
    else if (own == "tests" && dir == "tests")
        ;
    else if (dir == "tests")
        say("the program may not depend on its tests")
    else if (in_map && header == "models/files/gguf_map.h")
        ;
    else if (in_arch && header != "models/build/build.h")
        say("an architecture may include only models/build/build.h and ISO C")
    else if (header ~ /^models\/arch\//)
        say("architectures are reached through models/archs.def")
    else if (own == "statecache" && dir == "models")
        say("the state cache gets layouts as data, it never sees models")
    else if (own == "server" && header ~ /^(kernels|models)\// && header !~ /^models\/text\//)
        say("the server sees what is served (scheduler/served.h), not models or kernels")
    else if (own in layer && layer[dir] > layer[own])
        say(own " lies below " dir ", and includes never point up")
}

function library(    i) {
    if (in_arch && header !~ std) {
        say("an architecture may include only models/build/build.h and ISO C")
        return
    }
    for (i = 1; i <= rules; i++)
        if (header ~ of[i]) {
            if (FILENAME !~ at[i]) say(why[i])
            return
        }
    if (header !~ std && header !~ posix && !(cxx && header !~ /[.\/]/))
        say("no row of tests/lint/layers.awk knows this library")
}

{ text = code($0, 1) }

text ~ /^[ \t]*#[ \t]*include[ \t]*["<]/ {
    header = text
    sub(/^[^"<]*["<]/, "", header)
    sub(/[">].*/, "", header)
    if (device) {
        if (header !~ /[.]clh$/) say("device code has .clh files only")
    } else if (text ~ /include[ \t]*"/) {
        project()
    } else {
        library()
    }
}
