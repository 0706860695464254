/* See text.h. */
#include "tests/golden/text.h"

#include "base/file.h"
#include "base/mem.h"
#include "models/text/tokenizer.h"

#define TEXT "tests/golden/inputs.txt"
#define RANDOM 473

int text_read(const struct model *m, struct text *x, struct err *e)
{
    struct buf text;
    struct ids ids;
    x->vocab = m->plan.vocab;
    x->n = RANDOM;
    for (int32_t i = 0; i < x->n; i++)
        x->ids[i] = (i * 53 + i * i * 7) % x->vocab;
    if (!m->tok)
        return 0;
    buf_init(&text, MIB(1));
    ids_init(&ids, TEXT_TOKENS);
    int rc = file_read(TEXT, &text, e);
    if (!rc)
        rc = tokenizer_encode(m->tok, text.p, text.len, TOKENIZE_BOS, &ids, e);
    x->n = (int32_t)ids.len;
    for (int32_t i = 0; i < x->n && !rc; i++)
        x->ids[i] = ids.p[i];
    mem_free(ids.p);
    buf_free(&text);
    return rc;
}
