/* Reading a value of GGUF metadata: numbers, flags, texts and lists of texts. Pure. */
#include <math.h>
#include <string.h>

#include "models/files/gguf.h"

static uint64_t le(const unsigned char *p, size_t n)
{
    uint64_t x = 0;
    while (n--)
        x = x << 8 | p[n];
    return x;
}

/* Its elements have one width; false for strings and what is absent. */
static bool element(const struct gguf_value *v, uint64_t i, size_t *width, uint64_t *bits)
{
    static const unsigned char widths[GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (!v || i >= v->n || widths[v->of] == 0)
        return false;
    *width = widths[v->of];
    *bits = le(v->p + i * *width, *width);
    return true;
}

bool gguf_int(const struct gguf_value *v, uint64_t i, int64_t *out)
{
    size_t width;
    uint64_t bits;
    if (!element(v, i, &width, &bits))
        return false;
    switch (v->of) {
    case GGUF_I8: *out = (int8_t)bits; return true;
    case GGUF_I16: *out = (int16_t)bits; return true;
    case GGUF_I32: *out = (int32_t)bits; return true;
    case GGUF_I64: *out = (int64_t)bits; return true;
    case GGUF_F32:
    case GGUF_F64:
        return false;
    default:
        *out = (int64_t)bits;
        return bits <= INT64_MAX;
    }
}

bool gguf_num(const struct gguf_value *v, uint64_t i, double *out)
{
    size_t width;
    uint64_t bits;
    int64_t whole;
    float f;
    if (gguf_int(v, i, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (!element(v, i, &width, &bits) || (v->of != GGUF_F32 && v->of != GGUF_F64))
        return false;
    if (v->of == GGUF_F64) {
        memcpy(out, &bits, sizeof *out);
    } else {
        uint32_t half = (uint32_t)bits;
        memcpy(&f, &half, sizeof f);
        *out = f;
    }
    return isfinite(*out);
}

bool gguf_bool(const struct gguf_value *v, bool dflt)
{
    int64_t x;
    return gguf_int(v, 0, &x) ? x != 0 : dflt;
}

struct gguf_string gguf_text(const struct gguf_value *v)
{
    if (!v || v->kind != GGUF_STRING)
        return (struct gguf_string){NULL, 0};
    return (struct gguf_string){(const char *)v->p + 8, (size_t)le(v->p, 8)};
}

bool gguf_text_is(const struct gguf_value *v, const char *text)
{
    struct gguf_string s = gguf_text(v);
    return s.p && s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

bool gguf_next(struct gguf_walk *w, struct gguf_string *out)
{
    if (!w->v || w->v->of != GGUF_STRING || w->i >= w->v->n)
        return false;
    out->n = (size_t)le(w->v->p + w->at, 8);
    out->p = (const char *)w->v->p + w->at + 8;
    w->at += 8 + out->n;
    w->i++;
    return true;
}
