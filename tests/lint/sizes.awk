# The limits of sizes.sh. A function starts where its brace opens in column 1, as the style has
# it, or at the end of a line that starts in column 1; it ends at a } in column 1. A device kernel
# may be longer: local memory is declared in the kernel itself. A test's header is a rig of code.

function say(line, sentence) { printf "%s:%d: %s\n", file, line, sentence }

function end_of_file() {
    if (file == "") return
    limit = file ~ /[.]h$/ && file !~ /^tests\// ? 250 : 800
    if (lines > limit) say(lines, lines " lines, at most " limit " in one file")
}

FNR == 1 {
    end_of_file()
    file = FILENAME
    opened = 0
    name = ""
}

{ lines = FNR }

{
    text = $0
    gsub(/[\200-\277]/, "", text) # continuation bytes of UTF-8: what is left are characters
    if (length(text) > 100) say(FNR, length(text) " columns, at most 100")
    if ($0 ~ /\t/ && $0 !~ /^[ \t]*[.]/) say(FNR, "a tab: indent with 4 spaces")
    if ($0 ~ /[ \t\r]$/) say(FNR, "white space at the end of the line")
}

# The last line in column 1 that could be the name of a function.
/^[A-Za-z_].*\(/ {
    name = $0
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
}

/^\{/ || /^[A-Za-z_].*\).*\{$/ { opened = FNR }

/^\}/ && opened {
    most = file ~ /[.]cl$/ ? 200 : 80
    if (FNR - opened + 1 > most)
        say(opened, "function " name " has " (FNR - opened + 1) " lines, at most " most)
    opened = 0
}

END { end_of_file() }
