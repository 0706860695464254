/* PLaMo 2's tokenizer: words with scores.
 *
 * tokenizer.jsonl has a line for each id, a JSON list: the word, its score, and its kind (BYTE:
 * written <0xNN>; CONTROL, UNKNOWN: special; UNUSED: the id is free; else a word). Of all ways to
 * write a text as words, and characters that are none as their bytes, the one of the least cost is
 * taken. With s(w) = round(10^4 score) and i a place in a text of n characters:
 *
 *     cost(n) = 0
 *     cost(i) = min( min over words w that the text has at i of cost(i + |w|) - s(w),
 *                    cost(i + 1) + 10^7 )                 the second: the character's bytes
 *
 * Of equal ones the longest word counts, bytes last. A word with s(w) <= -2 10^7 is never used, and
 * of equal words the last line. (Definition: the tokenizer class of pfnet/plamo-2-1b. It differs in
 * a word whose score is exactly -1000: beside one it sees none that is shorter.) Each character
 * takes a walk down a trie, no deeper than the longest word. Thread: any, after plamo_open. */
#include "models/text/plamo.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/files/jsontext.h"
#include "models/text/tokenizer_int.h"

#define STEPS 1e4        /* of a score's unit */
#define NEVER (-20000000)
#define BYTES_COST 10000000
#define VALUES_MAX 64    /* of a line: three, and what its writer counted */
#define NAMED_BOS "<|plamo:bos|>"
#define NAMED_EOS "<|plamo:eos|>"
#define NAMED_FROM "<|plamo:"
#define NAMED_TO "|>"

struct plamo {
    struct trie words;  /* text -> id */
    int32_t bytes[256]; /* id; -1 while loading */
    int32_t *scores;    /* s(w) by id; NEVER where it is no word */
    int32_t n, cap;     /* ids there are scores for */
};

/* ---- the vocabulary --------------------------------------------------------------------- */

struct row {
    int32_t id;
    const char *text, *kind;
    size_t n;
    int32_t score;
    const char *name; /* of file and line, for messages */
    struct err *e;
};

static bool is_kind(const struct row *r, const char *kind)
{
    return strcmp(r->kind, kind) == 0;
}

/* Tokens that control a chat are written so, whatever their kind. */
static bool is_named_special(const struct row *r)
{
    size_t from = strlen(NAMED_FROM), to = strlen(NAMED_TO);
    return r->n > from + to && memcmp(r->text, NAMED_FROM, from) == 0 &&
           memcmp(r->text + r->n - to, NAMED_TO, to) == 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int add_byte(struct tokenizer *t, struct plamo *p, const struct row *r)
{
    int high = r->n == 6 ? hex_digit(r->text[3]) : -1, low = r->n == 6 ? hex_digit(r->text[4]) : -1;
    if (high < 0 || low < 0 || memcmp(r->text, "<0x", 3) != 0 || r->text[5] != '>')
        return err_set(r->e, E_FORMAT, "%s: a byte is not written <0xNN>", r->name);
    char byte = (char)(high << 4 | low);
    if (p->bytes[(unsigned char)byte] >= 0)
        return err_set(r->e, E_CONFLICT, "%s: byte 0x%02x has id %d already", r->name,
                       (unsigned)(unsigned char)byte, p->bytes[(unsigned char)byte]);
    p->bytes[(unsigned char)byte] = r->id;
    return tokenizer_set(t, r->id, &byte, 1, 0, r->e);
}

static int add_row(struct tokenizer *t, struct plamo *p, const struct row *r)
{
    bool special = is_kind(r, "CONTROL") || is_kind(r, "UNKNOWN") || is_named_special(r);
    if (is_kind(r, "UNUSED"))
        return 0;
    if (is_kind(r, "BYTE"))
        return add_byte(t, p, r);
    if (special || is_kind(r, "USER_DEFINED")) {
        struct added a = {.text = r->text, .n = r->n, .id = r->id, .special = special};
        return tokenizer_add(t, &a, r->e);
    }
    int rc = tokenizer_set(t, r->id, r->text, r->n, 0, r->e);
    if (rc == 0 && r->n && trie_add(&p->words, r->text, r->n, r->id) < 0)
        rc = err_set(r->e, E_NOMEM, "%s: out of memory", r->name);
    if (rc == 0)
        p->scores[r->id] = r->score;
    return rc;
}

/* Scores of ids up to this one. */
static int grow(struct plamo *p, const struct row *r)
{
    if (r->id >= LIMIT_VOCAB)
        return err_set(r->e, E_RANGE, "%s: more than %d words", r->name, LIMIT_VOCAB);
    if (r->id >= p->cap) {
        int32_t cap = MAX(p->cap * 2, 1024);
        int32_t *grown = mem_realloc(p->scores, (size_t)cap * sizeof *grown);
        if (!grown)
            return err_set(r->e, E_NOMEM, "%s: out of memory for %d words", r->name, cap);
        p->scores = grown;
        p->cap = cap;
    }
    p->scores[r->id] = NEVER;
    p->n = r->id + 1;
    return 0;
}

static int read_line(struct tokenizer *t, struct plamo *p, const char *text, size_t n,
                     struct row *r)
{
    json_t *list;
    double score = 0;
    if (grow(p, r) < 0 || jsontext_parse_row(&list, text, n, VALUES_MAX, r->name, r->e) < 0)
        return r->e->code;
    const json_t *word = json_array_get(list, 0);
    const char *kind = json_string_value(json_array_get(list, 2));
    int rc = 0;
    if (!json_is_string(word) || !jsontext_number(json_array_get(list, 1), &score))
        rc = err_set(r->e, E_FORMAT, "%s: a word and its score were expected", r->name);
    else if (isfinite(score) && score * STEPS > INT32_MAX)
        rc = err_set(r->e, E_RANGE, "%s: the score is %g, above %g", r->name, score,
                     INT32_MAX / STEPS);
    r->text = json_string_value(word);
    r->n = json_string_length(word);
    r->kind = kind ? kind : "";
    r->score = isfinite(score) ? (int32_t)rint(MAX(score * STEPS, NEVER)) : NEVER; /* to even */
    if (rc == 0)
        rc = add_row(t, p, r);
    json_decref(list);
    return rc;
}

static const struct tokenizer_format format;

int plamo_build(struct tokenizer *t, const char *text, size_t n, struct err *e)
{
    struct plamo *p = mem_zalloc(sizeof *p);
    char name[256];
    struct row r = {.name = name, .e = e};
    int rc = 0;
    if (!p)
        return err_set(e, E_NOMEM, "%s: out of memory", t->path);
    t->impl = p;
    t->format = &format;
    memset(p->bytes, -1, sizeof p->bytes);
    for (size_t at = 0, line = 1, len; rc == 0 && at < n; at += len + 1, line++) {
        const char *end = memchr(text + at, '\n', n - at);
        len = end ? (size_t)(end - text) - at : n - at;
        if (len == 0 || (len == 1 && text[at] == '\r'))
            continue;
        snprintf(name, sizeof name, "%s: line %zu", t->path, line);
        rc = read_line(t, p, text + at, len, &r);
        r.id++;
    }
    for (int b = 0; rc == 0 && b < 256; b++)
        if (p->bytes[b] < 0)
            rc = err_set(e, E_FORMAT, "%s: there is no word for byte 0x%02x", t->path,
                         (unsigned)b);
    t->bos = tokenizer_find(t, NAMED_BOS);
    t->eos = tokenizer_find(t, NAMED_EOS);
    return rc;
}

int plamo_open(struct tokenizer *t, const char *path, const struct config *cfg, struct err *e)
{
    struct buf file;
    (void)cfg;
    buf_init(&file, LIMIT_TOKENIZER_BYTES);
    int rc = file_read(path, &file, e);
    if (rc == 0)
        rc = plamo_build(t, file.p ? file.p : "", file.len, e);
    buf_free(&file);
    return rc;
}

/* ---- encoding --------------------------------------------------------------------------- */

static bool goes_on(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The best way from a place of the text to its end, and its first step: a word of n bytes, or for
 * id -1 a character's bytes. */
struct place {
    int64_t cost;
    int32_t id;
    uint32_t n;
};

static struct place choose(const struct plamo *p, const char *text, size_t n, size_t i, size_t len,
                           const struct place *at)
{
    struct place best = {at[i + len].cost + BYTES_COST, -1, (uint32_t)len};
    uint32_t node = 0;
    for (size_t k = i; k < n && (node = trie_step(&p->words, node, (unsigned char)text[k])); k++) {
        int32_t id = trie_value(&p->words, node);
        if (id >= 0 && p->scores[id] > NEVER && at[k + 1].cost - p->scores[id] <= best.cost)
            best = (struct place){at[k + 1].cost - p->scores[id], id, (uint32_t)(k + 1 - i)};
    }
    return best;
}

static int encode(const void *impl, const char *text, size_t n, bool start, struct ids *out,
                  struct err *e)
{
    const struct plamo *p = impl;
    struct place *at = mem_array(n + 1, sizeof *at); /* of bytes that begin a character */
    int rc = 0;
    (void)start;
    if (!at)
        return err_set(e, E_NOMEM, "out of memory for a text of %zu bytes", n);
    for (size_t i = n, len = 1; i-- > 0; len++)
        if (!goes_on(text[i])) {
            at[i] = choose(p, text, n, i, len, at);
            len = 0;
        }
    for (size_t i = 0; rc == 0 && i < n; i += at[i].n)
        for (uint32_t k = 0; rc == 0 && k < (at[i].id < 0 ? at[i].n : 1); k++)
            rc = ids_add(out, at[i].id < 0 ? p->bytes[(unsigned char)text[i + k]] : at[i].id);
    mem_free(at);
    if (rc == E_RANGE)
        return err_set(e, rc, "the text has more than the %zu tokens allowed", out->max);
    return rc == 0 ? 0 : err_set(e, rc, "out of memory for %zu tokens", out->len);
}

/* What the configuration calls special is no word any more. */
static void seal(void *impl, const struct tokenizer *t)
{
    struct plamo *p = impl;
    for (int32_t id = 0; id < p->n; id++)
        if (tokenizer_is_special(t, id))
            p->scores[id] = NEVER;
}

static void close_plamo(void *impl)
{
    struct plamo *p = impl;
    trie_free(&p->words);
    mem_free(p->scores);
    mem_free(p);
}

static const struct tokenizer_format format = {
    .encode = encode, .seal = seal, .close = close_plamo};

/* ---- as a list -------------------------------------------------------------------------- */

bool plamo_export(const struct tokenizer *t, int32_t id, struct plamo_word *out)
{
    const struct plamo *p = t->impl;
    if (t->format != &format)
        return false;
    *out = (struct plamo_word){0};
    if (id < 0 || id >= t->n || !(t->tokens[id].flags & TOKEN_KNOWN))
        return true;
    const struct token *w = &t->tokens[id];
    bool byte = w->n == 1 && p->bytes[(unsigned char)w->text[0]] == id;
    *out = (struct plamo_word){
        .kind = w->flags & TOKEN_SPECIAL ? PLAMO_SPECIAL : w->added ? PLAMO_ADDED
                : byte                   ? PLAMO_BYTE
                                         : PLAMO_WORD,
        .text = w->text, .n = w->n, .score = id < p->n && !byte ? p->scores[id] / STEPS : 0};
    return true;
}
