/* A bucket of S3 as a store: every value an object, every list an object of 8 bytes.
 *
 * There is no connection that stands, but credentials, a region and a clock that the service takes:
 * `connected` says that it did, and that it answers. A time to live is the bucket's business. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "statecache/shared/kv.h"
#include "statecache/shared/s3_http.h"
#include "statecache/shared/s3_listing.h"

#define LOOK_NS NS_PER_S      /* the file of credentials is looked at so often */
#define LATE 3                /* late answers in a row after which the store counts as gone */
#define FRESH_S (24 * 3600)   /* what is older is put again, before the bucket's rules take it */
#define LIST (KV_MARKS / 8)
#define MARK_TRIES 8          /* to change a list that others change meanwhile */

struct s3 {
    struct kv kv;
    struct s3_place place;
    struct s3_login login;
    struct s3_http *http;
    bool up, plain;           /* plain: the store knows no conditional puts */
    int late;
    uint64_t looked_ns;
    int asks[S3_AT_ONCE], first, n_asks; /* in order; a ring */
    int puts[S3_AT_ONCE], n_puts;
    int held;                 /* whose bytes the caller has, -1 = nobody's */
};

/* ---- one transfer ------------------------------------------------------------------------- */

static void give_up(struct s3 *s, bool down)
{
    s3_http_cancel(s->http);
    s->first = s->n_asks = s->n_puts = 0;
    s->held = -1;
    s->up = s->up && !down;
}

static void count(struct s3 *s)
{
    uint64_t sent, again;
    s3_http_counts(s->http, &sent, &again);
    s->kv.requests += sent;
    s->kv.repeated += again;
}

static int not_connected(struct s3 *s, struct err *e)
{
    return err_set(e, E_IO, "%s: not connected", s->place.shown);
}

/* Before any question: what the last answer held is free again, and who are we now? */
static void ready(struct s3 *s)
{
    if (s->held >= 0)
        s3_http_end(s->http, s->held);
    s->held = -1;
    uint64_t now = clock_now_ns();
    if (now - s->looked_ns < LOOK_NS)
        return;
    s->looked_ns = now;
    (void)!s3_login_renew(&s->login, NULL); /* a fault is told when these are not taken any more */
}

/* Until one more is over. */
static int turn(struct s3 *s, uint64_t deadline_ns, struct err *e)
{
    int rc = s3_http_turn(s->http, deadline_ns, e);
    count(s);
    if (rc == E_TIMEOUT)
        give_up(s, ++s->late >= LATE);
    else if (rc)
        give_up(s, true);
    return rc;
}

/* What became of one that is over; *m: DONE, ABSENT, CHANGED or CANNOT. */
static int outcome(struct s3 *s, const struct s3_reply *r, enum s3_meaning *m, struct err *e)
{
    int rc = 0;
    bool down = r->failed ? r->failed != E_NOMEM : r->meaning != S3_REFUSED;
    *m = r->meaning;
    s->late = 0;
    if (r->failed)
        rc = err_set(e, r->failed, "%s", r->why);
    else if (r->meaning == S3_AGAIN || r->meaning == S3_REFUSED || r->meaning == S3_LOST)
        rc = s3_refuse(&s->place, r->status, &r->refusal, r->skew_s, e);
    if (rc)
        give_up(s, down);
    return rc;
}

struct name { char text[KV_KEY_TEXT]; };

/* "s/0123…": what is of a kind lies together. */
static struct name name_of(const struct kv_key *key)
{
    struct name n;
    kv_key_text(key, n.text);
    n.text[1] = '/';
    return n;
}

/* One request and its reply, which is held. */
static int one(struct s3 *s, const struct s3_request *r, uint64_t deadline_ns,
               const struct s3_reply **out, enum s3_meaning *m, struct err *e)
{
    int id;
    if (!s->up)
        return not_connected(s, e);
    if (s->n_asks || s->n_puts)
        give_up(s, false); /* nobody waits for them any more */
    ready(s);
    int rc = s3_http_begin(s->http, r, &id, e);
    while (!rc && !(*out = s3_http_over(s->http, id)))
        rc = turn(s, deadline_ns, e);
    if (rc)
        return rc;
    s->held = id;
    return outcome(s, *out, m, e);
}

/* ---- connecting --------------------------------------------------------------------------- */

static void s3_drop(struct kv *kv) { give_up((struct s3 *)kv, true); }
static bool s3_connected(const struct kv *kv) { return ((const struct s3 *)kv)->up; }

/* Asks for what is not there: that it is absent says that all else is in order. */
static int probe(struct s3 *s, int ms, struct err *e)
{
    const struct s3_reply *r;
    enum s3_meaning m;
    struct s3_request get = {.method = S3_GET, .key = "probe", .most = LIST};
    s->up = true; /* until the answer says otherwise */
    int rc = one(s, &get, clock_now_ns() + (uint64_t)ms * NS_PER_MS, &r, &m, e);
    if (!rc && m != S3_DONE && m != S3_ABSENT)
        rc = s3_refuse(&s->place, r->status, &r->refusal, r->skew_s, e);
    if (rc)
        give_up(s, true);
    return rc;
}

static int s3_connect(struct kv *kv, int connect_ms, int answer_ms, struct err *e)
{
    struct s3 *s = (struct s3 *)kv;
    give_up(s, true);
    s->late = 0;
    s3_http_patience(s->http, connect_ms);
    int rc = s3_login_renew(&s->login, e);
    if (!rc)
        rc = probe(s, connect_ms, e); /* with names and TLS … */
    return rc ? rc : probe(s, answer_ms, e); /* … and now as every question */
}

/* ---- values ------------------------------------------------------------------------------- */

/* Those puts that are over leave room; all: until none is on its way. */
static int settle_puts(struct s3 *s, bool all, uint64_t deadline_ns, struct err *e)
{
    int rc = 0;
    while (s->n_puts > 0 && !rc && (all || !s3_http_room(s->http))) {
        int over = 0;
        for (int i = 0; i < s->n_puts && !rc;) {
            const struct s3_reply *r = s3_http_over(s->http, s->puts[i]);
            enum s3_meaning m;
            if (!r) {
                i++;
                continue;
            }
            over++;
            rc = outcome(s, r, &m, e);
            if (!rc && m != S3_DONE)
                rc = s3_refuse(&s->place, r->status, &r->refusal, r->skew_s, e);
            if (rc)
                break; /* nothing is on its way any more, unless it was no success */
            s3_http_end(s->http, s->puts[i]);
            s->puts[i] = s->puts[--s->n_puts];
        }
        if (!rc && !over)
            rc = turn(s, deadline_ns, e);
    }
    if (rc)
        give_up(s, false);
    return rc;
}

static int s3_put(struct kv *kv, const struct kv_key *key, const void *p, size_t n, int64_t ttl_s,
                  uint64_t deadline_ns, struct err *e)
{
    (void)ttl_s;
    struct s3 *s = (struct s3 *)kv;
    struct name name = name_of(key);
    struct s3_request put = {.method = S3_PUT, .key = name.text, .body = p, .n = n};
    if (!s->up)
        return not_connected(s, e);
    if (s->n_asks)
        give_up(s, false);
    ready(s);
    int rc = settle_puts(s, false, deadline_ns, e);
    if (!rc)
        rc = s3_http_begin(s->http, &put, &s->puts[s->n_puts], e);
    s->n_puts += !rc;
    return rc;
}

static int s3_flush(struct kv *kv, uint64_t deadline_ns, struct err *e)
{
    return settle_puts((struct s3 *)kv, true, deadline_ns, e);
}

static int s3_ask(struct kv *kv, const struct kv_key *key, size_t most, uint64_t deadline_ns,
                  struct err *e)
{
    (void)deadline_ns; /* it is waited for in s3_answer */
    struct s3 *s = (struct s3 *)kv;
    struct name name = name_of(key);
    struct s3_request get = {.method = S3_GET, .key = name.text, .most = most};
    if (!s->up)
        return not_connected(s, e);
    if (s->n_puts || s->n_asks == S3_AT_ONCE)
        give_up(s, false);
    ready(s);
    int rc = s3_http_begin(s->http, &get, &s->asks[(s->first + s->n_asks) % S3_AT_ONCE], e);
    s->n_asks += !rc;
    return rc;
}

static int s3_answer(struct kv *kv, uint64_t deadline_ns, struct kv_value *out, struct err *e)
{
    struct s3 *s = (struct s3 *)kv;
    const struct s3_reply *r;
    enum s3_meaning m;
    *out = (struct kv_value){0};
    if (!s->n_asks)
        return not_connected(s, e);
    ready(s);
    int id = s->asks[s->first], rc = 0;
    while (!rc && !(r = s3_http_over(s->http, id)))
        rc = turn(s, deadline_ns, e);
    if (rc)
        return rc;
    s->first = (s->first + 1) % S3_AT_ONCE;
    s->n_asks--;
    s->held = id;
    rc = outcome(s, r, &m, e);
    if (!rc && m == S3_DONE)
        *out = (struct kv_value){true, r->p, r->n};
    return rc;
}

static bool fresh(const struct s3_reply *r)
{
    return r->modified_s == 0 || r->modified_s + FRESH_S > clock_unix_s();
}

static int s3_keep(struct kv *kv, const struct kv_key *key, int64_t ttl_s, uint64_t deadline_ns,
                   bool *there, struct err *e)
{
    (void)ttl_s;
    const struct s3_reply *r;
    enum s3_meaning m = S3_ABSENT;
    struct name name = name_of(key);
    struct s3_request head = {.method = S3_HEAD, .key = name.text};
    int rc = one((struct s3 *)kv, &head, deadline_ns, &r, &m, e);
    *there = !rc && m == S3_DONE && fresh(r); /* what is old is put again, whole */
    return rc;
}

static int s3_remove(struct kv *kv, const struct kv_key *key, uint64_t deadline_ns, struct err *e)
{
    const struct s3_reply *r;
    enum s3_meaning m;
    struct name name = name_of(key);
    struct s3_request del = {.method = S3_DELETE, .key = name.text};
    return one((struct s3 *)kv, &del, deadline_ns, &r, &m, e);
}

/* ---- lists -------------------------------------------------------------------------------- */

/* Bit 0 is the first byte's highest, as Redis has it. Other lengths are none of ours. */
static uint64_t marks_of(const unsigned char *p, size_t n)
{
    uint64_t marks = 0;
    for (int i = 0; i < KV_MARKS && n == LIST; i++)
        if (p[i / 8] >> (7 - i % 8) & 1)
            marks |= UINT64_C(1) << i;
    return marks;
}

/* Reads a list, sets a bit, writes it if nobody did meanwhile. A store that knows no conditions
 * keeps what was written last: then a mark may be lost, and what it stood for is a miss. */
static int change(struct s3 *s, const char *name, int bit, uint64_t deadline_ns, bool *done,
                  struct err *e)
{
    const struct s3_reply *r;
    enum s3_meaning m;
    unsigned char bits[LIST] = {0};
    char etag[S3_ETAG] = "";
    struct s3_request get = {.method = S3_GET, .key = name, .most = LIST};
    int rc = one(s, &get, deadline_ns, &r, &m, e);
    if (rc)
        return rc;
    bool there = m == S3_DONE;
    if (there && r->n == LIST)
        memcpy(bits, r->p, LIST);
    if (there)
        memcpy(etag, r->etag, sizeof(etag));
    *done = (bits[bit / 8] >> (7 - bit % 8) & 1) && fresh(r);
    if (*done)
        return 0;
    bits[bit / 8] |= (unsigned char)(1 << (7 - bit % 8));
    bool known = !there || *etag;
    struct s3_request put = {.method = S3_PUT, .key = name, .body = bits, .n = LIST,
                             .if_match = s->plain || !known ? NULL : etag};
    rc = one(s, &put, deadline_ns, &r, &m, e);
    if (!rc && m == S3_CANNOT && put.if_match)
        s->plain = true;
    *done = !rc && m == S3_DONE;
    return rc;
}

static int s3_mark(struct kv *kv, const struct kv_key *list, int bit, int64_t ttl_s,
                   uint64_t deadline_ns, struct err *e)
{
    (void)ttl_s;
    struct name name = name_of(list);
    bool done = false;
    int rc = 0;
    for (int i = 0; i < MARK_TRIES && !rc && !done; i++)
        rc = change((struct s3 *)kv, name.text, bit, deadline_ns, &done, e);
    return rc; /* not done: others are changing it, and so may set the bit next time */
}

static int s3_marks(struct kv *kv, const struct kv_key *lists, int n, uint64_t *marks,
                    uint64_t deadline_ns, struct err *e)
{
    int rc = 0;
    for (int i = 0, asked = 0; i < n && !rc; i++) {
        for (; asked < n && asked < i + S3_AT_ONCE && !rc; asked++)
            rc = s3_ask(kv, &lists[asked], LIST, deadline_ns, e);
        struct kv_value v = {0};
        if (!rc)
            rc = s3_answer(kv, deadline_ns, &v, e);
        marks[i] = rc || !v.there ? 0 : marks_of(v.p, v.n);
    }
    return rc;
}

/* ---- names -------------------------------------------------------------------------------- */

static int s3_list(struct kv *kv, enum kv_kind kind, size_t n, struct kv_page *page,
                   uint64_t deadline_ns, struct err *e)
{
    struct s3 *s = (struct s3 *)kv;
    const struct s3_reply *r;
    enum s3_meaning m;
    char query[S3_QUERY];
    s3_listing_query(&s->place, kind, page, query);
    struct s3_request get = {.method = S3_GET, .query = query, .most = S3_LISTING_MOST};
    int rc = one(s, &get, deadline_ns, &r, &m, e);
    if (!rc && (m != S3_DONE || !r->p))
        rc = s3_refuse(&s->place, r->status, &r->refusal, r->skew_s, e);
    return rc ? rc : s3_listing_read(&s->place, kind, n, (const char *)r->p, r->n, page, e);
}

static int s3_others(struct kv *kv, struct kv_page *page, uint64_t *n, uint64_t deadline_ns,
                     struct err *e)
{
    struct s3 *s = (struct s3 *)kv;
    const struct s3_reply *r;
    enum s3_meaning m;
    char query[S3_QUERY];
    s3_listing_kinds_query(&s->place, query);
    struct s3_request get = {.method = S3_GET, .query = query, .most = S3_LISTING_MOST};
    int rc = one(s, &get, deadline_ns, &r, &m, e);
    if (!rc && (m != S3_DONE || !r->p))
        rc = s3_refuse(&s->place, r->status, &r->refusal, r->skew_s, e);
    page->last = !rc; /* one page: that there are more counts as a kind that is unknown */
    return rc ? rc : s3_listing_kinds(&s->place, (const char *)r->p, r->n, n, e);
}

static int s3_idle(struct kv *kv, const struct kv_key *key, uint64_t deadline_ns, int64_t *idle_s,
                   struct err *e)
{
    const struct s3_reply *r;
    enum s3_meaning m = S3_ABSENT;
    struct name name = name_of(key);
    struct s3_request head = {.method = S3_HEAD, .key = name.text};
    int rc = one((struct s3 *)kv, &head, deadline_ns, &r, &m, e);
    bool known = !rc && m == S3_DONE && r->modified_s;
    *idle_s = known ? MAX((int64_t)(clock_unix_s() - r->modified_s) + r->skew_s, 0) : -1;
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------ */

static void s3_close(struct kv *kv)
{
    struct s3 *s = (struct s3 *)kv;
    s3_http_close(s->http);
    s3_login_close(&s->login);
    mem_free(s);
}

static const struct kv_ops s3_ops = {
    .close = s3_close,
    .connect = s3_connect, .connected = s3_connected, .drop = s3_drop,
    .put = s3_put, .flush = s3_flush, .ask = s3_ask, .answer = s3_answer,
    .keep = s3_keep, .remove = s3_remove, .mark = s3_mark, .marks = s3_marks,
    .list = s3_list, .idle = s3_idle, .others = s3_others,
};

static const char *region_of(const struct kv_options *o)
{
    static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    if (o->region)
        return o->region;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        const char *region = getenv(variables[i]);
        if (region && *region)
            return region;
    }
    return NULL;
}

int kv_s3_open(struct kv **out, const struct kv_options *o, struct err *e)
{
    *out = NULL;
    struct s3 *s = mem_zalloc(sizeof(*s));
    if (!s)
        return err_set(e, E_NOMEM, "no memory for the shared store");
    s->kv = (struct kv){.ops = &s3_ops, .shown = s->place.shown, .window = S3_AT_ONCE,
                        .grouped = true, .lasting = true};
    s->held = -1;
    int rc = s3_place_parse(o->url, o->endpoint, region_of(o), &s->place, e);
    if (!rc)
        rc = s3_login_open(&s->login, o->credentials, e);
    if (!rc)
        rc = s3_http_open(&s->http, &s->place, &s->login, o->ca, e);
    if (rc)
        s3_close(&s->kv);
    else
        *out = &s->kv;
    return rc;
}
