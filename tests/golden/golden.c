/* golden: every stored reference result against this build, and the numerics contract bitwise.
 *
 *   golden [--device NAME] [--kernels LIST] [--threads N] [--only SUBSTRING]
 *          [--quantize q8|q4] [--states float16] [DIR …]
 *
 * Each DIR holds a small checkpoint and expected.safetensors (what the reference implementation
 * computed for it). One table line a model: the largest error of logits over all cases, whether
 * greedy tokens agree (as long as the reference's own gap exceeds the bound), and whether the same
 * tokens give the same bits in pieces of 1, 7, 13 and 64, among 15 others, after the state moved
 * to another slot, and on a second run. Exit 1 if anything misses.
 *
 * --quantize: of the same weights in blocks, what LIST computes beside what the float32 kernels do,
 * instead of the reference. --states: what states in float16 compute beside those in float32, of
 * every model that has such. */
#include <dirent.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "models/files/checkpoint.h"
#include "models/model.h"
#include "tests/golden/distance.h"

#define TOKENS_MAX 400 /* the longest stored prompt is 333 */
#define OTHERS 15      /* sequences beside the tested one */

/* Bounds on logits that the reference's own arithmetic forces; 2e-4 otherwise. */
static const struct { const char *name; double bound; } bounds[] = {
    {"bitnet", 2e-2},        /* rounding ties of int8 activations */
    {"mesa_net", 2e-2},      /* the reference solves in 30 conjugate-gradient steps */
    {"hf_qwen3_next", 5e-4}, /* the reference runs the chunked form in float32 */
    {"hf_qwen3_5", 5e-4},    /* 1.9e-4 of it are the reference's own, measured in float64 */
    {"hf_qwen3_5_moe", 5e-4},
};

/* With tensor cores: twice this; models that are not listed are left out. */
static const struct { const char *name; double rounding; } bf16[] = {
#define BF16(name, rounding) {#name, rounding},
#include "tests/golden/bf16.def"
#undef BF16
};

struct golden {
    const char *device, *kernels;
    enum quantize quantize;
    enum states states;
    bool beside; /* of two arithmetics one is compared with the other, not with the reference */
    int threads;
    struct model *m;
    struct device *d;
    struct checkpoint *want;
    double bound, worst;
    bool greedy, bits;
    struct capacity cap;
    void *copy;
};

/* One sequence of a step. */
struct piece { const int32_t *ids; int32_t n, slot; int64_t pos; };

/* ---- running ---- */

/* Runs pieces packed end to end; logits for the last n_logits rows of piece `which`. */
static int step(struct golden *g, const struct piece *p, int n, int which, int32_t n_logits,
                struct err *e)
{
    static int32_t tokens[TOKENS_MAX * (OTHERS + 1)], cu[OTHERS + 2], slots[OTHERS + 1];
    static int32_t rows[TOKENS_MAX], pages[(OTHERS + 1) * (TOKENS_MAX / PAGE_TOKENS + 2)];
    static int64_t pos[OTHERS + 1];
    int32_t row = 0, per = g->cap.pages_per_seq;
    for (int i = 0; i < n; i++) {
        cu[i] = row;
        slots[i] = p[i].slot;
        pos[i] = p[i].pos;
        memcpy(tokens + row, p[i].ids, (size_t)p[i].n * sizeof *tokens);
        row += p[i].n;
        for (int32_t k = 0; k < per; k++) /* pages belong to a sequence, not to its slot */
            pages[i * per + k] = (i == which ? OTHERS : i > which ? i - 1 : i) * per + k;
        for (int32_t k = 0; i == which && k < n_logits; k++)
            rows[k] = row - n_logits + k;
    }
    cu[n] = row;
    struct batch b = {.n_seqs = n, .n_tokens = row, .n_logits = n_logits, .tokens = tokens,
                      .cu_seqlens = cu, .slots = slots, .pos = pos, .logit_rows = rows,
                      .pages = pages, .pages_per_seq = per};
    return g->d->backend->run(g->d, &b, e);
}

/* Row i of the last step's logits. */
static int copy_logits(struct golden *g, int32_t i, float *out, struct err *e)
{
    const float *row;
    int rc = g->d->backend->logits(g->d, i, &row, e);
    if (!rc)
        memcpy(out, row, (size_t)g->m->plan.vocab * sizeof *out);
    return rc;
}

/* The likeliest token after the last step's first row of logits. */
static int choose(struct golden *g, int32_t *id, struct err *e)
{
    struct sample_row ask = {.n_top = -1, .draw = true, .greedy = true};
    struct sample_result told;
    int rc = g->d->backend->sample(g->d, &ask, 1, &told, e);
    *id = told.id;
    return rc ? rc : sample_check(told.status, g->m->plan.vocab, e);
}

static int zero_slots(struct golden *g, struct err *e)
{
    for (int32_t i = 0; i < g->cap.slots; i++)
        if (g->d->backend->slot_zero(g->d, i, e) < 0)
            return e->code;
    return 0;
}

/* How a prompt is fed; none of it may change a bit. */
struct way { int32_t chunk; int others; bool move; };

/* Logits of every token of ids [n], fed in this way, to out [n][vocab]. */
static int run_all(struct golden *g, const int32_t *ids, int32_t n, struct way w, float *out,
                   struct err *e)
{
    int32_t vocab = g->m->plan.vocab, slot = 0;
    struct piece p[OTHERS + 1];
    if (zero_slots(g, e) < 0)
        return e->code;
    for (int32_t at = 0; at < n;) {
        int32_t m = MIN(w.chunk ? w.chunk : n, n - at);
        int which = w.others / 2, k = 0;
        for (int i = 0; i <= w.others; i++) { /* the others: other tokens, one row fewer each */
            bool own = i == which;
            int32_t rows = own ? m : 1 + (m + i) % 5, shift = (at + 3 * i) % MAX(1, n - 5);
            p[k++] = own ? (struct piece){ids + at, m, slot, at}
                         : (struct piece){ids + shift, MIN(rows, n - shift), 2 + i, 0};
        }
        if (step(g, p, k, which, m, e) < 0)
            return e->code;
        for (int32_t i = 0; i < m; i++)
            if (copy_logits(g, i, out + (int64_t)(at + i) * vocab, e) < 0)
                return e->code;
        at += m;
        for (int i = 0; i <= w.others; i++)
            if (i != which && g->d->backend->slot_zero(g->d, 2 + i, e) < 0)
                return e->code;
        if (w.move && (g->d->backend->slot_read(g->d, slot, g->copy, e) < 0 ||
                       g->d->backend->slot_zero(g->d, slot, e) < 0 ||
                       g->d->backend->slot_write(g->d, !slot, g->copy, e) < 0))
            return e->code;
        slot = w.move ? !slot : slot;
    }
    return 0;
}

/* ---- comparing ---- */

static int32_t *read_ints(struct golden *g, const char *name, int64_t *n, struct err *e)
{
    const struct tensor *t = checkpoint_find(g->want, name);
    *n = t ? t->elems : 0;
    int32_t *p = t ? mem_array((size_t)t->elems + 1, sizeof *p) : NULL;
    int64_t *wide = p ? mem_array((size_t)t->elems + 1, sizeof *wide) : NULL;
    bool fine = wide && checkpoint_read_int(g->want, t, 0, t->elems, wide, e) == 0;
    for (int64_t i = 0; fine && i < t->elems; i++) {
        fine = wide[i] >= INT32_MIN && wide[i] <= INT32_MAX;
        p[i] = (int32_t)wide[i];
    }
    mem_free(wide);
    if (!fine) {
        mem_free(p);
        return NULL;
    }
    return p;
}

static float *read_floats(struct golden *g, const char *name, int64_t *n, struct err *e)
{
    const struct tensor *t = checkpoint_find(g->want, name);
    *n = t ? t->elems : 0;
    float *p = t ? mem_array((size_t)t->elems + 1, sizeof *p) : NULL;
    if (p && checkpoint_read(g->want, t, 0, t->elems, p, e) < 0) {
        mem_free(p);
        return NULL;
    }
    return p;
}

/* got [*][vocab] at rows pos[] against want [n][vocab]. */
static void compare(struct golden *g, const float *got, const int32_t *pos, int64_t n,
                    int64_t base, const float *want)
{
    int32_t vocab = g->m->plan.vocab;
    for (int64_t i = 0; i < n; i++)
        for (int32_t v = 0; v < vocab; v++) {
            double d = fabs((double)got[(base + pos[i]) * vocab + v] - want[i * vocab + v]);
            g->worst = d > g->worst || d != d ? (d != d ? INFINITY : d) : g->worst;
        }
}

static int32_t argmax(const float *x, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Continues from the state after ids [n] (in slot 0) whose last logits are `last`. */
static int check_greedy(struct golden *g, const char *len, int32_t n, const float *last,
                        struct err *e)
{
    char name[64];
    int64_t count, gaps;
    snprintf(name, sizeof name, "greedy_%s", len);
    int32_t *want = read_ints(g, name, &count, e);
    snprintf(name, sizeof name, "greedy_gap_%s", len);
    float *gap = read_floats(g, name, &gaps, e);
    int32_t id = argmax(last, g->m->plan.vocab);
    for (int64_t i = 0; want && gap && i < MIN(count, gaps) && gap[i] > 2 * g->bound; i++) {
        struct piece p = {&id, 1, 0, n + i};
        g->greedy &= id == want[i];
        if (id != want[i] || step(g, &p, 1, 0, 1, e) < 0)
            break;
        if (choose(g, &id, e) < 0)
            break;
    }
    mem_free(want);
    mem_free(gap);
    return e->code;
}

static int check_prompt(struct golden *g, const char *len, float *out, struct err *e)
{
    char name[64];
    int64_t n, n_pos, n_logits;
    snprintf(name, sizeof name, "tokens_%s", len);
    int32_t *ids = read_ints(g, name, &n, e);
    snprintf(name, sizeof name, "pos_%s", len);
    int32_t *pos = read_ints(g, name, &n_pos, e);
    snprintf(name, sizeof name, "logits_%s", len);
    float *want = read_floats(g, name, &n_logits, e);
    if (!e->code && (!ids || !want || !pos || n > TOKENS_MAX))
        err_set(e, E_FORMAT, "expected.safetensors: %s: no pos_, no logits_ or over %d tokens", len,
                TOKENS_MAX);
    if (ids && want && pos && n <= TOKENS_MAX &&
        run_all(g, ids, (int32_t)n, (struct way){0}, out, e) == 0) {
        compare(g, out, pos, n_pos, 0, want);
        check_greedy(g, len, (int32_t)n, out + (n - 1) * g->m->plan.vocab, e);
    }
    mem_free(ids);
    mem_free(pos);
    mem_free(want);
    return e->code;
}

/* Sequences packed into one step, and a prompt continued on a kept state. */
static int check_packed(struct golden *g, float *out, struct err *e)
{
    int64_t n, n_cu, n_pos, n_want;
    int32_t *ids = read_ints(g, "varlen_tokens", &n, e), *cu = read_ints(g, "varlen_cu", &n_cu, e);
    int32_t *pos = read_ints(g, "varlen_pos", &n_pos, e);
    float *want = read_floats(g, "varlen_logits", &n_want, e);
    struct piece p[OTHERS + 1];
    for (int64_t i = 0; ids && cu && pos && want && i + 1 < n_cu && e->code == 0; i++) {
        int count = (int)(n_cu - 1); /* all together, with the logits of one after the other */
        if (zero_slots(g, e) < 0)
            break;
        for (int k = 0; k < count; k++)
            p[k] = (struct piece){ids + cu[k], cu[k + 1] - cu[k], k, 0};
        if (step(g, p, count, (int)i, p[i].n, e) < 0)
            break;
        for (int32_t r = 0; r < p[i].n; r++)
            if (copy_logits(g, r, out + (int64_t)(cu[i] + r) * g->m->plan.vocab, e) < 0)
                break;
    }
    if (ids && cu && pos && want && e->code == 0)
        compare(g, out, pos, n_pos, 0, want);
    mem_free(ids);
    mem_free(cu);
    mem_free(pos);
    mem_free(want);
    ids = read_ints(g, "cont_tokens", &n, e);
    pos = read_ints(g, "cont_pos", &n_pos, e);
    want = read_floats(g, "cont_logits", &n_want, e);
    if (ids && pos && want && run_all(g, ids, (int32_t)n, (struct way){.chunk = 100}, out, e) == 0)
        compare(g, out, pos, n_pos, 0, want);
    mem_free(ids);
    mem_free(pos);
    mem_free(want);
    return e->code;
}

static int check_bits(struct golden *g, float *out, struct err *e)
{
    static const struct way ways[] = {{0}, {1, 0, false}, {7, 0, false}, {13, 0, false},
                                      {64, 0, false}, {0, OTHERS, false}, {9, 7, false},
                                      {11, 0, true}};
    enum { N = 100 };
    int32_t ids[N], vocab = g->m->plan.vocab;
    size_t bytes = (size_t)N * (size_t)vocab * sizeof *out;
    float *again = mem_zalloc(bytes);
    for (int32_t i = 0; i < N; i++)
        ids[i] = (i * 37 + i * i * 11) % vocab;
    if (!again)
        return err_set(e, E_NOMEM, "no memory for %zu bytes of logits", bytes);
    if (run_all(g, ids, N, (struct way){0}, out, e) == 0)
        for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
            if (run_all(g, ids, N, ways[i], again, e) < 0)
                break;
            if (memcmp(out, again, bytes) != 0) {
                g->bits = false;
                fprintf(stderr, "%s: other bits with pieces of %d among %d others%s\n", g->m->name,
                        ways[i].chunk, ways[i].others, ways[i].move ? ", state moved" : "");
            }
        }
    mem_free(again);
    return e->code;
}

/* ---- one model ---- */

static int open_all(struct golden *g, const char *dir, struct err *e)
{
    char path[4096];
    struct model_options mo = {.dir = dir, .quantize = g->quantize, .states = g->states};
    struct device_options dopt = {.spec = g->device, .threads = g->threads,
                                  .cache_dir = getenv("RECURD_OCL_CACHE"),
                                  .kernels = g->kernels};
    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    if (model_open(&g->m, &mo, e) < 0 ||
        (!g->beside && checkpoint_open_file(&g->want, path, e) < 0) ||
        device_open(&g->d, &dopt, e) < 0)
        return e->code;
    int32_t per = g->m->plan.page_token_floats ? TOKENS_MAX / PAGE_TOKENS + 1 : 0;
    g->cap = (struct capacity){.tokens = TOKENS_MAX, .logits = TOKENS_MAX, .seqs = OTHERS + 1,
                               .slots = OTHERS + 3, .pages = per * (OTHERS + 1),
                               .pages_per_seq = per};
    g->copy = mem_zalloc((size_t)g->m->plan.slot_floats * sizeof(float) + 1);
    if (!g->copy)
        return err_set(e, E_NOMEM, "no memory for a state");
    return model_load(g->m, g->d, &g->cap, e);
}

static void close_all(struct golden *g)
{
    mem_free(g->copy);
    checkpoint_close(g->want);
    if (g->d)
        g->d->backend->close(g->d);
    model_close(g->m);
    g->m = NULL;
    g->d = NULL;
    g->want = NULL;
    g->copy = NULL;
}

/* Products of blocks by another arithmetic: inputs of 16 bits move the demo models' logits by a
 * third of this. */
#define BOUND_BLOCKS 2e-3

/* States in float16 move the logits of the median token by so much of them at most. Tokens whose
 * router has a near tie move more. */
#define BOUND_STATES 5e-3
#define WORST_STATES 1.0 /* of any token: beyond, it counts instead */

/* The same prompt by the float32 kernels, or with states in float32. */
static int check_beside(struct golden *g, const char *dir, float *out, struct err *e)
{
    enum { N = 100 };
    struct golden other = {.device = g->device, .kernels = g->states ? g->kernels : "float32",
                           .threads = g->threads, .quantize = g->quantize, .beside = true};
    int32_t ids[N], at[N], vocab = g->m->plan.vocab;
    float *want = mem_array((size_t)N * (size_t)vocab, sizeof *want);
    for (int32_t i = 0; i < N; i++) {
        ids[i] = (i * 53 + i * i * 7) % vocab;
        at[i] = i;
    }
    if (!want)
        err_set(e, E_NOMEM, "no memory for logits");
    else if (open_all(&other, dir, e) == 0 &&
             run_all(&other, ids, N, (struct way){0}, want, e) == 0 &&
             run_all(g, ids, N, (struct way){0}, out, e) == 0)
        compare(g, out, at, N, 0, want);
    if (!e->code && g->states && isfinite(g->worst)) {
        struct distance d = distance_of(want, out, N, vocab);
        g->worst = d.worst > WORST_STATES ? d.worst : d.median;
    }
    if (!e->code && g->worst == 0)
        err_set(e, E_FORMAT, "the other arithmetic has the same bits");
    close_all(&other);
    mem_free(want);
    return e->code;
}

/* < 0: there is none for this device. */
static double bound_of(const char *name, const struct device *d)
{
    if (strstr(d->description, "tensor cores")) {
        for (size_t i = 0; i < ARRAY_LEN(bf16); i++)
            if (!strcmp(bf16[i].name, name))
                return 2 * bf16[i].rounding;
        return -1;
    }
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
        if (!strcmp(bounds[i].name, name))
            return bounds[i].bound;
    return 2e-4;
}

/* Every prompt that the file holds: tokens_<length>. */
static int check_prompts(struct golden *g, float *out, struct err *e)
{
    int n = 0;
    for (size_t i = 0; i < checkpoint_count(g->want) && e->code == 0; i++) {
        const char *name = checkpoint_at(g->want, i)->name;
        if (strncmp(name, "tokens_", 7) == 0 && ++n)
            (void)!check_prompt(g, name + 7, out, e); /* e tells */
    }
    return n || e->code ? e->code : err_set(e, E_NOENT, "expected.safetensors: no tokens_<length>");
}

/* 0: all well; 1: a miss; -1: left out. */
static int check_model(struct golden *g, const char *dir)
{
    struct err e = {0};
    g->worst = 0;
    g->greedy = g->bits = true;
    float *out = NULL;
    if (open_all(g, dir, &e) == 0 &&
        !(out = mem_array((size_t)TOKENS_MAX * (size_t)g->m->plan.vocab, sizeof *out)))
        err_set(&e, E_NOMEM, "no memory for logits");
    if (e.code == 0) {
        g->bound = g->states   ? BOUND_STATES
                   : g->beside ? BOUND_BLOCKS
                               : bound_of(g->m->name, g->d);
        if (g->beside && check_beside(g, dir, out, &e) == 0)
            (void)!check_bits(g, out, &e);
        if (!g->beside && g->bound >= 0 && check_prompts(g, out, &e) == 0 &&
            check_packed(g, out, &e) == 0)
            (void)!check_bits(g, out, &e);
    }
    const char *name = strrchr(dir, '/') ? strrchr(dir, '/') + 1 : dir;
    bool ok = e.code == 0 && g->worst <= g->bound && g->greedy && g->bits;
    bool left_out = e.code ? g->states && strstr(e.text, "none that can be") : g->bound < 0;
    if (e.code || left_out)
        printf("| %-24s | %s |\n", name, e.code ? e.text : "no bound for tensor cores: left out");
    else
        printf("| %-24s | %9lld | %9lld | %8lld | %.1e | %.0e | %-6s | %-4s | %s |\n", name,
               (long long)g->m->parameters, (long long)g->m->plan.slot_floats * 4,
               (long long)g->m->plan.page_token_floats * 4, g->worst, g->bound,
               g->greedy ? "same" : "DIFFER", g->bits ? "same" : "DIFFER", ok ? "ok" : "MISS");
    fflush(stdout);
    mem_free(out);
    close_all(g);
    return left_out ? -1 : ok ? 0 : 1;
}

static int keep_models(const struct dirent *d) { return d->d_name[0] != '.'; }

struct tally { int done, missed; };

/* Every checkpoint below dir whose name contains `only`. */
static void check_folder(struct golden *g, const char *dir, const char *only, struct tally *t)
{
    char path[4096];
    struct dirent **list = NULL;
    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    if (g->quantize) { /* any model will do, wide enough for blocks */
        t->missed += check_model(g, dir) > 0;
        t->done++;
        return;
    }
    if (file_exists(path)) {
        snprintf(path, sizeof path, "%s/config.json", dir);
        if (file_exists(path) && strstr(dir, only) && !strstr(dir, "/layer_")) { /* layers.c */
            int missed = check_model(g, dir);
            t->done += missed >= 0;
            t->missed += missed > 0;
        }
        return;
    }
    int n = scandir(dir, &list, keep_models, alphasort);
    for (int i = 0; i < n; i++) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            check_folder(g, path, only, t);
        free(list[i]);
    }
    free(list);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"device", 1, 0, 'd'}, {"threads", 1, 0, 't'},
                                            {"only", 1, 0, 'o'}, {"kernels", 1, 0, 'k'},
                                            {"quantize", 1, 0, 'q'}, {"states", 1, 0, 's'},
                                            {0, 0, 0, 0}};
    struct golden g = {.device = "cpu"};
    struct tally t = {0, 0};
    const char *only = "";
    log_set_level(LOG_ERROR); /* hardly a model here has a tokenizer */
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'd')
            g.device = optarg;
        else if (c == 't')
            g.threads = (int)strtol(optarg, NULL, 10);
        else if (c == 'o')
            only = optarg;
        else if (c == 'k')
            g.kernels = optarg;
        else if (c == 's' && states_parse(optarg, &g.states))
            continue;
        else if (c != 'q' || !quantize_parse(optarg, &g.quantize))
            return 2;
    }
    g.beside = g.quantize || g.states;
    printf("| model | parameters | state bytes | bytes/token | error | bound | greedy | bits | |\n"
           "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |\n");
    for (int i = optind; i < argc; i++)
        check_folder(&g, argv[i], only, &t);
    if (optind == argc)
        check_folder(&g, "tests/golden", only, &t);
    printf("golden on %s: %d passed, %d failed\n", g.device, t.done - t.missed, t.missed);
    return t.done == 0 || t.missed > 0;
}
