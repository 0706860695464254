/* GBNF as constraints: taken or refused with a sentence, and then followed. */
#include "tests/fuzz/fuzz_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_definition(GRAMMAR_GBNF, data, n);
}
