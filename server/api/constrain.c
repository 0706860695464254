/* Constrained answers. See the header. */
#include "server/api/constrain.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define KEPT 64 /* grammars */

/* Owner: the constrainer; `used` orders them, 0 = free. */
struct kept {
    struct grammar *g;
    enum grammar_kind kind;
    bool compact;
    char *text, *trigger, *then;
    bool again;
    size_t n;
    uint64_t used;
};

struct constrainer {
    const struct served *served;
    pthread_mutex_t lock;
    struct token_trie *trie; /* NULL until it is needed */
    struct kept kept[KEPT];
    uint64_t clock, compiled, reused, refused, compile_ns;
};

/* ---- for the scheduler ------------------------------------------------------------------ */

struct text_constraint {
    struct constraint base;
    struct match *m;
};

static const struct constraint_ops ops;

static struct match *match_of(const struct constraint *c)
{
    return ((const struct text_constraint *)(const void *)c)->m;
}

/* Takes m over. */
static struct constraint *wrap(struct match *m)
{
    struct text_constraint *t = m ? mem_zalloc(sizeof *t) : NULL;
    if (!t) {
        match_free(m);
        return NULL;
    }
    *t = (struct text_constraint){{&ops}, m};
    return &t->base;
}

static int mask(struct constraint *c, uint32_t *words, struct constrain_state *out, struct err *e)
{
    struct match_state s = {0};
    int rc = match_mask(match_of(c), words, &s, e);
    *out = (struct constrain_state){.whole = s.whole, .more = s.more};
    return rc;
}

static int accept_token(struct constraint *c, int32_t token, struct err *e)
{
    return match_accept(match_of(c), token, e);
}

static struct constraint *clone(const struct constraint *c)
{
    return wrap(match_clone(match_of(c)));
}

static void free_one(struct constraint *c)
{
    match_free(match_of(c));
    mem_free(c);
}

static const struct constraint_ops ops = {mask, accept_token, clone, free_one};

struct constraint *constraint_new(struct grammar *g) { return wrap(match_new(g)); }

/* ---- what is kept ----------------------------------------------------------------------- */

int constrainer_open(struct constrainer **out, const struct served *s, struct err *e)
{
    struct constrainer *c = mem_zalloc(sizeof *c);
    *out = c;
    if (!c)
        return err_set(e, E_NOMEM, "no memory for grammars");
    c->served = s;
    pthread_mutex_init(&c->lock, NULL);
    return 0;
}

static void drop(struct kept *k)
{
    grammar_unref(k->g);
    mem_free(k->text);
    mem_free(k->trigger);
    mem_free(k->then);
    *k = (struct kept){0};
}

void constrainer_close(struct constrainer *c)
{
    if (!c)
        return;
    for (int i = 0; i < KEPT; i++)
        drop(&c->kept[i]);
    token_trie_unref(c->trie);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static struct kept *find(struct constrainer *c, const struct grammar_source *s)
{
    for (int i = 0; i < KEPT; i++) {
        struct kept *k = &c->kept[i];
        if (k->used && k->kind == s->kind && k->compact == s->compact && k->n == s->n &&
            (s->n == 0 || memcmp(k->text, s->text, s->n) == 0) &&
            same_text(k->trigger, s->trigger) && same_text(k->then, s->then) &&
            k->again == s->again)
            return k;
    }
    return NULL;
}

static struct kept *oldest(struct constrainer *c)
{
    struct kept *o = NULL;
    for (int i = 0; i < KEPT; i++)
        if (c->kept[i].used && (!o || c->kept[i].used < o->used))
            o = &c->kept[i];
    return o;
}

/* Grammars grow while texts follow them: measured anew whenever one comes. */
static size_t total_bytes(struct constrainer *c)
{
    size_t sum = 0;
    for (int i = 0; i < KEPT; i++)
        if (c->kept[i].used)
            sum += grammar_bytes(c->kept[i].g) + c->kept[i].n;
    return sum;
}

/* Keeps g, if there is memory for its key. lock is held. */
static void keep(struct constrainer *c, const struct grammar_source *s, struct grammar *g)
{
    struct kept *k = NULL;
    while (total_bytes(c) > LIMIT_GRAMMAR_CACHE)
        drop(oldest(c));
    for (int i = 0; i < KEPT && !k; i++)
        k = c->kept[i].used ? NULL : &c->kept[i];
    if (!k)
        drop(k = oldest(c));
    *k = (struct kept){.kind = s->kind, .compact = s->compact, .n = s->n,
                       .text = mem_zalloc(s->n + 1),
                       .trigger = s->trigger ? mem_strdup(s->trigger) : NULL,
                       .then = s->then ? mem_strdup(s->then) : NULL, .again = s->again};
    if (!k->text || (s->trigger && !k->trigger) || (s->then && !k->then)) {
        drop(k);
        return;
    }
    if (s->n)
        memcpy(k->text, s->text, s->n);
    grammar_ref(g);
    k->g = g;
    k->used = ++c->clock;
}

static int prepare(struct constrainer *c, const char *field, struct err *e)
{
    if (!c->served->tok)
        return err_field(e, E_UNSUPPORTED, field, "%s: the model \"%s\" has no tokenizer", field,
                         c->served->name);
    pthread_mutex_lock(&c->lock);
    int rc = c->trie ? 0 : token_trie_of(&c->trie, c->served->tok, c->served->vocab, e);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int constrainer_get(struct constrainer *c, const struct grammar_source *s, const char *field,
                    struct grammar **out, struct err *e)
{
    struct err why = {0};
    *out = NULL;
    int rc = prepare(c, field, e);
    if (rc)
        return rc;
    pthread_mutex_lock(&c->lock);
    struct kept *k = find(c, s);
    if (k) {
        k->used = ++c->clock;
        c->reused++;
        *out = k->g;
        grammar_ref(k->g);
    }
    pthread_mutex_unlock(&c->lock);
    if (k)
        return 0;
    /* Compiled without the lock: a hostile definition holds up nobody else. */
    uint64_t start = clock_now_ns();
    rc = grammar_new(out, s, c->trie, &why);
    pthread_mutex_lock(&c->lock);
    c->compile_ns += clock_now_ns() - start;
    c->compiled += !rc;
    c->refused += rc != 0;
    if (!rc && !mem_lacked() && !find(c, s))
        keep(c, s, *out);
    pthread_mutex_unlock(&c->lock);
    if (rc == E_NOMEM)
        return err_set(e, rc, "%s", why.text);
    if (rc) /* whatever it is, it is the field's fault */
        return err_field(e, rc == E_UNSUPPORTED ? rc : E_FORMAT, field, "%s: %s", field, why.text);
    return 0;
}

int constrainer_spell(struct constrainer *c, const char *text, const char *field, int32_t *ids,
                      int32_t cap, int32_t *n, struct err *e)
{
    int rc = prepare(c, field, e);
    *n = rc ? 0 : token_trie_spell(c->trie, text, ids, cap);
    return rc;
}

void constrainer_stats(struct constrainer *c, struct constrainer_stats *out)
{
    pthread_mutex_lock(&c->lock);
    *out = (struct constrainer_stats){c->compiled, c->reused, c->refused, total_bytes(c),
                                      c->compile_ns};
    pthread_mutex_unlock(&c->lock);
}
