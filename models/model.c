/* A model from its source: config -> plan -> weights on a device. */
#include "models/model.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "models/arch.h"
#include "models/build/build.h"
#include "models/files/jsontext.h"
#include "models/text/chat/chat.h"
#include "models/text/tokenizer.h"

/* Plans of the largest published models take a few MiB. */
#define ARENA_BYTES MIB(256)
/* Weights travel to the device in pieces of this size. */
#define PIECE_BYTES MIB(4)

bool model_is_eos(const struct model *m, int32_t id)
{
    for (int32_t i = 0; i < m->n_eos; i++)
        if (m->eos[i] == id)
            return true;
    return false;
}

/* ---- opening ---- */

static void add_eos(struct model *m, int64_t id)
{
    if (id >= 0 && id < m->plan.vocab && m->n_eos < MODEL_EOS_MAX && !model_is_eos(m, (int32_t)id))
        m->eos[m->n_eos++] = (int32_t)id;
}

/* The ends and the beginning of a text as c (may be NULL) says: eos_token_id is one id or a list.
 * All ends count, and the first beginning. */
static void read_ids(struct model *m, const struct config *c)
{
    if (!c)
        return;
    int64_t n = config_len(c, "eos_token_id");
    for (int64_t i = 0; i < n; i++)
        add_eos(m, config_int_at(c, "eos_token_id", i, -1, NULL));
    if (n < 0)
        add_eos(m, config_int(c, "eos_token_id", -1, -1, INT32_MAX, NULL));
    if (m->bos < 0)
        m->bos = (int32_t)config_int(c, "bos_token_id", -1, 0, m->plan.vocab - 1, NULL);
}

static int read_generation(struct model *m, struct model_source *s, struct err *e)
{
    struct config *g = NULL;
    m->defaults = (struct generation_defaults){NAN, NAN, NAN, NAN, -1, -1};
    m->bos = -1;
    read_ids(m, s->config);
    read_ids(m, config_obj(s->config, "text_config", NULL)); /* as multimodal files have it */
    if (source_generation(s, &g, e) < 0 || !g)
        return e->code;
    read_ids(m, g);
    m->defaults.temperature = (float)config_num(g, "temperature", NAN, e);
    m->defaults.top_p = (float)config_num(g, "top_p", NAN, e);
    m->defaults.min_p = (float)config_num(g, "min_p", NAN, e);
    m->defaults.repetition_penalty = (float)config_num(g, "repetition_penalty", NAN, e);
    m->defaults.top_k = (int32_t)config_int(g, "top_k", -1, -1, INT32_MAX, e);
    m->defaults.max_new_tokens = (int32_t)config_int(g, "max_new_tokens", -1, -1, INT32_MAX, e);
    if (!config_bool(g, "do_sample", true, e))
        m->defaults.temperature = 0;
    config_free(g);
    return e->code;
}

static int open_tokenizer(struct model *m, const struct model_options *o, struct err *e)
{
    if (source_tokenizer(&m->source, &m->tok, m->plan.vocab, e) < 0)
        return e->code;
    if (m->tok) {
        if (tokenizer_bos(m->tok) >= 0)
            m->bos = tokenizer_bos(m->tok);
        add_eos(m, tokenizer_eos(m->tok));
    }
    struct config *cfg = NULL;
    if (m->tok && source_tokenizer_config(&m->source, &cfg, e) < 0)
        return e->code;
    const struct chat_options co = {.dir = o->dir, .config = cfg, .format = o->chat_format,
                                    .template_file = o->chat_template};
    int rc = m->tok ? chat_open(&m->chat, &co, m->tok, e) : 0;
    config_free(cfg);
    if (rc < 0)
        return rc;
    if (m->chat && chat_stop(m->chat))
        add_eos(m, tokenizer_find(m->tok, chat_stop(m->chat)));
    return 0;
}

/* What a stored state must agree with: config, tensor table, tokenizer. The weights' own bytes
 * join in model_load, as they pass by. */
static void fingerprint(struct model *m, const struct model_options *o)
{
    crypto_hash_sha256_state h;
    unsigned char source[32];
    crypto_hash_sha256_init(&h);
    source_digest(&m->source, source);
    crypto_hash_sha256_update(&h, source, sizeof source);
    for (size_t i = 0; m->files && i < checkpoint_count(m->files); i++) {
        const struct tensor *t = checkpoint_at(m->files, i);
        crypto_hash_sha256_update(&h, (const unsigned char *)t->name, strlen(t->name));
        crypto_hash_sha256_update(&h, (const unsigned char *)t->shape, sizeof t->shape);
        crypto_hash_sha256_update(&h, (const unsigned char *)&t->dtype, sizeof t->dtype);
    }
    if (!m->files)
        crypto_hash_sha256_update(&h, (const unsigned char *)&o->dummy_seed, sizeof o->dummy_seed);
    if (o->quantize != QUANTIZE_NONE) {
        unsigned char how = (unsigned char)o->quantize;
        crypto_hash_sha256_update(&h, &how, 1);
    }
    crypto_hash_sha256_final(&h, m->fingerprint);
}

static const char *const quantize_names[] = {"none", "q8", "q4"};

bool quantize_parse(const char *name, enum quantize *out)
{
    for (size_t i = 0; i < ARRAY_LEN(quantize_names); i++)
        if (strcmp(name, quantize_names[i]) == 0) {
            *out = (enum quantize)i;
            return true;
        }
    return false;
}

int model_open(struct model **out, const struct model_options *o, struct err *e)
{
    struct model *m = mem_zalloc(sizeof *m);
    *out = NULL;
    if (!m)
        return err_set(e, E_NOMEM, "no memory for a model");
    arena_init(&m->arena, ARENA_BYTES);
    m->quantize = o->quantize;
    if (sodium_init() < 0)
        err_set(e, E_UNSUPPORTED, "libsodium cannot be initialised");
    else if (source_open(&m->source, o->dir, e) == 0 &&
             (o->dummy || source_checkpoint(&m->source, &m->files, e) == 0) &&
             build_model(m, arch_find, m->source.config, m->files, e) == 0 &&
             read_generation(m, &m->source, e) == 0 && open_tokenizer(m, o, e) == 0) {
        source_name(&m->source, m->name, sizeof m->name);
        fingerprint(m, o);
    }
    if (e->code && !strstr(e->text, jsontext_tail(o->dir)))
        err_wrap(e, "model %s", jsontext_tail(o->dir));
    if (e->code == 0 && m->n_left_aside)
        log_warn("model %s: %d keys and tensors change nothing here and are left aside: %s%s",
                 m->name, m->n_left_aside, m->left_aside,
                 strlen(m->left_aside) + 60 > sizeof m->left_aside ? ", …" : "");
    if (e->code == 0 && o->dummy)
        m->dummy_seed = o->dummy_seed ? o->dummy_seed : 1;
    if (e->code) {
        model_close(m);
        return e->code;
    }
    if (o->dummy)
        source_close(&m->source);
    *out = m;
    return 0;
}

static void drop_files(struct model *m)
{
    checkpoint_close(m->files);
    source_close(&m->source);
    mem_free(m->bindings);
    m->files = NULL;
    m->bindings = NULL;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    drop_files(m);
    chat_close(m->chat);
    tokenizer_close(m->tok);
    mem_free(m->plan.ops);
    mem_free(m->plan.acts);
    mem_free(m->plan.weights);
    mem_free(m->plan.sections);
    arena_free(&m->arena);
    mem_free(m);
}

/* ---- loading ---- */

/* One load: the staging buffers and where the bytes go. */
struct loader {
    struct model *m;
    struct device *d;
    void *raw;    /* PIECE_BYTES as read */
    float *f32;   /* the same, converted */
    crypto_hash_sha256_state hash;
    struct rng rng;
    struct err *e;
};

static float transform(enum transform t, float x)
{
    switch (t) {
    case TENSOR_AS_IS: return x;
    case TENSOR_ADD_ONE: return 1 + x;
    case TENSOR_EXP: return expf(x);
    case TENSOR_NEG_EXP: return -expf(x);
    case TENSOR_SIGMOID: return 1 / (1 + expf(-x));
    case TENSOR_TERNARY: return fmaxf(-1, fminf(1, rintf(x))); /* x is w / mean|W| here */
    }
    return x;
}

/* x: elements [first, first + n) of t. */
static int check_finite(struct loader *l, const struct tensor *t, const float *x, int64_t first,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return err_set(l->e, E_FORMAT, "tensor %s: element %lld is not a finite number",
                           t->name, (long long)first + (long long)i);
    return 0;
}

/* What is left to do to t's elements: a GGUF file holds some as they are used. */
static int remaining(const struct loader *l, const struct tensor *t, enum transform wanted,
                     enum transform *left)
{
    *left = t->applied == wanted ? TENSOR_AS_IS : wanted;
    if (t->applied == TENSOR_AS_IS || t->applied == wanted)
        return 0;
    return err_set(l->e, E_UNSUPPORTED, "tensor %s is stored as the result of transform %d, but "
                   "transform %d of it is needed", t->name, (int)t->applied, (int)wanted);
}

/* Rows [row, row + n) of the part, taken from tensor t, to l->raw (t's dtype) and l->f32. */
static int read_rows(struct loader *l, const struct tensor *t, const struct binding_part *x,
                     int64_t cols, int64_t row, int64_t n)
{
    int64_t first = (x->tensor_row + row) * cols;
    size_t count = (size_t)(n * cols);
    if (checkpoint_read(l->m->files, t, first, n * cols, l->raw, l->e) < 0)
        return l->e->code;
    crypto_hash_sha256_update(&l->hash, l->raw, (size_t)n * format_bytes(t->dtype, cols));
    for (int64_t r = 0; r < n; r++)
        format_decode(t->dtype, (char *)l->raw + (size_t)r * format_bytes(t->dtype, cols), cols,
                      l->f32 + r * cols);
    return check_finite(l, t, l->f32, first, count);
}

/* 1 / mean|W|, for ternary weights; 1 otherwise. */
static float whole_scale(enum transform what, const float *f, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n && what == TENSOR_TERNARY; i++)
        sum += fabsf(f[i]);
    return what == TENSOR_TERNARY ? (float)(1 / fmax(sum / (double)n, 1e-5)) : 1;
}

/* Rows that need the whole tensor: stored [cols][total rows] and turned, rounded by its mean, or
 * derived from it. */
static int put_from_whole(struct loader *l, int w, const struct binding_part *x,
                          const struct tensor *t, enum transform what)
{
    const struct weight *wt = &l->m->plan.weights[w];
    int64_t cols = wt->cols, stride = x->stride ? x->stride : t->elems / cols;
    size_t n = (size_t)t->elems;
    /* Only rows of the tensor's own end in padding. */
    int64_t wide = t->dtype == DTYPE_FP8 ? t->shape[t->n_dims - 1] : t->elems;
    size_t row_bytes = format_bytes(t->dtype, wide);
    char *raw = mem_array((size_t)(t->elems / wide), row_bytes);
    float *f = mem_array(n, sizeof *f), *row = mem_array((size_t)cols, sizeof *row);
    if (!raw || !f || !row)
        err_set(l->e, E_NOMEM, "tensor %s: no memory for all %zu elements", t->name, n);
    else if (checkpoint_read(l->m->files, t, 0, t->elems, raw, l->e) == 0) {
        crypto_hash_sha256_update(&l->hash, (unsigned char *)raw,
                                  (size_t)(t->elems / wide) * row_bytes);
        for (int64_t r = 0; r < t->elems / wide; r++)
            format_decode(t->dtype, raw + (size_t)r * row_bytes, wide, f + r * wide);
        (void)!check_finite(l, t, f, 0, n); /* e tells */
        float scale = whole_scale(what, f, n);
        for (int64_t r = 0; r < x->rows && l->e->code == 0; r++) {
            if (x->derive)
                x->derive(f, t->elems, x->tensor_row + r, cols, row);
            for (int64_t c = 0; c < cols && !x->derive; c++) {
                int64_t at = x->tensor_row + r;
                row[c] = transform(
                    what,
                    scale * f[x->transposed ? (x->tensor_col + c) * stride + at : at * cols + c]);
            }
            l->d->backend->put_weight(l->d, w, x->at_row + r, 1, row, DTYPE_F32, l->e);
        }
    }
    mem_free(raw);
    mem_free(f);
    mem_free(row);
    return l->e->code;
}

static int put_tensor(struct loader *l, int w, const struct binding_part *x)
{
    const struct weight *wt = &l->m->plan.weights[w];
    const struct tensor *t = checkpoint_find(l->m->files, x->name);
    int64_t cols = wt->cols; /* a short row of FP8 takes more bytes than its float32 values */
    int64_t row_bytes = MAX(4 * cols, (int64_t)format_bytes(t->dtype, cols));
    int64_t step = MAX(1, (int64_t)PIECE_BYTES / row_bytes);
    enum transform what;
    if (remaining(l, t, x->derive ? TENSOR_AS_IS : x->transform, &what) < 0)
        return l->e->code;
    if (x->transposed || x->derive || what == TENSOR_TERNARY)
        return put_from_whole(l, w, x, t, what);
    for (int64_t row = 0; row < x->rows; row += step) {
        int64_t n = MIN(step, x->rows - row);
        if (read_rows(l, t, x, cols, row, n) < 0)
            return l->e->code;
        bool as_is = what == TENSOR_AS_IS;
        for (int64_t i = 0; !as_is && i < n * cols; i++)
            l->f32[i] = transform(what, l->f32[i]);
        if (l->d->backend->put_weight(l->d, w, x->at_row + row, n, as_is ? l->raw : l->f32,
                                      as_is ? t->dtype : DTYPE_F32, l->e) < 0)
            return l->e->code;
    }
    return 0;
}

static int put_random(struct loader *l, int w, const struct binding_part *x)
{
    const struct weight *wt = &l->m->plan.weights[w];
    const struct binding *bind = &l->m->bindings[w];
    int64_t step = MAX(1, (int64_t)(PIECE_BYTES / 4) / wt->cols);
    uint64_t bits = 0;
    for (int64_t row = 0; row < x->rows; row += step) {
        int64_t n = MIN(step, x->rows - row);
        for (int64_t i = 0; i < n * wt->cols; i++) {
            /* uniform with the wanted deviation, four draws of 16 bits from each 64: a dummy model
             * may have billions of weights */
            if (i % 4 == 0)
                bits = rng_next(&l->rng);
            float u = (float)(bits & 0xffff) * 0x1p-15f - 1;
            l->f32[i] =
                transform(x->transform, bind->dummy_mean + u * 1.7320508f * bind->dummy_scale);
            bits >>= 16;
        }
        if (l->d->backend->put_weight(l->d, w, x->at_row + row, n, l->f32, DTYPE_F32, l->e) < 0)
            return l->e->code;
    }
    return 0;
}

static int put_part(struct loader *l, int w, const struct binding_part *x)
{
    if (x->values)
        return l->d->backend->put_weight(l->d, w, x->at_row, x->rows, x->values, DTYPE_F32, l->e);
    return l->m->files ? put_tensor(l, w, x) : put_random(l, w, x);
}

static int put_weights(struct loader *l)
{
    for (int w = 0; w < l->m->plan.n_weights; w++)
        for (const struct binding_part *x = l->m->bindings[w].parts; x; x = x->next)
            if (put_part(l, w, x) < 0)
                return l->e->code;
    return l->d->backend->ready(l->d, l->e);
}

int model_load(struct model *m, struct device *d, const struct capacity *c, struct err *e)
{
    int64_t widest = 0;
    for (int32_t i = 0; i < m->plan.n_weights; i++)
        widest = MAX(widest, m->plan.weights[i].cols);
    struct loader l = {.m = m, .d = d, .e = e, .rng = {m->dummy_seed, 0}};
    size_t bytes = MAX(PIECE_BYTES, (size_t)widest * sizeof(float));
    crypto_hash_sha256_init(&l.hash);
    crypto_hash_sha256_update(&l.hash, m->fingerprint, sizeof m->fingerprint);
    l.raw = mem_zalloc(bytes);
    l.f32 = mem_zalloc(bytes);
    if (!l.raw || !l.f32)
        err_set(e, E_NOMEM, "no memory for %zu bytes of staging", 2 * bytes);
    else if (plan_layout(&m->plan, c) < 0)
        err_set(e, E_NOMEM, "no memory to lay out %d activations", m->plan.n_acts);
    else if (plan_validate(&m->plan, d->backend->limits(d), c, e) == 0 &&
             d->backend->load(d, &m->plan, c, e) == 0 && put_weights(&l) == 0)
        crypto_hash_sha256_final(&l.hash, m->fingerprint);
    mem_free(l.raw);
    mem_free(l.f32);
    drop_files(m);
    return e->code ? err_wrap(e, "model %s", m->name) : 0;
}
