/* The engine's side of a request's lock. Engine thread, but for ends.
 *
 * Lock order: the wakes', then the request's; the scheduler's own is never held here. Invariant:
 * after a finish is set nothing more is delivered, and the reader gets at most one wake each time
 * it armed `waiting`. */
#include "scheduler/deliver.h"

#include "base/clock.h"
#include "scheduler/answer.h"
#include "scheduler/stop.h"

void deliver_wake(struct wakes *w)
{
    if (w->n == 0 && !w->ended)
        return;
    pthread_mutex_lock(&w->lock);
    if (w->round)
        w->round(w->arg, true, false);
    for (int32_t i = 0; i < w->n; i++)
        w->list[i].call(w->list[i].arg);
    w->n = 0;
    if (w->round)
        w->round(w->arg, false, w->ended);
    w->ended = false;
    pthread_mutex_unlock(&w->lock);
}

int deliver(struct request *r, const struct delivery *d, struct wakes *later)
{
    bool wake = false;
    pthread_mutex_lock(&r->lock);
    ASSERT(r->finish == FINISH_NONE);
    if (d->ev) {
        bool pushed = ring_push(&r->events, d->ev);
        ASSERT(pushed); /* only the engine pushes, and it looked for room before this step */
    }
    if (d->n_output > r->n_output) {
        if (r->t_first_ns == 0)
            r->t_first_ns = clock_now_ns();
        r->n_output = d->n_output;
    }
    int rc = d->n_text ? buf_add(&r->text, d->text, d->n_text) : 0;
    if (r->in_session && d->n_text)
        (void)buf_add(&r->said, d->text, d->n_text); /* too long to keep: said.failed tells */
    if (r->in_session && d->ev && d->ev->has_logprob && !d->ev->prompt)
        answer_score(&r->scores, d->ev); /* likewise */
    if (rc == 0 && d->finish != FINISH_NONE) {
        r->finish = d->finish;
        if (d->error)
            r->error = *d->error;
        r->t_end_ns = clock_now_ns();
    }
    if (r->waiting && (d->ev || d->n_text || r->finish != FINISH_NONE)) {
        r->waiting = false;
        wake = true;
    }
    pthread_mutex_unlock(&r->lock);
    if (later && d->finish != FINISH_NONE)
        later->ended = true;
    if (!wake || !r->wake)
        return rc;
    if (later && later->n < later->cap)
        later->list[later->n++] = (struct wake){r->wake, r->wake_arg};
    else
        r->wake(r->wake_arg);
    return rc;
}

size_t deliver_room(struct request *r, bool *cancelled)
{
    pthread_mutex_lock(&r->lock);
    *cancelled = r->cancelled;
    size_t room = r->events.cap - r->events.len;
    if (r->text.max - r->text.len < STOP_HELD_BYTES)
        room = 0;
    pthread_mutex_unlock(&r->lock);
    return room;
}

void deliver_end(struct request *r, enum finish finish, const struct err *error, struct wakes *w)
{
    pthread_mutex_lock(&w->lock);
    int rc = deliver(r, &(struct delivery){.finish = finish, .error = error}, NULL);
    pthread_mutex_unlock(&w->lock);
    ASSERT(rc == 0); /* without text there is nothing to allocate */
}
