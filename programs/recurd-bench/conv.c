/* A conversation: create or fork a session, turns with rests between them, delete the session.
 *
 * Thread: one. Invariant: a conv has at most one of a running exchange, a set rest timer, a place
 * in the waiting queue, a place among the parked, or open forks; without any it is freed. */
#include "programs/recurd-bench/conv.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "programs/recurd-bench/render.h"

#define CONTROL_TIMEOUT_S 60 /* session calls do no model work; forks copy nothing */
#define HISTORY_BYTES MIB(32)

static void call(struct conv *c, enum phase phase);

static uint64_t since(const struct load *l, uint64_t t)
{
    return t > l->t0 ? t - l->t0 : t ? 1 : 0;
}

static struct conv *conv_new(struct load *l, uint64_t id)
{
    struct conv *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    c->load = l;
    c->id = id;
    c->rec = SIZE_MAX;
    c->n_turns = workload_turns(l->w, id);
    exchange_init(&c->x);
    buf_init(&c->history, HISTORY_BYTES);
    buf_init(&c->fragment, HISTORY_BYTES);
    capture_init(&c->said);
    pattern_init(&c->pattern);
    c->next = l->all;
    if (c->next)
        c->next->prev = c;
    l->all = c;
    l->n_convs++;
    return c;
}

static void conv_free(struct conv *c)
{
    struct load *l = c->load;
    timer_clear(&l->pool->timers, &c->rest);
    timer_clear(&l->pool->timers, &c->cut);
    if (c->prev)
        c->prev->next = c->next;
    else
        l->all = c->next;
    if (c->next)
        c->next->prev = c->prev;
    l->n_convs--;
    exchange_free(&c->x);
    buf_free(&c->history);
    buf_free(&c->fragment);
    capture_free(&c->said);
    pattern_free(&c->pattern);
    mem_free(c);
}

/* Nothing more to send: deletes the session if there is one, then the conversation is gone. */
static void finish(struct conv *c)
{
    struct load *l = c->load;
    if (c->session[0] && !l->a->keep_sessions && !l->stopping) {
        call(c, PHASE_DELETE);
        return;
    }
    struct conv *parent = c->parent;
    bool refused = c->failed && c->x.outcome == OUTCOME_CONNECT;
    conv_free(c);
    if (!parent) {
        load_conv_ended(l, refused);
        return;
    }
    if (--parent->forks_open == 0)
        finish(parent);
}

static struct record *rec_of(struct conv *c)
{
    return c->rec == SIZE_MAX ? NULL : &c->load->run->records.p[c->rec];
}

static enum tag tag_of(const struct conv *c)
{
    if (!c->turn)
        return TAG_FIRST;
    const struct args *a = c->load->a;
    return c->parent ? TAG_FORK : a->idle > 0 || a->restart ? TAG_RESUME : TAG_TURN;
}

/* The record of the turn that is about to be sent, or that could not be. */
static struct record *open_record(struct conv *c)
{
    struct load *l = c->load;
    c->rec = record_new(&l->run->records);
    struct record *r = rec_of(c);
    if (!r)
        return NULL;
    workload_turn(l->w, c->id, c->turn, &c->spec);
    r->conv = c->id;
    r->turn = c->turn;
    r->tag = tag_of(c);
    r->asked_in = c->spec.n_in;
    r->asked_out = c->spec.n_out;
    r->t_sched = since(l, c->t_sched);
    r->measured = (double)r->t_sched >= l->plan->warmup_s * (double)NS_PER_S;
    return r;
}

/* --- the replies --- */

static void take_reply(struct conv *c, const struct reply *said)
{
    struct record *r = rec_of(c);
    r->named_tokens += said->n_tokens;
    if (said->has_usage) {
        r->has_usage = true;
        r->prompt_tokens = said->prompt_tokens;
        r->completion_tokens = said->completion_tokens;
        r->cached_tokens = said->cached_tokens;
    }
    if (said->finish[0])
        memcpy(r->finish, said->finish, sizeof r->finish);
}

/* Whether the next turn repeats this one's reply. */
static bool needs_reply(const struct conv *c)
{
    const struct load *l = c->load;
    return l->plan->capture || (!l->a->session && c->turn + 1 < c->n_turns);
}

static enum outcome on_event(struct exchange *x, const char *data, size_t n, uint64_t now)
{
    struct conv *c = x->arg;
    struct load *l = c->load;
    struct reply said;
    if (needs_reply(c) ? reply_parse(data, n, &said, &c->said)
                       : pattern_parse(&c->pattern, data, n, &said)) {
        snprintf(x->error, sizeof x->error, "not an event of this API: %.100s", data);
        return OUTCOME_BAD_EVENT;
    }
    if (said.is_error) {
        snprintf(x->error, sizeof x->error, "%s", said.error);
        return OUTCOME_API_ERROR;
    }
    struct record *r = rec_of(c);
    take_reply(c, &said);
    if (said.output) {
        if (!r->n_outputs) {
            l->ttft_sum_ms += (double)(now - x->t_start) / 1e6;
            l->ttft_n++;
        }
        l->n_outputs++;
        if (!record_output(r, since(l, now)))
            return OUTCOME_CLIENT;
    }
    return OUTCOME_OK;
}

/* Appends this turn and its reply to what the next turn sends again. */
static int extend_history(struct conv *c)
{
    const struct args *a = c->load->a;
    struct buf said;
    int rc = render_join(&c->history, a, c->fragment.p ? c->fragment.p : "");
    buf_init(&said, HISTORY_BYTES);
    if (a->chat) {
        buf_str(&said, "{\"role\":\"assistant\",\"content\":\"");
        dataset_escape(&said, c->said.text.p ? c->said.text.p : "", c->said.text.len);
        buf_str(&said, "\"}");
    } else if (!render_is_ids(a, &c->spec)) {
        dataset_escape(&said, c->said.text.p ? c->said.text.p : "", c->said.text.len);
    } else if (c->said.ids.len) {
        buf_add(&said, c->said.ids.p, c->said.ids.len);
    } else if (workload_filler(c->load->w, &c->spec, record_tokens(rec_of(c)), &said)) {
        rc = E_NOMEM;
    }
    if (!rc)
        rc = said.failed ? E_NOMEM : render_join(&c->history, a, said.p ? said.p : "");
    buf_free(&said);
    return rc;
}

static void on_rest_over(struct timer *t, uint64_t now)
{
    (void)now;
    conv_go(t->arg);
}

static void fork_all(struct conv *c)
{
    struct load *l = c->load;
    uint64_t now = clock_now_ns();
    c->forks_open = 1; /* held, so that no early end of a fork ends this one */
    for (uint32_t i = 1; i < c->n_turns; i++) {
        struct conv *f = conv_new(l, c->id);
        if (!f) {
            l->run->skipped_turns++;
            continue;
        }
        f->parent = c;
        f->turn = i;
        f->n_turns = i + 1;
        f->t_sched = now;
        c->forks_open++;
        call(f, PHASE_FORK);
    }
    if (--c->forks_open == 0)
        finish(c);
}

/* The turn went well: rest, park, fork or finish. */
static void advance(struct conv *c)
{
    struct load *l = c->load;
    if (l->a->fork > 0 && !c->parent && !l->stopping) {
        fork_all(c);
        return;
    }
    c->turn++;
    if (c->turn >= c->n_turns || l->stopping) {
        l->run->skipped_turns += c->n_turns - c->turn;
        finish(c);
        return;
    }
    if (l->a->restart && !l->restarted) {
        c->next_waiting = l->parked;
        l->parked = c;
        l->n_parked++;
        return;
    }
    struct turn next;
    workload_turn(l->w, c->id, c->turn, &next);
    c->t_sched = clock_now_ns() + (uint64_t)(next.think_s * (double)NS_PER_S);
    c->rest = (struct timer){.fire = on_rest_over, .arg = c};
    if (timer_set(&l->pool->timers, &c->rest, c->t_sched))
        finish(c);
}

static void close_record(struct conv *c, enum outcome o)
{
    struct load *l = c->load;
    struct record *r = rec_of(c);
    struct exchange *x = &c->x;
    r->outcome = o;
    r->status = x->status;
    r->t_send = since(l, x->t_start);
    r->t_first_byte = since(l, x->t_first_byte);
    r->t_end = since(l, x->t_end);
    if (o != OUTCOME_OK && x->error[0])
        r->error = mem_strdup(x->error);
    if (l->plan->capture && o == OUTCOME_OK) {
        r->cap_text = mem_zalloc(sizeof *r->cap_text);
        if (r->cap_text) {
            *r->cap_text = c->said;
            capture_init(&c->said);
        }
    }
    l->n_ok += o == OUTCOME_OK;
    l->n_failed += (uint64_t)outcome_failed(o);
}

static void release_waiting(struct load *l)
{
    struct conv *c = l->waiting_head;
    if (!c || (l->a->max_concurrency && l->in_flight >= (size_t)l->a->max_concurrency))
        return;
    l->waiting_head = c->next_waiting;
    if (!l->waiting_head)
        l->waiting_tail = NULL;
    conv_go(c);
}

static void turn_done(struct exchange *x, enum outcome o)
{
    struct conv *c = x->arg;
    struct load *l = c->load;
    c->running = false;
    l->in_flight--;
    timer_clear(&l->pool->timers, &c->cut);
    if (o == OUTCOME_OK && !x->stream) {
        struct reply said;
        if (reply_parse(x->body.p ? x->body.p : "", x->body.len, &said,
                        needs_reply(c) ? &c->said : NULL) || said.is_error) {
            snprintf(x->error, sizeof x->error, "the reply is not a JSON object of this API");
            o = OUTCOME_BAD_EVENT;
        } else {
            take_reply(c, &said);
        }
    }
    bool more = o == OUTCOME_OK && c->turn + 1 < c->n_turns;
    if (more && !l->a->session && extend_history(c)) {
        snprintf(x->error, sizeof x->error, "no memory for the history");
        o = OUTCOME_CLIENT;
    }
    close_record(c, o);
    if (o == OUTCOME_OK) {
        advance(c);
    } else {
        c->failed = true;
        l->run->skipped_turns += c->n_turns - c->turn - 1;
        finish(c);
    }
    release_waiting(l);
}

static void on_cut(struct timer *t, uint64_t now)
{
    (void)now;
    struct conv *c = t->arg;
    exchange_cancel(c->load->pool, &c->x, OUTCOME_CANCELLED);
}

/* --- sending --- */

static void send_turn(struct conv *c)
{
    struct load *l = c->load;
    const struct args *a = l->a;
    struct record *r = open_record(c);
    if (!r) { /* no memory even for a record: nothing left but to stop */
        l->run->skipped_turns += c->n_turns - c->turn;
        finish(c);
        return;
    }
    capture_clear(&c->said);
    pattern_begin(&c->pattern);
    buf_clear(&c->fragment);
    buf_clear(&l->scratch);
    buf_clear(&c->x.out);
    c->x.out.failed =
        workload_fragment(l->w, &c->spec, &c->fragment) ||
        render_body(&l->scratch, a, l->model, &c->spec, c->history.p ? c->history.p : "",
                    c->fragment.p ? c->fragment.p : "", c->session[0] ? c->session : NULL) ||
        render_http(&c->x.out, a, "POST", a->chat ? "/v1/chat/completions" : "/v1/completions",
                    &l->scratch);
    c->phase = PHASE_TURN;
    c->x.stream = !a->no_stream;
    c->x.event = on_event;
    c->x.done = turn_done;
    c->x.arg = c;
    c->running = true;
    r->in_flight = (uint32_t)++l->in_flight;
    l->run->peak_in_flight = MAX(l->run->peak_in_flight, l->in_flight);
    l->n_sent++;
    exchange_start(l->pool, &c->x, a->timeout);
    r->t_send = since(l, c->x.t_start);
    if (workload_cancels(l->w, c->id, c->turn)) {
        c->cut = (struct timer){.fire = on_cut, .arg = c};
        if (timer_set(&l->pool->timers, &c->cut,
                      c->x.t_start + (uint64_t)(a->cancel_after * 1e6)))
            exchange_cancel(l->pool, &c->x, OUTCOME_CLIENT);
    }
}

void conv_go(struct conv *c)
{
    struct load *l = c->load;
    if (l->a->max_concurrency && l->in_flight >= (size_t)l->a->max_concurrency) {
        c->next_waiting = NULL;
        if (l->waiting_tail)
            l->waiting_tail->next_waiting = c;
        else
            l->waiting_head = c;
        l->waiting_tail = c;
        return;
    }
    if (l->a->session && !c->session[0])
        call(c, PHASE_CREATE);
    else
        send_turn(c);
}

/* --- session calls: not measured as requests, but never lost either --- */

static bool take_session(struct conv *c)
{
    json_t *o = json_loadb(c->x.body.p ? c->x.body.p : "", c->x.body.len, 0, NULL);
    const char *id = json_string_value(json_object_get(o, "id"));
    if (!id)
        id = json_string_value(json_object_get(o, "session"));
    size_t n = id ? strlen(id) : 0;
    bool ok = n > 0 && n < sizeof c->session;
    for (size_t i = 0; i < n && ok; i++) /* it goes into a path */
        ok = isalnum((unsigned char)id[i]) || strchr("-_.~", id[i]);
    if (ok)
        memcpy(c->session, id, n + 1);
    json_decref(o);
    return ok;
}

/* A turn that could not be sent, because its session could not be had. */
static void fail_turn(struct conv *c, enum outcome o)
{
    struct load *l = c->load;
    struct record *r = open_record(c);
    if (r) {
        close_record(c, o);
        r->t_end = MAX(r->t_end, r->t_send);
    }
    c->failed = true;
    l->run->skipped_turns += c->n_turns - c->turn - 1;
    finish(c);
}

static void call_done(struct exchange *x, enum outcome o)
{
    struct conv *c = x->arg;
    struct load *l = c->load;
    c->running = false;
    l->in_flight--;
    if (c->phase == PHASE_DELETE) {
        c->session[0] = 0;
        finish(c);
    } else {
        if (o == OUTCOME_OK && !take_session(c)) {
            snprintf(x->error, sizeof x->error, "the new session has no usable id");
            o = OUTCOME_BAD_EVENT;
        }
        if (o == OUTCOME_OK) {
            l->run->sessions += c->phase == PHASE_CREATE;
            l->run->forks += c->phase == PHASE_FORK;
            /* The turn is due when its session is there; what was late stays late. */
            c->t_sched += x->t_end - x->t_start;
            if (l->stopping) {
                l->run->skipped_turns += c->n_turns - c->turn;
                finish(c);
            } else {
                send_turn(c);
            }
        } else {
            fail_turn(c, o);
        }
    }
    release_waiting(l);
}

static void call(struct conv *c, enum phase phase)
{
    struct load *l = c->load;
    char path[128] = "/v1/sessions";
    if (phase == PHASE_DELETE)
        snprintf(path, sizeof path, "/v1/sessions/%s", c->session);
    else if (phase == PHASE_FORK)
        snprintf(path, sizeof path, "/v1/sessions/%s/fork", c->parent->session);
    buf_clear(&l->scratch);
    buf_str(&l->scratch, "{}");
    buf_clear(&c->x.out);
    c->x.out.failed = render_http(&c->x.out, l->a, phase == PHASE_DELETE ? "DELETE" : "POST", path,
                                  phase == PHASE_DELETE ? NULL : &l->scratch) != 0;
    c->phase = phase;
    c->x.stream = false;
    c->x.done = call_done;
    c->x.arg = c;
    c->running = true;
    l->in_flight++;
    exchange_start(l->pool, &c->x, CONTROL_TIMEOUT_S);
}

/* --- from load.c --- */

int conv_start(struct load *l, uint64_t id, uint64_t t_sched)
{
    struct conv *c = conv_new(l, id);
    if (!c)
        return E_NOMEM;
    c->t_sched = t_sched;
    c->offset_ns = since(l, t_sched);
    if (l->a->fork > 0)
        c->n_turns = MAX(1, c->n_turns);
    conv_go(c);
    return 0;
}

void conv_stop_all(struct load *l)
{
    l->stopping = true;
    l->waiting_head = l->waiting_tail = NULL;
    l->parked = NULL;
    l->n_parked = 0;
    for (struct conv *c = l->all, *next; c; c = next) {
        next = c->next;
        if (c->running) {
            exchange_cancel(l->pool, &c->x, OUTCOME_UNFINISHED);
        } else if (!c->forks_open) { /* resting, waiting or parked */
            l->run->skipped_turns += c->n_turns - c->turn;
            conv_free(c);
        }
    }
}
