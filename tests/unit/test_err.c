/* Errors: the first sentence wins, prefixes go before it, hostile names stay on one line. */
#include "base/err.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "base/utf8.h"

Test(err, returns_the_code_and_keeps_the_sentence)
{
    struct err e = {0};
    cr_assert_eq(err_set(&e, E_RANGE, "%d layers, at most %d", 2000, 1024), E_RANGE);
    cr_assert_eq(e.code, E_RANGE);
    cr_assert_null(e.param);
    cr_assert_str_eq(e.text, "2000 layers, at most 1024");
}

Test(err, the_first_sentence_wins_over_its_consequences)
{
    struct err e = {0};
    (void)err_field(&e, E_FORMAT, "prompt", "first");
    cr_assert_eq(err_set(&e, E_IO, "second"), E_IO, "the caller's own code is still returned");
    cr_assert_eq(err_field(&e, E_IO, "n", "third"), E_IO);
    cr_assert_eq(e.code, E_FORMAT);
    cr_assert_str_eq(e.param, "prompt");
    cr_assert_str_eq(e.text, "first");
}

Test(err, a_caller_may_not_care)
{
    cr_assert_eq(err_set(NULL, E_IO, "lost"), E_IO);
    cr_assert_eq(err_field(NULL, E_IO, "p", "lost"), E_IO);
    cr_assert_lt(err_wrap(NULL, "context"), 0);
    err_clear(NULL);
}

Test(err, clear_makes_room_for_a_new_sentence)
{
    struct err e = {0};
    (void)err_field(&e, E_IO, "n", "old");
    err_clear(&e);
    cr_assert_eq(e.code, 0);
    cr_assert_str_eq(e.text, "");
    (void)err_set(&e, E_BUSY, "new");
    cr_assert_str_eq(e.text, "new");
    cr_assert_null(e.param);
}

Test(err, wrap_puts_the_context_first_and_keeps_the_rest)
{
    struct err e = {0};
    (void)err_field(&e, E_FORMAT, "model", "tensor %s: no shape", "emb");
    cr_assert_eq(err_wrap(&e, "model %s", "m1"), E_FORMAT);
    cr_assert_eq(err_wrap(&e, "start"), E_FORMAT);
    cr_assert_str_eq(e.text, "start: model m1: tensor emb: no shape");
    cr_assert_str_eq(e.param, "model");
}

Test(err, long_sentences_end_on_a_whole_character)
{
    /* Every alignment of a 2-byte character against the end of the text. */
    for (size_t shift = 0; shift < 4; shift++) {
        char name[2000] = "";
        memset(name, 'x', shift);
        for (size_t i = shift; i + 2 < sizeof name; i += 2)
            memcpy(name + i, "\xC3\xA9", 3);
        struct err e = {0};
        (void)err_set(&e, E_NOENT, "%s", name);
        cr_assert_geq(strlen(e.text), sizeof e.text - 3);
        cr_assert(utf8_valid(e.text, strlen(e.text)), "shift %zu", shift);
        cr_assert_eq(err_wrap(&e, "%s", shift % 2 ? name : "short"), E_NOENT);
        cr_assert_lt(strlen(e.text), sizeof e.text);
        cr_assert(utf8_valid(e.text, strlen(e.text)), "wrapped, shift %zu", shift);
    }
}

Test(err, a_hostile_name_cannot_forge_a_line_or_a_terminal_escape)
{
    struct err e = {0};
    (void)err_set(&e, E_NOENT, "%s", "a\nb\r\x1b[31m\x7f\t");
    cr_assert_str_eq(e.text, "a?b??[31m??");
    (void)err_wrap(&e, "%s", "c\nd");
    cr_assert_str_eq(e.text, "c?d: a?b??[31m??");
}

Test(err, success_is_not_an_error, .signal = SIGABRT)
{
    struct err e = {0};
    (void)err_set(&e, 0, "nothing happened");
}
