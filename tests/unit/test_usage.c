/* What --help looks like: columns, wrapping, order. */
#include "base/usage.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static char *line(const char *left, const char *text, int column, int width)
{
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    cr_assert_not_null(f);
    usage_line(f, left, text, column, width);
    fclose(f);
    return out;
}

Test(usage, sentences_are_wrapped_under_their_column)
{
    static const struct { const char *left, *text, *want; } rows[] = {
        {"  -x ", "one two", "  -x    one two\n"},
        {"  -x ", "one two three four", "  -x    one two\n        three\n        four\n"},
        {"  --longer", "one", "  --longer\n        one\n"},
        {"  -x ", "", "  -x    \n"},
        {"  -x ", "averyverylongword b", "  -x    averyverylongword\n        b\n"},
        {"  -x ", "1 … 9999 b", "  -x    1 … 9999\n        b\n"}, /* columns, not bytes */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *got = line(rows[i].left, rows[i].text, 8, 16);
        cr_expect_str_eq(got, rows[i].want, "row %zu: \"%s\"", i, got);
        free(got);
    }
}

Test(usage, a_program_tells_synopses_paragraphs_and_flags)
{
    static const struct usage_row rows[] = {
        USAGE_ROW_SYNOPSIS("A") USAGE_ROW_SYNOPSIS("B C") USAGE_ROW_ABOUT("Does it.")
        USAGE_ROW_FLAG("type", 't', "TYPE", "A type") USAGE_ROW_FLAG("help", 'h', NULL, "This")
    };
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    cr_assert_not_null(f);
    usage_print(f, "prog", rows, ARRAY_LEN(rows));
    fclose(f);
    cr_expect_str_eq(out, "usage: prog A\n       prog B C\n\nDoes it.\n\n"
                          "  --type TYPE        A type\n  --help             This\n");
    free(out);
    struct option options[ARRAY_LEN(rows) + 1];
    usage_options(rows, ARRAY_LEN(rows), options);
    cr_expect(!strcmp(options[0].name, "type") && options[0].has_arg && options[0].val == 't');
    cr_expect(!strcmp(options[1].name, "help") && !options[1].has_arg && options[1].val == 'h');
    cr_expect_null(options[2].name);
}
