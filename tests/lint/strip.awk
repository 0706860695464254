# code(line, keep): the line without comments and, unless keep is set, with every literal empty.
# Remembers an open /* from line to line; reset in_comment = 0 at the start of a file.
function code(line, keep,    out, at, c, q) {
    out = ""
    for (;;) {
        if (in_comment) {
            at = index(line, "*/")
            if (!at) return out
            line = substr(line, at + 2)
            in_comment = 0
            out = out " "
        }
        if (!match(line, /\/\*|\/\/|["']/)) return out line
        at = RSTART
        c = substr(line, at, RLENGTH)
        out = out substr(line, 1, at - 1)
        line = substr(line, at + RLENGTH)
        if (c == "//") return out
        if (c == "/*") { in_comment = 1; continue }
        q = c # a literal: up to the same quote, stepping over escaped characters
        while (line != "" && substr(line, 1, 1) != c) {
            at = substr(line, 1, 1) == "\\" ? 2 : 1
            q = q substr(line, 1, at)
            line = substr(line, at + 1)
        }
        line = substr(line, 2)
        out = out (keep ? q c : c c)
    }
}
