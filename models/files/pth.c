/* PyTorch files -> a table of tensors whose extents were compared with the archive's members. */
#include "models/files/pth.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/files/checkpoint_int.h"
#include "models/files/jsontext.h"
#include "models/files/pickle.h"
#include "models/files/zip.h"

struct pth {
    struct checkpoint ck; /* first */
    struct zip zip;
    struct tensor *tensors;
    char prefix[ZIP_NAME]; /* of all members, with its slash */
};

static int read_member(struct pth *f, const struct zip_member *m, unsigned char **out,
                       struct err *e)
{
    if (m->size > LIMIT_ST_HEADER_BYTES)
        return err_set(e, E_RANGE, "%s: member %s has %" PRIu64 " bytes, at most %zu are read",
                       jsontext_tail(f->zip.path), m->name, m->size, LIMIT_ST_HEADER_BYTES);
    *out = mem_zalloc((size_t)m->size + 1);
    if (!*out)
        return err_set(e, E_NOMEM, "%s: out of memory for member %s", jsontext_tail(f->zip.path),
                       m->name);
    return file_pread(f->zip.fd, *out, (size_t)m->size, m->offset, f->zip.path, e);
}

/* The one member that is called data.pkl, and what stands before that. */
static const struct zip_member *find_pickle(struct pth *f, struct err *e)
{
    static const char tail[] = "data.pkl";
    const struct zip_member *found = NULL;
    for (size_t i = 0; i < f->zip.n; i++) {
        const struct zip_member *m = &f->zip.members[i];
        size_t n = strlen(m->name), k = sizeof tail - 1;
        if (n < k || strcmp(m->name + n - k, tail) || (n > k && m->name[n - k - 1] != '/'))
            continue;
        if (found) {
            err_set(e, E_CONFLICT, "%s: has both %.100s and %.100s", jsontext_tail(f->zip.path),
                    found->name, m->name);
            return NULL;
        }
        found = m;
        snprintf(f->prefix, sizeof f->prefix, "%.*s", (int)(n - k), m->name);
    }
    if (!found)
        err_set(e, E_FORMAT, "%s: an archive without data.pkl is none of PyTorch's",
                jsontext_tail(f->zip.path));
    return found;
}

static int check_order(struct pth *f, struct err *e)
{
    char name[2 * ZIP_NAME], order[8] = "";
    snprintf(name, sizeof name, "%sbyteorder", f->prefix);
    const struct zip_member *m = zip_find(&f->zip, name);
    if (!m)
        return 0; /* older files do not say: little */
    int rc = file_pread(f->zip.fd, order, (size_t)MIN(m->size, (uint64_t)6), m->offset,
                        f->zip.path, e);
    if (rc == 0 && strcmp(order, "little"))
        rc = err_set(e, E_UNSUPPORTED, "%s: its bytes are in order \"%.6s\", only little is read",
                     jsontext_tail(f->zip.path), order);
    return rc;
}

static int add_tensor(struct pth *f, struct tensor *t, const struct pickle_tensor *p,
                      struct err *e)
{
    char name[2 * ZIP_NAME];
    int64_t each = formats[p->dtype].bytes, end;
    snprintf(name, sizeof name, "%sdata/%s", f->prefix, p->key);
    const struct zip_member *m = zip_find(&f->zip, name);
    if (!m)
        return err_set(e, E_FORMAT, "%s: tensor %s lies in member %s, which is not there",
                       jsontext_tail(f->zip.path), p->name, name);
    if (mul_overflows(p->first + p->elems, each, &end) || (uint64_t)end > m->size)
        return err_set(e, E_FORMAT, "%s: tensor %s ends at element %" PRId64 " of member %s, which "
                       "has %" PRIu64 " bytes", jsontext_tail(f->zip.path), p->name,
                       p->first + p->elems, name, m->size);
    memcpy(t->name, p->name, sizeof t->name);
    memcpy(t->shape, p->shape, sizeof t->shape);
    t->dtype = p->dtype;
    t->n_dims = p->n_dims;
    t->elems = p->elems;
    t->offset = m->offset + (uint64_t)(p->first * each);
    return 0;
}

static int add_tensors(struct pth *f, const struct pickle_tensor *p, size_t n, struct err *e)
{
    int rc = 0;
    if (n > LIMIT_ST_TENSORS)
        return err_set(e, E_RANGE, "%s: %zu tensors, at most %d are read",
                       jsontext_tail(f->zip.path), n, LIMIT_ST_TENSORS);
    f->tensors = mem_array(n + 1, sizeof *f->tensors);
    if (!f->tensors)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu tensors",
                       jsontext_tail(f->zip.path), n);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_tensor(f, &f->tensors[i], &p[i], e);
    if (rc == 0 && checkpoint_index(&f->ck, f->tensors, sizeof *f->tensors, n) < 0)
        rc = err_set(e, E_NOMEM, "%s: out of memory for %zu names", jsontext_tail(f->zip.path), n);
    for (size_t i = 1; rc == 0 && i < n; i++)
        if (strcmp(f->ck.by_name[i - 1]->name, f->ck.by_name[i]->name) == 0)
            rc = err_set(e, E_CONFLICT, "%s: tensor %s is there twice", jsontext_tail(f->zip.path),
                         f->ck.by_name[i]->name);
    return rc;
}

static int read_pth(struct checkpoint *ck, const struct tensor *t, int64_t first, int64_t n,
                    void *dst, struct err *e)
{
    const struct pth *f = (const struct pth *)ck;
    uint64_t each = (uint64_t)formats[t->dtype].bytes;
    return file_pread(f->zip.fd, dst, (uint64_t)n * each, t->offset + (uint64_t)first * each,
                      f->zip.path, e);
}

static void close_pth(struct checkpoint *ck)
{
    struct pth *f = (struct pth *)ck;
    zip_close(&f->zip);
    mem_free(f->tensors);
}

static int file_of(const struct checkpoint *ck, size_t i)
{
    return i == 0 ? ((const struct pth *)ck)->zip.fd : -1;
}

static const struct checkpoint_kind kind = {
    .read = read_pth, .file = file_of, .close = close_pth};

int pth_open(struct checkpoint **out, const char *path, struct err *e)
{
    struct err mine = {0};
    struct pth *f = mem_zalloc(sizeof *f);
    unsigned char *pickle = NULL;
    struct pickle_tensor *tensors = NULL;
    size_t n = 0;
    e = e ? e : &mine;
    if (!f)
        return err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
    f->ck.kind = &kind;
    int rc = zip_open(&f->zip, path, e);
    const struct zip_member *m = rc == 0 ? find_pickle(f, e) : NULL;
    if (m && check_order(f, e) == 0 && read_member(f, m, &pickle, e) == 0 &&
        pickle_tensors(&tensors, &n, pickle, (size_t)m->size, path, e) == 0)
        (void)!add_tensors(f, tensors, n, e); /* e tells */
    mem_free(tensors);
    mem_free(pickle);
    if (e->code)
        checkpoint_close(&f->ck);
    else
        *out = &f->ck;
    return e->code;
}
