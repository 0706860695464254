/* From parameters to submitted requests. Thread: HTTP worker or the helper. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "scheduler/answer.h"
#include "server/api/api.h"
#include "server/api/gen.h"
#include "server/api/infill.h"

/* Text and fragments of one choice in a whole reply: 100,000 tokens with 20 logprobs each. */
#define REPLY_BYTES MIB(128)
/* Separates the seeds of choices from the counters the sampler uses (positions, below 2^32). */
#define SEED_STREAM (UINT64_C(1) << 62)

static int no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for the request"); }

static int tokenize_messages(const struct served *m, const struct params *p, struct ids *out,
                             struct ids *marks, struct err *e)
{
    if (!m->tok || !m->chat)
        return err_field(e, E_UNSUPPORTED, "messages",
                         "messages: the model \"%s\" has no %s; use /v1/completions", m->name,
                         m->tok ? "chat format" : "tokenizer");
    return chat_encode(m->chat, &p->chat, out, marks, e);
}

int gen_tokenize(const struct served *m, const struct params *p, int32_t prompt,
                 struct ids *out, struct ids *marks, struct err *e)
{
    if (p->n_messages)
        return tokenize_messages(m, p, out, marks, e);
    const struct prompt_in *in = &p->prompts[prompt];
    int rc;
    if (in->text && !m->tok)
        return err_field(e, E_UNSUPPORTED, "prompt",
                         "prompt: the model \"%s\" has no tokenizer; send token ids", m->name);
    struct infill gap = {"suffix", in->text, "", p->suffix, in->n_text, 0, p->n_suffix};
    if (p->suffix)
        return infill_encode(m->tok, &gap, out, e);
    if (in->text)
        rc = tokenizer_encode(m->tok, in->text, in->n_text,
                              TOKENIZE_SPECIAL | (p->add_special ? TOKENIZE_BOS : 0), out, e);
    else
        rc = ids_add_all(out, in->ids, (size_t)in->n_ids);
    if (rc == E_NOMEM)
        return no_memory(e);
    if (rc)
        return err_field(e, rc, "prompt", "prompt: more than %d tokens", LIMIT_PROMPT_TOKENS);
    if (out->len == 0 && p->kind == PARAMS_COMPLETION) {
        /* Empty text starts from nothing, which a model knows as its bos. */
        if (m->bos < 0 || !in->text)
            return err_field(e, E_RANGE, "prompt", "prompt: it has no tokens");
        return ids_add(out, m->bos) ? no_memory(e) : 0;
    }
    return 0;
}

static int output_limit(const struct gen_setup *s, const struct params *p, size_t n_prompt,
                        int32_t *out, struct err *e)
{
    int64_t context = s->served->context_max;
    int64_t n = p->max_tokens;
    if (n < 0)
        n = s->served->defaults.max_new_tokens > 0 ? s->served->defaults.max_new_tokens
                                                   : s->max_tokens;
    if (context > 0) {
        int64_t room = context - (int64_t)n_prompt;
        if (room < (n > 0) || (p->max_tokens > room))
            return err_field(e, E_RANGE, p->kind == PARAMS_CHAT ? "messages" : "prompt",
                             "the prompt has %zu tokens and the reply may have %lld, but the "
                             "model's context ends at %lld", n_prompt, (long long)n,
                             (long long)context);
        n = MIN(n, room);
    }
    *out = (int32_t)MIN(n, INT32_MAX);
    return 0;
}

/* The text that ends a turn: a token where it is one, otherwise a stop string. */
static void add_chat_stop(struct request *r, const struct served *m)
{
    const char *stop = chat_stop(m->chat);
    if (!stop || strlen(stop) > LIMIT_STOP_BYTES)
        return;
    int32_t id = tokenizer_find(m->tok, stop);
    if (id >= 0 && r->n_stop_ids < LIMIT_STOP_IDS)
        r->stop_ids[r->n_stop_ids++] = id;
    else if (id < 0 && r->n_stops < LIMIT_STOPS)
        memcpy(r->stops[r->n_stops++], stop, strlen(stop) + 1);
}

static int64_t key_limit(const struct key *k, enum key_limit which)
{
    return k ? __atomic_load_n(&k->limit[which], __ATOMIC_RELAXED) : -1;
}

/* Priority is among the client's own requests, unless its key says more. */
static void take_turn(struct request *r, const struct gen *g, const struct gen_setup *s)
{
    r->client = s->client;
    r->queue_share = (int32_t)MAX(key_limit(g->key, KEY_QUEUE), 0);
    r->weight = (int32_t)MAX(key_limit(g->key, KEY_WEIGHT), 1);
    r->priority = (int32_t)g->params.priority;
    if (g->key && __atomic_load_n(&g->key->priority, __ATOMIC_RELAXED))
        r->lead = r->priority;
    r->silence_ns = g->params.stream ? s->timeout_ns : 0;
}

static int fill(struct request *r, const struct gen *g, const struct choice *c,
                const struct gen_setup *s, uint64_t seed, struct err *e)
{
    const struct params *p = &g->params;
    const struct ids *ids = &g->prompts[c->prompt].ids;
    r->prompt = mem_array(ids->len, sizeof *r->prompt);
    r->sampling = p->sampling;
    r->sampling.bias = NULL;
    if (p->sampling.n_bias)
        r->sampling.bias = mem_array((size_t)p->sampling.n_bias, sizeof *r->sampling.bias);
    if (!r->prompt || (p->sampling.n_bias && !r->sampling.bias))
        return no_memory(e);
    memcpy(r->prompt, ids->p, ids->len * sizeof *r->prompt);
    r->n_prompt = (int32_t)ids->len;
    if (p->sampling.n_bias)
        memcpy(r->sampling.bias, p->sampling.bias,
               (size_t)p->sampling.n_bias * sizeof *r->sampling.bias);
    int32_t nth = c->index % p->n;
    r->sampling.seed = nth ? rng_at(seed, SEED_STREAM, (uint64_t)nth) : seed;
    r->min_tokens = (int32_t)p->min_tokens;
    r->ignore_eos = p->ignore_eos;
    r->logprobs = p->n > p->n_best ? MAX(p->logprobs, 0) : p->logprobs;
    r->prompt_logprobs = p->echo && p->logprobs >= 0;
    r->wants_receipt = p->receipt;
    r->receipt_ids = p->receipt_ids;
    r->n_stops = p->n_stops;
    r->n_stop_ids = p->n_stop_ids;
    memcpy(r->stops, p->stops, sizeof r->stops);
    memcpy(r->stop_ids, p->stop_ids, sizeof r->stop_ids);
    take_turn(r, g, s);
    r->tenant = g->tenant;
    r->pin_s = p->pin_s;
    r->in_session = p->session != NULL;
    r->session = g->session;
    r->ticket = g->ticket;
    const struct ids *marks = &g->prompts[c->prompt].marks;
    r->marks = mem_array(marks->len, sizeof *r->marks);
    if (!r->marks)
        return no_memory(e);
    if (marks->len)
        memcpy(r->marks, marks->p, marks->len * sizeof *r->marks);
    r->n_marks = (int32_t)marks->len;
    if (p->kind == PARAMS_CHAT && !p->ignore_eos)
        add_chat_stop(r, g->served);
    return 0;
}

/* What the answers must follow; behind what is thought. A grammar in GBNF is of the whole text, as
 * llama-server has it, unless the request gives the thinking a budget: then it begins behind it. */
static int make_grammar(struct gen *g, struct constrainer *c, struct err *e)
{
    const struct constrain_in *in = &g->params.constrain;
    struct grammar_source s = {.kind = in->kind, .text = in->text, .n = in->n,
                               .compact = in->compact};
    if (g->thinking && (in->kind != GRAMMAR_GBNF || g->n_close))
        s.trigger = THINK_CLOSE;
    return in->field ? constrainer_get(c, &s, in->field, &g->grammar, e) : 0;
}

static int make_prompts(struct gen *g, struct constrainer *c, struct err *e)
{
    struct params *p = &g->params;
    int32_t n = p->kind == PARAMS_CHAT ? 1 : p->n_prompts;
    g->prompts = mem_array((size_t)n, sizeof *g->prompts);
    if (!g->prompts)
        return no_memory(e);
    for (int32_t i = 0; i < n; i++) {
        struct gen_prompt *in = &g->prompts[i];
        ids_init(&in->ids, LIMIT_PROMPT_TOKENS);
        ids_init(&in->marks, LIMIT_MESSAGES);
        g->n_prompts++;
        if (p->kind == PARAMS_COMPLETION) {
            in->text = p->prompts[i].text;
            in->n_text = p->prompts[i].n_text;
        }
        int rc = gen_tokenize(g->served, p, i, &in->ids, &in->marks, e);
        if (rc)
            return rc;
    }
    int rc = p->kind == PARAMS_CHAT ? gen_tools(g, c, e) : 0;
    g->n_messages = p->n_messages;
    params_drop_chat(p);
    return rc;
}

static void init_buffers(struct choice *c)
{
    buf_init(&c->text, REPLY_BYTES);
    buf_init(&c->raw, REPLY_BYTES);
    buf_init(&c->reasoning, REPLY_BYTES);
    buf_init(&c->calls, REPLY_BYTES);
    for (int k = 0; k < GEN_PARTS; k++)
        buf_init(&c->part[k], REPLY_BYTES);
    ids_init(&c->ids, REPLY_BYTES / sizeof(int32_t));
    buf_init(&c->receipt, REPLY_BYTES);
}

static int make_choices(struct gen *g, const struct gen_setup *s, int64_t context, struct err *e)
{
    const struct params *p = &g->params;
    int32_t n = g->n_prompts * p->n;
    uint64_t seed = p->sampling.seed;
    uint64_t deadline = clock_now_ns() + s->timeout_ns;
    if (!p->has_seed)
        rng_system(&seed, sizeof seed);
    g->choices = mem_array((size_t)n, sizeof *g->choices);
    if (!g->choices)
        return no_memory(e);
    for (int32_t i = 0; i < n; i++) {
        struct choice *c = &g->choices[i];
        *c = (struct choice){.gen = g, .index = i, .prompt = i / p->n, .stopped_by = -1};
        init_buffers(c);
        g->n_choices++;
        c->r = request_new();
        if (!c->r)
            return no_memory(e);
        int rc = fill(c->r, g, c, s, seed, e);
        if (!rc)
            rc = gen_reader(g, c, e);
        if (!rc)
            rc = gen_constrain(g, c, e);
        if (!rc)
            rc = output_limit(s, p, g->prompts[c->prompt].ids.len + (size_t)context,
                              &c->r->max_tokens, e);
        if (rc)
            return rc;
        c->r->n_context = context;
        c->r->wake = gen_wake;
        c->r->wake_arg = c;
        c->r->deadline_ns = deadline;
    }
    return 0;
}

/* Its logprobs, to the bit. Where none were kept (not asked for then, or too many) they are null:
 * no reply says that an answer of so many tokens has none. */
static void repeat_scores(struct choice *c, const struct answer *a)
{
    struct gen *g = c->gen;
    struct token_event ev;
    size_t at = 0;
    if (!a->n_scores && a->n_output > 0)
        g->params.logprobs = -1;
    while (g->params.logprobs >= 0 && g->api->token && answer_scored(a, &at, &ev)) {
        bool known = ev.id >= 0 && ev.id < g->served->vocab;
        ev.n_top = MIN(ev.n_top, g->params.logprobs);
        for (int32_t i = 0; i < ev.n_top; i++)
            known = known && ev.top[i].id >= 0 && ev.top[i].id < g->served->vocab;
        if (known)
            g->api->token(c, &ev);
    }
}

/* The turn was done before: its answer again, without a sequence. */
static int repeat(struct gen *g, const struct buf *kept, struct err *e)
{
    struct answer a;
    int rc = answer_unpack(kept->p, kept->len, &a, e);
    g->choices = rc ? NULL : mem_array(1, sizeof *g->choices);
    if (!g->choices)
        return rc ? rc : no_memory(e);
    struct choice *c = &g->choices[g->n_choices++];
    *c = (struct choice){.gen = g, .finish = a.finish, .n_output = a.n_output, .stopped_by = -1,
                         .n_prompt = a.n_prompt, .n_cached = a.n_cached};
    init_buffers(c);
    if (gen_reader(g, c, e))
        return e->code;
    bool failed = buf_add(&c->raw, a.text, a.n_text) != 0;
    repeat_scores(c, &a);
    if (g->params.receipt && !failed)
        failed = buf_add(&c->receipt, a.receipt, a.n_receipt) != 0;
    for (int32_t i = 0; i < a.n_ids && !failed && g->params.return_ids; i++)
        failed = ids_add(&c->ids, answer_id(&a, i)) != 0;
    return failed ? no_memory(e) : gen_split(c, e);
}

/* Inside a conversation its beginning is not said again. */
static void drop_bos(const struct gen *g, struct gen_prompt *in)
{
    if (in->ids.len < 2 || in->ids.p[0] != g->served->bos ||
        (g->params.kind == PARAMS_COMPLETION && !in->text))
        return;
    memmove(in->ids.p, in->ids.p + 1, --in->ids.len * sizeof *in->ids.p);
    for (size_t i = 0; i < in->marks.len; i++)
        in->marks.p[i]--;
}

/* Claims the session for this turn. *context: its tokens; *done: the turn was done before. */
static int claim(struct gen *g, int64_t *context, bool *done, struct err *e)
{
    const struct params *p = &g->params;
    struct session_info s;
    struct buf kept;
    if (!g->served->cache)
        return err_field(e, E_UNSUPPORTED, "session", "session: this server keeps no states");
    if (!session_id_parse(p->session, &g->session))
        return err_field(e, E_NOENT, "session", "there is no such session");
    buf_init(&kept, LIMIT_ANSWER_BYTES);
    const struct session_condition when = {p->turn_id, p->expected_position,
                                           (uint64_t)p->expected_generation};
    int rc = session_claim(g->served->cache, &g->tenant, &g->session, &when, done, &kept, &s, e);
    if (!rc && *done) {
        rc = repeat(g, &kept, e);
    } else if (!rc) {
        g->ticket = s.ticket;
        *context = s.position;
        if (s.position > 0)
            drop_bos(g, &g->prompts[0]);
    }
    buf_free(&kept);
    return rc;
}

/* The key's share of sequences, before anything is computed for it. */
static int admit(struct gen *g, int32_t *retry_s, struct err *e)
{
    int32_t n = g->params.n * (g->params.kind == PARAMS_CHAT ? 1 : g->params.n_prompts);
    int rc = g->key ? key_take(g->key, n, e) : 0;
    if (rc || !g->key)
        return rc;
    g->taken = n;
    return key_request(g->key, retry_s, e);
}

static void make_id(struct gen *g)
{
    unsigned char bits[12];
    rng_system(bits, sizeof bits);
    size_t n = strlen(g->api->id_prefix);
    memcpy(g->id, g->api->id_prefix, n);
    for (size_t i = 0; i < sizeof bits; i++, n += 2) {
        g->id[n] = "0123456789abcdef"[bits[i] >> 4];
        g->id[n + 1] = "0123456789abcdef"[bits[i] & 15];
    }
    g->id[n] = '\0';
    g->created = clock_unix_s();
}

static bool is_of_prompt(const struct err *e)
{
    return e->param && (strcmp(e->param, "prompt") == 0 || strcmp(e->param, "messages") == 0);
}

int gen_start(struct gen **out, struct params *p, json_t *keep, const struct gen_setup *s,
              enum apierr *why, struct err *e)
{
    *out = NULL;
    struct gen *g = mem_zalloc(sizeof *g);
    if (!g) {
        params_fini(p);
        json_decref(keep);
        *why = APIERR_OVERLOADED;
        return no_memory(e);
    }
    *g = (struct gen){.refs = 1, .api = s->api, .keep = keep, .state = s->state, .params = *p,
                      .served = s->served, .stats = s->stats, .waker = s->waker, .key = s->key,
                      .tenant = s->tenant, .request_id = s->request_id,
                      .facts = s->facts};
    waker_ref(g->waker);
    buf_init(&g->chunk_head, REPLY_BYTES);
    __atomic_add_fetch(&g->stats->generations, 1, __ATOMIC_RELAXED);
    if (!g->served->tok)
        g->params.return_ids = true; /* the only answer such a model has */
    make_id(g);
    int32_t submitted = 0;
    int rc = admit(g, s->retry_s, e);
    bool full = rc == E_BUSY;
    if (!rc)
        rc = make_prompts(g, s->state->constrainer, e);
    if (!rc)
        rc = make_grammar(g, s->state->constrainer, e);
    bool tokenized = !rc;
    int64_t context = 0;
    bool done = false;
    if (!rc && g->params.session)
        rc = claim(g, &context, &done, e);
    if (!rc && !done)
        rc = make_choices(g, s, context, e);
    while (!rc && !done && submitted < g->n_choices) {
        rc = sched_submit(s->served->sched, g->choices[submitted].r, e);
        submitted += !rc;
    }
    if (rc) {
        /* With the prompt in ids, the only range it can violate is the context. */
        *why = tokenized && rc == E_RANGE && is_of_prompt(e) ? APIERR_CONTEXT
               : full                                        ? APIERR_KEY_LIMIT
                                                             : apierr_of(e);
        for (int32_t i = submitted; i < g->n_choices; i++) {
            request_unref(g->choices[i].r); /* the scheduler never saw it */
            g->choices[i].r = NULL;
        }
        gen_end(g);
        return rc;
    }
    *out = g;
    return 0;
}
