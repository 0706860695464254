/* Which file of a directory is its tokenizer, and what the files beside it add: the tokens and
 * settings of tokenizer_config.json, added_tokens.json. Thread: the loading one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "models/files/jsontext.h"
#include "models/text/added.h"

/* Vocabulary texts and added tokens: 262,144 tokens of ~10 bytes, each padded to 16. */
#define ARENA_BYTES MIB(256)
#define PATH_BYTES 4096

/* ---- tokens beside the vocabulary ------------------------------------------------------- */

/* Whether the format finds this token without a search. */
static bool finds_by_itself(const struct tokenizer *t, const struct added *a)
{
    if (!t->format->keeps_words || a->id >= t->n || !(t->tokens[a->id].flags & TOKEN_KNOWN))
        return false;
    const struct token *known = &t->tokens[a->id];
    return known->n == a->n && memcmp(known->text, a->text, a->n) == 0 && !known->added;
}

static int add_from_config(struct tokenizer *t, const struct config *cfg, struct err *e)
{
    const struct config *list = config_obj(cfg, "added_tokens_decoder", e);
    for (const char *k = NULL; list && (k = config_next_key(list, k));) {
        const struct config *o = config_obj(list, k, e);
        char *end;
        long id = strtol(k, &end, 10);
        if (!o || *end || end == k || id < 0 || id >= LIMIT_VOCAB)
            return err_set(e, E_FORMAT, "%s: added_tokens_decoder has the entry %.40s", t->path, k);
        const char *text = config_str(o, "content", "", e);
        struct added a = {.text = text, .n = strlen(text), .id = (int32_t)id, .extra = true};
        a.special = config_bool(o, "special", false, e) || tokenizer_named(cfg, text);
        a.lstrip = config_bool(o, "lstrip", false, e);
        a.rstrip = config_bool(o, "rstrip", false, e);
        a.single_word = config_bool(o, "single_word", false, e);
        a.normalized = config_bool(o, "normalized", !a.special, e);
        if (!finds_by_itself(t, &a) && tokenizer_add(t, &a, e) < 0)
            return e->code;
    }
    return e->code;
}

/* added_tokens.json, {"text": id}: read where tokenizer_config.json lists none. Ids that are
 * already there keep what is known of them. */
static int add_from_file(struct tokenizer *t, const char *dir, const struct config *cfg,
                         struct err *e)
{
    char path[PATH_BYTES];
    struct config *list = NULL;
    if (!dir || config_has(cfg, "added_tokens_decoder") ||
        (size_t)snprintf(path, sizeof path, "%s/added_tokens.json", dir) >= sizeof path ||
        !file_exists(path))
        return 0;
    int rc = config_read(&list, path, e);
    for (const char *k = NULL; rc == 0 && (k = config_next_key(list, k));) {
        int64_t id = config_int(list, k, -1, 0, LIMIT_VOCAB - 1, e);
        bool special = tokenizer_named(cfg, k);
        struct added a = {.text = k, .n = strlen(k), .id = (int32_t)id, .special = special,
                          .normalized = !special, .extra = true};
        if (e->code || id < 0)
            rc = err_wrap(e, "added_tokens.json");
        else if (id >= t->n || !(t->tokens[id].flags & TOKEN_KNOWN))
            rc = tokenizer_add(t, &a, e);
    }
    config_free(list);
    return rc;
}

/* Id of a token by its text, or -1: an added token, else any of that name. */
static int32_t id_of(const struct tokenizer *t, const char *text)
{
    int32_t id = text ? tokenizer_find(t, text) : -1;
    for (int32_t i = 0; text && id < 0 && i < t->n; i++)
        if ((t->tokens[i].flags & TOKEN_KNOWN) && t->tokens[i].n == strlen(text) &&
            memcmp(t->tokens[i].text, text, t->tokens[i].n) == 0)
            id = i;
    return id;
}

static void name_token(const struct tokenizer *t, const struct config *cfg, const char *key,
                       int32_t *id)
{
    if (config_has(cfg, key))
        *id = id_of(t, tokenizer_token_text(cfg, key));
}

/* ---- ids and rows ----------------------------------------------------------------------- */

/* Added tokens without a row of the embedding are left out, as nobody can use them. */
static void leave_out(struct tokenizer *t, int32_t vocab)
{
    size_t kept = 0;
    const struct added *first = NULL;
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id >= vocab && !first)
            first = &t->added[i];
    if (first)
        log_warn("%s: the model has %d rows: %.*s, id %d, and what else lies beyond is left out",
                 t->path, vocab, (int)MIN(first->n, (size_t)60), first->text, first->id);
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id < vocab) {
            t->added[kept] = t->added[i];
            t->tokens[t->added[i].id].added = (uint32_t)++kept;
        }
    t->n_added = kept;
    t->n = MIN(t->n, vocab);
}

static int check_vocab(struct tokenizer *t, int32_t vocab, struct err *e)
{
    int32_t last = t->n - 1;
    while (last >= 0 && (!(t->tokens[last].flags & TOKEN_KNOWN) ||
                         (t->tokens[last].added && t->added[t->tokens[last].added - 1].extra)))
        last--;
    if (last < 0 && t->n_added == 0)
        return err_set(e, E_FORMAT, "%s: the vocabulary is empty", t->path);
    if (last >= vocab)
        return err_set(e, E_CONFLICT, "%s: the tokenizer has id %d, the model %d rows", t->path,
                       last, vocab);
    if (t->n > vocab)
        leave_out(t, vocab);
    return 0;
}

/* ---- one tokenizer ---------------------------------------------------------------------- */

static int finish(struct tokenizer *t, const struct tokenizer_parts *p, struct err *e)
{
    int rc = p->fill(t, p->cfg, p->arg, e);
    if (rc == 0)
        rc = add_from_config(t, p->cfg, e);
    if (rc == 0)
        rc = add_from_file(t, p->dir, p->cfg, e);
    if (rc == 0)
        rc = check_vocab(t, p->vocab, e);
    if (rc == 0)
        rc = added_index(t, e);
    if (rc < 0)
        return rc;
    name_token(t, p->cfg, "bos_token", &t->bos);
    name_token(t, p->cfg, "eos_token", &t->eos);
    t->bos = t->bos < t->n ? t->bos : -1;
    t->eos = t->eos < t->n ? t->eos : -1;
    t->adds_bos = config_bool(p->cfg, "add_bos_token", t->adds_bos, e);
    if (e->code == 0 && t->format->seal)
        t->format->seal(t->impl, t);
    return e->code;
}

int tokenizer_assemble(struct tokenizer **out, const struct tokenizer_parts *p, struct err *e)
{
    struct tokenizer *t = mem_zalloc(sizeof *t);
    *out = NULL;
    if (!t)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(p->path));
    arena_init(&t->arena, ARENA_BYTES);
    t->bos = t->eos = -1;
    t->path = mem_strdup(jsontext_tail(p->path));
    int rc = t->path ? finish(t, p, e)
                     : err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(p->path));
    if (rc < 0)
        tokenizer_close(t);
    else
        *out = t;
    return rc;
}

/* ---- the choice ------------------------------------------------------------------------- */

/* Files that hold a vocabulary, the best first: tokenizer.json is what the reference reads, and
 * may have tokens that the others lack. */
static const struct candidate {
    const char *files[2]; /* all of them have to be there; the second may be NULL */
    int (*open)(struct tokenizer *t, const char *path, const struct config *cfg, struct err *e);
} candidates[] = {
    {{"tokenizer.json"}, bpe_open},
    {{"tokenizer.model"}, model_file_open},
    {{"tiktoken.model"}, tiktoken_open},
    {{"tekken.json"}, tekken_open},
    {{"vocab.json", "merges.txt"}, merges_open},
    {{"tokenizer.jsonl"}, plamo_open},
    {{"rwkv_vocab_v20230424.txt"}, rwkv_vocab_open},
};

const char *tokenizer_file(size_t i)
{
    for (size_t c = 0; c < ARRAY_LEN(candidates); c++)
        for (size_t k = 0; k < 2 && candidates[c].files[k]; k++)
            if (i-- == 0)
                return candidates[c].files[k];
    return i == 0 ? "added_tokens.json" : NULL;
}

static bool is_there(const char *dir, const struct candidate *c)
{
    char path[PATH_BYTES];
    for (size_t k = 0; k < 2 && c->files[k]; k++)
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, c->files[k]) >= sizeof path ||
            !file_exists(path))
            return false;
    return true;
}

/* The argument of fill_from_file. */
struct choice { const struct candidate *c; const char *path; };

static int fill_from_file(struct tokenizer *t, const struct config *cfg, const void *arg,
                          struct err *e)
{
    const struct choice *choice = arg;
    return choice->c->open(t, choice->path, cfg, e);
}

static int open_one(struct tokenizer **out, const char *dir, const struct candidate *c,
                    const struct config *cfg, int32_t vocab, struct err *e)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, c->files[0]);
    const struct choice choice = {c, path};
    const struct tokenizer_parts parts = {.path = path, .dir = dir, .cfg = cfg, .vocab = vocab,
                                          .fill = fill_from_file, .arg = &choice};
    int rc = tokenizer_assemble(out, &parts, e);
    if (rc == 0) {
        (*out)->file = c->files[0];
        log_info("tokenizer: %s, %d tokens", (*out)->path, (*out)->n);
    }
    return rc;
}

static int read_config(struct config **cfg, const char *dir, struct err *e)
{
    char path[PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer_config.json", dir) >= sizeof path)
        return err_set(e, E_RANGE, "%s: the path is longer than %zu bytes", jsontext_tail(dir),
                       sizeof path);
    return file_exists(path) ? config_read(cfg, path, e) : config_parse(cfg, "{}", 2, path, e);
}

int tokenizer_open(struct tokenizer **out, const char *dir, int32_t vocab, struct err *e)
{
    struct err first = {0};
    struct config *cfg = NULL;
    size_t tried = 0;
    *out = NULL;
    int rc = read_config(&cfg, dir, &first);
    for (size_t i = 0; rc == 0 && !*out && i < ARRAY_LEN(candidates); i++) {
        struct err one = {0};
        if (!is_there(dir, &candidates[i]))
            continue;
        if (open_one(out, dir, &candidates[i], cfg, vocab, &one) == 0)
            break;
        if (tried++ == 0)
            first = one;
        else
            log_warn("tokenizer: %s", one.text);
    }
    config_free(cfg);
    if (*out && tried)
        log_warn("tokenizer: %s", first.text);
    if (!*out && !first.code)
        log_warn("%s: no file of a tokenizer: requests carry token ids", jsontext_tail(dir));
    return *out || !first.code ? 0 : err_set(e, first.code, "%s", first.text);
}
