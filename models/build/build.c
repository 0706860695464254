/* The builder's core: sticky errors, configuration, names and weights. Thread: loading. */
#include <stdarg.h>
#include <stdio.h>

#include "models/build/build_int.h"

/* ---- errors ---- */

void b_fail(struct build *b, int code, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(b->err, code, "%s", text);
}

struct err *b_err(struct build *b) { return b->err; }
bool b_failed(const struct build *b) { return b->err->code != 0; }

void cfg_refuse(struct build *b, const char *key)
{
    struct err quiet = {0}; /* a value of another type is not 0 either */
    if (config_has(b->config, key) &&
        (config_num(b->config, key, 1, &quiet) != 0 || quiet.code) &&
        (quiet.code = 0, config_bool(b->config, key, true, &quiet) || quiet.code))
        b_fail(b, E_UNSUPPORTED, "config.json: %s is not supported for model_type %s, only null, "
               "false or 0", key, b->m->arch);
}

bool b_require(struct build *b, bool ok, const char *fmt, ...)
{
    char text[300];
    if (ok)
        return true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    b_fail(b, E_RANGE, "config.json: %s", text);
    return false;
}

/* ---- configuration ---- */

const struct config *cfg(struct build *b) { return b->config; }
bool cfg_has(struct build *b, const char *key) { return config_has(b->config, key); }
int64_t cfg_int(struct build *b, const char *key, int64_t dflt)
{
    return config_int(b->config, key, dflt, 0, INT32_MAX, b->err);
}
double cfg_num(struct build *b, const char *key, double dflt)
{
    return config_num(b->config, key, dflt, b->err);
}
bool cfg_bool(struct build *b, const char *key, bool dflt)
{
    return config_bool(b->config, key, dflt, b->err);
}
const char *cfg_str(struct build *b, const char *key, const char *dflt)
{
    return config_str(b->config, key, dflt, b->err);
}

bool cfg_is_str(struct build *b, const char *key, const char *value)
{
    struct err quiet = {0};
    return !strcmp(config_str(b->config, key, "", &quiet), value);
}

void cfg_irrelevant(struct build *b, const char *keys)
{
    char key[64];
    for (int n; sscanf(keys, " %63s%n", key, &n) == 1; keys += n)
        (void)config_has(b->config, key); /* asking marks it as understood */
}

/* ---- names ---- */

void b_prefix(struct build *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->prefix, sizeof b->prefix, fmt, ap);
    va_end(ap);
}

void b_layer(struct build *b, int layer)
{
    b->layer = layer;
    b->layer_sections = 0;
}

const char *build_name(struct build *b, const char *name, const char *suffix)
{
    char full[2 * LIMIT_TENSOR_NAME];
    int n = snprintf(full, sizeof full, "%s%s%s", b->prefix, name, suffix);
    if (n < 0 || n >= LIMIT_TENSOR_NAME) {
        b_fail(b, E_RANGE, "tensor name %s: %d bytes, %d at most", name, n, LIMIT_TENSOR_NAME - 1);
        return "";
    }
    const char *s = arena_strdup(&b->m->arena, full);
    if (!s)
        b_fail(b, E_NOMEM, "no memory for tensor names");
    return s ? s : "";
}

static struct tensor *find(struct build *b, const char *name)
{
    return b->ck ? checkpoint_find(b->ck, name) : NULL;
}

bool b_has(struct build *b, const char *name, bool dflt)
{
    return b->ck ? find(b, build_name(b, name, "")) != NULL : dflt;
}

static int64_t extent(struct build *b, const char *name, bool last, int64_t dflt)
{
    const char *full = build_name(b, name, "");
    const struct tensor *t = find(b, full);
    if (!b->ck)
        return dflt;
    if (!t || t->n_dims < 1) {
        b_fail(b, E_NOENT, "tensor %s: missing from the checkpoint", full);
        return dflt;
    }
    return t->shape[last ? t->n_dims - 1 : 0];
}

int64_t b_rows(struct build *b, const char *name, int64_t dflt)
{
    return extent(b, name, false, dflt);
}

int64_t b_cols(struct build *b, const char *name, int64_t dflt)
{
    return extent(b, name, true, dflt);
}

/* ---- weights ---- */

enum dtype build_dtype(struct build *b, const char *name)
{
    const struct tensor *t = find(b, name);
    return !b->ck ? DTYPE_BF16 : t ? t->dtype : DTYPE_F32;
}

int build_weight(struct build *b, enum weight_role role, enum dtype t, int64_t rows, int64_t cols)
{
    struct plan *p = b->plan;
    if (b_failed(b))
        return -1;
    if (rows < 1 || cols < 1 || rows > LIMIT_MATRIX_ROWS || cols > LIMIT_WIDTH) {
        b_fail(b, E_RANGE, "config.json: a weight of %lld x %lld; 1 to %d and %d",
               (long long)rows, (long long)cols, LIMIT_MATRIX_ROWS, LIMIT_WIDTH);
        return -1;
    }
    if (p->n_weights == b->cap_weights) {
        int cap = b->cap_weights ? 2 * b->cap_weights : 256;
        struct weight *w = mem_realloc(p->weights, (size_t)cap * sizeof *w);
        if (w)
            p->weights = w;
        struct binding *x = mem_realloc(b->m->bindings, (size_t)cap * sizeof *x);
        if (x)
            b->m->bindings = x;
        if (!w || !x) {
            b_fail(b, E_NOMEM, "no memory for %d weights", cap);
            return -1;
        }
        b->cap_weights = cap;
    }
    p->weights[p->n_weights] = (struct weight){role, t, rows, cols};
    b->m->bindings[p->n_weights] = (struct binding){NULL, (float)(1 / sqrt((double)cols)), 0};
    return p->n_weights++;
}

/* "[3, 4]" of a tensor's shape. */
static const char *shape_text(const struct tensor *t, char out[96])
{
    int n = snprintf(out, 96, "[");
    for (int i = 0; i < t->n_dims; i++)
        n += snprintf(out + n, (size_t)(96 - n), "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    snprintf(out + n, (size_t)(96 - n), "]");
    return out;
}

/* Whether t reads as [rows][cols]: some of its leading dimensions multiply to rows (experts in one
 * tensor [E, rows, cols]). */
static bool is_matrix(const struct tensor *t, int64_t rows, int64_t cols)
{
    int64_t lead = 1;
    for (int i = 0; i + 1 < t->n_dims; i++) {
        lead *= t->shape[i];
        if (lead == rows)
            return t->elems == rows * cols;
    }
    return false;
}

static void check_shape(struct build *b, struct tensor *t, const char *name, int64_t rows,
                        int64_t cols, bool vector)
{
    char text[96];
    if (!t) {
        b_fail(b, E_NOENT, "tensor %s: missing from the checkpoint, [%lld, %lld] expected", name,
               (long long)rows, (long long)cols);
        return;
    }
    t->used = true;
    if (t->whole_numbers)
        b_fail(b, E_UNSUPPORTED, "tensor %s: whole numbers in file, not floats", name);
    else if (t->dtype == DTYPE_FP8 && t->shape[t->n_dims - 1] != cols) /* its rows end in padding */
        b_fail(b, E_UNSUPPORTED, "tensor %s: FP8 rows of %lld, %lld expected", name,
               (long long)t->shape[t->n_dims - 1], (long long)cols);
    else if (vector ? t->elems == rows * cols : is_matrix(t, rows, cols))
        return;
    else if (vector)
        b_fail(b, E_RANGE, "tensor %s: %lld elements expected, shape %s in file", name,
               (long long)(rows * cols), shape_text(t, text));
    else
        b_fail(b, E_RANGE, "tensor %s: shape [%lld, %lld] expected, %s in file", name,
               (long long)rows, (long long)cols, shape_text(t, text));
}

static struct binding_part *add_part(struct build *b, int w, int64_t rows, int64_t at)
{
    if (b_failed(b) || w < 0)
        return NULL;
    struct binding_part *x = arena_alloc(&b->m->arena, sizeof *x);
    if (!x) {
        b_fail(b, E_NOMEM, "no memory for the weight table");
        return NULL;
    }
    *x = (struct binding_part){.rows = rows, .at_row = at, .next = b->m->bindings[w].parts};
    b->m->bindings[w].parts = x;
    return x;
}

struct binding_part *build_part(struct build *b, int w, const char *name, int64_t total,
                                int64_t row0, int64_t rows, int64_t at, bool transposed)
{
    struct binding_part *x = add_part(b, w, rows, at);
    if (!x)
        return NULL;
    int64_t cols = b->plan->weights[w].cols;
    bool vector = b->plan->weights[w].role == WEIGHT_VECTOR;
    snprintf(x->name, sizeof x->name, "%s", name);
    x->tensor_row = row0;
    x->transposed = transposed;
    if (b->ck && transposed)
        check_shape(b, find(b, name), name, cols, total, false);
    else if (b->ck)
        check_shape(b, find(b, name), name, total, cols, vector);
    return x;
}

int build_find(struct build *b, enum weight_role role, const char *name, int64_t row0,
               int64_t rows, enum transform t)
{
    for (int32_t i = 0; i < b->plan->n_weights; i++) {
        const struct binding_part *x = b->m->bindings[i].parts;
        if (x && !x->next && b->plan->weights[i].role == role && x->tensor_row == row0 &&
            x->rows == rows && x->transform == t && !strcmp(x->name, name))
            return i;
    }
    return -1;
}

int w_vec_as(struct build *b, const char *name, int64_t n, enum transform t)
{
    const char *full = build_name(b, name, "");
    int w = build_find(b, WEIGHT_VECTOR, full, 0, 1, t);
    if (w >= 0 && b->plan->weights[w].cols == n)
        return w;
    w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, 1, n);
    struct binding_part *x = build_part(b, w, full, 1, 0, 1, 0, false);
    if (x)
        x->transform = t;
    if (w >= 0 && t != TENSOR_NEG_EXP && strstr(name, "norm"))
        b->m->bindings[w].dummy_mean = t == TENSOR_AS_IS ? 1 : 0; /* dummy norms scale by ~1 */
    if (w >= 0)
        b->m->bindings[w].dummy_scale = 0.1f; /* small gates and biases keep dummy models tame */
    return w;
}

int w_filter(struct build *b, const char *name, int channels, int size)
{
    const char *full = build_name(b, name, "");
    int w = build_find(b, WEIGHT_VECTOR, full, 0, channels, TENSOR_AS_IS);
    if (w >= 0 && b->plan->weights[w].cols == size)
        return w;
    w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, channels, size);
    build_part(b, w, full, channels, 0, channels, 0, false);
    if (w >= 0)
        b->m->bindings[w].dummy_scale = 0.1f;
    return w;
}

int w_filter_apart(struct build *b, const char *name, int channels, int size, int apart)
{
    const char *full = build_name(b, name, "");
    int64_t wide = ((int64_t)size - 1) * apart + 1;
    int w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, channels, wide);
    struct binding_part *x = add_part(b, w, channels, 0);
    if (!x)
        return w;
    snprintf(x->name, sizeof x->name, "%s", full);
    x->apart = apart;
    b->m->bindings[w].dummy_scale = 0.1f;
    if (b->ck)
        check_shape(b, find(b, full), full, channels, size, true);
    return w;
}

int w_vec_row(struct build *b, const char *name, int64_t rows, int64_t row, int64_t n)
{
    int w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, 1, n);
    build_part(b, w, build_name(b, name, ""), rows, row, 1, 0, false);
    return w;
}

int w_vec(struct build *b, const char *name, int64_t n)
{
    return w_vec_as(b, name, n, TENSOR_AS_IS);
}

int w_matrix(struct build *b, const char *like, int64_t rows, int64_t cols)
{
    return build_weight(b, WEIGHT_MATRIX, build_dtype(b, build_name(b, like, "")), rows, cols);
}

void w_rows(struct build *b, int w, const char *name, int64_t total, int64_t row0, int64_t rows,
            int64_t at, bool transposed)
{
    build_part(b, w, build_name(b, name, ""), total, row0, rows, at, transposed);
}

void w_block(struct build *b, int w, const char *name, const struct block_part *p)
{
    const char *full = build_name(b, name, "");
    if (!p->transposed) {
        build_part(b, w, full, p->tensor_rows, p->row0, p->rows, p->at, false);
        return;
    }
    struct binding_part *x = add_part(b, w, p->tensor_cols, p->at);
    if (!x)
        return;
    snprintf(x->name, sizeof x->name, "%s", full);
    x->transposed = true;
    x->tensor_col = p->row0;
    x->stride = p->tensor_cols;
    if (b->ck)
        check_shape(b, find(b, full), full, p->tensor_rows, p->tensor_cols, false);
}

int w_derived(struct build *b, const char *name, int64_t elems, int64_t row, int64_t n,
              derive_fn *f)
{
    int w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, 1, n);
    struct binding_part *x = build_part(b, w, build_name(b, name, ""), elems / n, row, 1, 0, false);
    if (x)
        x->derive = f;
    return w;
}

int w_derived_vec(struct build *b, const char *name, int64_t elems, int64_t n, derive_fn *f)
{
    const char *full = build_name(b, name, "");
    int w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, 1, n);
    struct binding_part *x = add_part(b, w, 1, 0);
    if (!x)
        return w;
    snprintf(x->name, sizeof x->name, "%s", full);
    x->derive = f;
    b->m->bindings[w].dummy_scale = 0.1f;
    if (b->ck)
        check_shape(b, find(b, full), full, 1, elems, true);
    return w;
}

int w_derived_matrix(struct build *b, const char *name, const struct derived *d)
{
    const char *full = build_name(b, name, "");
    enum dtype t = d->exact ? DTYPE_F32 : build_dtype(b, full);
    int w = build_weight(b, WEIGHT_MATRIX, t, d->rows, d->cols);
    struct binding_part *x = add_part(b, w, d->rows, 0);
    if (!x)
        return w;
    snprintf(x->name, sizeof x->name, "%s", full);
    x->tensor_row = d->row0;
    x->derive = d->f;
    if (b->ck)
        check_shape(b, find(b, full), full, d->tensor_rows, d->tensor_cols, false);
    return w;
}

int w_values(struct build *b, const float *values, int64_t n)
{
    int w = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, 1, n);
    struct binding_part *x = add_part(b, w, 1, 0);
    if (!x)
        return w;
    float *copy = arena_array(&b->m->arena, (size_t)n, sizeof *copy);
    if (!copy) {
        b_fail(b, E_NOMEM, "no memory for a table of %lld floats", (long long)n);
        return w;
    }
    memcpy(copy, values, (size_t)n * sizeof *copy);
    x->values = copy;
    return w;
}

void b_context_max(struct build *b, int64_t positions)
{
    int64_t now = b->m->context_max;
    b->m->context_max = now > 0 ? MIN(now, positions) : positions;
}
