/* See receipts.h. Invariant, under the lock: a line is in the list of ready ones, or with a thread
 * (`busy` either way), exactly while it has rows or is over; so one thread at a time has it. */
#include "scheduler/receipts.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define THREADS_MAX 8

struct receipt_line {
    struct receipt_line *next; /* ready */
    struct receipt *x;
    struct receipt_row *first, *last;
    struct request *r;         /* from receipts_end on: a reference */
    enum finish finish;
    uint64_t served;           /* the engine's */
    bool tells, busy, over, dropped, failed;
};

struct receipts {
    struct receipts_options o;
    pthread_t threads[THREADS_MAX];
    int32_t n_threads;
    uint64_t n_taken;          /* the engine's */
    bool pushed;               /* the engine's: since receipts_go */
    pthread_mutex_t lock;      /* from here on */
    pthread_cond_t more, done;
    struct receipt_line *ready, *last;
    struct receipt_row *unused;
    int32_t n_used;            /* with the engine or in a line */
    int32_t n_lines;
    bool starved, stop;        /* starved: somebody wants a row, and none was left */
    uint64_t n_rows, ns;
};

/* ---- the threads, under the lock ---------------------------------------------------------- */

static void make_ready(struct receipts *w, struct receipt_line *l)
{
    l->busy = true;
    l->next = NULL;
    *(w->last ? &w->last->next : &w->ready) = l;
    w->last = l;
}

static struct receipt_line *take_ready(struct receipts *w)
{
    struct receipt_line *l = w->ready;
    w->ready = l->next;
    if (!w->ready)
        w->last = NULL;
    return l;
}

static void give_back(struct receipts *w, struct receipt_row *row)
{
    row->next = w->unused;
    w->unused = row;
    w->n_used--;
}

/* Without the lock; nobody else knows the line. */
static void finish(struct receipts *w, struct receipt_line *l)
{
    struct request *r = l->r;
    struct buf text;
    struct err e = {0};
    if (l->dropped) {
        receipt_free(l->x);
        return;
    }
    pthread_mutex_lock(&r->lock);
    text = r->receipt; /* empty, with its limit */
    pthread_mutex_unlock(&r->lock);
    if (l->failed)
        text.failed = true;
    else
        receipt_put(&text, l->x, r->receipt_ids);
    receipt_free(l->x);
    if (text.failed)
        err_set(&e, E_NOMEM, "no memory for the receipt");
    pthread_mutex_lock(&r->lock);
    r->receipt = text;
    r->receipt_due = false;
    pthread_mutex_unlock(&r->lock);
    if (l->tells)
        deliver_end(r, e.code ? FINISH_ERROR : l->finish, &e, w->o.wakes);
    else
        w->o.poke(w->o.arg);
    request_unref(r);
}

/* Somebody waits for room, and there is some. The lock is let go of. */
static void tell_of_room(struct receipts *w)
{
    if (!w->starved)
        return;
    w->starved = false;
    pthread_mutex_unlock(&w->lock);
    w->o.poke(w->o.arg);
    pthread_mutex_lock(&w->lock);
}

static void digest(struct receipts *w, struct receipt_line *l, struct receipt_row *row)
{
    struct err e = {0};
    bool wanted = !l->dropped && !l->failed;
    pthread_mutex_unlock(&w->lock);
    uint64_t from = clock_now_ns();
    bool failed = wanted && receipt_drawn(l->x, row->logits, row->id, &e);
    uint64_t took = clock_now_ns() - from;
    pthread_mutex_lock(&w->lock);
    l->failed = l->failed || failed;
    w->n_rows += wanted;
    w->ns += took;
    give_back(w, row);
}

static size_t row_bytes(const struct receipts *w)
{
    return sizeof(struct receipt_row) + (size_t)w->o.vocab * sizeof(float);
}

static struct receipt_row *take_unused(struct receipts *w)
{
    struct receipt_row *all = w->unused;
    w->unused = NULL;
    return all;
}

/* Without the lock: 64 MiB take a while. */
static void free_rows(const struct receipts *w, struct receipt_row *row)
{
    while (row) {
        struct receipt_row *next = row->next;
        mem_aligned_free(row, row_bytes(w));
        row = next;
    }
}

/* All of l is digested, and there will be no more. */
static void end(struct receipts *w, struct receipt_line *l)
{
    struct receipt_row *left = NULL;
    pthread_mutex_unlock(&w->lock);
    finish(w, l);
    mem_free(l);
    pthread_mutex_lock(&w->lock);
    if (--w->n_lines == 0) {
        left = take_unused(w);
        pthread_cond_broadcast(&w->done);
    }
    pthread_mutex_unlock(&w->lock);
    free_rows(w, left);
    pthread_mutex_lock(&w->lock);
}

/* One row of l, or its end. */
static void work(struct receipts *w, struct receipt_line *l)
{
    struct receipt_row *row = l->first;
    if (row) {
        l->first = row->next;
        digest(w, l, row);
        tell_of_room(w);
    }
    if (l->first)
        make_ready(w, l);
    else if (l->over)
        end(w, l);
    else
        l->busy = false;
}

static void *thread_main(void *arg)
{
    struct receipts *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->ready && !w->stop)
            pthread_cond_wait(&w->more, &w->lock);
        if (!w->ready)
            break;
        work(w, take_ready(w));
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- the engine --------------------------------------------------------------------------- */

int receipts_open(struct receipts **out, const struct receipts_options *o, struct err *e)
{
    struct receipts *w = *out = mem_zalloc(sizeof *w);
    if (!w)
        return err_set(e, E_NOMEM, "no memory for receipts");
    w->o = *o;
    w->o.threads = MIN(o->threads, THREADS_MAX);
    pthread_mutex_init(&w->lock, NULL); /* these cannot fail without attributes on Linux */
    pthread_cond_init(&w->more, NULL);
    pthread_cond_init(&w->done, NULL);
    return 0;
}

void receipts_close(struct receipts *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (int32_t i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    ASSERT(w->n_lines == 0 && w->n_used == 0);
    free_rows(w, take_unused(w));
    pthread_cond_destroy(&w->done);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

int receipts_begin(struct receipts *w, struct receipt *x, struct receipt_line **out, struct err *e)
{
    int failed = 0;
    while (w->n_threads < w->o.threads && !failed) {
        failed = pthread_create(&w->threads[w->n_threads], NULL, thread_main, w);
        w->n_threads += !failed;
    }
    struct receipt_line *l = w->n_threads ? mem_zalloc(sizeof *l) : NULL;
    *out = l;
    if (!l) {
        receipt_free(x);
        return err_set(e, E_NOMEM, "no memory for the receipt");
    }
    l->x = x;
    pthread_mutex_lock(&w->lock);
    w->n_lines++;
    pthread_mutex_unlock(&w->lock);
    return 0;
}

struct receipt *receipts_of(struct receipt_line *l) { return l->x; }

int32_t receipts_room(struct receipts *w, int32_t wanted)
{
    pthread_mutex_lock(&w->lock);
    int32_t room = MIN(w->o.rows - w->n_used, wanted);
    w->starved = room < wanted;
    pthread_mutex_unlock(&w->lock);
    return room;
}

uint64_t receipts_served(const struct receipt_line *l) { return l->served; }

struct receipt_row *receipts_take(struct receipts *w, struct receipt_line *l)
{
    l->served = ++w->n_taken;
    pthread_mutex_lock(&w->lock);
    ASSERT(w->n_used < w->o.rows);
    struct receipt_row *row = w->unused;
    if (row)
        w->unused = row->next;
    w->n_used++;
    pthread_mutex_unlock(&w->lock);
    if (row || (row = mem_unfilled(row_bytes(w))))
        return row;
    pthread_mutex_lock(&w->lock);
    w->n_used--;
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void receipts_put_back(struct receipts *w, struct receipt_row *row)
{
    if (!row)
        return;
    pthread_mutex_lock(&w->lock);
    give_back(w, row);
    pthread_mutex_unlock(&w->lock);
}

int receipts_push(struct receipts *w, struct receipt_line *l, struct receipt_row *row,
                  struct err *e)
{
    pthread_mutex_lock(&w->lock);
    bool failed = l->failed;
    if (failed) {
        give_back(w, row);
    } else {
        row->next = NULL;
        *(l->first ? &l->last->next : &l->first) = row;
        l->last = row;
        if (!l->busy)
            make_ready(w, l);
        w->pushed = true;
    }
    pthread_mutex_unlock(&w->lock);
    return failed ? err_set(e, E_NOMEM, "no memory for the receipt") : 0;
}

void receipts_go(struct receipts *w)
{
    if (w->pushed)
        pthread_cond_broadcast(&w->more);
    w->pushed = false;
}

static void over(struct receipts *w, struct receipt_line *l)
{
    pthread_mutex_lock(&w->lock);
    l->over = true;
    if (!l->busy)
        make_ready(w, l);
    pthread_cond_broadcast(&w->more); /* a signal to one of several may be lost (glibc 25847) */
    pthread_mutex_unlock(&w->lock);
}

void receipts_end(struct receipts *w, struct receipt_line *l, struct request *r,
                  enum finish finish, bool tells)
{
    request_ref(r);
    l->r = r;
    l->finish = finish;
    l->tells = tells;
    over(w, l);
}

void receipts_drop(struct receipts *w, struct receipt_line *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&w->lock);
    l->dropped = true;
    pthread_mutex_unlock(&w->lock);
    over(w, l);
}

/* ---- any thread --------------------------------------------------------------------------- */

bool receipts_idle(struct receipts *w)
{
    pthread_mutex_lock(&w->lock);
    bool idle = w->n_lines == 0;
    pthread_mutex_unlock(&w->lock);
    return idle;
}

void receipts_flush(struct receipts *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->n_lines > 0)
        pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

void receipts_count(struct receipts *w, uint64_t *rows, uint64_t *ns)
{
    pthread_mutex_lock(&w->lock);
    *rows = w->n_rows;
    *ns = w->ns;
    pthread_mutex_unlock(&w->lock);
}
