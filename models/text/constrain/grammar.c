/* Compiled grammars and the texts that follow them. See the header.
 *
 * Masks are kept by position, LIMIT_GRAMMAR_MASKS of them; the oldest goes. What is remembered of
 * positions is forgotten when it exceeds LIMIT_GRAMMAR_POOL, but for the places where texts in
 * work stand now: the grammar knows them all. */
#include "models/text/constrain/grammar.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "models/text/constrain/define.h"
#include "models/text/constrain/positions.h"

struct mask {
    int32_t position; /* -1 = free */
    bool more;
    uint32_t *words;
};

struct match {
    struct grammar *g;
    int32_t position;
    struct match *next, **link; /* in the grammar's list */
};

struct grammar {
    pthread_mutex_t lock;
    int refs;
    struct automaton a;
    struct positions p;
    struct token_trie *trie;
    struct match *texts;
    struct mask masks[LIMIT_GRAMMAR_MASKS];
    int32_t n_masks, oldest;
    int32_t path[LIMIT_TOKEN_BYTES + 1]; /* of a walk: the position at each depth */
};

/* ---- life ------------------------------------------------------------------------------- */

static void destroy(struct grammar *g)
{
    for (int32_t i = 0; i < g->n_masks; i++)
        mem_free(g->masks[i].words);
    positions_free(&g->p);
    automaton_free(&g->a);
    token_trie_unref(g->trie);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

static int find_mask(struct grammar *g, int32_t at, const struct mask **out, struct err *e);

int grammar_new(struct grammar **out, const struct grammar_source *s,
                struct token_trie *trie, struct err *e)
{
    const struct mask *first;
    int32_t root;
    bool lacked = mem_lacked();
    *out = NULL;
    struct grammar *g = mem_zalloc(sizeof *g);
    if (!g)
        return err_set(e, E_NOMEM, "no memory for a grammar");
    pthread_mutex_init(&g->lock, NULL);
    g->refs = 1;
    g->trie = trie;
    token_trie_ref(trie);
    automaton_init(&g->a);
    int rc = define(&g->a, s, trie, &root, e);
    if (!rc)
        rc = automaton_finish(&g->a, root, e);
    if (!rc)
        rc = positions_init(&g->p, &g->a, e);
    /* The first mask now: a grammar that cannot be followed is refused before anything runs. */
    if (!rc)
        rc = find_mask(g, g->p.start, &first, e);
    if (!rc && s->trigger)
        rc = find_mask(g, positions_first(&g->p), &first, e);
    if (!rc && !lacked && mem_lacked()) /* a copy of JSON may lack what the schema says */
        rc = err_set(e, E_NOMEM, "no memory for a grammar");
    if (rc) {
        destroy(g);
        return rc;
    }
    *out = g;
    return 0;
}

void grammar_ref(struct grammar *g) { __atomic_add_fetch(&g->refs, 1, __ATOMIC_RELAXED); }

void grammar_unref(struct grammar *g)
{
    if (g && __atomic_sub_fetch(&g->refs, 1, __ATOMIC_ACQ_REL) == 0)
        destroy(g);
}

size_t grammar_bytes(struct grammar *g)
{
    pthread_mutex_lock(&g->lock);
    size_t n = sizeof *g + automaton_bytes_used(&g->a) + positions_bytes(&g->p) +
               (size_t)g->n_masks * g->trie->words * sizeof(uint32_t);
    pthread_mutex_unlock(&g->lock);
    return n;
}

/* lock is held, or nobody else knows g. */
static struct match *add_match(struct grammar *g, int32_t position)
{
    struct match *m = mem_zalloc(sizeof *m);
    if (!m)
        return NULL;
    *m = (struct match){.g = g, .position = position, .next = g->texts, .link = &g->texts};
    if (m->next)
        m->next->link = &m->next;
    g->texts = m;
    grammar_ref(g);
    return m;
}

struct match *match_new(struct grammar *g)
{
    pthread_mutex_lock(&g->lock);
    struct match *m = add_match(g, positions_first(&g->p));
    pthread_mutex_unlock(&g->lock);
    return m;
}

struct match *match_clone(const struct match *m)
{
    pthread_mutex_lock(&m->g->lock);
    struct match *copy = add_match(m->g, m->position);
    pthread_mutex_unlock(&m->g->lock);
    return copy;
}

void match_free(struct match *m)
{
    if (!m)
        return;
    struct grammar *g = m->g;
    pthread_mutex_lock(&g->lock);
    *m->link = m->next;
    if (m->next)
        m->next->link = m->link;
    pthread_mutex_unlock(&g->lock);
    mem_free(m);
    grammar_unref(g);
}

/* ---- memory ----------------------------------------------------------------------------- */

static void forget_masks(struct grammar *g)
{
    for (int32_t i = 0; i < g->n_masks; i++)
        g->masks[i].position = -1;
}

/* Before an operation: room, and a new allowance of steps. */
static int refresh(struct grammar *g, struct err *e)
{
    g->p.steps = LIMIT_GRAMMAR_STEPS;
    err_clear(&g->p.err);
    if (positions_bytes(&g->p) <= LIMIT_GRAMMAR_POOL)
        return 0;
    size_t n = 0, i = 0;
    for (struct match *m = g->texts; m; m = m->next)
        n++;
    int32_t **keep = mem_array(MAX(n, 1), sizeof *keep);
    if (!keep)
        return err_set(e, E_NOMEM, "no memory to follow %zu texts", n);
    for (struct match *m = g->texts; m; m = m->next)
        keep[i++] = &m->position;
    int rc = positions_forget(&g->p, keep, n, e);
    mem_free(keep);
    if (rc)
        return rc;
    forget_masks(g);
    g->p.steps = LIMIT_GRAMMAR_STEPS;
    if (positions_bytes(&g->p) > LIMIT_GRAMMAR_POOL)
        return err_set(e, E_RANGE, "the text is nested too deep to follow the grammar: %zu bytes, "
                       "at most %zu", positions_bytes(&g->p), LIMIT_GRAMMAR_POOL);
    return 0;
}

/* ---- masks ------------------------------------------------------------------------------ */

/* The largest slice that may follow as a whole, as an index; -1 = none. */
static int slice_at(struct grammar *g, int32_t at)
{
    int32_t chars = positions_plain(&g->p, at, token_slice_chars[SLICE_COUNT - 1]);
    int slice = -1;
    while (slice + 1 < SLICE_COUNT && token_slice_chars[slice + 1] <= chars)
        slice++;
    return slice;
}

/* Every node of the trie that can be reached from a position, but for what the slice holds. */
static bool walk(struct grammar *g, int32_t at, int slice, uint32_t *words)
{
    const struct token_trie *t = g->trie;
    bool any = slice >= 0;
    g->path[0] = at;
    for (uint32_t i = 0; i < t->n_nodes;) {
        const struct trie_node *x = &t->nodes[i];
        int32_t to = POSITION_DEAD;
        if ((int)x->slice > slice)
            to = positions_byte(&g->p, g->path[x->depth - 1], x->byte);
        if (to == POSITION_DEAD) {
            i = x->next;
            continue;
        }
        g->path[x->depth] = to;
        for (int32_t id = x->token; id >= 0; id = t->same[id]) {
            words[id / 32] |= 1u << (id % 32);
            any = true;
        }
        i++;
    }
    return any;
}

/* Before the trigger, tokens without bytes may come as they like. */
static void allow_special(const struct token_trie *t, uint32_t *words)
{
    for (int32_t id = 0; id < t->vocab; id++)
        if (t->lengths[id] == 0)
            words[id / 32] |= 1u << (id % 32);
}

/* A place for a mask: a new one, or that of the oldest. */
static struct mask *take_mask(struct grammar *g, struct err *e)
{
    if (g->n_masks < LIMIT_GRAMMAR_MASKS) {
        uint32_t *words = mem_array(g->trie->words, sizeof *words);
        if (!words && g->n_masks == 0)
            return (void)err_set(e, E_NOMEM, "no memory for a mask of %d tokens", g->trie->vocab),
                   NULL;
        if (words) {
            g->masks[g->n_masks].words = words;
            return &g->masks[g->n_masks++];
        }
    }
    g->oldest = (g->oldest + 1) % g->n_masks;
    struct mask *m = &g->masks[g->oldest];
    if (m->position >= 0)
        g->p.all[m->position].mask = -1;
    m->position = -1;
    return m;
}

static int find_mask(struct grammar *g, int32_t at, const struct mask **out, struct err *e)
{
    const struct token_trie *t = g->trie;
    *out = &g->masks[MAX(g->p.all[at].mask, 0)];
    if (g->p.all[at].mask >= 0)
        return 0;
    struct mask *m = take_mask(g, e);
    if (!m)
        return E_NOMEM;
    m->position = -1;
    int slice = slice_at(g, at);
    if (slice >= 0)
        memcpy(m->words, t->slices[slice], t->words * sizeof *m->words);
    else
        memset(m->words, 0, t->words * sizeof *m->words);
    m->more = walk(g, at, slice, m->words);
    if (g->p.err.code) {
        if (e)
            *e = g->p.err;
        return g->p.err.code;
    }
    if (g->p.all[at].trigger >= 0) {
        allow_special(t, m->words);
        m->more = true;
    }
    m->position = at;
    g->p.all[at].mask = (int32_t)(m - g->masks);
    *out = m;
    return 0;
}

int match_mask(struct match *m, uint32_t *words, struct match_state *out, struct err *e)
{
    struct grammar *g = m->g;
    const struct mask *mask;
    pthread_mutex_lock(&g->lock);
    int rc = refresh(g, e);
    if (!rc)
        rc = find_mask(g, m->position, &mask, e);
    if (!rc) {
        const struct position *at = &g->p.all[m->position];
        *out = (struct match_state){.whole = at->whole, .more = mask->more,
                                    .free = at->trigger >= 0};
        memcpy(words, mask->words, g->trie->words * sizeof *words);
        if (!out->whole && !out->more)
            rc = err_set(e, E_FORMAT, "the vocabulary has no token with which the constrained text "
                         "can go on");
    }
    pthread_mutex_unlock(&g->lock);
    return rc;
}

/* ---- going on --------------------------------------------------------------------------- */

int match_accept_bytes(struct match *m, const char *p, size_t n, struct err *e)
{
    struct grammar *g = m->g;
    pthread_mutex_lock(&g->lock);
    int rc = refresh(g, e);
    int32_t at = m->position;
    size_t i = 0;
    for (; i < n && !rc && at != POSITION_DEAD; i++)
        at = positions_byte(&g->p, at, (uint8_t)p[i]);
    if (!rc && g->p.err.code) {
        rc = g->p.err.code;
        if (e)
            *e = g->p.err;
    } else if (!rc && at == POSITION_DEAD) {
        rc = err_set(e, E_CONFLICT, "the constrained text cannot go on with byte %d (%zu of %zu)",
                     (unsigned char)p[i - 1], i, n);
    }
    if (!rc)
        m->position = at;
    pthread_mutex_unlock(&g->lock);
    return rc;
}

int match_accept(struct match *m, int32_t token, struct err *e)
{
    const struct token_trie *t = m->g->trie;
    if (token < 0 || token >= t->vocab)
        return err_set(e, E_RANGE, "token %d, and the vocabulary has %d", (int)token,
                       (int)t->vocab);
    if (t->lengths[token])
        return match_accept_bytes(m, t->bytes[token], t->lengths[token], e);
    const char *code = token_code(t, token);
    pthread_mutex_lock(&m->g->lock);
    int at = m->g->p.all[m->position].trigger;
    pthread_mutex_unlock(&m->g->lock);
    const struct trigger *x = at >= 0 ? &m->g->a.triggers[at / LIMIT_TRIGGER_BYTES] : NULL;
    if (x && (x->n != TOKEN_CODE || memcmp(x->p, code, TOKEN_CODE) != 0))
        return 0;
    int rc = match_accept_bytes(m, code, TOKEN_CODE, NULL);
    return rc == E_CONFLICT ? err_set(e, rc, "token %d has no text, and the constrained text goes "
                                      "on with some", (int)token)
           : rc ? err_set(e, rc, "the grammar costs too much to follow") : 0;
}

void match_start(struct match *m)
{
    pthread_mutex_lock(&m->g->lock);
    if (m->g->p.all[m->position].trigger >= 0)
        m->position = m->g->p.start;
    pthread_mutex_unlock(&m->g->lock);
}
