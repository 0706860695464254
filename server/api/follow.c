/* Thinking budgets and the end behind the first call. See the header. */
#include "server/api/follow.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

enum place { BEFORE, THINK, CLOSING, AFTER };

struct follow {
    struct constraint base;
    struct follow_setup o; /* but for tools and shown: those below */
    int32_t shown[LIMIT_SHOWN_IDS];
    enum place place;
    int64_t left;             /* tokens of thinking */
    int32_t at;               /* of o.close, while closing */
    char seen[16];            /* what may become a tag */
    size_t n_seen;
    struct toolcall *reader;  /* NULL = calls are not looked for */
    bool called;              /* the first call is there */
};

static const struct constraint_ops ops;

static struct follow *own(struct constraint *c) { return (struct follow *)(void *)c; }

static void allow_all(const struct follow *f, uint32_t *words)
{
    size_t vocab = (size_t)f->o.served->vocab;
    memset(words, 0xFF, (vocab + 31) / 32 * sizeof *words);
    if (vocab % 32)
        words[vocab / 32] = (1u << (vocab % 32)) - 1;
}

static int mask(struct constraint *c, uint32_t *words, struct constrain_state *out, struct err *e)
{
    struct follow *f = own(c);
    size_t n = ((size_t)f->o.served->vocab + 31) / 32;
    if (f->place == THINK && f->left <= 0)
        f->place = CLOSING;
    *out = (struct constrain_state){.whole = f->place != CLOSING, .more = !f->called};
    if (f->called || f->place == CLOSING)
        memset(words, 0, n * sizeof *words);
    if (f->called)
        return 0;
    if (f->place == CLOSING) {
        int32_t id = f->o.close[f->at];
        words[id / 32] |= 1u << (id % 32);
        return 0;
    }
    if (f->o.inner)
        return f->o.inner->ops->mask(f->o.inner, words, out, e);
    allow_all(f, words);
    return 0;
}

/* The answer opens its thinking, or does not: white space, then the tag. */
static void look_for_open(struct follow *f, const char *p, size_t n)
{
    for (size_t i = 0; i < n && f->place == BEFORE; i++) {
        if (f->n_seen == 0 && strchr(" \n\r\t", p[i]) && p[i])
            continue;
        if (p[i] != THINK_OPEN[f->n_seen])
            f->place = AFTER;
        else if (++f->n_seen == strlen(THINK_OPEN))
            f->place = THINK;
    }
    if (f->place == THINK)
        f->n_seen = 0;
}

/* One token of thinking; the last bytes are kept, since a tag may be cut. */
static void look_for_close(struct follow *f, const char *p, size_t n)
{
    size_t want = strlen(THINK_CLOSE);
    for (size_t i = 0; i < n; i++) {
        if (f->n_seen == want)
            memmove(f->seen, f->seen + 1, --f->n_seen);
        f->seen[f->n_seen++] = p[i];
        if (f->n_seen == want && memcmp(f->seen, THINK_CLOSE, want) == 0)
            f->place = AFTER;
    }
    f->left--;
}

static void follow_thinking(struct follow *f, int32_t token)
{
    size_t n;
    const char *p = tokenizer_piece_shown(f->o.served->tok, token, &n);
    if (f->place == CLOSING && ++f->at == f->o.n_close)
        f->place = AFTER;
    else if (f->place == BEFORE)
        look_for_open(f, p, n);
    else if (f->place == THINK)
        look_for_close(f, p, n);
}

/* The token's text as the reader of the answer gets it. */
static int follow_calls(struct follow *f, int32_t token, struct err *e)
{
    size_t n = 0;
    bool shown = false;
    for (int32_t i = 0; i < f->o.n_shown; i++)
        shown = shown || f->shown[i] == token;
    const char *p = (shown ? tokenizer_piece_shown : tokenizer_piece)(f->o.served->tok, token, &n);
    return toolcall_feed(f->reader, p, n, e);
}

static int accept_token(struct constraint *c, int32_t token, struct err *e)
{
    struct follow *f = own(c);
    int rc = f->o.inner ? f->o.inner->ops->accept(f->o.inner, token, e) : 0;
    if (!rc && f->o.budget >= 0)
        follow_thinking(f, token);
    if (!rc && f->reader && !f->called)
        rc = follow_calls(f, token, e);
    return rc;
}

static void event(void *arg, const struct toolcall_event *ev)
{
    struct follow *f = arg;
    f->called = f->called || ev->kind == TOOLCALL_END;
}

static void free_one(struct constraint *c)
{
    struct follow *f = own(c);
    if (f->o.inner)
        f->o.inner->ops->free(f->o.inner);
    toolcall_free(f->reader);
    toolset_free(f->o.tools);
    mem_free(f);
}

static struct constraint *clone(const struct constraint *c)
{
    const struct follow *f = (const struct follow *)(const void *)c;
    struct follow *copy = mem_zalloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *f;
    copy->o.inner = f->o.inner ? f->o.inner->ops->clone(f->o.inner) : NULL;
    copy->reader = f->reader ? toolcall_clone(f->reader, copy) : NULL;
    if (copy->o.tools)
        toolset_ref(copy->o.tools);
    if ((f->o.inner && !copy->o.inner) || (f->reader && !copy->reader)) {
        free_one(&copy->base);
        return NULL;
    }
    return &copy->base;
}

static const struct constraint_ops ops = {mask, accept_token, clone, free_one};

struct constraint *follow_new(const struct follow_setup *s)
{
    ASSERT(s->budget < 0 || (s->n_close > 0 && s->n_close <= FOLLOW_CLOSE));
    ASSERT(s->n_shown <= LIMIT_SHOWN_IDS);
    if (s->budget < 0 && !s->dialect)
        return s->inner;
    struct follow *f = mem_zalloc(sizeof *f);
    if (!f) {
        if (s->inner)
            s->inner->ops->free(s->inner);
        return NULL;
    }
    *f = (struct follow){.base = {&ops}, .o = *s, .left = s->budget,
                         .place = s->budget < 0 ? AFTER : s->thinking ? THINK : BEFORE};
    f->o.tools = NULL;
    f->o.shown = NULL;
    for (int32_t i = 0; i < s->n_shown; i++)
        f->shown[i] = s->shown[i];
    if (s->dialect) {
        struct toolcall_options o = {.dialect = s->dialect, .tools = s->tools,
                                     .reasoning = s->reasoning, .thinking = s->thinking,
                                     .single = true, .emit = event, .arg = f};
        toolset_ref(s->tools);
        f->o.tools = s->tools;
        f->reader = toolcall_new(&o);
    }
    if (s->dialect && !f->reader) {
        free_one(&f->base);
        return NULL;
    }
    return &f->base;
}
