/* The tensors of a checkpoint by name, whatever files they lie in. Thread: one at a time. */
#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "models/files/checkpoint_int.h"

static int by_name(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int checkpoint_index(struct checkpoint *c, void *first, size_t stride, size_t n)
{
    c->all = mem_array(n ? n : 1, sizeof(struct tensor *));
    c->by_name = mem_array(n ? n : 1, sizeof(struct tensor *));
    if (!c->all || !c->by_name)
        return E_NOMEM;
    for (size_t i = 0; i < n; i++)
        c->all[i] = c->by_name[i] = (struct tensor *)((char *)first + i * stride);
    if (n)
        qsort(c->by_name, n, sizeof(struct tensor *), by_name);
    c->n = n;
    return 0;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    c->kind->close(c);
    mem_free(c->all);
    mem_free(c->by_name);
    mem_free(c);
}

size_t checkpoint_count(const struct checkpoint *c)
{
    return c->n;
}

const struct tensor *checkpoint_at(const struct checkpoint *c, size_t i)
{
    ASSERT(i < c->n);
    return c->all[i];
}

int checkpoint_file(const struct checkpoint *c, size_t i)
{
    return c->kind->file ? c->kind->file(c, i) : -1;
}

bool checkpoint_stamp(const struct checkpoint *c, unsigned char out[32])
{
    crypto_generichash_state h;
    struct stat st;
    int fd = -1;
    size_t n = 0;
    crypto_generichash_init(&h, NULL, 0, 32);
    for (; (fd = checkpoint_file(c, n)) >= 0; n++) {
        if (fstat(fd, &st) != 0)
            return false;
        const int64_t is[] = {(int64_t)st.st_size, (int64_t)st.st_ino, (int64_t)st.st_mtim.tv_sec,
                              st.st_mtim.tv_nsec, (int64_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
        crypto_generichash_update(&h, (const unsigned char *)is, sizeof is);
    }
    crypto_generichash_final(&h, out, 32);
    return n > 0;
}

static int name_order(const void *key, const void *item)
{
    return strcmp(key, (*(struct tensor *const *)item)->name);
}

struct tensor *checkpoint_find(struct checkpoint *c, const char *name)
{
    struct tensor **found =
        c->n ? bsearch(name, c->by_name, c->n, sizeof(struct tensor *), name_order) : NULL;
    return found ? *found : NULL;
}

static int check_range(const struct tensor *t, int64_t first, int64_t n, struct err *e)
{
    if (first < 0 || n < 0 || first > t->elems || n > t->elems - first)
        return err_set(e, E_RANGE, "tensor %s has %" PRId64 " elements, not %" PRId64 " from %"
                       PRId64, t->name, t->elems, n, first);
    return 0;
}

int checkpoint_read(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                    void *dst, struct err *e)
{
    int rc = check_range(t, first, n, e);
    return rc < 0 ? rc : c->kind->read(c, t, first, n, dst, e);
}

/* Elements that must be read and decoded at once: a block, a row of FP8; all n of the plain. */
static int64_t unit_of(const struct tensor *t, int64_t n)
{
    if (format_plain(t->dtype))
        return n;
    return t->dtype == DTYPE_FP8 ? t->shape[t->n_dims - 1] : formats[t->dtype].block;
}

int checkpoint_floats(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                      float *dst, struct err *e)
{
    int rc = check_range(t, first, n, e);
    if (rc < 0 || n == 0)
        return rc;
    int64_t unit = unit_of(t, n), low = format_plain(t->dtype) ? first : first / unit * unit;
    int64_t units = (first + n - low + unit - 1) / unit;
    size_t bytes = format_bytes(t->dtype, unit);
    char *raw = mem_array((size_t)units, bytes);
    float *one = mem_array((size_t)unit, sizeof *one);
    if (!raw || !one)
        rc = err_set(e, E_NOMEM, "tensor %s: out of memory for %" PRId64 " elements", t->name, n);
    else
        rc = checkpoint_read(c, t, low, units * unit, raw, e);
    for (int64_t i = 0; rc == 0 && i < units; i++) {
        int64_t skip = i == 0 ? first - low : 0, take = MIN(unit - skip, n);
        format_decode(t->dtype, raw + (size_t)i * bytes, unit, one);
        memcpy(dst, one + skip, (size_t)take * sizeof *one);
        dst += take;
        n -= take;
    }
    mem_free(raw);
    mem_free(one);
    return rc;
}

int checkpoint_read_int(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                        int64_t *dst, struct err *e)
{
    int rc = check_range(t, first, n, e);
    if (rc == 0 && !c->kind->read_int)
        rc = err_set(e, E_UNSUPPORTED, "tensor %s is not of integers", t->name);
    return rc < 0 ? rc : c->kind->read_int(c, t, first, n, dst, e);
}

float tensor_transform(enum transform t, float x)
{
    switch (t) {
    case TENSOR_AS_IS: return x;
    case TENSOR_ADD_ONE: return 1 + x;
    case TENSOR_ADD_5TH: return x + 0.2f;
    case TENSOR_ADD_11TH: return x + 0.08944271909999159f;
    case TENSOR_EXP: return expf(x);
    case TENSOR_NEG_EXP: return -expf(x);
    case TENSOR_SIGMOID: return 1 / (1 + expf(-x));
    case TENSOR_TERNARY: return fmaxf(-1, fminf(1, rintf(x))); /* x is w / mean|W| here */
    }
    return x;
}

static double inverse(enum transform t, double y)
{
    switch (t) {
    case TENSOR_AS_IS: return y;
    case TENSOR_ADD_ONE: return y - 1;
    case TENSOR_ADD_5TH: return y - (double)0.2f;
    case TENSOR_ADD_11TH: return y - (double)0.08944271909999159f;
    case TENSOR_EXP: return y < 0 ? (double)NAN : log(y);
    case TENSOR_NEG_EXP: return y > 0 ? (double)NAN : log(-y);
    case TENSOR_SIGMOID:
    case TENSOR_TERNARY: break;
    }
    return (double)NAN;
}

#define UNDERFLOW (-200.0f) /* exp is 0 */
#define STEPS 4             /* float32 beside the rounded inverse that are tried */

float tensor_untransform(enum transform t, float y)
{
    double exact = inverse(t, (double)y);
    float best = exact < (double)UNDERFLOW ? UNDERFLOW : (float)exact;
    float off = fabsf(tensor_transform(t, best) - y);
    for (int side = 0; side < 2; side++) {
        float x = best;
        for (int i = 0; i < STEPS && off > 0; i++) {
            x = nextafterf(x, side ? INFINITY : -INFINITY);
            float d = fabsf(tensor_transform(t, x) - y);
            if (d < off) {
                off = d;
                best = x;
            }
        }
    }
    return best;
}
