# Options that let a compiler change bits, in code or in a makefile; runs after strip.awk.

function say(sentence) { printf "%s:%d: %s\n", FILENAME, FNR, sentence }

FNR == 1 { in_comment = 0 }

{
    if (FILENAME ~ /[.](c|h|cc|cl|clh|def)$/) {
        text = code($0, 1)
    } else {
        text = $0
        sub(/(^|[ \t])#.*/, "", text)
    }
}

text ~ /-Ofast|-ffast-math|-funsafe-math|-fassociative-math|-freciprocal-math/ ||
text ~ /-cl-(fast-relaxed-math|unsafe-math|mad-enable|no-signed-zeros|finite-math-only)/ ||
text ~ /FP_CONTRACT[ \t]+ON|-ffp-contract=(fast|on)|-fp-model[ =]fast|use_fast_math/ {
    say("lets the compiler change bits: logits must not depend on what it chooses")
}
