/* Prompts with a gap. See the header. */
#include "server/api/infill.h"

#include "base/limits.h"

/* What published vocabularies call them: prefix, suffix, middle. */
static const struct { const char *prefix, *suffix, *middle; } forms[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
    {"<PRE>", "<SUF>", "<MID>"},
};

int infill_encode(const struct tokenizer *t, const struct infill *in, struct ids *out,
                  struct err *e)
{
    size_t i = 0;
    struct err why = {0};
    while (t && i < ARRAY_LEN(forms) &&
           (tokenizer_find(t, forms[i].prefix) < 0 || tokenizer_find(t, forms[i].suffix) < 0 ||
            tokenizer_find(t, forms[i].middle) < 0))
        i++;
    if (!t || i == ARRAY_LEN(forms))
        return err_field(e, E_UNSUPPORTED, in->field, "%s: this model has no tokens for the "
                         "beginning, the end and the middle of a gap", in->field);
    int rc = tokenizer_adds_bos(t) ? ids_add(out, tokenizer_bos(t)) : 0;
    if (!rc)
        rc = ids_add(out, tokenizer_find(t, forms[i].prefix));
    if (!rc)
        rc = tokenizer_encode(t, in->before, in->n_before, TOKENIZE_CONTINUE, out, &why);
    if (!rc)
        rc = tokenizer_encode(t, in->begun, in->n_begun, TOKENIZE_CONTINUE, out, &why);
    if (!rc)
        rc = ids_add(out, tokenizer_find(t, forms[i].suffix));
    if (!rc)
        rc = tokenizer_encode(t, in->after, in->n_after, TOKENIZE_CONTINUE, out, &why);
    if (!rc)
        rc = ids_add(out, tokenizer_find(t, forms[i].middle));
    if (rc == E_NOMEM)
        return err_set(e, E_NOMEM, "no memory for the request");
    return rc ? err_field(e, E_RANGE, in->field, "%s: more than %d tokens with what is before it",
                          in->field, LIMIT_PROMPT_TOKENS) : 0;
}
