/* recurd-eval: a model without a server. Token ids in; logits, greedy ids or perplexity out.
 *
 * Also the tool of the exactness tests: --chunk cuts the prompt, --batch runs other sequences in
 * the same steps, --move carries the state through host memory to another slot between pieces.
 * None of the three may change a bit of the output. Single-threaded apart from the device. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/usage.h"
#include "kernels/phases.h"
#include "models/model.h"
#include "models/plan_text.h"
#include "models/text/tokenizer.h"
#include "programs/recurd-eval/replay.h"
#include "programs/recurd-eval/verify.h"

/* Rows of one step when nothing else is asked: logits of 1024 x 65,536 are 256 MiB. */
#define PIECE_MAX 1024
#define EVAL_TOKENS_MAX (1 << 22)

struct args {
    const char *model, *tokens, *logits, *perplexity, *device, *kernels, *replay, *verify;
    int generate, chunk, batch, threads;
    bool dummy, move, profile, time, plan, phases;
    enum quantize quantize;
    enum states states;
};

struct eval {
    struct args a;
    struct model *m;
    struct device *d;
    struct capacity cap;
    struct ids ids;
    int64_t pos;        /* tokens already in the state */
    int32_t slot;       /* where sequence 0 lives now */
    FILE *npy;
    double nats;        /* sum of -log p over scored tokens */
    int64_t scored;
    /* one step */
    int32_t *tokens, *cu, *slots, *rows, *pages;
    int64_t *positions;
    void *copy;         /* --move: one slot */
};

static const struct usage_row rows[] = {
#define SYNOPSIS USAGE_ROW_SYNOPSIS
#define ABOUT USAGE_ROW_ABOUT
#define FLAG USAGE_ROW_FLAG
#include "programs/recurd-eval/args.def"
#undef FLAG
#undef ABOUT
#undef SYNOPSIS
};

static void usage(FILE *f) { usage_print(f, "recurd-eval", rows, ARRAY_LEN(rows)); }

static int parse_args(struct args *a, int argc, char **argv)
{
    *a = (struct args){.device = "cpu", .batch = 1};
    struct option options[ARRAY_LEN(rows) + 1];
    usage_options(rows, ARRAY_LEN(rows), options);
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'm': a->model = optarg; break;
        case 't': a->tokens = optarg; break;
        case 'l': a->logits = optarg; break;
        case 'g': a->generate = (int)strtol(optarg, NULL, 10); break;
        case 'c': a->chunk = (int)strtol(optarg, NULL, 10); break;
        case 'p': a->perplexity = optarg; break;
        case 'd': a->device = optarg; break;
        case 'n': a->threads = (int)strtol(optarg, NULL, 10); break;
        case 'k': a->kernels = optarg; break;
        case 'b': a->batch = (int)strtol(optarg, NULL, 10); break;
        case 'f': a->dummy = !strcmp(optarg, "dummy"); break;
        case 'r': a->replay = optarg; break;
        case 'v': a->verify = optarg; break;
        case 'q':
            if (!quantize_parse(optarg, &a->quantize))
                return -1;
            break;
        case 'S':
            if (!states_parse(optarg, &a->states))
                return -1;
            break;
        case 'M': a->move = true; break;
        case 'L': a->model = optarg; a->plan = true; break;
        case 'H': a->phases = true; break;
        case 'P': a->profile = true; break;
        case 'T': a->time = true; break;
        case 'h': usage(stdout); exit(0);
        default: return -1;
        }
    }
    bool input = a->tokens || a->perplexity || a->replay || a->verify || a->plan;
    return a->model && input && (a->plan || !a->phases) && a->generate >= 0 && a->chunk >= 0 &&
                   a->batch >= 1 && a->batch <= 256 && optind == argc ? 0 : -1;
}

/* ---- input ---- */

static int read_tokens(struct eval *v, struct err *e)
{
    struct buf text;
    json_error_t je;
    buf_init(&text, MIB(64));
    if (file_read(v->a.tokens, &text, e) < 0)
        return e->code;
    json_t *root = json_loadb(text.p ? text.p : "", text.len, 0, &je);
    buf_free(&text);
    if (!json_is_array(root))
        err_set(e, E_FORMAT, "%s: not a JSON array of token ids", v->a.tokens);
    for (size_t i = 0; e->code == 0 && i < json_array_size(root); i++) {
        json_int_t id = json_integer_value(json_array_get(root, i));
        if (!json_is_integer(json_array_get(root, i)) || id < 0 || id >= v->m->plan.vocab)
            err_set(e, E_RANGE, "%s: entry %zu is not a token id of 0 to %d", v->a.tokens, i,
                    v->m->plan.vocab - 1);
        else if (ids_add(&v->ids, (int32_t)id) < 0)
            err_set(e, E_RANGE, "%s: more than %d tokens", v->a.tokens, EVAL_TOKENS_MAX);
    }
    json_decref(root);
    if (e->code == 0 && v->ids.len == 0)
        err_set(e, E_RANGE, "%s: no tokens", v->a.tokens);
    return e->code;
}

static int read_text(struct eval *v, struct err *e)
{
    struct buf text;
    if (!v->m->tok)
        return err_set(e, E_UNSUPPORTED, "model %s has no tokenizer; use --tokens", v->m->name);
    buf_init(&text, MIB(64));
    if (file_read(v->a.perplexity, &text, e) == 0 &&
        !tokenizer_encode(v->m->tok, text.p ? text.p : "", text.len, TOKENIZE_BOS, &v->ids, e) &&
        v->ids.len < 2)
        err_set(e, E_RANGE, "%s: %zu tokens, at least 2 needed", v->a.perplexity, v->ids.len);
    buf_free(&text);
    return e->code;
}

/* ---- steps ---- */

static int allocate(struct eval *v, struct err *e)
{
    int32_t piece = (int32_t)MIN(v->a.chunk ? (size_t)v->a.chunk : v->ids.len, PIECE_MAX);
    int32_t n = v->a.batch;
    int64_t longest = (int64_t)v->ids.len + v->a.generate;
    int32_t per = v->m->plan.page_token_floats ? (int32_t)(longest / PAGE_TOKENS + 1) : 0;
    bool all = v->a.logits || v->a.perplexity;
    if (v->m->context_max > 0 && longest > v->m->context_max)
        return err_set(e, E_RANGE, "%lld positions, the model ends after %lld", (long long)longest,
                       (long long)v->m->context_max);
    v->cap = (struct capacity){.tokens = piece * n, .logits = all ? piece : 1, .seqs = n,
                               .slots = n + 1, .pages = per * n, .pages_per_seq = per};
    v->tokens = mem_array((size_t)v->cap.tokens, sizeof(int32_t));
    v->rows = mem_array((size_t)v->cap.tokens, sizeof(int32_t));
    v->cu = mem_array((size_t)n + 1, sizeof(int32_t));
    v->slots = mem_array((size_t)n, sizeof(int32_t));
    v->positions = mem_array((size_t)n, sizeof(int64_t));
    v->pages = mem_array((size_t)(per * n) + 1, sizeof(int32_t));
    v->copy = mem_zalloc((size_t)v->m->plan.slot_floats * sizeof(float) + 1);
    if (!v->tokens || !v->rows || !v->cu || !v->slots || !v->positions || !v->pages || !v->copy)
        return err_set(e, E_NOMEM, "no memory for steps of %d tokens", v->cap.tokens);
    for (int32_t i = 0; i < per * n; i++)
        v->pages[i] = i;
    return 0;
}

/* The sequences beside ours: the same ids, turned by i, so that all differ. */
static int32_t other_token(const struct eval *v, int i, int64_t pos)
{
    return v->ids.p[(size_t)(pos + i) % v->ids.len];
}

/* Runs n tokens of our sequence, which is number batch-1 (last) so that rows move with the batch,
 * with logits for the last n_logits of them. */
static int step(struct eval *v, const int32_t *ids, int32_t n, int32_t n_logits, struct err *e)
{
    int32_t row = 0, last = v->a.batch - 1;
    for (int i = 0; i <= last; i++) {
        v->cu[i] = row;
        v->slots[i] = i == last ? v->slot : i;
        v->positions[i] = v->pos;
        for (int32_t t = 0; t < n; t++)
            v->tokens[row++] = i == last ? ids[t] : other_token(v, i + 1, v->pos + t);
    }
    v->cu[last + 1] = row;
    for (int32_t i = 0; i < n_logits; i++)
        v->rows[i] = row - n_logits + i;
    struct batch b = {.n_seqs = v->a.batch, .n_tokens = row, .n_logits = n_logits,
                      .tokens = v->tokens, .cu_seqlens = v->cu, .slots = v->slots,
                      .pos = v->positions, .logit_rows = v->rows, .pages = v->pages,
                      .pages_per_seq = v->cap.pages_per_seq};
    if (v->d->backend->run(v->d, &b, e) < 0)
        return e->code;
    v->pos += n;
    return 0;
}

/* --move: the state leaves its slot for host memory and comes back in the other one. */
static int move_state(struct eval *v, struct err *e)
{
    int32_t to = v->slot == v->a.batch ? v->a.batch - 1 : v->a.batch;
    const struct backend *k = v->d->backend;
    if (!v->a.move)
        return 0;
    if (k->slot_read(v->d, v->slot, v->copy, e) < 0 || k->slot_zero(v->d, v->slot, e) < 0 ||
        k->slot_write(v->d, to, v->copy, e) < 0)
        return e->code;
    v->slot = to;
    return 0;
}

/* ---- output ---- */

static int npy_open(struct eval *v, struct err *e)
{
    char head[128];
    if (!v->a.logits)
        return 0;
    if (!(v->npy = fopen(v->a.logits, "wb")))
        return err_set(e, E_IO, "%s: cannot be written: %s", v->a.logits,
                       strerror(errno));
    int n = snprintf(head, sizeof head,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %d), }", v->ids.len,
                     v->m->plan.vocab);
    int pad = 63 - (10 + n) % 64; /* the data starts at a multiple of 64 */
    unsigned char magic[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0,
                               (unsigned char)((n + pad + 1) & 255),
                               (unsigned char)((n + pad + 1) >> 8)};
    fwrite(magic, 1, sizeof magic, v->npy);
    fprintf(v->npy, "%s%*s\n", head, pad, "");
    return 0;
}

static double log_prob(const float *logits, int32_t n, int32_t id)
{
    double max = -INFINITY, sum = 0;
    for (int32_t i = 0; i < n; i++)
        max = fmax(max, logits[i]);
    for (int32_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return logits[id] - max - log(sum);
}

static int take_logits(struct eval *v, int32_t n, size_t first, struct err *e)
{
    for (int32_t i = 0; i < n; i++) {
        const float *row;
        int rc = v->d->backend->logits(v->d, i, &row, e);
        if (rc)
            return rc;
        size_t at = first + (size_t)i;
        if (v->npy && fwrite(row, sizeof *row, (size_t)v->m->plan.vocab, v->npy) !=
                          (size_t)v->m->plan.vocab)
            return err_set(e, E_IO, "%s: write failed: %s", v->a.logits, strerror(errno));
        if (v->a.perplexity && at + 1 < v->ids.len) {
            v->nats -= log_prob(row, v->m->plan.vocab, v->ids.p[at + 1]);
            v->scored++;
        }
    }
    return 0;
}

static int prefill(struct eval *v, struct err *e)
{
    int32_t piece = v->cap.tokens / v->a.batch;
    bool all = v->npy || v->a.perplexity;
    for (size_t at = 0; at < v->ids.len;) {
        int32_t n = (int32_t)MIN((size_t)piece, v->ids.len - at);
        if ((at > 0 && move_state(v, e) < 0) || step(v, v->ids.p + at, n, all ? n : 1, e) < 0 ||
            (all && take_logits(v, n, at, e) < 0))
            return e->code;
        at += (size_t)n;
        if (!all && at == v->ids.len)
            break;
    }
    return 0;
}

/* The largest logit's token. */
static int choose(struct eval *v, int32_t row, int32_t *id, struct err *e)
{
    struct sample_row ask = {.logits = row, .n_top = -1, .draw = true, .greedy = true};
    struct sample_result told;
    int rc = v->d->backend->sample(v->d, &ask, 1, &told, e);
    *id = told.id;
    return rc ? rc : sample_check(told.status, v->m->plan.vocab, e);
}

static int generate(struct eval *v, struct err *e)
{
    size_t piece = (size_t)(v->cap.tokens / v->a.batch), n = v->ids.len % piece;
    bool all = v->npy || v->a.perplexity;
    int32_t row = all ? (int32_t)(n ? n : piece) - 1 : 0; /* the prompt's last row of logits */
    printf("[");
    for (int i = 0; i < v->a.generate; i++) {
        int32_t id;
        if (choose(v, row, &id, e) < 0)
            return e->code;
        printf("%s%d", i ? ", " : "", id);
        row = 0;
        if (i + 1 < v->a.generate && (move_state(v, e) < 0 || step(v, &id, 1, 1, e) < 0))
            return e->code;
    }
    printf("]\n");
    return 0;
}

static int evaluate(struct eval *v, struct err *e)
{
    uint64_t t0 = clock_now_ns();
    if (npy_open(v, e) < 0 || prefill(v, e) < 0)
        return e->code;
    uint64_t t1 = clock_now_ns();
    if (v->a.generate && generate(v, e) < 0)
        return e->code;
    uint64_t t2 = clock_now_ns();
    if (v->a.perplexity)
        printf("{\"tokens\": %lld, \"nats_per_token\": %.6f, \"perplexity\": %.4f}\n",
               (long long)v->scored, v->nats / (double)v->scored, exp(v->nats / (double)v->scored));
    if (v->a.time)
        fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s; generation: %d tokens, %.1f tokens/s\n",
                v->ids.len, (double)v->ids.len * 1e9 / (double)(t1 - t0), v->a.generate,
                v->a.generate * 1e9 / (double)MAX(t2 - t1, 1));
    if (v->a.profile)
        log_set_level(LOG_INFO); /* which is how it is printed */
    if (v->a.profile && v->d->backend->profile)
        v->d->backend->profile(v->d, NULL);
    if (v->npy && fclose(v->npy) != 0) {
        v->npy = NULL;
        return err_set(e, E_IO, "%s: write failed: %s", v->a.logits, strerror(errno));
    }
    v->npy = NULL;
    return 0;
}

/* Of a step with one row a sequence, when no two activations share memory. */
static int put_phases(const struct model *m, struct buf *out, struct err *e)
{
    struct phases x;
    int rc = phases_find(&x, &m->plan, NULL, e);
    if (!rc) {
        phases_text(&x, &m->plan, out);
        phases_free(&x);
    }
    return rc;
}

static int print_plan(struct eval *v, struct err *e)
{
    struct buf text;
    buf_init(&text, MIB(64));
    if (!v->a.phases)
        model_plan_text(v->m, &text);
    else if (put_phases(v->m, &text, e)) {
        buf_free(&text);
        return e->code;
    }
    if (text.failed)
        err_set(e, E_NOMEM, "the plan of %s takes more than %zu bytes", v->m->name, MIB(64));
    else
        fwrite(text.p, 1, text.len, stdout);
    buf_free(&text);
    return e->code;
}

static int run(struct eval *v, struct err *e)
{
    struct model_options mo = {.dir = v->a.model, .dummy = v->a.dummy, .dummy_seed = 1,
                               .quantize = v->a.quantize, .states = v->a.states};
    struct device_options dopt = {.spec = v->a.device, .kernels = v->a.kernels,
                                  .threads = v->a.threads, .profile = v->a.profile};
    if (model_open(&v->m, &mo, e) < 0)
        return e->code;
    if (v->a.plan)
        return print_plan(v, e);
    if ((v->a.perplexity ? read_text(v, e) : read_tokens(v, e)) < 0 || allocate(v, e) < 0 ||
        device_open(&v->d, &dopt, e) < 0 || model_load(v->m, v->d, &v->cap, e) < 0)
        return e->code;
    v->slot = v->a.batch - 1;
    for (int32_t i = 0; i < v->cap.slots; i++)
        if (v->d->backend->slot_zero(v->d, i, e) < 0)
            return e->code;
    return evaluate(v, e);
}

static int replay_all(const struct args *a)
{
    struct err e = {0};
    struct replay_options o = {.trace = a->replay, .model = a->model, .dummy = a->dummy,
                               .quantize = a->quantize, .states = a->states, .chunk = a->chunk,
                               .device = {.spec = a->device, .kernels = a->kernels,
                                          .threads = a->threads}};
    int differ;
    int rc = replay(&o, &differ, &e);
    if (rc)
        fprintf(stderr, "recurd-eval: %s\n", e.text);
    return rc ? 2 : differ > 0;
}

static int verify_all(const struct args *a)
{
    struct err e = {0};
    struct verify_options o = {.file = a->verify, .tokens = a->tokens, .model = a->model,
                               .dummy = a->dummy, .quantize = a->quantize, .states = a->states,
                               .chunk = a->chunk,
                               .device = {.spec = a->device, .kernels = a->kernels,
                                          .threads = a->threads}};
    int status = (int)verify(&o, &e);
    if (e.code)
        fprintf(stderr, "recurd-eval: %s\n", e.text);
    return status;
}

int main(int argc, char **argv)
{
    static struct eval v;
    struct err e = {0};
    log_set_level(LOG_WARN);
    if (parse_args(&v.a, argc, argv) < 0) {
        usage(stderr);
        return 2;
    }
    if (v.a.verify)
        return verify_all(&v.a);
    if (v.a.replay)
        return replay_all(&v.a);
    ids_init(&v.ids, EVAL_TOKENS_MAX);
    if (run(&v, &e) < 0)
        fprintf(stderr, "recurd-eval: %s\n", e.text);
    if (v.npy)
        fclose(v.npy);
    if (v.d)
        v.d->backend->close(v.d);
    model_close(v.m);
    ids_free(&v.ids);
    void *owned[] = {v.tokens, v.cu, v.slots, v.rows, v.pages, v.positions, v.copy};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        mem_free(owned[i]);
    return e.code ? 1 : 0;
}
