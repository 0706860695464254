/* twins: every architecture that GGUF files are read of, against its own safetensors.
 *
 *   twins [--only SUBSTRING]
 *
 * A checkpoint of tests/golden is written as GGUF by the converter, in the forms of the format's
 * usual writers: heads and rotations in other orders, experts stacked, decays and norms
 * transformed. Both are loaded on the CPU and given the same tokens; every bit of the logits must
 * be the same, as the stored types are; and again those of the directory that the converter makes
 * of the GGUF file, whose tensors no longer are transformed or stacked; and a GGUF file of blocks
 * those of another, made of the directory with its values. What blocks of 8 and 4 bits change is
 * bounded, and what inputs of 16 bits change of their products. Some configs say what the format
 * cannot, and are changed first. Exit 1 on a miss, or when a map has no twin. */
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "models/convert.h"
#include "models/gguf.h"
#include "models/model.h"

#define N 70 /* tokens: more than one page */
#define FOUR_BITS 25
/* Inputs of 16 bits move the products of blocks by such a part of what the blocks themselves moved:
 * their steps are 256 times as fine as those of weights of 8 bits, 4096 times as those of 4. Of the
 * latter more is allowed: where a router's choice is nearly a tie a token gets another expert, and
 * the tokens behind it remember that (hf_qwen3_5_moe). */
#define INPUTS_8 160
#define INPUTS_4 64

static const char *const archs[] = {
#define GGUF(name) #name,
#include "models/gguf.def"
#undef GGUF
};

/* change: keys of config.json to set, as a JSON object. q8: percent that blocks of 8 bits may move
 * the logits of the median token. More where random weights amplify what goes in: gates
 * behind norms of a key, routers. */
struct twin { const char *dir, *arch, *change; double q8; };
static const struct twin twins[] = {
    {"public/rwkv7", "rwkv7", NULL, 3},
    {"rwkv/own_v6", "rwkv6",
     "{\"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 160,"
     " \"layer_norm_epsilon\": 1e-5}", 3},
    {"rwkv/own_v6", "rwkv6", /* as the format's usual writers leave it, halved on the way */
     "{\"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 160,"
     " \"layer_norm_epsilon\": 1e-5, \"rescaled_every\": 2}", 3},
    {"plain/arwkv", "arwkv7", NULL, 3},
    {"plain/arwkv_7b", "arwkv7", NULL, 3},
    {"plain/qrwkv6", "rwkv6qwen2", NULL, 3},
    {"plain/qrwkv6_wide", "rwkv6qwen2", NULL, 3},
    {"plain/plamo2", "plamo2", NULL, 5},
    {"plain/plamo2_few", "plamo2", NULL, 6},
    {"hf/hf_minimax", "minimax",
     "{\"full_attn_alpha_factor\": 1.25, \"linear_attn_alpha_factor\": 1.25,"
     " \"mlp_alpha_factor\": 1.25, \"full_attn_beta_factor\": 1.0,"
     " \"linear_attn_beta_factor\": 1.0, \"mlp_beta_factor\": 1.0}", 3},
    {"more/bailing_hybrid", "bailing_hybrid", NULL, 8},
    {"hf/hf_qwen3_5", "qwen35", NULL, 12},
    {"hf/hf_qwen3_5_moe", "qwen35moe", NULL, 30},
    {"hf/hf_qwen3_next", "qwen3next", NULL, 16},
    {"hf/hf_mamba", "mamba", NULL, 3},
    {"hf/hf_falcon_mamba", "mamba", NULL, 3},
    {"public/mamba2", "mamba2", NULL, 3},
    {"hf/hf_lfm2", "lfm2", NULL, 5},
    {"more/lfm2_yarn", "lfm2", NULL, 3},
    {"more/lfm2_moe", "lfm2moe", "{\"routed_scaling_factor\": 1.0}", 3},
    {"hf/hf_granite_hybrid", "granitehybrid", NULL, 3},
    {"hf/hf_granite_dense", "granitehybrid", NULL, 3},
    {"hf/hf_nemotron_h", "nemotron_h_moe", NULL, 3},
    {"more/nemotron_h_latent", "nemotron_h_moe", NULL, 3},
    {"twins/nemotron_h", "nemotron_h", NULL, 3}, /* of hf_nemotron_h, a shared expert as the mlp */
    {"hf/hf_falcon_h1", "falcon_h1",
     "{\"attention_in_multiplier\": 1.0, \"attention_out_multiplier\": 1.0,"
     " \"embedding_multiplier\": 1.0, \"key_multiplier\": 1.0, \"lm_head_multiplier\": 1.0,"
     " \"ssm_in_multiplier\": 1.0, \"ssm_out_multiplier\": 1.0, \"mlp_multipliers\": [1.0, 1.0],"
     " \"ssm_multipliers\": [1.0, 1.0, 1.0, 1.0, 1.0], \"mamba_norm_before_gate\": false}", 3},
    {"hf/hf_jamba", "jamba", NULL, 7},
    {"hf/hf_kimi_linear", "kimi_linear", NULL, 15},
};

static char folder[] = "/tmp/recurd-twins-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

/* The directory itself, or one of links to it with another config. */
static const char *changed(const char *dir, const char *change, struct err *e)
{
    static char real[4096];
    char path[4200];
    if (!change)
        return dir;
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *config = json_load_file(path, 0, NULL), *with = json_loads(change, 0, NULL);
    if (!config || !with || json_object_update(config, with) < 0 ||
        json_dump_file(config, in_folder("config.json"), 0) < 0)
        err_set(e, E_IO, "%s: its config cannot be changed", dir);
    json_decref(config);
    json_decref(with);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(in_folder("model.safetensors"));
    if (!realpath(path, real) || symlink(real, in_folder("model.safetensors")) != 0)
        err_set(e, E_IO, "%s: cannot be linked to", path);
    return folder;
}

/* Logits of N tokens by these kernels (NULL: those used without a list); the caller frees them. */
static float *run_by(const char *path, const char *kernels, int32_t *vocab, struct err *e)
{
    struct model *m = NULL;
    struct device *d = NULL;
    struct model_options mo = {.dir = path};
    struct device_options dopt = {.spec = "cpu", .kernels = kernels};
    struct capacity cap = {.tokens = N, .logits = N, .seqs = 1, .slots = 1};
    int32_t tokens[N], rows[N], pages[8], cu[2] = {0, N}, slot = 0;
    int64_t pos = 0;
    float *out = NULL;
    if (model_open(&m, &mo, e) == 0 && device_open(&d, &dopt, e) == 0) {
        *vocab = m->plan.vocab;
        cap.pages = cap.pages_per_seq = m->plan.page_token_floats ? N / PAGE_TOKENS + 1 : 0;
        for (int32_t i = 0; i < N; i++) {
            tokens[i] = (i * 37 + i * i * 11) % m->plan.vocab;
            rows[i] = i;
        }
        for (int32_t i = 0; i < cap.pages; i++)
            pages[i] = i;
        struct batch b = {.n_seqs = 1, .n_tokens = N, .n_logits = N, .tokens = tokens,
                          .cu_seqlens = cu, .slots = &slot, .pos = &pos, .logit_rows = rows,
                          .pages = pages, .pages_per_seq = cap.pages_per_seq};
        const float *row;
        out = mem_array((size_t)N * (size_t)*vocab, sizeof *out);
        if (out && model_load(m, d, &cap, e) == 0 && d->backend->slot_zero(d, 0, e) == 0 &&
            d->backend->run(d, &b, e) == 0)
            for (int32_t i = 0; i < N && d->backend->logits(d, i, &row, e) == 0; i++)
                memcpy(out + (size_t)i * (size_t)*vocab, row, (size_t)*vocab * sizeof *out);
    }
    if (d)
        d->backend->close(d);
    model_close(m);
    return out;
}

static float *run(const char *path, int32_t *vocab, struct err *e)
{
    return run_by(path, NULL, vocab, e);
}

/* Whether what `path` gives has the bits of a. */
static const char *judge(const char *path, const float *a, int32_t vocab, struct err *e)
{
    int32_t other = -1;
    float *b = e->code ? NULL : run(path, &other, e);
    bool equal = e->code == 0 && b && vocab == other &&
                 memcmp(a, b, (size_t)N * (size_t)vocab * sizeof *a) == 0;
    mem_free(b);
    return equal ? "same bits" : e->code ? e->text : "MISS: other bits";
}

static void remove_again(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s'", in_folder("again"));
    if (system(command) != 0)
        perror(command);
}

/* The GGUF file as a directory, and what the daemon computes with that. */
static const char *back(const char *file, const float *a, int32_t vocab, struct err *e)
{
    struct convert_options o = {.dir = file, .out = in_folder("again"), .any = true};
    (void)!convert_from_gguf(&o, e); /* judge tells */
    const char *says = judge(o.out, a, vocab, e);
    remove_again();
    return says;
}

/* Blocks -> a GGUF file -> their values in a directory -> blocks: the same, wherever they lie. */
static const char *blocks(const char *from, struct err *e)
{
    const char *file = in_folder("q8.gguf"), *again = in_folder("again");
    const char *second = in_folder("q8again.gguf");
    struct convert_options o = {.dir = from, .out = file, .matrix = DTYPE_Q8_0};
    struct convert_options values = {.dir = file, .out = again, .any = true};
    struct convert_options o2 = {.dir = again, .out = second, .matrix = DTYPE_Q8_0};
    int32_t vocab = 0;
    float *a = convert_to_gguf(&o, e) == 0 && convert_from_gguf(&values, e) == 0 &&
                       convert_to_gguf(&o2, e) == 0 ? run(file, &vocab, e) : NULL;
    const char *says = a ? judge(second, a, vocab, e) : e->text;
    mem_free(a);
    remove_again();
    return says;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How far blocks move the logits of the median token, in percent: the root mean square of the
 * differences over that of the logits. Not the mean: a token that gets another expert is far. */
static double moved(const float *a, const float *b, int32_t vocab)
{
    double token[N];
    for (int32_t t = 0; t < N; t++) {
        double off = 0, all = 0;
        for (int32_t i = 0; i < vocab; i++) {
            double x = a[(int64_t)t * vocab + i], y = b[(int64_t)t * vocab + i];
            off += (x - y) * (x - y);
            all += x * x;
        }
        token[t] = 100 * sqrt(off / all);
    }
    qsort(token, N, sizeof *token, ascending);
    return token[N / 2];
}

/* What moves the median token, in percent; below 0: it cannot be had. */
struct moves { double blocks, inputs; };

/* Of blocks made of the directory, whose logits are a: their own values, by float32, and inputs of
 * 16 bits. */
static struct moves quantised(const char *from, enum dtype matrix, const float *a, int32_t vocab,
                              struct err *e)
{
    const char *file = in_folder("blocks.gguf");
    struct convert_options o = {.dir = from, .out = file, .matrix = matrix};
    int32_t n = 0, other = 0;
    float *b = convert_to_gguf(&o, e) == 0 ? run_by(file, "float32", &n, e) : NULL;
    float *c = b ? run_by(file, "int16,float32", &other, e) : NULL;
    struct moves m = {-1, -1};
    if (b && c && n == vocab && other == vocab)
        m = (struct moves){moved(a, b, vocab), moved(b, c, vocab)};
    unlink(file);
    mem_free(b);
    mem_free(c);
    return m;
}

/* Blocks of 8 bits may move them by `bound`, those of 4 bits, whose steps are 16 times as large, by
 * FOUR_BITS times as much as they did. A model too narrow for blocks is not moved. */
static bool near(const char *from, double bound, const float *a, int32_t vocab, char *says,
                 size_t n)
{
    struct err e = {0};
    struct moves eight = quantised(from, DTYPE_Q8_0, a, vocab, &e), four = {-1, -1};
    if (!e.code)
        four = quantised(from, DTYPE_Q4_0, a, vocab, &e);
    bool narrow = eight.blocks == 0 && four.blocks == 0 && eight.inputs == 0 && four.inputs == 0;
    double by8 = eight.blocks / eight.inputs, by4 = four.blocks / four.inputs;
    bool ok = narrow || (eight.blocks > 0 && eight.blocks <= bound && four.blocks > eight.blocks &&
                         four.blocks <= FOUR_BITS * eight.blocks && eight.inputs > 0 &&
                         four.inputs > 0 && by8 >= INPUTS_8 && by4 >= INPUTS_4);
    if (e.code)
        snprintf(says, n, "MISS: %.200s", e.text);
    else if (narrow)
        snprintf(says, n, "too narrow for blocks | | |");
    else
        snprintf(says, n, "%s%.2f %% of %g | %.1f times | %.4f %%, 1/%.0f | %.4f %%, 1/%.0f",
                 ok ? "" : "MISS: ", eight.blocks, bound, four.blocks / eight.blocks, eight.inputs,
                 by8, four.inputs, by4);
    return ok;
}

static bool same(const struct twin *t, const char *dir)
{
    struct err e[3] = {0};
    const char *says[3] = {e[0].text, "", ""};
    char blocks_say[300] = "| | |";
    int32_t vocab = 0;
    const char *from = changed(dir, t->change, e), *file = in_folder("twin.gguf");
    struct convert_options o = {.dir = from, .out = file, .any = true};
    float *a = e->code == 0 && convert_to_gguf(&o, e) == 0 ? run(from, &vocab, e) : NULL;
    if (a) {
        says[0] = judge(file, a, vocab, &e[0]);
        says[1] = back(file, a, vocab, &e[1]);
        says[2] = blocks(from, &e[2]);
    }
    bool equal = a && near(from, t->q8, a, vocab, blocks_say, sizeof blocks_say);
    for (int i = 0; i < 3; i++)
        equal = equal && strcmp(says[i], "same bits") == 0;
    printf("| %-24s | %s%s | %s | %s | %s |\n", strrchr(t->dir, '/') + 1, equal ? "" : "MISS: ",
           says[0], says[1], says[2], blocks_say);
    fflush(stdout);
    mem_free(a);
    return equal;
}

/* A further map of an architecture only writes; tests/golden/pth.py does. */
static bool covered(const char *arch)
{
    const struct gguf_map *m = NULL, *x;
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strcmp(archs[i], arch) == 0)
            m = gguf_map_at(i);
    for (size_t i = 0; (x = gguf_map_at(i)) && x != m; i++)
        if (strcmp(x->arch, m->arch) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(twins); i++)
        if (!strcmp(twins[i].arch, arch))
            return true;
    printf("| %-24s | MISS: no twin is tested |\n", arch);
    return false;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"only", required_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    const char *only = "";
    int missed = 0, done = 0;
    log_set_level(LOG_ERROR); /* hardly a model here has a tokenizer */
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c != 'o') {
            fprintf(stderr, "usage: twins [--only SUBSTRING]\n");
            return 2;
        }
        only = optarg;
    }
    if (!mkdtemp(folder)) {
        perror(folder);
        return 2;
    }
    printf("| checkpoint               | as GGUF | as safetensors again | q8_0 through f32 "
           "| q8_0 moves | q4_0 | inputs of 16 bits in q8_0 | in q4_0 |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        missed += !covered(archs[i]);
    for (size_t i = 0; i < ARRAY_LEN(twins); i++) {
        char dir[256];
        snprintf(dir, sizeof dir, "tests/golden/%s", twins[i].dir);
        if (!strstr(dir, only))
            continue;
        missed += !same(&twins[i], dir);
        done++;
    }
    for (size_t i = 0; i < 3; i++)
        unlink(in_folder((const char *[]){"config.json", "model.safetensors", "twin.gguf"}[i]));
    rmdir(folder);
    printf("twins: %d compared, %d missed\n", done, missed);
    return missed || !done;
}
