/* What every tokenizer fills while loading: ids, the table of the vocabulary, added tokens. */
#include <string.h>

#include "base/mem.h"
#include "models/text/tokenizer_int.h"

#define FIRST_IDS 64

/* ---- ids -------------------------------------------------------------------------------- */

void ids_init(struct ids *v, size_t max)
{
    *v = (struct ids){.max = max};
}

void ids_free(struct ids *v)
{
    mem_free(v->p);
    v->p = NULL;
    v->len = v->cap = 0;
}

int ids_add_all(struct ids *v, const int32_t *p, size_t n)
{
    if (n > v->max - v->len)
        return E_RANGE;
    if (n > v->cap - v->len) {
        size_t cap = MIN(v->max, MAX(MAX(v->cap * 2, v->len + n), (size_t)FIRST_IDS));
        int32_t *grown = mem_realloc(v->p, cap * sizeof *grown);
        if (!grown)
            return E_NOMEM;
        v->p = grown;
        v->cap = cap;
    }
    if (n)
        memcpy(v->p + v->len, p, n * sizeof *p);
    v->len += n;
    return 0;
}

int ids_add(struct ids *v, int32_t id)
{
    return ids_add_all(v, &id, 1);
}

/* ---- the vocabulary table --------------------------------------------------------------- */

static int grow_tokens(struct tokenizer *t, int32_t n, struct err *e)
{
    if (n > t->cap) {
        int32_t cap = MAX(n, MIN(t->cap * 2, LIMIT_VOCAB));
        struct token *grown = mem_realloc(t->tokens, (size_t)cap * sizeof *grown);
        if (!grown)
            return err_set(e, E_NOMEM, "%s: out of memory for %d tokens", t->path, cap);
        memset(grown + t->cap, 0, (size_t)(cap - t->cap) * sizeof *grown);
        t->tokens = grown;
        t->cap = cap;
    }
    t->n = MAX(t->n, n);
    return 0;
}

int tokenizer_set(struct tokenizer *t, int64_t id, const char *text, size_t n, uint32_t flags,
                  struct err *e)
{
    if (id < 0 || id >= LIMIT_VOCAB)
        return err_set(e, E_RANGE, "%s: token id %lld is outside 0 to %d", t->path,
                       (long long)id, LIMIT_VOCAB - 1);
    if (n > LIMIT_TOKEN_BYTES)
        return err_set(e, E_RANGE, "%s: token %lld has %zu bytes, at most %d are allowed", t->path,
                       (long long)id, n, LIMIT_TOKEN_BYTES);
    int rc = grow_tokens(t, (int32_t)id + 1, e);
    if (rc < 0)
        return rc;
    char *copy = arena_copy(&t->arena, text, n);
    if (!copy)
        return err_set(e, E_NOMEM, "%s: out of memory for token %lld", t->path, (long long)id);
    t->tokens[id] = (struct token){copy, (uint16_t)n, (uint16_t)(flags | TOKEN_KNOWN), 0};
    return 0;
}

static int grow_added(struct tokenizer *t, struct err *e)
{
    if (t->n_added < t->cap_added)
        return 0;
    size_t cap = MAX(t->cap_added * 2, (size_t)16);
    struct added *grown = mem_realloc(t->added, cap * sizeof *grown);
    if (!grown)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu added tokens", t->path, cap);
    t->added = grown;
    t->cap_added = cap;
    return 0;
}

int tokenizer_add(struct tokenizer *t, const struct added *a, struct err *e)
{
    if (a->n == 0)
        return err_set(e, E_FORMAT, "%s: added token %d is empty", t->path, a->id);
    bool known = a->id >= 0 && a->id < t->n && (t->tokens[a->id].flags & TOKEN_KNOWN);
    uint32_t at = known ? t->tokens[a->id].added : 0;
    bool extra = at ? t->added[at - 1].extra : a->extra && !known;
    int rc = tokenizer_set(t, a->id, a->text, a->n, a->special ? TOKEN_SPECIAL : 0, e);
    if (rc == 0 && !at)
        rc = grow_added(t, e);
    if (rc < 0)
        return rc;
    at = at ? at : (uint32_t)++t->n_added;
    t->tokens[a->id].added = at;
    t->added[at - 1] = *a;
    t->added[at - 1].text = t->tokens[a->id].text;
    t->added[at - 1].extra = extra;
    return 0;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *special)
{
    size_t n = strlen(special);
    if (t->names.cap) {
        int32_t found = trie_get(&t->names, special, n);
        return found < 0 ? -1 : t->added[found].id;
    }
    for (size_t i = 0; i < t->n_added; i++) /* still loading */
        if (t->added[i].n == n && memcmp(t->added[i].text, special, n) == 0)
            return t->added[i].id;
    return -1;
}

/* ---- names in tokenizer_config.json ------------------------------------------------------ */

const char *tokenizer_token_text(const struct config *c, const char *key)
{
    struct err ignored = {0};
    if (!c)
        return NULL;
    const char *s = config_str(c, key, NULL, &ignored);
    if (s)
        return s;
    struct err none = {0};
    const struct config *o = config_obj(c, key, &none);
    return o ? config_str(o, "content", NULL, &none) : NULL;
}

bool tokenizer_named(const struct config *cfg, const char *text)
{
    static const char *keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *named = tokenizer_token_text(cfg, keys[i]);
        if (named && strcmp(named, text) == 0)
            return true;
    }
    return false;
}
