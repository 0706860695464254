/* layers: mixers that have no published model class, alone, against stored results.
 *
 *   layers [--device NAME] [DIR …]
 *
 * Each DIR holds config.json (model_type "layer_X"), the tensors of one mixer and
 * expected.safetensors: input_T [T, D] -> output_T [T, D]. The mixer runs as family X builds it,
 * between two matrices: token t chooses row t of all inputs put together, and an identity makes
 * logits of the output. The bits must not depend on how the tokens are cut. Exit 1 on a miss. */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "models/arch.h"
#include "models/build/build_int.h"
#include "models/files/checkpoint.h"

static const int lens[] = {1, 7, 64, 200};
#define ROWS 272 /* all of them together; also at least as wide as the layers */
#define LONGEST 200

struct layer {
    const char *device, *dir;
    char temp[64];
    int D;
    struct checkpoint *want;
    struct model *m;
    struct device *d;
    double worst;
    bool bits;
};

/* ReBased divides by a sum of squares that may be next to nothing. */
static double bound_of(const char *dir)
{
    return strstr(dir, "layer_rebased") ? 2e-3 : 2e-4;
}

/* ---- a checkpoint of the mixer between its two matrices ---- */

static float *read_all(struct checkpoint *c, const char *name, int64_t n, struct err *e)
{
    const struct tensor *t = checkpoint_find(c, name);
    float *p = mem_array((size_t)n, sizeof *p);
    if (!t || t->elems != n || !p)
        err_set(e, E_NOENT, "%s: missing, or not of %lld elements", name, (long long)n);
    else if (checkpoint_read(c, t, 0, n, p, e) == 0)
        return p;
    mem_free(p);
    return NULL;
}

/* One row of the header; the file holds a mixer's tensors first, so there is always a next. */
static void describe(struct buf *header, const struct tensor *t, int64_t *at, bool last)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    int64_t end = *at + (int64_t)format_bytes(t->dtype, t->elems);
    buf_fmt(header, "\"%s\": {\"dtype\": \"%s\", \"shape\": [", t->name, dtypes[t->dtype]);
    for (int i = 0; i < t->n_dims; i++)
        buf_fmt(header, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    buf_fmt(header, "], \"data_offsets\": [%lld, %lld]}%s", (long long)*at, (long long)end,
            last ? "}" : ", ");
    *at = end;
}

static void describe_all(const struct layer *l, struct checkpoint *from, struct buf *header)
{
    struct tensor end = {.dtype = DTYPE_F32, .n_dims = 2, .shape = {ROWS, l->D},
                         .elems = (int64_t)ROWS * l->D};
    int64_t at = 0;
    buf_ch(header, '{');
    for (size_t i = 0; i < checkpoint_count(from); i++)
        describe(header, checkpoint_at(from, i), &at, false);
    snprintf(end.name, sizeof end.name, "input.weight");
    describe(header, &end, &at, false);
    snprintf(end.name, sizeof end.name, "output.weight");
    describe(header, &end, &at, true);
}

static int put_layer(FILE *f, struct checkpoint *from, struct err *e)
{
    for (size_t i = 0; i < checkpoint_count(from) && e->code == 0; i++) {
        const struct tensor *t = checkpoint_at(from, i);
        size_t bytes = format_bytes(t->dtype, t->elems);
        void *raw = mem_zalloc(bytes + 1);
        if (!raw)
            err_set(e, E_NOMEM, "no memory for %s", t->name);
        else if (checkpoint_read(from, t, 0, t->elems, raw, e) == 0)
            fwrite(raw, 1, bytes, f);
        mem_free(raw);
    }
    return e->code;
}

/* All inputs under each other, then the identity. */
static int put_ends(struct layer *l, FILE *f, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(lens) && e->code == 0; i++) {
        char name[32];
        snprintf(name, sizeof name, "input_%d", lens[i]);
        float *x = read_all(l->want, name, (int64_t)lens[i] * l->D, e);
        if (x)
            fwrite(x, sizeof *x, (size_t)lens[i] * (size_t)l->D, f);
        mem_free(x);
    }
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < l->D; c++) {
            float x = r == c;
            fwrite(&x, sizeof x, 1, f);
        }
    return e->code;
}

static int write_checkpoint(struct layer *l, struct err *e)
{
    char path[128];
    struct checkpoint *from = NULL;
    struct buf header;
    snprintf(path, sizeof path, "%s/model.safetensors", l->temp);
    if (checkpoint_open(&from, l->dir, e) < 0)
        return e->code;
    buf_init(&header, MIB(1));
    describe_all(l, from, &header);
    uint64_t len = header.len; /* the format is little-endian, as this host */
    FILE *f = fopen(path, "wb");
    if (header.failed || !f) {
        err_set(e, E_IO, "%s: cannot be written", path);
    } else {
        fwrite(&len, sizeof len, 1, f);
        fwrite(header.p, 1, header.len, f);
        if (put_layer(f, from, e) == 0)
            (void)!put_ends(l, f, e); /* e tells */
    }
    if (f && fclose(f) != 0)
        err_set(e, E_IO, "%s: cannot be written", path);
    buf_free(&header);
    checkpoint_close(from);
    return e->code;
}

/* The layer's config; the layer classes have an eps of 1e-5 where the models have 1e-6. */
static int read_layer_config(struct layer *l, struct config **out, struct err *e)
{
    char path[4096];
    struct buf text, json;
    snprintf(path, sizeof path, "%s/config.json", l->dir);
    buf_init(&text, MIB(1));
    buf_init(&json, MIB(1));
    if (file_read(path, &text, e) == 0 && text.len > 0 && text.p[0] == '{') {
        bool own = strstr(text.p, "norm_eps") != NULL;
        buf_fmt(&json, "{%s%s", own ? "" : "\"norm_eps\": 1e-5, ", text.p + 1);
        if (config_parse(out, json.p ? json.p : "", json.len, path, e) == 0)
            l->D = (int)config_int(*out, "hidden_size", 0, 1, ROWS, e);
    } else {
        err_set(e, E_FORMAT, "%s: not a JSON object", path);
    }
    buf_free(&text);
    buf_free(&json);
    return e->code;
}

/* ---- running ---- */

static int open_layer(struct layer *l, struct err *e)
{
    char path[4096];
    struct config *c = NULL;
    struct device_options dopt = {.spec = l->device};
    struct capacity cap = {.tokens = LONGEST, .logits = LONGEST, .seqs = 1, .slots = 1};
    snprintf(l->temp, sizeof l->temp, "/tmp/recurd-layers-XXXXXX");
    snprintf(path, sizeof path, "%s/expected.safetensors", l->dir);
    l->m = mem_zalloc(sizeof *l->m);
    if (!l->m || !mkdtemp(l->temp))
        return err_set(e, E_NOMEM, "no memory or no directory for %s", l->dir);
    arena_init(&l->m->arena, MIB(64));
    if (checkpoint_open_file(&l->want, path, e) == 0 && read_layer_config(l, &c, e) == 0 &&
        write_checkpoint(l, e) == 0 && checkpoint_open(&l->m->files, l->temp, e) == 0 &&
        build_bare_layer(l->m, arch_find, c, l->m->files, e) == 0 &&
        device_open(&l->d, &dopt, e) == 0)
        (void)!model_load(l->m, l->d, &cap, e); /* e tells */
    config_free(c);
    return e->code;
}

/* Rows [first, first + n) of the inputs, `chunk` at a time (0: at once), to out [n][D]. */
static int run(struct layer *l, int first, int n, int chunk, float *out, struct err *e)
{
    int32_t tokens[LONGEST], rows[LONGEST], slot = 0;
    if (l->d->backend->slot_zero(l->d, 0, e) < 0)
        return e->code;
    for (int at = 0, m; at < n; at += m) {
        m = chunk && chunk < n - at ? chunk : n - at;
        for (int i = 0; i < m; i++) {
            tokens[i] = first + at + i;
            rows[i] = i;
        }
        struct batch b = {.n_seqs = 1, .n_tokens = m, .n_logits = m, .tokens = tokens,
                          .cu_seqlens = (int32_t[]){0, m}, .slots = &slot, .pos = (int64_t[]){at},
                          .logit_rows = rows};
        if (l->d->backend->run(l->d, &b, e) < 0)
            return e->code;
        for (int i = 0; i < m; i++) {
            const float *row;
            if (l->d->backend->logits(l->d, i, &row, e) < 0)
                return e->code;
            memcpy(out + (size_t)(at + i) * (size_t)l->D, row, (size_t)l->D * sizeof *out);
        }
    }
    return 0;
}

static int check_length(struct layer *l, int first, int n, struct err *e)
{
    static const int chunks[] = {1, 7, 13, 64};
    char name[32];
    size_t elems = (size_t)n * (size_t)l->D;
    snprintf(name, sizeof name, "output_%d", n);
    float *want = read_all(l->want, name, (int64_t)elems, e);
    float *got = mem_array(elems, sizeof *got), *again = mem_array(elems, sizeof *again);
    if (!got || !again)
        err_set(e, E_NOMEM, "no memory for %zu outputs", elems);
    if (e->code == 0 && run(l, first, n, 0, got, e) == 0)
        for (size_t i = 0; i < elems; i++) {
            double d = fabs((double)got[i] - want[i]);
            l->worst = d > l->worst || isnan(d) ? (isnan(d) ? INFINITY : d) : l->worst;
        }
    for (size_t i = 0; i < ARRAY_LEN(chunks) && e->code == 0; i++)
        if (run(l, first, n, chunks[i], again, e) == 0)
            l->bits &= !memcmp(got, again, elems * sizeof *got);
    mem_free(want);
    mem_free(got);
    mem_free(again);
    return e->code;
}

/* 0: all well; 1: a miss. */
static int check_layer(const char *dir, const char *device)
{
    struct err e = {0};
    char path[128];
    struct layer l = {.device = device, .dir = dir, .bits = true};
    int first = 0;
    if (open_layer(&l, &e) == 0)
        for (size_t i = 0; i < ARRAY_LEN(lens) && check_length(&l, first, lens[i], &e) == 0; i++)
            first += lens[i];
    const char *name = strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir;
    bool ok = e.code == 0 && l.worst <= bound_of(dir) && l.bits;
    if (e.code)
        printf("| %-24s | %s |\n", name, e.text);
    else
        printf("| %-24s | %.1e | %.0e | %-6s | %s |\n", name, l.worst, bound_of(dir),
               l.bits ? "same" : "DIFFER", ok ? "ok" : "MISS");
    snprintf(path, sizeof path, "%s/model.safetensors", l.temp);
    unlink(path);
    rmdir(l.temp);
    checkpoint_close(l.want);
    if (l.d)
        l.d->backend->close(l.d);
    model_close(l.m);
    return !ok;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"device", 1, 0, 'd'}, {0, 0, 0, 0}};
    static const char *const usual[] = {
        "tests/golden/public/layer_based", "tests/golden/public/layer_gdn2",
        "tests/golden/public/layer_rebased", "tests/golden/public/layer_simple_gla"};
    const char *device = "cpu";
    int missed = 0;
    log_set_level(LOG_ERROR); /* hardly a model here has a tokenizer */
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c != 'd')
            return 2;
        device = optarg;
    }
    printf("| layer | error | bound | bits | |\n| --- | ---: | ---: | --- | --- |\n");
    for (int i = optind; i < argc; i++)
        missed += check_layer(argv[i], device);
    for (size_t i = 0; i < ARRAY_LEN(usual) && optind == argc; i++)
        missed += check_layer(usual[i], device);
    return missed > 0;
}
