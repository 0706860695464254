/* Every OpenCL call of a short life of the backend (open, load, weights, steps, states, close)
 * fails once, one after the other. Each life must end with an error that names a call, or come
 * through unharmed (caches may be lost); after a failed step the device stays lost. A crash, a
 * hang or a wrong success fails the test; run it under the address sanitizer for leaks.
 *
 *   ocl_fault [--quick] [DEVICE [FIRST [LAST]]]     DEVICE as in "opencl:pocl", or "A+B" of such
 *
 * --quick: of all calls that do the same for the same thing, only the first and the last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/opencl/buffer.h"
#include "kernels/opencl/call.h"
#include "kernels/opencl/opencl.h"

#define WIDTH 32
#define VOCAB 48
#define SITES_MAX 512      /* different calls; a life has some 90 */
#define LIFE_SECONDS 120   /* a life takes one on a busy machine: longer is a hang */

static struct act acts[5];
static struct weight weights[2] = {{WEIGHT_MATRIX, DTYPE_F32, VOCAB, WIDTH},
                                   {WEIGHT_VECTOR, DTYPE_F32, 1, WIDTH}};
static struct section sections[1] = {{"shift", SECTION_FIXED, WIDTH, 0, DTYPE_F32}};
static struct op ops[5];
static struct plan plan = {ops, 5, acts, 5, weights, 2, sections, 1, WIDTH, 0, VOCAB, WIDTH,
                           {4, 0, VOCAB}};

/* embed; norm and shift (a chain), gather, logits, which another device may have. */
static void make_plan(struct capacity *c)
{
    *c = (struct capacity){.tokens = 4, .logits = 2, .seqs = 2, .slots = 2};
    for (int i = 0; i < 5; i++) {
        acts[i] = (struct act){i < 3 ? ROWS_TOKENS : ROWS_LOGITS, i < 4 ? WIDTH : VOCAB,
                               i < 4 ? WIDTH : VOCAB, 0, 0, 4};
        ops[i] = (struct op){.section = -1, .layer = i > 0, .out = {i, 0, i < 4 ? WIDTH : VOCAB}};
        for (size_t k = 0; k < ARRAY_LEN(ops[i].in); k++)
            ops[i].in[k] = VIEW_NONE;
        for (size_t k = 0; k < ARRAY_LEN(ops[i].w); k++)
            ops[i].w[k] = -1;
        if (i)
            ops[i].in[0] = (struct view){i - 1, 0, WIDTH};
    }
    ops[0].kind = OP_EMBED;
    ops[0].p.embed.scale = 1;
    ops[0].w[0] = ops[4].w[0] = 0;
    ops[1].kind = OP_NORM;
    ops[1].w[NORM_weight] = 1;
    ops[1].p.norm.kind = NORM_RMS;
    ops[1].p.norm.group = WIDTH;
    ops[1].p.norm.eps = 1e-5f;
    ops[1].p.norm.scale = 1;
    ops[2].kind = OP_SHIFT;
    ops[2].section = 0;
    ops[3].kind = OP_GATHER;
    ops[4].kind = OP_LINEAR;
    ops[3].rows = ops[4].rows = ROWS_LOGITS;
    (void)!plan_layout(&plan, c); /* placement is by its own tests */
}

static int step(struct device *d, struct err *e)
{
    static const int32_t tokens[3] = {1, 2, 3}, cu[3] = {0, 2, 3}, slots[2] = {0, 1},
                         rows[2] = {1, 2};
    static const int64_t pos[2] = {0, 0};
    struct batch b = {.n_seqs = 2, .n_tokens = 3, .n_logits = 2, .tokens = tokens,
                      .cu_seqlens = cu, .slots = slots, .pos = pos, .logit_rows = rows};
    return d->backend->run(d, &b, e);
}

/* Slot `from` to the host beside the steps, and into slot `to`: a step in between changes nothing
 * of it. The engine makes no call while the thread does, so calls have a fixed order. */
static int move(struct device *d, int32_t from, int32_t to, struct err *e)
{
    static float before[WIDTH], out[WIDTH], after[WIDTH];
    const struct backend *k = d->backend;
    const struct state_wake w = {0};
    struct state_copy *c = NULL;
    int rc = k->slot_read(d, from, before, e);
    if (!rc)
        rc = k->state_out(d, from, out, &w, &c, e);
    if (!rc && !c)
        rc = err_set(e, E_NOMEM, "no room for a copy of a state");
    if (!rc)
        rc = k->state_put(d, c, to, e); /* before it is with the host, too */
    if (!rc)
        rc = k->slot_read(d, to, after, e);
    if (!rc && memcmp(before, after, sizeof after)) {
        printf("FAIL: a state on its way has other bits\n");
        exit(1);
    }
    if (!rc)
        rc = k->state_poll(d, c, true, e);
    if (!rc)
        rc = step(d, e);
    if (c)
        k->state_end(d, c);
    c = NULL;
    if (!rc)
        rc = k->state_in(d, out, &w, &c, e);
    if (!rc)
        rc = k->state_poll(d, c, true, e);
    if (!rc)
        rc = k->slot_zero(d, to, e);
    if (!rc)
        rc = k->state_put(d, c, to, e);
    if (c)
        k->state_end(d, c);
    if (!rc)
        rc = k->slot_read(d, to, after, e);
    if (!rc && (memcmp(before, out, sizeof out) || memcmp(before, after, sizeof after))) {
        printf("FAIL: a state came back with other bits\n");
        exit(1);
    }
    return rc;
}

static int use(struct device *d, struct err *e)
{
    static float rows[VOCAB * WIDTH], slot[WIDTH];
    const struct backend *k = d->backend;
    struct capacity c;
    int rc;
    make_plan(&c);
    for (int i = 0; i < VOCAB * WIDTH; i++)
        rows[i] = (float)(i % 13) * 0.1f;
    if ((rc = k->load(d, &plan, &c, e)) ||
        (rc = k->put_weight(d, 0, 0, VOCAB, rows, DTYPE_F32, e)) ||
        (rc = k->put_weight(d, 1, 0, 1, rows, DTYPE_F32, e)) || (rc = k->ready(d, e)))
        return rc;
    const struct sample_row ask[2] = {{.logits = 1, .n_top = 2, .draw = true, .greedy = true},
                                      {.n_top = -1, .draw = true, .scale = 1, .top_k = 2,
                                       .top_p = SAMPLE_ALL}};
    struct sample_result told[2];
    const float *row = NULL;
    if ((rc = k->slot_zero(d, 0, e)) || (rc = k->slot_zero(d, 1, e)) || (rc = step(d, e)) ||
        (rc = k->slot_read(d, 0, slot, e)) || (rc = k->slot_write(d, 1, slot, e)) ||
        (rc = move(d, 0, 1, e)) || (rc = k->slot_copy(d, 0, 1, e)) || (rc = step(d, e)) ||
        (rc = k->sample(d, ask, 2, told, e)) || (rc = k->logits(d, 1, &row, e))) {
        struct err again = {0};
        if (rc != E_DEVICE || step(d, &again) != E_DEVICE) {
            printf("FAIL: after \"%s\" the device was not lost\n", e->text);
            exit(1);
        }
        return rc;
    }
    float sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += row[i];
    if (!(sum > 0) || row[told[0].id] != told[0].max) {
        printf("FAIL: logits of a life without an error are %g\n", (double)sum);
        exit(1);
    }
    return 0;
}

static int life(const char *spec, struct err *e)
{
    struct device_options o = {.spec = spec, .cache_dir = getenv("RECURD_OCL_CACHE")};
    struct device *d = NULL;
    int rc = device_open(&d, &o, e);
    if (!rc)
        rc = use(d, e);
    if (d)
        d->backend->close(d);
    return rc;
}

/* Memory in pieces far smaller than a device needs them: zeros where they were asked for, nowhere
 * else, and a sentence with both numbers for what no buffer holds. */
static int pieces(const char *spec, struct err *e)
{
    enum { BYTES = 100000, FROM = 68, TO = BYTES - 132 };
    static unsigned char bytes[BYTES];
    struct ocl_device d = {0};
    struct ocl_buffer b = {0};
    const char *colon = strchr(spec, ':');
    char name[64] = "";
    if (colon)
        snprintf(name, sizeof name, "%.*s", (int)strcspn(colon + 1, "+,"), colon + 1);
    int rc = ocl_device_open(&d, name, NULL, e);
    if (rc)
        return rc;
    d.fill_bytes = 4096;
    d.fill_end = 50000; /* behind it zeros are copied */
    memset(bytes, 0xff, BYTES);
    if (!(rc = ocl_buffer_new(&b, &d, BYTES, "pieces", e)) &&
        !(rc = OCL(e, "pieces", clEnqueueWriteBuffer, d.queue, b.mem, CL_TRUE, 0, BYTES, bytes, 0,
                   NULL, NULL)) &&
        !(rc = ocl_fill_zero(&d, d.queue, b.mem, FROM, TO - FROM, "pieces", e)))
        rc = OCL(e, "pieces", clEnqueueReadBuffer, d.queue, b.mem, CL_TRUE, 0, BYTES, bytes, 0,
                 NULL, NULL);
    for (int i = 0; i < BYTES && !rc; i++)
        if (bytes[i] != (i >= FROM && i < TO ? 0 : 0xff))
            rc = err_set(e, E_DEVICE, "byte %d of a fill in pieces is %d", i, bytes[i]);
    ocl_buffer_free(&b, &d);
    d.info.alloc_bytes = MIB(1);
    struct err why = {0};
    if (!rc && (ocl_buffer_new(&b, &d, MIB(2), "9 state slots", &why) != E_NOMEM ||
                !strstr(why.text, "9 state slots: 2.0 MiB") ||
                !strstr(why.text, "at most 1.0 MiB")))
        rc = err_set(e, E_DEVICE, "2 MiB in one buffer of 1: \"%s\"", why.text);
    ocl_buffer_free(&b, &d);
    ocl_device_close(&d);
    return rc;
}

/* Where a life calls, in the order of first calls. */
static struct site { char name[160]; uint64_t first, last; } sites[SITES_MAX];
static int n_sites;
static uint64_t seen;

static void note(const char *call, const char *what)
{
    char name[sizeof sites->name];
    int i = 0;
    snprintf(name, sizeof name, "%s for %s", call, what);
    seen++;
    while (i < n_sites && strcmp(sites[i].name, name))
        i++;
    if (i == SITES_MAX) {
        printf("FAIL: more than %d different calls\n", SITES_MAX);
        exit(1);
    }
    if (i == n_sites) {
        snprintf(sites[n_sites].name, sizeof name, "%s", name);
        sites[n_sites++].first = seen;
    }
    sites[i].last = seen;
}

static bool wanted(uint64_t n, bool quick)
{
    for (int i = 0; i < n_sites && quick; i++)
        if (sites[i].first == n || sites[i].last == n)
            return true;
    return !quick;
}

/* Whether the n-th call is for a merged kernel: the launches it stands for serve without it. */
static bool spared(uint64_t n)
{
    for (int i = 0; i < n_sites; i++)
        if ((sites[i].first == n || sites[i].last == n) && strstr(sites[i].name, " for chain"))
            return true;
    return false;
}

/* The n-th call fails: an error, or a life without harm. */
static bool survive(const char *spec, uint64_t n)
{
    struct err e = {0};
    ocl_call_fail_at(n);
    alarm(LIFE_SECONDS);
    int rc = life(spec, &e);
    alarm(0);
    ocl_call_fail_at(0);
    if (rc && !e.text[0]) {
        printf("FAIL: call %llu failed without a sentence\n", (unsigned long long)n);
        exit(1);
    }
    if (getenv("VERBOSE"))
        printf("%4llu %s\n", (unsigned long long)n, rc ? e.text : "(lived)");
    return !rc;
}

int main(int argc, char **argv)
{
    bool quick = argc > 1 && !strcmp(argv[1], "--quick");
    argc -= quick;
    argv += quick;
    const char *spec = argc > 1 ? argv[1] : "opencl";
    struct err e = {0};
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, failed = 0, lived = 0;
    if (pieces(spec, &e)) {
        printf("FAIL: %s\n", e.text);
        return 1;
    }
    ocl_call_fail_at(0);
    ocl_call_watch(note);
    if (life(spec, &e)) {
        printf("FAIL: without a fault: %s\n", e.text);
        return 1;
    }
    ocl_call_watch(NULL);
    uint64_t calls = ocl_call_fail_at(0), last = argc > 3 ? strtoull(argv[3], NULL, 10) : calls,
             merged = 0;
    for (uint64_t n = first; n <= MIN(last, calls); n++)
        if (wanted(n, quick)) {
            bool ok = survive(spec, n);
            *(ok ? &lived : &failed) += 1;
            merged += spared(n);
            if (!ok && spared(n)) {
                printf("FAIL: call %llu, for a merged kernel, ended a life\n",
                       (unsigned long long)n);
                return 1;
            }
        }
    printf("%llu OpenCL calls of %d kinds, %llu of them failed once: %llu errors, %llu lives "
           "unharmed\n", (unsigned long long)calls, n_sites, (unsigned long long)(failed + lived),
           (unsigned long long)failed, (unsigned long long)lived);
    if (!merged && argc <= 2) {
        printf("FAIL: no call was for a merged kernel\n");
        return 1;
    }
    return 0;
}
