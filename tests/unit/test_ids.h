/* The ids of a text, as a test writes them down. */
#ifndef RECURD_TEST_IDS_H
#define RECURD_TEST_IDS_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "models/text/tokenizer.h"

/* "1 2 3"; good until the next call. */
static inline const char *ids_of(const struct tokenizer *t, const char *text, int flags)
{
    static char out[512];
    struct ids ids;
    struct err e = {0};
    size_t k = 0;
    ids_init(&ids, 1000);
    cr_assert_eq(tokenizer_encode(t, text, strlen(text), flags, &ids, &e), 0, "%s", e.text);
    out[0] = 0;
    for (size_t i = 0; i < ids.len && k < sizeof out - 16; i++)
        k += (size_t)snprintf(out + k, sizeof out - k, i ? " %d" : "%d", ids.p[i]);
    ids_free(&ids);
    return out;
}

#endif
