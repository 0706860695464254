# What banned.sh forbids in code; runs after strip.awk.

function ban(name, sentence) { why[name] = sentence }

BEGIN {
    ban("strcpy", "does not know the room: use memcpy with a checked length, or buf_str")
    ban("stpcpy", why["strcpy"])
    ban("strcat", "does not know the room: use buf_str")
    ban("strncpy", "may leave out the NUL: use memcpy with a checked length")
    ban("strncat", why["strcat"])
    ban("sprintf", "does not know the room: use snprintf or buf_fmt")
    ban("vsprintf", why["sprintf"])
    ban("strtok", "keeps hidden state between threads: use strcspn")
    ban("atoi", "cannot report an error: use strtol and check its end")
    ban("atol", why["atoi"])
    ban("atoll", why["atoi"])
    ban("atof", "cannot report an error: use strtod and check its end")
    ban("gets", "has no limit: use fgets")
    ban("alloca", "has no limit and no failure: use an arena")
    ban("rand", "is not reproducible across machines: use base/rng.h")
    ban("srand", why["rand"])
    ban("random", why["rand"])
    # Read and found to call nothing but exec in the child; tests fork as they like.
    forks["server/terminal/own.c"]; forks["models/text/spm_probe.c"]
    forked = "copies locks that other threads hold: let the child exec at once, and name the file here"
}

function name(  path) { path = FILENAME; sub(/^\.\//, "", path); return path }

function say(sentence) { printf "%s:%d: %s\n", FILENAME, FNR, sentence }

FNR == 1 { in_comment = 0 }

{
    text = code($0, 0)
    # Every word before a parenthesis, from left to right.
    while (match(text, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
        word = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        sub(/[ \t]*\($/, "", word)
        if (word in why) say(word " " why[word])
        else if (word == "fork" && !(name() in forks) && name() !~ /^tests\//)
            say(word " " forked)
        else if (word ~ /^json_load/ && name() !~ /^(programs|tests)\//)
            say(word " reads beyond a token when memory runs out in it: use base/jsonread.h")
    }
}
