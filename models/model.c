/* A model from its source: config -> plan. How its weights get to a device: load.c. */
#include "models/model.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "models/arch.h"
#include "models/build/build.h"
#include "models/files/jsontext.h"
#include "models/text/chat/chat.h"
#include "models/text/tokenizer.h"

/* Plans of the largest published models take a few MiB. */
#define ARENA_BYTES MIB(256)

bool model_is_eos(const struct model *m, int32_t id)
{
    for (int32_t i = 0; i < m->n_eos; i++)
        if (m->eos[i] == id)
            return true;
    return false;
}

/* ---- opening ---- */

static void add_eos(struct model *m, int64_t id)
{
    if (id >= 0 && id < m->plan.vocab && m->n_eos < MODEL_EOS_MAX && !model_is_eos(m, (int32_t)id))
        m->eos[m->n_eos++] = (int32_t)id;
}

/* The ends and the beginning of a text as c (may be NULL) says: eos_token_id is one id or a list.
 * All ends count, and the first beginning. */
static void read_ids(struct model *m, const struct config *c)
{
    if (!c)
        return;
    int64_t n = config_len(c, "eos_token_id");
    for (int64_t i = 0; i < n; i++)
        add_eos(m, config_int_at(c, "eos_token_id", i, -1, NULL));
    if (n < 0)
        add_eos(m, config_int(c, "eos_token_id", -1, -1, INT32_MAX, NULL));
    if (m->bos < 0)
        m->bos = (int32_t)config_int(c, "bos_token_id", -1, 0, m->plan.vocab - 1, NULL);
}

/* How long a sequence the authors had in mind; not a limit of the arithmetic. */
static void read_context(struct model *m, const struct config *c)
{
    static const char *const keys[] = {"max_position_embeddings", "max_sequence_length",
                                       "model_max_length", "seq_length", "n_positions"};
    for (size_t i = 0; c && i < ARRAY_LEN(keys) && m->context_made <= 0; i++)
        if (config_has(c, keys[i]))
            m->context_made = config_int(c, keys[i], 0, 0, INT32_MAX, NULL);
    m->context_made = MAX(m->context_made, 0);
}

static int read_generation(struct model *m, struct model_source *s, struct err *e)
{
    struct config *g = NULL;
    m->defaults = (struct generation_defaults){NAN, NAN, NAN, NAN, -1, -1};
    m->bos = -1;
    read_context(m, s->config);
    read_context(m, config_obj(s->config, "text_config", NULL));
    read_ids(m, s->config);
    read_ids(m, config_obj(s->config, "text_config", NULL)); /* as multimodal files have it */
    if (source_generation(s, &g, e) < 0 || !g)
        return e->code;
    read_ids(m, g);
    m->defaults.temperature = (float)config_num(g, "temperature", NAN, e);
    m->defaults.top_p = (float)config_num(g, "top_p", NAN, e);
    m->defaults.min_p = (float)config_num(g, "min_p", NAN, e);
    m->defaults.repetition_penalty = (float)config_num(g, "repetition_penalty", NAN, e);
    m->defaults.top_k = (int32_t)config_int(g, "top_k", -1, -1, INT32_MAX, e);
    m->defaults.max_new_tokens = (int32_t)config_int(g, "max_new_tokens", -1, -1, INT32_MAX, e);
    if (!config_bool(g, "do_sample", true, e))
        m->defaults.temperature = 0;
    config_free(g);
    return e->code;
}

static int open_tokenizer(struct model *m, const struct model_options *o, struct err *e)
{
    if (source_tokenizer(&m->source, &m->tok, m->plan.vocab, e) < 0)
        return e->code;
    if (m->tok) {
        if (tokenizer_bos(m->tok) >= 0)
            m->bos = tokenizer_bos(m->tok);
        add_eos(m, tokenizer_eos(m->tok));
    }
    struct config *cfg = NULL;
    if (m->tok && source_tokenizer_config(&m->source, &cfg, e) < 0)
        return e->code;
    const struct chat_options co = {.dir = o->dir, .config = cfg, .format = o->chat_format,
                                    .template_file = o->chat_template};
    int rc = m->tok ? chat_open(&m->chat, &co, m->tok, e) : 0;
    config_free(cfg);
    if (rc < 0)
        return rc;
    if (m->chat && chat_stop(m->chat))
        add_eos(m, tokenizer_find(m->tok, chat_stop(m->chat)));
    return 0;
}

/* What a stored state must agree with: config, tensor table, tokenizer. The weights' own bytes
 * join in model_load, as they pass by. */
static void fingerprint(struct model *m, const struct model_options *o)
{
    crypto_hash_sha256_state h;
    unsigned char source[32];
    crypto_hash_sha256_init(&h);
    source_digest(&m->source, source);
    crypto_hash_sha256_update(&h, source, sizeof source);
    for (size_t i = 0; m->files && i < checkpoint_count(m->files); i++) {
        const struct tensor *t = checkpoint_at(m->files, i);
        crypto_hash_sha256_update(&h, (const unsigned char *)t->name, strlen(t->name));
        crypto_hash_sha256_update(&h, (const unsigned char *)t->shape, sizeof t->shape);
        crypto_hash_sha256_update(&h, (const unsigned char *)&t->dtype, sizeof t->dtype);
    }
    if (!m->files)
        crypto_hash_sha256_update(&h, (const unsigned char *)&o->dummy_seed, sizeof o->dummy_seed);
    if (o->quantize != QUANTIZE_NONE) {
        unsigned char how = (unsigned char)o->quantize;
        crypto_hash_sha256_update(&h, &how, 1);
    }
    crypto_hash_sha256_final(&h, m->fingerprint);
}

static const char *const quantize_names[] = {"none", "q8", "q4"};

bool quantize_parse(const char *name, enum quantize *out)
{
    for (size_t i = 0; i < ARRAY_LEN(quantize_names); i++)
        if (strcmp(name, quantize_names[i]) == 0) {
            *out = (enum quantize)i;
            return true;
        }
    return false;
}

bool states_parse(const char *name, enum states *out)
{
    bool half = strcmp(name, "float16") == 0;
    if (!half && strcmp(name, "float32") != 0)
        return false;
    *out = half ? STATES_F16 : STATES_F32;
    return true;
}

int model_open(struct model **out, const struct model_options *o, struct err *e)
{
    struct model *m = mem_zalloc(sizeof *m);
    *out = NULL;
    if (!m)
        return err_set(e, E_NOMEM, "no memory for a model");
    arena_init(&m->arena, ARENA_BYTES);
    m->quantize = o->quantize;
    m->states = o->states;
    m->threads = o->threads;
    m->progress = o->progress;
    progress_stage(m->progress, "reading configuration and tokenizer", 0);
    if (sodium_init() < 0)
        err_set(e, E_UNSUPPORTED, "libsodium cannot be initialised");
    else if (source_open(&m->source, o->dir, e) == 0 &&
             (o->dummy || source_checkpoint(&m->source, &m->files, e) == 0) &&
             build_model(m, arch_find, m->source.config, m->files, e) == 0 &&
             progress_check(m->progress, e) == 0 &&
             read_generation(m, &m->source, e) == 0 && open_tokenizer(m, o, e) == 0) {
        source_name(&m->source, m->name, sizeof m->name);
        fingerprint(m, o);
    }
    if (e->code && !strstr(e->text, jsontext_tail(o->dir)))
        err_wrap(e, "model %s", jsontext_tail(o->dir));
    if (e->code == 0 && m->n_left_aside)
        log_warn("model %s: %d keys and tensors change nothing here and are left aside: %s%s",
                 m->name, m->n_left_aside, m->left_aside,
                 strlen(m->left_aside) + 60 > sizeof m->left_aside ? ", …" : "");
    if (e->code == 0 && o->dummy)
        m->dummy_seed = o->dummy_seed ? o->dummy_seed : 1;
    if (e->code) {
        model_close(m);
        return e->code;
    }
    if (o->dummy)
        source_close(&m->source);
    *out = m;
    return 0;
}

void model_close_files(struct model *m)
{
    checkpoint_close(m->files);
    source_close(&m->source);
    mem_free(m->bindings);
    m->files = NULL;
    m->bindings = NULL;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    model_close_files(m);
    chat_close(m->chat);
    tokenizer_close(m->tok);
    mem_free(m->plan.ops);
    mem_free(m->plan.acts);
    mem_free(m->plan.weights);
    mem_free(m->plan.sections);
    arena_free(&m->arena);
    mem_free(m);
}
