/* What is asked: a pure function of (seed, conversation, turn). Thread: any. */
#include "programs/recurd-bench/workload.h"

#include <string.h>

#include "base/mem.h"

/* One draw each; the low bits of the counter keep them apart. */
enum purpose { LENGTHS, CONTENT, PREFIX, TURNS, CANCEL, FILLER, ORDER, PURPOSES = 16 };

#define OUTPUT_MAX (1 << 24)

/* Short words that most tokenizers keep whole, so that N words are about N tokens. */
static const char *const words[] = {
    "the",  "a",    "to",   "and",  "of",   "in",    "it",   "was",  "he",   "she",  "they",
    "day",  "one",  "big",  "dog",  "cat",  "tree",  "ball", "park", "play", "home", "said",
    "want", "like", "with", "for",  "but",  "then",  "very", "red",  "blue", "sun",  "sky",
    "boy",  "girl", "mom",  "dad",  "toy",  "box",   "car",  "fish", "bird", "food", "water",
    "time", "good", "new",  "old",  "run",  "look",  "see",  "help", "find", "make", "give",
    "went", "came", "took", "saw",  "had",  "could", "door", "road", "lake",
};

static struct rng stream(uint64_t seed, uint64_t conv, uint32_t turn, enum purpose p)
{
    return (struct rng){.seed = rng_at(seed, conv, (uint64_t)turn * PURPOSES + p)};
}

static uint64_t content_seed(const struct workload *w)
{
    return (uint64_t)w->a->seed ^ w->a->salt_key << 1;
}

int workload_open(struct workload *w, const struct args *a, struct err *e)
{
    *w = (struct workload){.a = a};
    int rc = 0;
    if (a->trace && (rc = trace_open(&w->trace, a->trace, e)))
        return rc;
    if (!strcmp(a->dataset, "random"))
        return 0;
    rc = dataset_open(&w->data, a->dataset, e);
    if (rc)
        goto out;
    for (size_t i = 0; i < w->data.n && !rc; i++) {
        int form = w->data.entries[i].turns[0].form;
        if (a->chat ? form == ENTRY_IDS : form == ENTRY_MESSAGES)
            rc = err_set(e, E_CONFLICT, "%s: entry %zu holds %s, which --endpoint %s cannot send",
                         a->dataset, i, a->chat ? "token ids" : "messages", a->endpoint);
    }
    if (rc)
        goto out;
    w->order = mem_array(w->data.n, sizeof *w->order);
    if (!w->order || w->data.n > UINT32_MAX) {
        rc = err_set(e, E_NOMEM, "no memory for the order of %zu prompts", w->data.n);
        goto out;
    }
    struct rng r = stream((uint64_t)a->seed, 0, 0, ORDER);
    for (size_t i = 0; i < w->data.n; i++) {
        size_t k = rng_below(&r, i + 1);
        w->order[i] = w->order[k];
        w->order[k] = (uint32_t)i;
    }
out:
    if (rc)
        workload_close(w);
    return rc;
}

void workload_close(struct workload *w)
{
    dataset_free(&w->data);
    trace_free(&w->trace);
    mem_free(w->order);
    w->order = NULL;
}

static const struct entry *entry_of(const struct workload *w, uint64_t conv)
{
    return w->data.n ? &w->data.entries[w->order[conv % w->data.n]] : NULL;
}

uint32_t workload_turns(const struct workload *w, uint64_t conv)
{
    const struct args *a = w->a;
    if (a->fork > 0)
        return 1 + (uint32_t)a->fork;
    if (a->idle > 0 || a->restart)
        return 2;
    struct rng r = stream((uint64_t)a->seed, conv, 0, TURNS);
    uint32_t n = (uint32_t)dist_tokens(&a->turns_dist, &r, 100000);
    const struct entry *en = entry_of(w, conv);
    return en && n > en->n_turns ? (uint32_t)en->n_turns : n;
}

void workload_turn(const struct workload *w, uint64_t conv, uint32_t index, struct turn *t)
{
    const struct args *a = w->a;
    *t = (struct turn){.conv = conv, .index = index};
    struct rng r = stream((uint64_t)a->seed, conv, index, LENGTHS);
    t->n_in = dist_tokens(index ? &a->later_dist : &a->in_dist, &r, OUTPUT_MAX);
    t->n_out = dist_tokens(&a->out_dist, &r, OUTPUT_MAX);
    t->think_s = index ? dist_draw(&a->think_dist, &r) : 0;
    if (index && a->idle > 0)
        t->think_s = a->idle;
    const struct entry *en = entry_of(w, conv);
    if (en) {
        /* A dataset has turns to offer or repeats its last one (forks, idle). */
        t->fixed = &en->turns[MIN(index, en->n_turns - 1)];
        t->n_in = t->fixed->n_in;
        if (t->fixed->n_out && !a->fixed_output)
            t->n_out = t->fixed->n_out;
        return;
    }
    if (w->trace.n && !index) {
        const struct trace_row *row = &w->trace.rows[conv % w->trace.n];
        t->n_in = row->n_in ? row->n_in : t->n_in;
        t->n_out = row->n_out ? row->n_out : t->n_out;
    } else if (!index) {
        t->n_in += (int32_t)a->prefix_tokens;
    }
}

static void add_id(struct buf *out, int32_t id)
{
    char s[12];
    int i = 12;
    do
        s[--i] = (char)('0' + id % 10);
    while (id /= 10);
    if (out->len && out->p[out->len - 1] >= '0' && out->p[out->len - 1] <= '9')
        buf_ch(out, ',');
    buf_add(out, s + i, (size_t)(12 - i));
}

/* n random tokens: ids, or words with single spaces. */
static void add_random(const struct workload *w, struct rng r, int32_t n, struct buf *out)
{
    uint64_t span = (uint64_t)(w->a->vocab_hi - w->a->vocab_lo);
    for (int32_t i = 0; i < n; i++) {
        if (!w->a->text) {
            add_id(out, w->a->vocab_lo + (int32_t)(rng_next(&r) % span));
            continue;
        }
        if (i)
            buf_ch(out, ' ');
        buf_str(out, words[rng_next(&r) % ARRAY_LEN(words)]);
    }
}

/* Prompt tokens before the conversation's own: a trace's blocks, or a shared prefix. */
static int32_t add_prefix(const struct workload *w, const struct turn *t, struct buf *out)
{
    const struct args *a = w->a;
    if (t->index)
        return 0;
    int32_t done = 0;
    if (w->trace.n) {
        const struct trace_row *row = &w->trace.rows[t->conv % w->trace.n];
        for (size_t i = 0; i < row->n_hashes && done < t->n_in; i++) {
            uint64_t id = w->trace.hashes[row->first_hash + i];
            int32_t n = MIN(TRACE_BLOCK, t->n_in - done);
            if (a->text && i)
                buf_ch(out, ' ');
            add_random(w, stream(content_seed(w), id, 1, PREFIX), n, out);
            done += n;
        }
        return done;
    }
    if (!a->prefix_tokens)
        return 0;
    struct rng pick = stream((uint64_t)a->seed, t->conv, 0, PREFIX);
    uint64_t which = rng_below(&pick, (uint64_t)a->prefixes);
    add_random(w, stream(content_seed(w), which, 2, PREFIX), (int32_t)a->prefix_tokens, out);
    return (int32_t)a->prefix_tokens;
}

int workload_fragment(const struct workload *w, const struct turn *t, struct buf *out)
{
    bool chat = w->a->chat;
    if (t->fixed) {
        bool wrap = chat && t->fixed->form == ENTRY_TEXT;
        if (wrap)
            buf_str(out, "{\"role\":\"user\",\"content\":\"");
        buf_str(out, t->fixed->fragment);
        if (wrap)
            buf_str(out, "\"}");
        return out->failed ? E_NOMEM : 0;
    }
    bool prefixed = !t->index && (w->a->prefix_tokens || w->trace.n);
    if (chat)
        buf_str(out, prefixed ? "{\"role\":\"system\",\"content\":\""
                              : "{\"role\":\"user\",\"content\":\"");
    int32_t done = add_prefix(w, t, out);
    if (chat && prefixed)
        buf_str(out, "\"},{\"role\":\"user\",\"content\":\"");
    else if (w->a->text && (done || t->index))
        buf_ch(out, ' ');
    if (t->n_in > done)
        add_random(w, stream(content_seed(w), t->conv, t->index, CONTENT), t->n_in - done, out);
    if (chat)
        buf_str(out, "\"}");
    return out->failed ? E_NOMEM : 0;
}

int workload_filler(const struct workload *w, const struct turn *t, int32_t n, struct buf *out)
{
    add_random(w, stream(content_seed(w), t->conv, t->index, FILLER), n, out);
    return out->failed ? E_NOMEM : 0;
}

bool workload_cancels(const struct workload *w, uint64_t conv, uint32_t index)
{
    if (!(w->a->cancel > 0))
        return false;
    struct rng r = stream((uint64_t)w->a->seed, conv, index, CANCEL);
    return rng_unit(&r) < w->a->cancel;
}
