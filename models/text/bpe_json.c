/* tokenizer.json -> a byte-pair tokenizer. Every component is either understood or refused by
 * name: a tokenizer that almost fits gives wrong text without a word. Thread: the loading one. */
#include <string.h>

#include "base/mem.h"
#include "models/files/jsontext.h"
#include "models/text/bpe_load.h"

/* A 262,144-piece vocabulary with its 514,906 merges as pairs is 1.8 million values. */
#define VALUES_MAX 4000000

#define SPACE_MARK "\xe2\x96\x81"

/* Templates may put bos first. What they put behind a text is left out: a token that ends the
 * text before the model answers is of no use to a server. */
static int post_processor(struct bpe_load *l, const json_t *o)
{
    const char *type = bpe_str(o, "type");
    if (strcmp(type, "ByteLevel") == 0)
        return 0;
    if (strcmp(type, "TemplateProcessing") != 0)
        return bpe_unsupported(l, "post_processor", type);
    const json_t *first = json_array_get(json_object_get(o, "single"), 0);
    const char *id = bpe_str(json_object_get(first, "SpecialToken"), "id");
    if (!id[0])
        return 0;
    l->t->bos = tokenizer_find(l->t, id);
    if (l->t->bos < 0)
        return err_set(l->e, E_CONFLICT, "%s: the template begins with %.60s, which is no added "
                       "token", l->t->path, id);
    l->t->adds_bos = true;
    return 0;
}

/* ---- vocabulary ------------------------------------------------------------------------- */

static size_t next_char(const char *p, size_t n, uint32_t *c)
{
    unsigned char lead = (unsigned char)p[0];
    size_t len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (len > n || len > 2) {
        *c = UINT32_MAX;
        return MIN(len, n);
    }
    *c = len == 1 ? lead : (uint32_t)(lead & 0x1f) << 6 | ((unsigned char)p[1] & 0x3f);
    return len;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of <0xNN>, or -1. */
static int fallback_byte(const char *p, size_t n)
{
    if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>')
        return -1;
    int high = hex_digit(p[3]), low = hex_digit(p[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* What a vocabulary entry stands for in a text. n <= LIMIT_TOKEN_BYTES * 2 and out has room. */
static size_t decode_entry(const struct bpe_load *l, const char *p, size_t n, char *out)
{
    size_t at = 0, k = 0, mark = strlen(SPACE_MARK);
    int byte = l->b->byte_fallback ? fallback_byte(p, n) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    while (at < n) {
        uint32_t c;
        size_t len = next_char(p + at, n - at, &c);
        byte = l->byte_level && c != UINT32_MAX ? step_byte_of_char(c) : -1;
        if (byte >= 0) {
            out[k++] = (char)byte;
            at += len;
        } else if (l->marked && n - at >= mark && memcmp(p + at, SPACE_MARK, mark) == 0) {
            out[k++] = ' ';
            at += mark;
        } else {
            memcpy(out + k, p + at, len);
            k += len;
            at += len;
        }
    }
    return k;
}

static int add_entry(struct bpe_load *l, const char *text, const json_t *v)
{
    char decoded[2 * LIMIT_TOKEN_BYTES];
    size_t n = strlen(text);
    int64_t id = json_integer_value(v);
    if (!json_is_integer(v) || id < 0 || id >= LIMIT_VOCAB)
        return err_set(l->e, E_RANGE, "%s: token %.60s has id %lld, outside 0 to %d", l->t->path,
                       text, (long long)id, LIMIT_VOCAB - 1);
    /* Byte-level entries may have two characters a byte. */
    if (n == 0 || n > sizeof decoded)
        return err_set(l->e, E_RANGE, "%s: token %lld has %zu bytes, 1 to %zu are allowed",
                       l->t->path, (long long)id, n, sizeof decoded);
    if (id < l->t->n && (l->t->tokens[id].flags & TOKEN_KNOWN))
        return err_set(l->e, E_CONFLICT, "%s: id %lld belongs to %.60s and another token",
                       l->t->path, (long long)id, text);
    if (trie_add(&l->b->vocab, text, n, (int32_t)id) < 0)
        return err_set(l->e, E_NOMEM, "%s: out of memory for token %lld", l->t->path,
                       (long long)id);
    int byte = fallback_byte(text, n);
    if (byte >= 0)
        l->b->byte_ids[byte] = (int32_t)id;
    return tokenizer_set(l->t, id, decoded, decode_entry(l, text, n, decoded), 0, l->e);
}

/* "left right", or ["left", "right"]. */
static int add_merge(struct bpe_load *l, const json_t *v, size_t rank)
{
    const char *left = json_string_value(json_is_array(v) ? json_array_get(v, 0) : v);
    const char *right = json_string_value(json_array_get(v, 1));
    size_t left_n = left ? strlen(left) : 0;
    if (left && !json_is_array(v)) {
        right = strchr(left, ' ');
        left_n = right ? (size_t)(right - left) : 0;
        right = right ? right + 1 : NULL;
    }
    char joined[4 * LIMIT_TOKEN_BYTES];
    size_t right_n = right ? strlen(right) : 0;
    if (left_n == 0 || right_n == 0 || left_n + right_n > sizeof joined)
        return err_set(l->e, E_FORMAT, "%s: merge %zu is not a pair of tokens", l->t->path, rank);
    memcpy(joined, left, left_n);
    memcpy(joined + left_n, right, right_n);
    int32_t a = trie_get(&l->b->vocab, left, left_n), b = trie_get(&l->b->vocab, right, right_n);
    int32_t id = trie_get(&l->b->vocab, joined, left_n + right_n);
    if (a < 0 || b < 0 || id < 0)
        return err_set(l->e, E_CONFLICT, "%s: merge %zu, %.60s, uses a token that the vocabulary "
                       "lacks", l->t->path, rank, left);
    bpe_merge_add(l->b, (uint32_t)a, (uint32_t)b, (uint32_t)rank, (uint32_t)id);
    return 0;
}

static int read_model(struct bpe_load *l)
{
    json_t *model = json_object_get(l->root, "model"), *v;
    json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    const char *type = bpe_str(model, "type"), *text;
    int rc = 0;
    if (strcmp(type, "BPE") != 0 && !(type[0] == 0 && json_is_array(merges)))
        return bpe_unsupported(l, "model", type);
    if (!json_is_object(vocab) || !json_is_array(merges))
        return err_set(l->e, E_FORMAT, "%s: the model has no vocab or no merges", l->t->path);
    static const char *affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < ARRAY_LEN(affixes); i++)
        if (bpe_str(model, affixes[i])[0])
            return bpe_unsupported(l, affixes[i], bpe_str(model, affixes[i]));
    l->b->byte_fallback = bpe_flag(model, "byte_fallback", false);
    l->b->fuse_unk = bpe_flag(model, "fuse_unk", false);
    l->b->ignore_merges = bpe_flag(model, "ignore_merges", false);
    json_object_foreach(vocab, text, v)
        if ((rc = add_entry(l, text, v)) < 0)
            return rc;
    if (bpe_merges_init(l->b, json_array_size(merges)) < 0)
        return err_set(l->e, E_NOMEM, "%s: out of memory for %zu merges", l->t->path,
                       json_array_size(merges));
    for (size_t i = 0; i < json_array_size(merges); i++)
        if ((rc = add_merge(l, json_array_get(merges, i), i)) < 0)
            return rc;
    const char *unk = bpe_str(model, "unk_token");
    l->b->unk = unk[0] ? trie_get(&l->b->vocab, unk, strlen(unk)) : -1;
    if (unk[0] && l->b->unk < 0)
        return err_set(l->e, E_CONFLICT, "%s: the vocabulary lacks its unknown token %.60s",
                       l->t->path, unk);
    return 0;
}

static int read_added(struct bpe_load *l)
{
    const json_t *list = json_object_get(l->root, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i), *id = json_object_get(o, "id");
        struct added a = {.text = bpe_str(o, "content")};
        a.n = strlen(a.text);
        a.special = bpe_flag(o, "special", false) || tokenizer_named(l->cfg, a.text);
        a.lstrip = bpe_flag(o, "lstrip", false);
        a.rstrip = bpe_flag(o, "rstrip", false);
        a.normalized = bpe_flag(o, "normalized", !a.special);
        a.single_word = bpe_flag(o, "single_word", false);
        a.extra = true;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= LIMIT_VOCAB || a.n == 0)
            return err_set(l->e, E_FORMAT, "%s: added token %zu lacks an id in 0 to %d or a text",
                           l->t->path, i, LIMIT_VOCAB - 1);
        a.id = (int32_t)json_integer_value(id);
        int32_t other = trie_get(&l->b->vocab, a.text, a.n);
        if (other >= 0 && other != a.id)
            return err_set(l->e, E_CONFLICT, "%s: added token %.60s has id %d, the vocabulary "
                           "gives it %d", l->t->path, a.text, a.id, other);
        int rc = tokenizer_add(l->t, &a, l->e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- format ----------------------------------------------------------------------------- */

static int encode(const void *impl, const char *text, size_t n, bool start, struct ids *out,
                  struct err *e)
{
    return bpe_encode_text(impl, text, n, start, out, e);
}

static int normalize(const void *impl, const char *text, size_t n, bool start, struct buf *out,
                     struct err *e)
{
    const struct bpe *b = impl;
    struct pieces p;
    int rc = pieces_init(&p, text, n, e);
    if (rc == 0)
        rc = steps_run(&b->normalizer, &p, start, e);
    if (rc == 0 && buf_add(out, p.text.p, p.text.len) < 0)
        rc = err_set(e, E_NOMEM, "out of memory for %zu bytes of text", p.text.len);
    pieces_free(&p);
    return rc;
}

static void close_bpe(void *impl)
{
    bpe_free(impl);
}

static void seal(void *impl, const struct tokenizer *t)
{
    bpe_seal(impl, t);
}

static const struct tokenizer_format with_normalizer = {
    .encode = encode, .normalize = normalize, .seal = seal, .close = close_bpe};
static const struct tokenizer_format without_normalizer = {
    .encode = encode, .seal = seal, .close = close_bpe};

const struct bpe *bpe_of(const struct tokenizer *t)
{
    return t->format == &with_normalizer || t->format == &without_normalizer ? t->impl : NULL;
}

struct bpe *bpe_new(struct tokenizer *t, struct err *e)
{
    struct bpe *b = mem_zalloc(sizeof *b);
    if (!b) {
        err_set(e, E_NOMEM, "%s: out of memory", t->path);
        return NULL;
    }
    t->impl = b;
    t->format = &without_normalizer;
    b->unk = -1;
    memset(b->byte_ids, 0xff, sizeof b->byte_ids); /* -1 */
    return b;
}

int bpe_build(struct tokenizer *t, json_t *root, const struct config *cfg, struct err *e)
{
    struct bpe_load l = {.t = t, .b = bpe_new(t, e), .cfg = cfg, .root = root, .e = e};
    if (!l.b)
        return e->code;
    int rc = bpe_each(&l, json_object_get(l.root, "normalizer"), "normalizers", bpe_normalizer);
    if (rc == 0)
        rc = bpe_each(&l, json_object_get(l.root, "pre_tokenizer"), "pretokenizers",
                      bpe_pre_tokenizer);
    if (rc == 0)
        rc = bpe_each(&l, json_object_get(l.root, "decoder"), "decoders", bpe_decoder);
    if (rc == 0)
        rc = read_model(&l);
    if (rc == 0)
        rc = read_added(&l);
    if (rc == 0)
        rc = bpe_each(&l, json_object_get(l.root, "post_processor"), "processors", post_processor);
    if (rc == 0 && l.b->normalizer.n)
        t->format = &with_normalizer;
    return rc;
}

int bpe_open(struct tokenizer *t, const char *path, const struct config *cfg, struct err *e)
{
    json_t *root;
    int rc = jsontext_read(&root, path, LIMIT_TOKENIZER_BYTES, VALUES_MAX, e);
    if (rc < 0)
        return rc;
    rc = bpe_build(t, root, cfg, e);
    json_decref(root);
    return rc;
}
