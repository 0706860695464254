/* The engine: everything that touches the device. One call of engine_step is one step:
 * look at the readers -> start what waits -> pick rows -> run -> sample -> deliver.
 *
 * Owner: the scheduler (sched.c). Thread: the engine thread alone; it takes no lock but a
 * request's, for a moment, and none while the device works. */
#ifndef RECURD_ENGINE_H
#define RECURD_ENGINE_H

#include "models/model.h"
#include "kernels/sample.h"
#include "scheduler/choice.h"
#include "scheduler/deliver.h"
#include "scheduler/fair.h"
#include "scheduler/pace.h"
#include "scheduler/sched.h"
#include "scheduler/seq.h"
#include "statecache/value/pages.h"
#include "statecache/value/slots.h"

/* What the engine asks of a state cache; a member left NULL does nothing (no_cache.c). Positions
 * count the tokens of the text; the state in q->slot is always that of tokens [0, pos). */
struct engine_cache {
    void *arg;
    /* Before q has a slot, once: may put a session before the prompt, choose a state that restore
     * will bring (both with seq_continue), and set q->ready if nothing is left to compute. E_BUSY:
     * not yet, ask again next step. */
    int (*begin)(void *arg, struct seq *q, struct err *e);
    /* Puts the state of q->pos > 0 into q->slot, and its pages into q->pages and n_pages. E_BUSY:
     * not yet. */
    int (*restore)(void *arg, struct seq *q, struct err *e);
    /* A position > q->pos at which the next chunk must end; INT64_MAX = anywhere. */
    int64_t (*cut)(void *arg, struct seq *q);
    /* The position named by cut was just computed; logits of its last token, or NULL when the
     * step computed none. E_DEVICE loses the device. */
    int (*reached)(void *arg, struct seq *q, const float *logits, struct err *e);
    /* q is preempted; true: restore can bring back the state at q->pos. */
    bool (*swap)(void *arg, struct seq *q);
    /* q, once begun, ends and gives back its pages and its slot (if it has one); true: the cache
     * keeps the slot. */
    bool (*end)(void *arg, struct seq *q, enum finish finish);
    /* After end: true = the cache tells the reader of the end itself, when the turn is safe; it
     * has delivered what `last` holds besides and has its own reference to the request. */
    bool (*defer)(void *arg, struct seq *q, const struct delivery *last);
    void (*tick)(void *arg);                     /* before every step */
    bool (*reclaim_slot)(void *arg);             /* frees one of the slots it kept */
    bool (*reclaim_pages)(void *arg, int32_t n); /* frees pages it holds, n if it can */
};

/* Ids that one request may have banned. */
#define BANNED_MAX (MODEL_EOS_MAX + LIMIT_STOP_IDS)

struct engine {
    const struct plan *plan;
    struct device *device;
    struct piece_source pieces;
    struct engine_cache cache;        /* every hook is there */
    struct sched_options o;
    int64_t positions;       /* the most tokens one sequence may hold */
    int32_t eos[MODEL_EOS_MAX], n_eos;
    struct receipt_origin origin; /* of receipts, if o.origin */

    struct slots slots;
    struct pages pages;
    struct sampler sampler;  /* for logits that a cache had ready; the others are the device's */
    struct fair *fair;       /* whose turn it is; also the queue's */
    struct pace pace;
    uint32_t turn;           /* of the prompts (batch.h) */
    int32_t n_places;        /* slots, and as many parked ones as may wait */
    struct seq *seqs;        /* [n_places] */
    struct seq **active;     /* [n_active] by admission, oldest first */
    int32_t n_active;

    /* The step, in arrays sized at start. Index i of want/rows/picked belong together. */
    struct seq **picked;
    struct batch_want *want;
    int32_t *rows, *logit_at; /* rows of a pick; its first row of logits in the step */
    uint64_t *order;          /* of those with several rows: rows, then index */
    int32_t *told_at;         /* where what was told to it begins */
    int32_t n_picked;
    struct batch batch;
    /* What the step asks of its logits, in the order of picked, and what it was told. */
    struct sample_row *asked;
    struct sample_result *told;
    int32_t *banned;         /* [o.slots][BANNED_MAX] */
    uint32_t *masks;         /* [o.slots][n_mask] of the picked with a constraint */
    size_t n_mask;           /* words of a mask */
    int32_t *tokens, *cu_seqlens, *slot_of, *logit_rows, *page_table;
    int64_t *pos_of;
    int32_t *tables;         /* page tables of the places */

    struct wakes wakes;      /* of readers, at the end of the step */
    struct receipts *receipts;
    bool receipts_full;      /* when the step began */
    bool lost;               /* E_DEVICE: nothing runs any more */
    struct sched_stats stats; /* the engine's share of the counters */
};

int engine_open(struct engine *en, const struct model *m, struct device *d,
                const struct piece_source *pieces, const struct engine_cache *cache,
                const struct sched_options *o, struct err *e) MUST_USE;
/* Before the first step: the hooks of c (NULL = no cache). c is copied. */
void engine_use_cache(struct engine *en, const struct engine_cache *c);
void engine_close(struct engine *en); /* nothing is active any more */

/* E_RANGE, naming the field: this request can never run. Any thread. */
int engine_check(const struct engine *en, const struct request *r, struct err *e) MUST_USE;

/* engine_places.c. Places, with a slot, for further requests. */
int32_t engine_room(const struct engine *en);
/* Takes over a checked request and its reference; if it fails, it finishes with an error. */
void engine_admit(struct engine *en, struct request *r);
/* What runs or may run before q's prompt: others, their rows, and the streams beside them. Those
 * that still wait for what the cache finds do not count: it knows what they lack. */
struct engine_ahead { int64_t rows; int32_t prompts, streams; };
struct engine_ahead engine_ahead(const struct engine *en, const struct seq *q);
bool engine_has_slot(const struct engine *en);
/* Somebody of this flow wants a slot: parks whoever is held by its reader, or has more than its
 * share, if need be. True: there is one now. */
bool engine_make_slot(struct engine *en, int32_t flow);
/* Ends the parked one that waited longest for its reader when no place is left. True: one is. */
bool engine_make_place(struct engine *en);
/* The next of the parked that can go on, as fair_compare has them; NULL = none. */
struct seq *engine_parked(const struct engine *en, bool by_slots);
void engine_resume(struct engine *en, struct seq *q); /* engine_has_slot */
/* Takes slot and pages away from q. Its state is kept by the cache or computed again. */
void engine_preempt(struct engine *en, struct seq *q);
/* One step. False: nothing could run; sleep until a wake or engine_deadline. */
bool engine_step(struct engine *en);
uint64_t engine_deadline(const struct engine *en); /* the earliest, 0 = none */
void engine_finish_all(struct engine *en, enum finish finish, const struct err *error);

/* Ends a request that has no place (any more), counts it and drops the reference. */
void engine_refuse(struct engine *en, struct request *r, enum finish finish,
                   const struct err *error);
/* Ends q: gives back slot and pages, frees the place, and gives the reader its last delivery. */
void engine_finish(struct engine *en, struct seq *q, const struct delivery *last);
/* The device is gone: everything in flight ends, and nothing is admitted any more. */
void engine_lose(struct engine *en, const struct err *error);

/* Ids that end r's text, into out [BANNED_MAX]; before min_tokens they may not be drawn. */
int32_t engine_ends(const struct engine *en, const struct request *r, int32_t *out);
/* What q's constraint, if it has one, allows of its next token, into mask [n_mask]; while the
 * device computes. A fault (q->fault) or an end (q->ended) means that nothing is drawn. */
void engine_prepare(const struct engine *en, struct seq *q, uint32_t *mask);
/* engine_receipts.c. Behind engine_open; poke: any thread wants the engine to look again. */
int engine_receipts_open(struct engine *en, void (*poke)(void *arg), void *arg,
                         struct err *e) MUST_USE;
/* ends: as engine_ends says. */
int engine_receipt_begin(struct engine *en, struct seq *q, const int32_t *ends, int32_t n_ends,
                         struct err *e) MUST_USE;
void engine_receipts_look(struct engine *en); /* before a step */
/* q's next draw is for a receipt, and there was no room for its logits then. */
bool engine_receipt_waits(const struct engine *en, const struct seq *q);
/* Room for the logits of q's draw, now; true: there is, or it needs none. */
bool engine_receipt_row(struct engine *en, struct seq *q);
/* The same for all of the picked that will draw; those without leave the picked. */
void engine_receipt_rows(struct engine *en);
/* q->receipt learns of a draw; row: of q's logits on the device, where `logits` is NULL. */
int engine_receipt_note(struct engine *en, struct seq *q, int32_t id, const float *logits,
                        int32_t row, struct err *e) MUST_USE;
/* q ends: its receipt is given to the request when it is made, and then, if `tells`, its finish. */
void engine_receipt_end(struct engine *en, struct seq *q, enum finish finish, bool tells);
/* What q asks of the rows of logits that a step gave it (engine_tokens.c), in the order in which
 * engine_tokens reads it. from: q's position before the step; room for its rows of logits in out
 * and for BANNED_MAX ids in banned. mask: of engine_prepare. Returns their number. */
int32_t engine_ask(const struct engine *en, const struct seq *q, int64_t from,
                   const struct batch_want *w, int32_t logit_at, int32_t *banned,
                   const uint32_t *mask, struct sample_row *out);
/* From what the device told to events and text. False: q is finished, or the device is lost. */
bool engine_tokens(struct engine *en, struct seq *q, int64_t from, const struct batch_want *w,
                   int32_t logit_at, const struct sample_result *told);
/* Draws the token after history[n_history - 1] from a row on the host. False: q is finished. */
bool engine_draw(struct engine *en, struct seq *q, const float *logits);

#endif
