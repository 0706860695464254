/* tekken.json: words with ranks, the pattern that cuts texts, and special tokens before the words.
 * Thread: the loading one. */
#include <stdio.h>
#include <string.h>

#include "models/files/jsontext.h"
#include "models/text/bpe_load.h"

#define VALUES_MAX 4000000 /* 131,072 words of three values and names */

/* Special tokens of files that do not list them. */
static const char *const old_specials[] = {
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]",
    "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

/* An integer of an object within [min, max]. */
static int64_t number(const struct tokenizer *t, const json_t *o, const char *key, int64_t min,
                      int64_t max, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    int64_t x = json_integer_value(v);
    if (json_is_integer(v) && x >= min && x <= max)
        return x;
    err_set(e, E_FORMAT, "%s: %s is not a number of %lld to %lld", t->path, key, (long long)min,
            (long long)max);
    return min;
}

static int add_special(struct tokenizer *t, int64_t id, const char *text, struct err *e)
{
    char none[32];
    if (!text) {
        snprintf(none, sizeof none, "<SPECIAL_%lld>", (long long)id);
        text = none;
    }
    const struct added a = {.text = text, .n = strlen(text), .id = (int32_t)id, .special = true};
    return tokenizer_add(t, &a, e);
}

/* Every id below n is a special token: listed, or of a name made up by its writer. */
static int add_specials(struct tokenizer *t, const json_t *list, int64_t n, struct err *e)
{
    size_t old = json_is_array(list) ? 0 : ARRAY_LEN(old_specials);
    for (int64_t id = 0; id < n; id++)
        if (add_special(t, id, (size_t)id < old ? old_specials[id] : NULL, e) < 0)
            return e->code;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        int64_t id = number(t, o, "rank", 0, n - 1, e);
        if (e->code || add_special(t, id, bpe_str(o, "token_str"), e) < 0)
            return e->code;
    }
    t->bos = tokenizer_find(t, "<s>");
    t->eos = tokenizer_find(t, "</s>");
    t->adds_bos = t->bos >= 0;
    return 0;
}

/* {n,m}+ is possessive to this file's reference, and repeats to that of tokenizer.json, whose
 * patterns are what is understood. */
static bool has_possessive_interval(const char *pattern)
{
    for (const char *p = strstr(pattern, "}+"); p; p = strstr(p + 1, "}+"))
        if (p > pattern && ((p[-1] >= '0' && p[-1] <= '9') || p[-1] == ','))
            return true;
    return false;
}

static int build(struct tokenizer *t, const json_t *root, struct err *e)
{
    const json_t *config = json_object_get(root, "config"), *vocab = json_object_get(root, "vocab");
    const char *pattern = bpe_str(config, "pattern");
    int64_t n = number(t, config, "default_vocab_size", 1, LIMIT_VOCAB, e);
    int64_t specials = number(t, config, "default_num_special_tokens", 0, n, e);
    struct bpe_ranks r;
    if (e->code)
        return e->code;
    if (!json_is_array(vocab) || !pattern[0])
        return err_set(e, E_FORMAT, "%s: there is no vocab or no pattern", t->path);
    if (has_possessive_interval(pattern))
        return err_set(e, E_UNSUPPORTED, "%s: a possessive interval in the pattern is not "
                       "supported", t->path);
    if (bpe_ranks_init(&r, t, specials, &pattern, 1, e) < 0)
        return e->code;
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *o = json_array_get(vocab, i);
        int64_t rank = number(t, o, "rank", 0, LIMIT_VOCAB - 1, e);
        const char *word = bpe_str(o, "token_bytes");
        /* The file has more words than its models. */
        if (e->code == 0 && rank < n - specials)
            (void)!bpe_ranks_add(&r, rank, word, strlen(word));
        if (e->code)
            return e->code;
    }
    if (bpe_ranks_finish(&r) < 0)
        return e->code;
    return add_specials(t, json_object_get(root, "special_tokens"), specials, e);
}

int tekken_open(struct tokenizer *t, const char *path, const struct config *cfg, struct err *e)
{
    json_t *root;
    (void)cfg;
    int rc = jsontext_read_words(&root, path, LIMIT_TOKENIZER_BYTES, VALUES_MAX, e);
    if (rc < 0)
        return rc;
    rc = build(t, root, e);
    json_decref(root);
    return rc;
}
