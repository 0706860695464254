/* Changes as bytes. */
#include "statecache/store/change.h"

#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "statecache/session.h"
#include "statecache/store/fields.h"

enum { AT_BYTES = 0, AT_KIND = 4, AT_MADE = 8, AT_TENANT = 24, AT_ID = 40, AT_GENERATION = 56,
       AT_BASE = 64, AT_KEEP_TOKENS = 72, AT_KEEP_TURNS = 80, AT_TOKENS = 88, AT_TURNS = 92,
       AT_ANSWER = 96, HEAD = 104,
       AT_MODEL = HEAD + FIELD_RESERVED };
_Static_assert(FIELD_RESERVED + CHANGE_MODEL <= SESSION_RECORD, "the model in the fields");
#define UNIT 8 /* records are multiples of it */

static void model_digest(const struct format *f, size_t numerics, unsigned char out[CHANGE_MODEL])
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, f->names, sizeof(f->names), CHANGE_MODEL);
    crypto_generichash_update(&s, f->fingerprint, sizeof(f->fingerprint));
    crypto_generichash_update(&s, f->schema, sizeof(f->schema));
    crypto_generichash_update(&s, (const unsigned char *)f->numerics, numerics);
    crypto_generichash_final(&s, out, CHANGE_MODEL);
}

void change_model(const struct format *f, unsigned char out[CHANGE_MODEL])
{
    model_digest(f, 0, out);
}

void change_model_made(const struct format *f, unsigned char out[CHANGE_MODEL])
{
    model_digest(f, sizeof(f->numerics), out);
}

static uint64_t size_of(const struct change *c)
{
    uint64_t n = HEAD + (c->kind == CHANGE_SESSION ? SESSION_RECORD : 0) +
                 (uint64_t)c->n_tokens * 4 + (uint64_t)c->n_turns * 8 + c->n_answer;
    return (n + UNIT - 1) / UNIT * UNIT;
}

int change_encode(struct buf *out, const struct change *c)
{
    static const char zeros[UNIT];
    unsigned char head[HEAD] = {0};
    size_t before = out->len;
    uint64_t bytes = size_of(c);
    bytes_put(head + AT_BYTES, bytes, 4);
    bytes_put(head + AT_KIND, c->kind, 4);
    memcpy(head + AT_MADE, c->made, sizeof(c->made));
    memcpy(head + AT_TENANT, c->tenant, sizeof(c->tenant));
    memcpy(head + AT_ID, c->id, sizeof(c->id));
    bytes_put(head + AT_GENERATION, c->generation, 8);
    bytes_put(head + AT_BASE, c->base, 8);
    bytes_put(head + AT_KEEP_TOKENS, (uint64_t)c->keep_tokens, 8);
    bytes_put(head + AT_KEEP_TURNS, (uint64_t)c->keep_turns, 8);
    bytes_put(head + AT_TOKENS, c->n_tokens, 4);
    bytes_put(head + AT_TURNS, c->n_turns, 4);
    bytes_put(head + AT_ANSWER, c->n_answer, 4);
    int rc = buf_add(out, head, sizeof(head));
    if (!rc && c->kind == CHANGE_SESSION)
        rc = buf_add(out, c->fields, SESSION_RECORD);
    if (!rc && c->kind == CHANGE_SESSION)
        memcpy(out->p + before + AT_MODEL, c->model, sizeof(c->model));
    if (!rc && c->n_turns)
        rc = buf_add(out, c->turns, (size_t)c->n_turns * 8);
    if (!rc && c->n_tokens)
        rc = buf_add(out, c->tokens, (size_t)c->n_tokens * 4);
    if (!rc && c->n_answer)
        rc = buf_add(out, c->answer, c->n_answer);
    if (!rc)
        rc = buf_add(out, zeros, before + bytes - out->len);
    if (!rc)
        return 0;
    out->len = before;
    if (out->p)
        out->p[before] = 0;
    out->failed = false;
    return E_NOMEM;
}

int change_decode(const unsigned char *p, size_t n, struct change *c, size_t *used, struct err *e)
{
    *c = (struct change){0};
    if (n < HEAD)
        return err_set(e, E_FORMAT, "%zu bytes, a record has at least %d", n, HEAD);
    uint64_t bytes = bytes_get(p + AT_BYTES, 4), kind = bytes_get(p + AT_KIND, 4);
    uint64_t keep_tokens = bytes_get(p + AT_KEEP_TOKENS, 8),
             keep_turns = bytes_get(p + AT_KEEP_TURNS, 8);
    if (kind != CHANGE_SESSION && kind != CHANGE_DELETED)
        return err_set(e, E_FORMAT, "a record of kind %llu is not known", (unsigned long long)kind);
    c->kind = (enum change_kind)kind;
    c->n_tokens = (uint32_t)bytes_get(p + AT_TOKENS, 4);
    c->n_turns = (uint32_t)bytes_get(p + AT_TURNS, 4);
    c->n_answer = (uint32_t)bytes_get(p + AT_ANSWER, 4);
    if (c->n_tokens > CHANGE_TOKENS || c->n_turns > LIMIT_SESSION_TURNS ||
        c->n_answer > LIMIT_ANSWER_BYTES)
        return err_set(e, E_FORMAT, "%u tokens, %u turns and %u bytes of an answer; at most %d, %d "
                       "and %u are possible", c->n_tokens, c->n_turns, c->n_answer, CHANGE_TOKENS,
                       LIMIT_SESSION_TURNS, LIMIT_ANSWER_BYTES);
    if (bytes != size_of(c) || bytes > n)
        return err_set(e, E_FORMAT, "a record of %llu bytes, %llu by its parts, %zu are there",
                       (unsigned long long)bytes, (unsigned long long)size_of(c), n);
    if (keep_tokens > (uint64_t)CODEC_POSITION_MAX || keep_turns > INT64_MAX / 2)
        return err_set(e, E_FORMAT, "a record keeps %llu tokens and %llu turns",
                       (unsigned long long)keep_tokens, (unsigned long long)keep_turns);
    memcpy(c->made, p + AT_MADE, sizeof(c->made));
    if (c->kind == CHANGE_SESSION)
        memcpy(c->model, p + AT_MODEL, sizeof(c->model));
    memcpy(c->tenant, p + AT_TENANT, sizeof(c->tenant));
    memcpy(c->id, p + AT_ID, sizeof(c->id));
    c->generation = bytes_get(p + AT_GENERATION, 8);
    c->base = bytes_get(p + AT_BASE, 8);
    c->keep_tokens = (int64_t)keep_tokens;
    c->keep_turns = (int64_t)keep_turns;
    if (c->generation == 0 || c->base > c->generation)
        return err_set(e, E_FORMAT, "generation %llu over %llu", (unsigned long long)c->generation,
                       (unsigned long long)c->base);
    c->fields = p + HEAD;
    c->turns = p + HEAD + (c->kind == CHANGE_SESSION ? SESSION_RECORD : 0);
    c->tokens = (const unsigned char *)c->turns + (size_t)c->n_turns * 8;
    c->answer = (const unsigned char *)c->tokens + (size_t)c->n_tokens * 4;
    *used = bytes;
    return 0;
}
