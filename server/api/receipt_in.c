/* See the header. */
#include "server/api/receipt_in.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonread.h"
#include "base/mem.h"
#include "server/api/jsonin.h"

/* Magnitudes beyond the API's own bounds mean nothing more, and stay finite as floats. */
#define NUMBER_MAX 1e6

static int get_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
                   struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v))
        return err_set(e, E_FORMAT, "%s is %s, an integer is expected", key, jsonin_kind(v));
    json_int_t x = json_integer_value(v);
    if (x < min || x > max)
        return err_set(e, E_RANGE, "%s is %" PRId64 ", and %" PRId64 " … %" PRId64 " are possible",
                       key, (int64_t)x, min, max);
    *out = x;
    return 0;
}

static int get_float(const json_t *o, const char *key, double min, double max, float *out,
                     struct err *e)
{
    const json_t *v = json_object_get(o, key);
    double x = json_number_value(v);
    if (!json_is_number(v))
        return err_set(e, E_FORMAT, "sampling: %s is %s, a number is expected", key,
                       jsonin_kind(v));
    if (!(x >= min && x <= max))
        return err_set(e, E_RANGE, "sampling: %s is %.9g, and %.9g … %.9g are possible", key, x,
                       min, max);
    *out = (float)x;
    return 0;
}

/* Exactly n bytes as hexadecimal digits. */
static int get_hex(const json_t *o, const char *key, unsigned char *out, size_t n, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    const char *hex = json_string_value(v);
    size_t len = json_string_length(v);
    if (!hex)
        return err_set(e, E_FORMAT, "%s is %s, a string is expected", key, jsonin_kind(v));
    if (len % 2 || len / 2 != n || strspn(hex, "0123456789abcdef") != len)
        return err_set(e, E_FORMAT, "%s: %zu characters, %zu hexadecimal digits are expected", key,
                       len, 2 * n);
    for (size_t i = 0; i < n; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return 0;
}

/* Printable ASCII without quotes: it is written as it is. */
static int get_name(const json_t *o, const char *key, char *out, size_t size, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (!s || n >= size)
        return err_set(e, E_FORMAT, "%s: %zu characters, a string of at most %zu is expected", key,
                       n, size - 1);
    for (size_t i = 0; i < n; i++)
        if (s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\')
            return err_set(e, E_FORMAT, "%s: character %zu is not one that a name has", key, i);
    memcpy(out, s, n + 1);
    return 0;
}

int receipt_ids(const json_t *a, const char *what, int64_t n, int32_t vocab, int32_t *out,
                struct err *e)
{
    if (!json_is_array(a))
        return err_set(e, E_FORMAT, "%s: %s, an array of token ids is expected", what,
                       jsonin_kind(a));
    if (json_array_size(a) != (size_t)n)
        return err_set(e, E_FORMAT, "%s: %zu ids, %" PRId64 " are expected", what,
                       json_array_size(a), n);
    for (size_t i = 0; i < (size_t)n; i++) {
        const json_t *v = json_array_get(a, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= vocab)
            return err_set(e, E_RANGE, "%s: entry %zu is not a token id of 0 to %d", what, i,
                           (int)vocab - 1);
        out[i] = (int32_t)id;
    }
    return 0;
}

/* ---- sampling ----------------------------------------------------------------------------- */

static int get_bias(const json_t *list, int32_t vocab, struct sampling *p, struct err *e)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > LIMIT_LOGIT_BIAS)
        return err_set(e, E_RANGE, "bias: %zu entries, an array of at most %d is expected", n,
                       LIMIT_LOGIT_BIAS);
    if (!(p->bias = mem_array(n, sizeof *p->bias)))
        return err_set(e, E_NOMEM, "no memory for %zu biases", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(list, i), *id = json_array_get(pair, 0);
        double x = json_number_value(json_array_get(pair, 1));
        if (json_array_size(pair) != 2 || !json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= vocab || !(x >= -NUMBER_MAX && x <= NUMBER_MAX))
            return err_set(e, E_FORMAT, "bias: entry %zu is no pair of a token id and a number", i);
        p->bias[i] = (struct sample_edit){(int32_t)json_integer_value(id), (float)x};
        for (size_t k = 0; k < i; k++)
            if (p->bias[k].id == p->bias[i].id)
                return err_set(e, E_FORMAT, "bias: token id %d is named twice",
                               (int)p->bias[i].id);
    }
    p->n_bias = (int32_t)n;
    return 0;
}

static int get_breakers(const json_t *list, struct sampling *p, struct err *e)
{
    size_t n = json_array_size(list);
    if (n > LIMIT_DRY_BREAKERS)
        return err_set(e, E_RANGE, "dry_breakers: %zu entries, at most %d", n, LIMIT_DRY_BREAKERS);
    p->n_breakers = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        size_t len = hex ? strlen(hex) : 0, digits = hex ? strspn(hex, "0123456789abcdef") : 0;
        if (len == 0 || len % 2 || digits != len || len / 2 > LIMIT_DRY_BREAKER_BYTES)
            return err_set(e, E_FORMAT, "dry_breakers: entry %zu is not 1 to %d bytes as digits",
                           i, LIMIT_DRY_BREAKER_BYTES);
        p->breakers[i].n = (uint8_t)(len / 2);
        for (size_t k = 0; k < len / 2; k++) {
            const char pair[3] = {hex[2 * k], hex[2 * k + 1], '\0'};
            p->breakers[i].bytes[k] = (char)strtoul(pair, NULL, 16);
        }
    }
    return 0;
}

static int get_more(const json_t *o, struct sampling *p, struct err *e)
{
    float x;
#define SAMPLING(type, name, without, least, most)                          \
    if (get_float(o, #name, (double)(least), (double)(most), &x, e))        \
        return e->code;                                                     \
    p->name = (type)x;
#include "scheduler/sampling.def"
#undef SAMPLING
    return get_breakers(json_object_get(o, "dry_breakers"), p, e);
}

static int get_seed(const json_t *v, uint64_t *out, struct err *e)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (!s || n == 0 || n > 20 || strspn(s, "0123456789") != n)
        return err_set(e, E_FORMAT, "sampling: seed is not a string of digits");
    *out = strtoull(s, NULL, 10);
    return 0;
}

int sampling_read(const json_t *o, int32_t vocab, struct sampling *p, struct err *e)
{
    const struct { const char *key; float *to; double min; } numbers[] = {
        {"temperature", &p->temperature, 0}, {"top_p", &p->top_p, 0}, {"min_p", &p->min_p, 0},
        {"repetition_penalty", &p->repetition_penalty, 1e-6},
        {"presence_penalty", &p->presence_penalty, -NUMBER_MAX},
        {"frequency_penalty", &p->frequency_penalty, -NUMBER_MAX},
    };
    int64_t top_k = 0;
    int rc = get_seed(json_object_get(o, "seed"), &p->seed, e);
    if (!rc)
        rc = get_int(o, "top_k", INT32_MIN, INT32_MAX, &top_k, e);
    p->top_k = (int32_t)top_k;
    for (size_t i = 0; i < ARRAY_LEN(numbers) && !rc; i++)
        rc = get_float(o, numbers[i].key, numbers[i].min, NUMBER_MAX, numbers[i].to, e);
    if (!rc && json_object_get(o, "dry_breakers"))
        rc = get_more(o, p, e);
    return rc ? rc : get_bias(json_object_get(o, "bias"), vocab, p, e);
}

/* ---- a receipt ---------------------------------------------------------------------------- */

static int read_origin(struct receipt_origin *x, const json_t *o, struct err *e)
{
    int64_t vocab = 0;
    int rc = get_name(o, "build", x->build, sizeof x->build, e);
    if (!rc)
        rc = get_name(o, "numerics", x->numerics, sizeof x->numerics, e);
    if (!rc)
        rc = get_hex(o, "model", x->model, sizeof x->model, e);
    if (!rc)
        rc = get_int(o, "vocab", 1, LIMIT_VOCAB, &vocab, e);
    x->vocab = (int32_t)vocab;
    return rc;
}

static int read_draws(struct receipt *x, const json_t *o, struct err *e)
{
    const json_t *ends = json_object_get(o, "ends"), *how = json_object_get(o, "constrained");
    int64_t n = 0;
    sampling_without(&x->sampling);
    int rc = sampling_read(json_object_get(o, "sampling"), x->origin.vocab, &x->sampling, e);
    if (!rc)
        rc = get_int(o, "min_tokens", 0, INT32_MAX, &n, e);
    x->min_tokens = (int32_t)n;
    if (!rc && json_array_size(ends) > RECEIPT_ENDS)
        rc = err_set(e, E_RANGE, "ends: %zu ids, at most %d", json_array_size(ends), RECEIPT_ENDS);
    x->n_ends = rc ? 0 : (int32_t)json_array_size(ends);
    if (!rc)
        rc = receipt_ids(ends, "ends", x->n_ends, x->origin.vocab, x->ends, e);
    if (!rc && !json_is_boolean(how))
        rc = err_set(e, E_FORMAT, "constrained is %s, true or false is expected",
                     jsonin_kind(how));
    x->constrained = json_is_true(how);
    return rc;
}

static int read_tokens(struct receipt *x, const json_t *o, struct err *e)
{
    const json_t *tokens = json_object_get(o, "tokens");
    int64_t most = RECEIPT_FILE_BYTES;
    int rc = get_int(o, "prompt_tokens", 1, most, &x->n_prompt, e);
    if (!rc)
        rc = get_int(o, "output_tokens", 0, most, &x->n_output, e);
    if (rc || !tokens)
        return rc;
    x->cap = (int64_t)json_array_size(tokens); /* what memory is taken for is in the text */
    if (!(x->tokens = mem_array((size_t)x->cap + 1, sizeof *x->tokens)))
        return err_set(e, E_NOMEM, "no memory for %" PRId64 " tokens", x->cap);
    if (x->cap != x->n_prompt + x->n_output)
        return err_set(e, E_FORMAT, "tokens: %" PRId64 " ids, %" PRId64 " are expected", x->cap,
                       x->n_prompt + x->n_output);
    return receipt_ids(tokens, "tokens", x->cap, x->origin.vocab, x->tokens, e);
}

static int read_digests(struct receipt *x, const json_t *o, struct err *e)
{
    size_t digits = json_string_length(json_object_get(o, "links"));
    size_t n = (size_t)x->n_output * RECEIPT_LINK;
    int rc = get_hex(o, "head", x->head, sizeof x->head, e);
    if (!rc)
        rc = get_hex(o, "digest", x->digest, sizeof x->digest, e);
    if (!rc && digits / 2 != n)
        rc = err_set(e, E_FORMAT, "links: %zu characters, %zu are expected for %" PRId64 " tokens",
                     digits, 2 * n, x->n_output);
    if (!rc && !(x->links = mem_array(n + 1, 1)))
        rc = err_set(e, E_NOMEM, "no memory for %zu bytes of links", n);
    return rc ? rc : get_hex(o, "links", x->links, n, e);
}

int receipt_read(struct receipt **out, const json_t *o, struct err *e)
{
    struct receipt *x = mem_zalloc(sizeof *x);
    int64_t version = 0;
    *out = NULL;
    if (!x)
        return err_set(e, E_NOMEM, "no memory for a receipt");
    int rc = get_int(o, "version", 0, INT32_MAX, &version, e);
    if (!rc && version != RECEIPT_VERSION)
        rc = err_set(e, E_UNSUPPORTED, "the receipt is of version %d, and version %d is known",
                     (int)version, RECEIPT_VERSION);
    if (!rc)
        rc = read_origin(&x->origin, o, e);
    if (!rc)
        rc = read_draws(x, o, e);
    if (!rc)
        rc = read_tokens(x, o, e);
    if (!rc)
        rc = read_digests(x, o, e);
    if (rc) {
        receipt_free(x);
        return rc;
    }
    x->begun = true;
    *out = x;
    return 0;
}

/* ---- where it stands ---------------------------------------------------------------------- */

static void add(const json_t *o, const json_t *list[LIMIT_CHOICES], int *n)
{
    const json_t *r = json_object_get(o, "receipt");
    if (json_is_object(r) && *n < LIMIT_CHOICES)
        list[(*n)++] = r;
}

int receipt_find(const char *text, size_t n, json_t **root, const json_t *list[LIMIT_CHOICES],
                 int *n_list, struct err *e)
{
    json_error_t je;
    *root = NULL;
    *n_list = 0;
    int rc = jsonin_scan(text, n, NULL, e);
    if (rc)
        return rc;
    json_t *o = jsonread(text, n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, E_FORMAT, "no JSON object: a receipt, or a reply with one, is expected "
                       "(byte %d)", o ? 0 : je.position);
    }
    const json_t *choices = json_object_get(o, "choices");
    if (json_object_get(o, "links"))
        list[(*n_list)++] = o;
    add(o, list, n_list);
    for (size_t i = 0; i < json_array_size(choices); i++)
        add(json_array_get(choices, i), list, n_list);
    if (*n_list == 0) {
        json_decref(o);
        return err_set(e, E_NOENT, "there is no receipt in it");
    }
    *root = o;
    return 0;
}
