/* Errands: the job of each kind. */
#include "statecache/shared/errand.h"

#include <string.h>

#include "base/mem.h"
#include "statecache/shared/shared.h"

#define ERRAND_MS 1000           /* until then it is done or given up */
#define STRETCH_NS (4 * NS_PER_MS) /* more for every stretch that goes with it */
#define TRIES 4                  /* others may be as quick */

struct errand *errand_new(struct statecache *sc, enum errand_kind kind,
                          const struct tenant_tag *tenant, const struct session_id *id)
{
    struct errand *a = mem_zalloc(sizeof(*a));
    if (!a)
        return NULL;
    *a = (struct errand){.sc = sc, .kind = kind};
    buf_init(&a->change, RECORD_BOX_MAX);
    buf_init(&a->answer, kind == ERRAND_HEAR ? WIRE_REPLY_MAX : LIMIT_ANSWER_BYTES);
    if (!id)
        return a;
    a->tenant = *tenant;
    a->id = *id;
    shared_record_name(&sc->format, tenant->b, id->b, &a->name);
    return a;
}

void errand_free(struct errand *a)
{
    if (a->node) {
        a->node->pins--;
        prefix_prune(&a->sc->prefix, a->node);
    }
    shared_record_free(&a->r);
    buf_free(&a->change);
    buf_free(&a->answer);
    mem_free(a->ids);
    mem_free(a->tokens);
    mem_free(a->path);
    mem_free(a);
}

int64_t errand_tokens(const struct errand *a) { return a->r.c.keep_tokens + a->r.c.n_tokens; }

static struct wire *wire_of(const struct errand *a)
{
    return kv_redis_wire(a->sc->shared->records.kv);
}

/* ---- paths -------------------------------------------------------------------------------- */

static struct kv_key chunk_key(const unsigned char id[SHARED_ID])
{
    struct kv_key k = {.kind = KV_CHUNK, .n = SHARED_ID};
    memcpy(k.name, id, SHARED_ID);
    return k;
}

/* Of the record that was found, and of what it names. */
static const struct seal_keys *keys_of(const struct errand *a)
{
    return a->old ? &a->sc->shared->old_keys : &a->sc->shared->keys;
}

/* The stretch whose answer is next. */
static int take_stretch(struct errand *a, int32_t i, int32_t *out)
{
    struct kv *kv = a->sc->shared->records.kv;
    const struct format *f = &a->sc->format;
    size_t bytes = (size_t)f->stretch * sizeof(*out);
    struct kv_value v = {0};
    int rc = kv->ops->answer(kv, a->deadline_ns, &v, &a->err);
    if (rc)
        return rc;
    if (!v.p || v.n != bytes + SHARED_TAG ||
        !seal_open_chunk(keys_of(a), a->r.ids + (size_t)i * SHARED_ID, v.p, v.n, out))
        return err_set(&a->err, E_IO, "stretch %d of %d of a session's path is %s", i, a->r.n_ids,
                       v.there ? "not what its record names" : "gone from the shared store");
    for (int64_t k = 0; k < f->stretch; k++)
        if (out[k] < 0 || out[k] >= f->vocab)
            return err_set(&a->err, E_FORMAT, "token %d in a session's path, the vocabulary ends "
                           "at %d", out[k], f->vocab);
    return 0;
}

/* The ids of what was found. */
static int fetch_path(struct errand *a)
{
    struct kv *kv = a->sc->shared->records.kv;
    const struct format *f = &a->sc->format;
    const struct change *c = &a->r.c;
    int32_t asked = 0, i = 0;
    a->path = mem_array((size_t)errand_tokens(a), sizeof(*a->path));
    int rc = a->path ? 0 : err_set(&a->err, E_NOMEM, "no memory for %lld tokens of a session",
                                   (long long)errand_tokens(a));
    for (; i < a->r.n_ids && !rc; i++) {
        for (; asked < a->r.n_ids && asked < i + kv->window && !rc; asked++) {
            struct kv_key k = chunk_key(a->r.ids + (size_t)asked * SHARED_ID);
            rc = kv->ops->ask(kv, &k, (size_t)f->stretch * 4 + SHARED_TAG, a->deadline_ns, &a->err);
        }
        if (!rc)
            rc = take_stretch(a, i, a->path + (int64_t)i * f->stretch);
        a->refused += rc == E_FORMAT;
    }
    for (struct kv_value v; i < asked && kv->ops->connected(kv); i++)
        (void)!kv->ops->answer(kv, a->deadline_ns, &v, NULL);
    if (!rc && c->n_tokens)
        memcpy(a->path + c->keep_tokens, c->tokens, (size_t)c->n_tokens * sizeof(*a->path));
    return rc;
}

/* The stretches that are new; those that are not must still be there. */
static int put_path(struct errand *a)
{
    struct kv *kv = a->sc->shared->records.kv;
    size_t n = (size_t)a->sc->format.stretch * sizeof(*a->tokens);
    unsigned char *box = mem_array(1, n + SHARED_TAG);
    int rc = box ? 0 : err_set(&a->err, E_NOMEM, "no memory for a stretch");
    for (int32_t i = 0; i < a->n_ids && !rc; i++) {
        struct kv_key k = chunk_key(a->ids + (size_t)i * SHARED_ID);
        bool there = false;
        rc = kv->ops->keep(kv, &k, a->ttl_s, a->deadline_ns, &there, &a->err);
        if (!rc && !there) {
            a->gone = true;
            rc = err_set(&a->err, E_IO, "the shared store gave up a part of the session's path");
        }
    }
    for (int32_t i = 0; i < a->n_new && !rc; i++) {
        unsigned char *id = a->ids + (size_t)(a->n_ids + i) * SHARED_ID;
        seal_chunk(&a->sc->shared->keys, a->tokens + (int64_t)i * a->sc->format.stretch, n, id,
                   box);
        struct kv_key k = chunk_key(id);
        rc = kv->ops->put(kv, &k, box, n + SHARED_TAG, a->ttl_s, a->deadline_ns, &a->err);
    }
    if (!rc)
        rc = kv->ops->flush(kv, a->deadline_ns, &a->err);
    mem_free(box);
    return rc;
}

/* ---- records ------------------------------------------------------------------------------ */

static int open_record(struct errand *a, const struct claim_value *v)
{
    return shared_record_open(keys_of(a), &a->sc->format, &a->name, v->p + CLAIM_OPEN,
                              v->n - CLAIM_OPEN, &a->r, &a->odd);
}

/* Sealed with a key that this replica has not, or not any more: it is somebody's session. What one
 * of our own keys sealed and it does not open was altered. */
static bool is_sealed(const struct errand *a, const struct claim_value *v)
{
    const struct shared *h = a->sc->shared;
    const unsigned char *box = v->p + CLAIM_OPEN;
    size_t n = v->n - CLAIM_OPEN;
    return !shared_record_says(&h->keys, box, n) &&
           !(a->sc->format.two && shared_record_says(&h->old_keys, box, n));
}

/* What a value says, into a->r. What does not check is counted, and is as good as nothing. */
static int understand(struct errand *a, const struct claim_value *v)
{
    shared_record_free(&a->r);
    a->gone = !v->record;
    a->n_expected = MIN(v->n, (size_t)CLAIM_HEAD);
    if (a->n_expected)
        memcpy(a->expected, v->p, a->n_expected);
    int rc = 0;
    a->old = false;
    if (v->record) {
        rc = open_record(a, v);
        a->old = rc == E_DENIED && a->sc->format.two;
        if (a->old)
            err_clear(&a->odd);
        if (a->old)
            rc = open_record(a, v);
        a->sealed = rc == E_DENIED && is_sealed(a, v);
    } else if (v->n)
        rc = err_set(&a->odd, E_FORMAT, "what is under a session's name is no record");
    if (!rc && v->record &&
        (a->r.fence > v->at.fence || memcmp(a->r.c.tenant, a->tenant.b, 16) != 0 ||
         memcmp(a->r.c.id, a->id.b, 16) != 0))
        rc = err_set(&a->odd, E_FORMAT, "a session's record of fence %llu under one of %llu, or of "
                     "another session", (unsigned long long)a->r.fence,
                     (unsigned long long)v->at.fence);
    if (rc == E_UNSUPPORTED || rc == E_NOMEM)
        return err_set(&a->err, rc, "%s", a->odd.text);
    if (a->sealed)
        return err_set(&a->err, rc, "the session's record is sealed with a key that this replica "
                       "does not have; while keys are changed it needs both (state-key-old)");
    if (!rc && v->record && a->r.fence < a->known.fence)
        rc = err_set(&a->odd, E_CONFLICT, "a session's record of fence %llu was put back, fence "
                     "%llu is known", (unsigned long long)a->r.fence,
                     (unsigned long long)a->known.fence);
    a->refused += rc != 0;
    if (rc) {
        shared_record_free(&a->r);
        a->gone = true;
    }
    a->deleted = !rc && v->record && a->r.c.kind == CHANGE_DELETED;
    a->fresh = !a->gone && !a->deleted &&
               (a->r.fence > a->known.fence ||
                memcmp(v->at.nonce, a->known.nonce, sizeof(v->at.nonce)) != 0);
    return 0;
}

static int run_look(struct errand *a)
{
    struct claim_name key = claim_record_key(&a->name);
    struct claim_value v = {0};
    int rc = claim_get(wire_of(a), &key, a->deadline_ns, &v, &a->err);
    if (!rc)
        rc = understand(a, &v);
    a->next = v.at;
    if (!rc && v.record && !claim_is_free(&v.at))
        rc = claim_lives(wire_of(a), v.at.holder, a->deadline_ns, &a->busy, &a->err);
    return !rc && a->fresh ? fetch_path(a) : rc;
}

/* When a call is over, what there is then is all there is from now on: the fence is above any that
 * anybody knew. */
#define CALLS 32 /* bits of a fence below those that count calls */
static uint64_t next_fence(const struct errand *a, const struct claim *at)
{
    uint64_t fence = MAX(at->fence, a->known.seen);
    bool called = memcmp(at->holder, a->name.b, sizeof(at->holder)) == 0;
    return called ? ((fence >> CALLS) + 1) << CALLS : fence + 1;
}

/* The record becomes ours, or is it that of a replica that lives? */
static int take_over(struct errand *a, const struct claim_name *key, struct claim_value *v,
                     bool *ours)
{
    const unsigned char *me = a->sc->shared->me;
    struct claim at = v->at;
    bool free = claim_is_free(&at) || memcmp(at.holder, me, sizeof(at.holder)) == 0;
    int rc = understand(a, v);
    if (rc || a->deleted || (a->gone && !a->local))
        return rc;
    if (v->record && !free) {
        rc = claim_lives(wire_of(a), at.holder, a->deadline_ns, &a->busy, &a->err);
        if (rc || a->busy)
            return rc ? rc : err_field(&a->err, E_BUSY, "session",
                                       "the session is busy with a turn on another replica");
    }
    a->forgotten = a->gone && a->known.seen;
    if (a->forgotten || !v->record)
        return 0;
    a->next = (struct claim){.fence = next_fence(a, &at)};
    memcpy(a->next.holder, me, sizeof(a->next.holder));
    memcpy(a->next.nonce, at.nonce, sizeof(a->next.nonce));
    return claim_swap(wire_of(a), key, a->expected, a->n_expected, &a->next, NULL, 0, 0,
                      a->deadline_ns, ours, v, &a->err);
}

static int give_back(struct errand *a, struct err *e)
{
    struct claim_name key = claim_record_key(&a->name);
    struct claim free = a->next;
    struct claim_value v;
    unsigned char head[CLAIM_HEAD];
    bool done;
    claim_head(&a->next, head);
    memset(free.holder, 0, sizeof(free.holder));
    return claim_swap(wire_of(a), &key, head, sizeof(head), &free, NULL, 0, 0, a->deadline_ns,
                      &done, &v, e);
}

static int run_claim(struct errand *a)
{
    struct claim_name key = claim_record_key(&a->name);
    struct claim_value v = {0};
    bool ours = false;
    int rc = claim_live(wire_of(a), a->sc->shared->me, a->deadline_ns, &a->err);
    if (!rc && a->local && a->known.fence) { /* as we left it, most likely */
        struct claim left = {.fence = a->known.seen};
        memcpy(left.nonce, a->known.nonce, sizeof(left.nonce));
        claim_head(&left, a->expected);
        a->next = left;
        a->next.fence++;
        memcpy(a->next.holder, a->sc->shared->me, sizeof(a->next.holder));
        rc = claim_swap(wire_of(a), &key, a->expected, CLAIM_HEAD, &a->next, NULL, 0, 0,
                        a->deadline_ns, &ours, &v, &a->err);
    } else if (!rc) {
        rc = claim_get(wire_of(a), &key, a->deadline_ns, &v, &a->err);
    }
    for (int i = 0; i < TRIES && !rc && !ours; i++) {
        rc = take_over(a, &key, &v, &ours);
        if (!rc && !ours && (a->deleted || a->gone))
            return 0;
    }
    if (!rc && !ours)
        rc = err_field(&a->err, E_BUSY, "session", "other replicas are at the session");
    a->claimed = !rc;
    if (!rc && a->fresh && (rc = fetch_path(a))) {
        (void)!give_back(a, NULL);
        a->claimed = false;
    }
    return rc;
}

/* What has the change in it as a record of that fence. */
static int seal(struct errand *a, uint64_t fence, struct buf *box)
{
    struct shared_record r = {.fence = fence, .n_ids = a->n_ids + a->n_new, .ids = a->ids};
    size_t used;
    int rc = change_decode((unsigned char *)a->change.p, a->change.len, &r.c, &used, &a->err);
    return rc ? rc : shared_record_seal(&a->sc->shared->keys, &a->sc->format, &a->name, &r, box,
                                        &a->err);
}

/* What is there, if it is older than our copy: that is held by the call, too, because others may
 * know still newer turns. */
static int reply_to(struct errand *a, const struct claim_name *key)
{
    struct claim_value v = {0};
    int rc = claim_get(wire_of(a), key, a->deadline_ns, &v, &a->err);
    if (rc)
        return rc;
    if (v.record && v.at.fence >= a->next.fence)
        return err_field(&a->err, E_CONFLICT, "session", "the shared store has it, as new as here");
    a->n_expected = MIN(v.n, (size_t)CLAIM_HEAD);
    if (a->n_expected)
        memcpy(a->expected, v.p, a->n_expected);
    return 0;
}

static int run_put(struct errand *a)
{
    struct claim_name key = claim_record_key(&a->name);
    struct claim_value v = {0};
    struct buf box;
    bool done = false;
    buf_init(&box, RECORD_BOX_MAX);
    int rc = a->reply ? reply_to(a, &key) : 0;
    if (!rc)
        rc = put_path(a);
    if (!rc && (a->call || a->reply))
        rc = claim_call(wire_of(a), &a->name, a->call, a->deadline_ns, &a->err);
    if (!rc)
        rc = seal(a, a->next.fence, &box);
    if (!rc)
        rc = claim_swap(wire_of(a), &key, a->expected, a->n_expected, &a->next, box.p, box.len,
                        a->ttl_s, a->deadline_ns, &done, &v, &a->err);
    if (!rc && !done)
        rc = err_field(&a->err, E_CONFLICT, "session", "another replica went on with the session");
    if (!rc)
        memcpy(a->next.nonce, box.p, sizeof(a->next.nonce));
    buf_free(&box);
    return rc;
}

static int run_remove(struct errand *a)
{
    struct claim_name key = claim_record_key(&a->name);
    struct claim_value v = {0};
    bool done = false;
    int rc = claim_get(wire_of(a), &key, a->deadline_ns, &v, &a->err);
    for (int i = 0; i < TRIES && !rc && !done; i++) {
        struct buf box;
        uint64_t fence = MAX(v.record ? v.at.fence : 0, a->known.seen) + 1;
        if (!v.record) /* others may know of newer turns, and it goes all the same */
            fence = ((fence >> CALLS) + 1) << CALLS;
        rc = understand(a, &v);
        if (rc || a->deleted || (a->gone && !a->local && !a->known.fence))
            return rc;
        buf_init(&box, RECORD_BOX_MAX);
        a->next = (struct claim){.fence = fence};
        rc = seal(a, fence, &box);
        if (!rc)
            rc = claim_swap(wire_of(a), &key, a->expected, a->n_expected, &a->next, box.p, box.len,
                            a->ttl_s, a->deadline_ns, &done, &v, &a->err);
        buf_free(&box);
    }
    return rc || done ? rc : err_field(&a->err, E_BUSY, "session", "other replicas are at the "
                                       "session");
}

/* ---- the job ------------------------------------------------------------------------------ */

static void prepare(struct job *job)
{
    struct errand *a = (struct errand *)job;
    struct shared *h = a->sc->shared;
    a->skip = !h->records.up || clock_now_ns() >= a->deadline_ns;
}

static void run(struct job *job)
{
    struct errand *a = (struct errand *)job;
    if (a->skip) {
        a->rc = err_field(&a->err, E_TIMEOUT, "session", "the shared store does not answer in "
                          "time, and only it says who may go on with the session");
        return;
    }
    switch (a->kind) {
    case ERRAND_LOOK: a->rc = run_look(a); break;
    case ERRAND_CLAIM: a->rc = run_claim(a); break;
    case ERRAND_PUT: a->rc = run_put(a); break;
    case ERRAND_RELEASE: a->rc = give_back(a, &a->err); break;
    case ERRAND_REMOVE: a->rc = run_remove(a); break;
    case ERRAND_LIVE:
        a->rc = claim_live(wire_of(a), a->sc->shared->me, a->deadline_ns, &a->err);
        break;
    case ERRAND_HEAR:
        a->rc = claim_hear(wire_of(a), a->epoch, &a->answer, a->deadline_ns, &a->err);
        break;
    }
}

static void done(struct job *job)
{
    struct errand *a = (struct errand *)job;
    struct statecache *sc = a->sc;
    struct shared_stats *st = &sc->stats.shared[sc->shared->records.store];
    bool normal = a->rc == E_BUSY || a->rc == E_CONFLICT;
    if (!a->skip)
        shared_settle(sc, &sc->shared->records, normal ? 0 : a->rc, &a->err);
    st->errors += a->refused;
    if (a->odd.code)
        shared_warn(sc, sc->shared->records.store, a->odd.text);
    st->session_conflicts += normal && !a->reply;
    st->session_sealed += a->sealed;
    st->session_late += a->rc == E_TIMEOUT;
    if (a->kind == ERRAND_LIVE)
        sc->shared->renewing = false;
    a->done = true;
    core_changed(sc);
    if (a->finish)
        a->finish(a);
    else if (a->loose)
        errand_free(a);
}

void errand_push(struct errand *a)
{
    uint64_t more = (uint64_t)(a->n_ids + a->n_new) * STRETCH_NS;
    a->deadline_ns = clock_now_ns() + ERRAND_MS * NS_PER_MS + more;
    a->job = (struct job){.prepare = prepare, .run = run, .done = done};
    if (a->kind == ERRAND_LIVE) /* before all others */
        writer_push_read(&a->sc->shared->records.jobs, &a->job);
    else
        writer_push(&a->sc->shared->records.jobs, &a->job);
}

void errand_wait(struct errand *a)
{
    struct statecache *sc = a->sc;
    while (!a->done) {
        if (!sc->shared->records.jobs.started) /* a test with one thread does it itself */
            writer_work(&sc->shared->records.jobs);
        else
            pthread_cond_wait(&sc->changed, &sc->lock);
    }
}
