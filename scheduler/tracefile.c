/* See tracefile.h. The engine hands a record over under a lock that is never held while a line is
 * made or written. */
#include "scheduler/tracefile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "scheduler/sampling_text.h"

#define QUEUE_BYTES MIB(64)  /* of records that wait for the disk */
#define LINE_BYTES MIB(512)  /* a line of the longest text there can be is below it */

struct tracefile {
    struct tracefile_options o;
    int fd;
    pthread_t thread;
    pthread_mutex_t lock; /* from here on */
    pthread_cond_t more;
    struct trace_record *head, *tail;
    size_t queued;
    uint64_t dropped;
    bool stop;
};

/* ---- a line ------------------------------------------------------------------------------- */

static void add_ids(struct buf *b, const char *name, const int32_t *ids, int64_t n, bool digests)
{
    buf_fmt(b, ",\"%s\":", name);
    if (digests) {
        uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a over words */
        for (int64_t i = 0; i < n; i++)
            h = (h ^ (uint32_t)ids[i]) * UINT64_C(0x100000001b3);
        buf_fmt(b, "\"%" PRId64 ":%016" PRIx64 "\"", n, h);
        return;
    }
    buf_ch(b, '[');
    for (int64_t i = 0; i < n; i++)
        buf_fmt(b, i ? ",%d" : "%d", (int)ids[i]);
    buf_ch(b, ']');
}

static void add_bits(struct buf *b, const char *name, const uint32_t *bits, int64_t n)
{
    buf_fmt(b, ",\"%s\":\"", name);
    for (int64_t i = 0; i < n; i++)
        buf_fmt(b, "%08" PRIx32, bits[i]);
    buf_ch(b, '"');
}

/* A string that may hold anything: what is not plain ASCII becomes '?'. */
static void add_text(struct buf *b, const char *name, const char *text)
{
    buf_fmt(b, ",\"%s\":\"", name);
    for (; *text; text++)
        buf_ch(b, *text < ' ' || *text > '~' || *text == '"' || *text == '\\' ? '?' : *text);
    buf_ch(b, '"');
}

static void add_sampling(struct buf *b, const struct request *r)
{
    buf_str(b, ",\"sampling\":");
    sampling_put(b, &r->sampling);
    buf_fmt(b, ",\"max_tokens\":%d,\"min_tokens\":%d,\"ignore_eos\":%s,\"logprobs\":%d,"
            "\"prompt_logprobs\":%s", (int)r->max_tokens, (int)r->min_tokens,
            r->ignore_eos ? "true" : "false", (int)r->logprobs,
            r->prompt_logprobs ? "true" : "false");
}

static void add_times(struct buf *b, const struct trace_record *x)
{
    uint64_t at = x->submit_ns;
    buf_fmt(b, ",\"ns\":{\"queued\":%" PRIu64 ",\"first\":%" PRIu64 ",\"all\":%" PRIu64 "}",
            x->admit_ns - at, x->first_ns ? x->first_ns - at : 0, x->end_ns - at);
}

static void add_record(struct buf *b, const struct tracefile_options *o,
                       const struct trace_record *x)
{
    static const char *const ends[] = {"none", "stop", "length", "cancelled", "error"};
    const struct request *r = x->r;
    buf_fmt(b, "{\"trace\":%d", sampling_more(&r->sampling) ? 2 : 1);
    add_text(b, "model", o->model);
    buf_str(b, ",\"fingerprint\":\"");
    for (int i = 0; i < 32; i++)
        buf_fmt(b, "%02x", o->fingerprint[i]);
    buf_ch(b, '"');
    add_text(b, "numerics", o->numerics);
    buf_fmt(b, ",\"session\":%s,\"n_context\":%" PRId64, r->in_session ? "true" : "false",
            x->n_context);
    if (x->context)
        add_ids(b, "context", x->context, x->n_context, o->digests);
    add_ids(b, "prompt", r->prompt, r->n_prompt, o->digests);
    add_sampling(b, r);
    add_ids(b, "stop_ids", r->stop_ids, r->n_stop_ids, false);
    buf_fmt(b, ",\"stops\":%d,\"cached\":%" PRId64 ",\"matched\":%" PRId64, (int)r->n_stops,
            x->cached, x->matched);
    add_text(b, "why", x->why ? x->why : "no_cache");
    buf_fmt(b, ",\"n_cuts\":%d,\"cuts\":[", (int)x->n_cuts);
    for (int i = 0; i < MIN(x->n_cuts, TRACE_CUTS); i++)
        buf_fmt(b, "%s%" PRId64, i ? "," : "", x->cuts[i]);
    buf_fmt(b, "],\"slot\":%d,\"steps\":%d", (int)x->slot, (int)x->steps);
    add_ids(b, "output", x->output, x->n_output, o->digests);
    if (r->logprobs >= 0)
        add_bits(b, "logprob_bits", x->bits, x->n_output);
    if (x->n_prompt_bits)
        add_bits(b, "prompt_logprob_bits", x->prompt_bits, x->n_prompt_bits);
    add_text(b, "finish", ends[x->finish]);
    buf_fmt(b, ",\"code\":%d,\"whole\":%s", x->code, x->broken ? "false" : "true");
    add_times(b, x);
}

/* ---- the thread --------------------------------------------------------------------------- */

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void write_line(struct tracefile *t, const struct trace_record *x, uint64_t dropped)
{
    struct buf b;
    buf_init(&b, LINE_BYTES);
    add_record(&b, &t->o, x);
    buf_fmt(&b, ",\"dropped\":%" PRIu64 "}\n", dropped);
    if (b.failed)
        log_warn("trace: no memory for a line of %zu bytes", b.len);
    else if (t->fd >= 0 && !write_all(t->fd, b.p, b.len)) {
        log_error("trace: %s cannot be written: %s; tracing ends", t->o.path, strerror(errno));
        close(t->fd);
        t->fd = -1;
    }
    buf_free(&b);
}

static void *thread_main(void *arg)
{
    struct tracefile *t = arg;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        struct trace_record *x = t->head;
        if (!x && t->stop)
            break;
        if (!x) {
            pthread_cond_wait(&t->more, &t->lock);
            continue;
        }
        t->head = x->next;
        if (!t->head)
            t->tail = NULL;
        uint64_t dropped = t->dropped;
        size_t bytes = trace_bytes(x);
        t->dropped = 0;
        pthread_mutex_unlock(&t->lock);
        write_line(t, x, dropped);
        trace_free(x);
        pthread_mutex_lock(&t->lock);
        t->queued -= bytes;
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void done(void *arg, struct trace_record *x)
{
    struct tracefile *t = arg;
    size_t bytes = trace_bytes(x);
    pthread_mutex_lock(&t->lock);
    bool full = t->queued + bytes > QUEUE_BYTES && t->head;
    if (full) {
        t->dropped++;
    } else {
        x->next = NULL;
        if (t->tail)
            t->tail->next = x;
        else
            t->head = x;
        t->tail = x;
        t->queued += bytes;
        pthread_cond_signal(&t->more);
    }
    pthread_mutex_unlock(&t->lock);
    if (full)
        trace_free(x);
}

struct trace_sink tracefile_sink(struct tracefile *t) { return (struct trace_sink){done, t}; }

int tracefile_open(struct tracefile **out, const struct tracefile_options *o, struct err *e)
{
    *out = NULL;
    int fd = open(o->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, E_IO, "trace: %s cannot be opened: %s", o->path, strerror(errno));
    struct tracefile *t = mem_zalloc(sizeof *t);
    if (!t) {
        close(fd);
        return err_set(e, E_NOMEM, "no memory for the trace");
    }
    t->o = *o;
    t->fd = fd;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->more, NULL);
    int rc = pthread_create(&t->thread, NULL, thread_main, t);
    if (rc) {
        close(fd);
        mem_free(t);
        return err_set(e, E_NOMEM, "the trace's thread does not start: %s", strerror(rc));
    }
    *out = t;
    return 0;
}

void tracefile_close(struct tracefile *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_signal(&t->more);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    if (t->fd >= 0)
        close(t->fd);
    pthread_cond_destroy(&t->more);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}
