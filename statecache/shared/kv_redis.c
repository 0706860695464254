/* A store that speaks the Redis protocol: the same questions in its commands. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "statecache/shared/kv.h"
#include "statecache/shared/wire.h"

#define PREFIX "recurd:"
#define WINDOW 4 /* chunks on their way at once: they wait in the socket's buffers */

struct redis {
    struct kv kv;
    struct wire *wire;
    struct shared_address to;
};

static struct wire *wire_of(struct kv *s) { return ((struct redis *)s)->wire; }
static struct word word(const char *text) { return (struct word){text, strlen(text)}; }

struct key_text { char text[sizeof(PREFIX) + KV_KEY_TEXT]; };

static struct key_text text_of(const struct kv_key *key)
{
    struct key_text k;
    memcpy(k.text, PREFIX, sizeof(PREFIX));
    kv_key_text(key, k.text + sizeof(PREFIX) - 1);
    return k;
}

struct number { char text[24]; };

static struct number number(long long v)
{
    struct number n;
    snprintf(n.text, sizeof(n.text), "%lld", v);
    return n;
}

static int redis_connect(struct kv *s, int connect_ms, int answer_ms, struct err *e)
{
    return wire_connect(wire_of(s), connect_ms, answer_ms, e);
}
static bool redis_connected(const struct kv *s)
{
    return wire_connected(((const struct redis *)s)->wire);
}
static void redis_drop(struct kv *s) { wire_drop(wire_of(s)); }

static int redis_probe(struct kv *s, uint64_t deadline_ns, struct err *e)
{
    struct word ping = word("PING");
    struct reply r = {0};
    int rc = wire_ask(wire_of(s), &ping, 1, deadline_ns, &r, e);
    if (rc)
        redis_drop(s);
    return rc;
}

static int redis_put(struct kv *s, const struct kv_key *key, const void *p, size_t n,
                     int64_t ttl_s, uint64_t deadline_ns, struct err *e)
{
    struct key_text k = text_of(key);
    struct number ttl = number(ttl_s);
    struct word w[5] = {word("SET"), word(k.text), {p, n}, word("EX"), word(ttl.text)};
    struct reply r;
    return wire_ask(wire_of(s), w, ttl_s > 0 ? 5 : 3, deadline_ns, &r, e);
}
static int redis_flush(struct kv *s, uint64_t deadline_ns, struct err *e)
{
    (void)s, (void)deadline_ns, (void)e; /* each put has its reply */
    return 0;
}

static int redis_ask(struct kv *s, const struct kv_key *key, size_t most, uint64_t deadline_ns,
                     struct err *e)
{
    (void)most; /* of replies, WIRE_REPLY_MAX bounds all */
    struct key_text k = text_of(key);
    struct word w[2] = {word("GET"), word(k.text)};
    return wire_send(wire_of(s), w, 2, deadline_ns, e);
}
static int redis_answer(struct kv *s, uint64_t deadline_ns, struct kv_value *out, struct err *e)
{
    struct reply r = {0};
    int rc = wire_receive(wire_of(s), deadline_ns, &r, e);
    *out = (struct kv_value){.there = r.kind != REPLY_NIL};
    if (!rc && r.kind == REPLY_TEXT) /* an error is that it is no text, but a list or the like */
        *out = (struct kv_value){true, r.p, r.n};
    return rc;
}

static int renew(struct kv *s, const struct key_text *k, int64_t ttl_s, uint64_t deadline_ns,
                 struct err *e)
{
    struct number ttl = number(ttl_s);
    struct word w[3] = {word("EXPIRE"), word(k->text), word(ttl.text)};
    struct reply r;
    return ttl_s > 0 ? wire_ask(wire_of(s), w, 3, deadline_ns, &r, e) : 0;
}
static int redis_keep(struct kv *s, const struct kv_key *key, int64_t ttl_s, uint64_t deadline_ns,
                      bool *there, struct err *e)
{
    struct key_text k = text_of(key);
    struct word w[2] = {word("EXISTS"), word(k.text)};
    struct reply r = {0};
    int rc = wire_ask(wire_of(s), w, 2, deadline_ns, &r, e);
    *there = !rc && r.kind == REPLY_NUMBER && r.number == 1;
    return *there ? renew(s, &k, ttl_s, deadline_ns, e) : rc;
}
static int redis_remove(struct kv *s, const struct kv_key *key, uint64_t deadline_ns,
                        struct err *e)
{
    struct key_text k = text_of(key);
    struct word w[2] = {word("DEL"), word(k.text)};
    struct reply r;
    return wire_ask(wire_of(s), w, 2, deadline_ns, &r, e);
}

static int redis_mark(struct kv *s, const struct kv_key *list, int bit, int64_t ttl_s,
                      uint64_t deadline_ns, struct err *e)
{
    struct key_text k = text_of(list);
    struct number at = number(bit);
    struct word w[4] = {word("SETBIT"), word(k.text), word(at.text), word("1")};
    struct reply r;
    int rc = wire_ask(wire_of(s), w, 4, deadline_ns, &r, e);
    return rc ? rc : renew(s, &k, ttl_s, deadline_ns, e);
}

/* As the store counts, bit 0 is the first byte's highest. */
static uint64_t marks_of(const struct kv_value *v)
{
    uint64_t marks = 0;
    for (size_t i = 0; i < KV_MARKS && v->n <= KV_MARKS / 8; i++)
        if (i / 8 < v->n && v->p[i / 8] >> (7 - i % 8) & 1)
            marks |= UINT64_C(1) << i;
    return marks;
}
static int redis_marks(struct kv *s, const struct kv_key *lists, int n, uint64_t *marks,
                       uint64_t deadline_ns, struct err *e)
{
    int rc = 0;
    for (int i = 0; i < n && !rc; i++)
        rc = redis_ask(s, &lists[i], KV_MARKS / 8, deadline_ns, e);
    for (int i = 0; i < n && !rc; i++) {
        struct kv_value v;
        rc = redis_answer(s, deadline_ns, &v, e);
        marks[i] = rc ? 0 : marks_of(&v);
    }
    return rc;
}

struct listing {
    struct kv_page *page;
    enum kv_kind kind;
    size_t n;
};

static void listed(void *arg, const unsigned char *p, size_t n)
{
    const struct listing *l = arg;
    const size_t head = sizeof(PREFIX) - 1 + 2;
    struct kv_key key;
    if (n > head && kv_key_read(l->kind, (const char *)p + head, n - head, l->n, &key))
        l->page->each(l->page->arg, &key);
}

static int redis_list(struct kv *s, enum kv_kind kind, size_t n, struct kv_page *page,
                      uint64_t deadline_ns, struct err *e)
{
    char pattern[16], cursor[WIRE_CURSOR];
    struct listing l = {page, kind, n};
    _Static_assert(sizeof(page->at) >= WIRE_CURSOR, "a page's place has a cursor");
    snprintf(pattern, sizeof(pattern), PREFIX "%c:*", (char)kind);
    snprintf(cursor, sizeof(cursor), "%.*s", WIRE_CURSOR - 1, *page->at ? page->at : "0");
    int rc = wire_scan(wire_of(s), pattern, cursor, listed, &l, deadline_ns, e);
    memcpy(page->at, cursor, sizeof(cursor));
    page->last = !rc && strcmp(cursor, "0") == 0;
    return rc;
}

static int redis_idle(struct kv *s, const struct kv_key *key, uint64_t deadline_ns,
                      int64_t *idle_s, struct err *e)
{
    struct key_text k = text_of(key);
    struct word w[3] = {word("OBJECT"), word("IDLETIME"), word(k.text)};
    struct reply r = {0};
    struct err why = {0};
    int rc = wire_ask(wire_of(s), w, 3, deadline_ns, &r, &why);
    *idle_s = !rc && r.kind == REPLY_NUMBER ? r.number : -1;
    return rc && rc != E_DENIED ? err_set(e, rc, "%s", why.text) : 0; /* DENIED: nobody counts */
}

/* l, e and b: what is used beside kv_kind (claim.h). */
static void note_other(void *arg, const unsigned char *p, size_t n)
{
    size_t at = sizeof(PREFIX) - 1;
    *(uint64_t *)arg += n < at + 2 || !memchr("scirlbe", p[at], 7) || p[at + 1] != ':';
}

static int redis_others(struct kv *s, struct kv_page *page, uint64_t *n, uint64_t deadline_ns,
                        struct err *e)
{
    char cursor[WIRE_CURSOR];
    snprintf(cursor, sizeof(cursor), "%.*s", WIRE_CURSOR - 1, *page->at ? page->at : "0");
    int rc = wire_scan(wire_of(s), PREFIX "*", cursor, note_other, n, deadline_ns, e);
    memcpy(page->at, cursor, sizeof(cursor));
    page->last = !rc && strcmp(cursor, "0") == 0;
    return rc;
}

static void redis_close(struct kv *s)
{
    struct redis *r = (struct redis *)s;
    wire_close(r->wire);
    sodium_memzero(r, sizeof(*r)); /* the password */
    mem_free(r);
}

static const struct kv_ops redis_ops = {
    .close = redis_close,
    .connect = redis_connect, .connected = redis_connected, .drop = redis_drop,
    .probe = redis_probe,
    .put = redis_put, .flush = redis_flush, .ask = redis_ask, .answer = redis_answer,
    .keep = redis_keep, .remove = redis_remove, .mark = redis_mark, .marks = redis_marks,
    .list = redis_list, .idle = redis_idle, .others = redis_others,
};

struct wire *kv_redis_wire(struct kv *s) { return s->ops == &redis_ops ? wire_of(s) : NULL; }

static int credentials(struct shared_address *to, const char *password, struct err *e)
{
    if (password && !*to->password &&
        (size_t)snprintf(to->password, sizeof(to->password), "%s", password) >=
            sizeof(to->password))
        return err_set(e, E_RANGE, "shared: the password has %zu bytes, at most %zu are possible",
                       strlen(password), sizeof(to->password) - 1);
    if (*to->user && !*to->password)
        return err_set(e, E_FORMAT, "shared: user \"%s\" has no password", to->user);
    return 0;
}

int kv_redis_open(struct kv **out, const struct kv_options *o, struct err *e)
{
    *out = NULL;
    struct redis *r = mem_zalloc(sizeof(*r));
    if (!r)
        return err_set(e, E_NOMEM, "no memory for the shared store");
    r->kv = (struct kv){.ops = &redis_ops, .shown = r->to.shown, .window = WINDOW};
    int rc = shared_address_parse(o->url, &r->to, e);
    if (!rc)
        rc = credentials(&r->to, o->password, e);
    if (!rc)
        rc = wire_open(&r->wire, &r->to, o->ca, e);
    if (rc)
        redis_close(&r->kv);
    else
        *out = &r->kv;
    return rc;
}
