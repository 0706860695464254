/* See receipt.h. */
#include "scheduler/receipt.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "scheduler/sampling_text.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rows of logits are hashed as they lie");

/* ---- digests ------------------------------------------------------------------------------ */

static void add_number(struct blake3 *b, uint64_t x, int bytes)
{
    unsigned char out[8];
    bytes_put(out, x, bytes);
    blake3_update(b, out, (size_t)bytes);
}

static void add_text(struct blake3 *b, const char *text)
{
    size_t n = strlen(text);
    add_number(b, n, 4);
    blake3_update(b, text, n);
}

/* A float's bits or an integer. -0 is 0: as text it is an integer, which has no sign. */
static void add_word(struct blake3 *b, const void *word)
{
    uint32_t bits;
    memcpy(&bits, word, sizeof bits);
    if (bits == UINT32_C(1) << 31)
        bits = 0;
    add_number(b, bits, 4);
}

static void add_ids(struct blake3 *b, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        add_number(b, (uint32_t)ids[i], 4);
}

static void add_sampling(struct blake3 *b, const struct sampling *p)
{
    const void *const words[] = {&p->temperature, &p->top_p, &p->min_p, &p->top_k,
                                 &p->repetition_penalty, &p->presence_penalty,
                                 &p->frequency_penalty,
#define SAMPLING(type, name, without, least, most) &p->name,
#include "scheduler/sampling.def"
#undef SAMPLING
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        add_word(b, words[i]);
    add_number(b, p->seed, 8);
    add_number(b, (uint64_t)p->n_bias, 4);
    for (int32_t i = 0; i < p->n_bias; i++) {
        add_number(b, (uint32_t)p->bias[i].id, 4);
        add_word(b, &p->bias[i].x);
    }
    int32_t n_breakers = sampling_more(p) ? p->n_breakers : 0; /* else nobody looks at them */
    add_number(b, (uint64_t)n_breakers, 4);
    for (int32_t i = 0; i < n_breakers; i++) {
        add_number(b, p->breakers[i].n, 4);
        blake3_update(b, p->breakers[i].bytes, p->breakers[i].n);
    }
}

void receipt_head(const struct receipt *x, const int32_t *tokens, unsigned char out[BLAKE3_OUT])
{
    static const char name[] = "recurd receipt 1";
    struct blake3 b;
    blake3_init(&b, NULL);
    blake3_update(&b, name, sizeof name - 1);
    add_text(&b, x->origin.build);
    add_text(&b, x->origin.numerics);
    blake3_update(&b, x->origin.model, sizeof x->origin.model);
    add_number(&b, (uint64_t)x->origin.vocab, 4);
    add_sampling(&b, &x->sampling);
    add_number(&b, (uint64_t)x->min_tokens, 4);
    add_number(&b, (uint64_t)x->n_ends, 4);
    add_ids(&b, x->ends, x->n_ends);
    add_number(&b, x->constrained, 1);
    add_number(&b, (uint64_t)x->n_prompt, 8);
    add_ids(&b, tokens, x->n_prompt);
    blake3_final(&b, out);
}

void receipt_link(unsigned char link[BLAKE3_OUT], const float *row, int32_t vocab, int32_t id)
{
    struct blake3 b;
    unsigned char of_row[BLAKE3_OUT];
    blake3_init(&b, NULL);
    blake3_update(&b, row, (size_t)vocab * sizeof *row);
    blake3_final(&b, of_row);
    blake3_init(&b, NULL);
    blake3_update(&b, link, BLAKE3_OUT);
    add_number(&b, (uint32_t)id, 4);
    blake3_update(&b, of_row, sizeof of_row);
    blake3_final(&b, link);
}

/* ---- making one --------------------------------------------------------------------------- */

struct receipt *receipt_new(const struct receipt_origin *o, const struct request *r,
                            const int32_t *ends, int32_t n_ends)
{
    struct receipt *x = mem_zalloc(sizeof *x);
    if (!x)
        return NULL;
    ASSERT(n_ends >= 0 && n_ends <= RECEIPT_ENDS);
    x->origin = *o;
    x->sampling = r->sampling;
    x->sampling.bias = mem_array((size_t)r->sampling.n_bias, sizeof *x->sampling.bias);
    x->cap = x->n_prompt = r->n_prompt;
    x->tokens = mem_array((size_t)x->cap, sizeof *x->tokens);
    if (!x->sampling.bias || !x->tokens) {
        receipt_free(x);
        return NULL;
    }
    if (r->sampling.n_bias)
        memcpy(x->sampling.bias, r->sampling.bias,
               (size_t)r->sampling.n_bias * sizeof *x->sampling.bias);
    memcpy(x->tokens, r->prompt, (size_t)r->n_prompt * sizeof *x->tokens);
    x->min_tokens = r->min_tokens;
    if (r->min_tokens > 0) {
        x->n_ends = n_ends;
        memcpy(x->ends, ends, (size_t)n_ends * sizeof *x->ends);
    }
    x->constrained = r->constraint != NULL;
    return x;
}

void receipt_free(struct receipt *x)
{
    if (!x)
        return;
    mem_free(x->sampling.bias);
    mem_free(x->tokens);
    mem_free(x->links);
    mem_free(x);
}

int receipt_before(struct receipt *x, int64_t n,
                   void (*copy)(void *arg, int64_t from, int64_t to, int32_t *out), void *arg,
                   struct err *e)
{
    ASSERT(!x->begun && x->n_output == 0);
    int64_t cap = n + x->n_prompt;
    if (n == 0)
        return 0;
    int32_t *all = mem_array((size_t)cap, sizeof *all);
    if (!all)
        return err_set(e, E_NOMEM, "no memory for a receipt of %lld tokens", (long long)cap);
    copy(arg, 0, n, all);
    memcpy(all + n, x->tokens, (size_t)x->n_prompt * sizeof *all);
    mem_free(x->tokens);
    x->tokens = all;
    x->n_prompt = x->cap = cap;
    return 0;
}

static void begin(struct receipt *x)
{
    if (x->begun)
        return;
    receipt_head(x, x->tokens, x->head);
    memcpy(x->digest, x->head, sizeof x->digest);
    x->begun = true;
}

static int grow(struct receipt *x, struct err *e)
{
    int64_t n = x->n_prompt + x->n_output;
    if (n == x->cap) {
        int64_t cap = x->cap + MAX(x->n_output, 256);
        int32_t *more = mem_realloc(x->tokens, (size_t)cap * sizeof *more);
        if (!more)
            goto no_memory;
        x->tokens = more;
        x->cap = cap;
    }
    if (x->n_output == x->cap_links) {
        int64_t cap = 2 * MAX(x->cap_links, 128);
        unsigned char *more = mem_realloc(x->links, (size_t)cap * RECEIPT_LINK);
        if (!more)
            goto no_memory;
        x->links = more;
        x->cap_links = cap;
    }
    return 0;
no_memory:
    return err_set(e, E_NOMEM, "no memory for a receipt of %lld tokens", (long long)n + 1);
}

int receipt_drawn(struct receipt *x, const float *row, int32_t id, struct err *e)
{
    if (grow(x, e))
        return e->code;
    begin(x);
    receipt_link(x->digest, row, x->origin.vocab, id);
    memcpy(x->links + x->n_output * RECEIPT_LINK, x->digest, RECEIPT_LINK);
    x->tokens[x->n_prompt + x->n_output++] = id;
    return 0;
}

/* ---- as text ------------------------------------------------------------------------------ */

static void put_hex(struct buf *out, const char *name, const unsigned char *p, size_t n)
{
    buf_fmt(out, ",\"%s\":\"", name);
    for (size_t i = 0; i < n; i++)
        buf_fmt(out, "%02x", p[i]);
    buf_ch(out, '"');
}

static void put_ids(struct buf *out, const char *name, const int32_t *ids, int64_t n)
{
    buf_fmt(out, ",\"%s\":[", name);
    for (int64_t i = 0; i < n; i++)
        buf_fmt(out, i ? ",%d" : "%d", (int)ids[i]);
    buf_ch(out, ']');
}

void receipt_put(struct buf *out, struct receipt *x, bool ids)
{
    begin(x);
    buf_fmt(out, "{\"version\":%d,\"build\":\"%s\",\"numerics\":\"%s\"", RECEIPT_VERSION,
            x->origin.build, x->origin.numerics);
    put_hex(out, "model", x->origin.model, sizeof x->origin.model);
    buf_fmt(out, ",\"vocab\":%d,\"sampling\":", (int)x->origin.vocab);
    sampling_put(out, &x->sampling);
    buf_fmt(out, ",\"min_tokens\":%d", (int)x->min_tokens);
    put_ids(out, "ends", x->ends, x->n_ends);
    buf_fmt(out, ",\"constrained\":%s,\"prompt_tokens\":%" PRId64 ",\"output_tokens\":%" PRId64,
            x->constrained ? "true" : "false", x->n_prompt, x->n_output);
    if (ids)
        put_ids(out, "tokens", x->tokens, x->n_prompt + x->n_output);
    put_hex(out, "head", x->head, sizeof x->head);
    put_hex(out, "links", x->links, (size_t)x->n_output * RECEIPT_LINK);
    put_hex(out, "digest", x->digest, sizeof x->digest);
    buf_ch(out, '}');
}
