/* What a run means. Thread: one. */
#include "programs/recurd-bench/result.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define SERIES_MAX 86400 /* a day of seconds */

static const struct { const char *name, *title; } metrics[] = {
    {"ttft", "TTFT"},
    {"ttst", "TTST"},
    {"itl", "ITL"},
    {"tpot", "TPOT"},
    {"e2e", "E2E"},
    {"ttft_scheduled", "TTFT from schedule"},
    {"e2e_scheduled", "E2E from schedule"},
    {"late", "Send after schedule"},
};
_Static_assert(ARRAY_LEN(metrics) == METRICS, "one row each");

const char *result_metric_name(enum metric m)
{
    return metrics[m].name;
}

const char *result_metric_title(enum metric m)
{
    return metrics[m].title;
}

static void add_if(struct stats *s, double x)
{
    if (x >= 0)
        stats_add(s, x);
}

static bool meets(const struct args *a, const struct record *r)
{
    double worst_gap = 0;
    for (uint32_t i = 0; i + 1 < r->n_outputs; i++)
        worst_gap = fmax(worst_gap, r->gaps_us[i] / 1e3);
    const double got[SLO_METRICS] = {
        [SLO_TTFT] = record_ttft(r), [SLO_TTST] = record_ttst(r), [SLO_ITL] = worst_gap,
        [SLO_TPOT] = record_tpot(r), [SLO_E2E] = record_e2e(r),
    };
    for (int i = 0; i < SLO_METRICS; i++)
        if (a->slo_ms[i] > 0 && got[i] > a->slo_ms[i])
            return false;
    return true;
}

/* Does what the server counted agree with what was asked and seen? */
static void cross_check(struct result *o, const struct args *a, const struct record *r)
{
    if (!r->has_usage) {
        o->without_usage++;
        return;
    }
    bool whole = !a->text && !a->chat && !r->turn && r->asked_in; /* a turn's history counts too */
    /* One more is the beginning-of-text token that some servers add. */
    if (whole && r->prompt_tokens != r->asked_in && r->prompt_tokens != r->asked_in + 1)
        o->wrong_input++;
    if (a->ignore_eos && r->completion_tokens != r->asked_out)
        o->wrong_output++;
    if (r->named_tokens && r->named_tokens != r->completion_tokens)
        o->wrong_count++;
}

static void take_good(struct result *o, const struct args *a, const struct record *r)
{
    double late = record_late(r), ttft = record_ttft(r), e2e = record_e2e(r);
    add_if(&o->samples[METRIC_TTFT], ttft);
    add_if(&o->samples[METRIC_TTST], record_ttst(r));
    add_if(&o->samples[METRIC_TPOT], record_tpot(r));
    add_if(&o->samples[METRIC_E2E], e2e);
    add_if(&o->samples[METRIC_TTFT_SCHED], ttft < 0 ? ttft : ttft + late);
    add_if(&o->samples[METRIC_E2E_SCHED], e2e < 0 ? e2e : e2e + late);
    for (uint32_t i = 0; i + 1 < r->n_outputs; i++) {
        stats_add(&o->samples[METRIC_ITL], r->gaps_us[i] / 1e3);
        o->together += !r->gaps_us[i];
    }
    o->prompt_tokens += (uint64_t)r->prompt_tokens;
    o->cached_tokens += (uint64_t)r->cached_tokens;
    o->output_tokens += (uint64_t)record_tokens(r);
    o->outputs += r->n_outputs;
    o->good += meets(a, r);
    cross_check(o, a, r);
}

/* Of the good measured requests with this tag, or with this turn when tag is TAGS. */
static void make_group(struct group *g, const struct run *run, enum tag tag, uint32_t turn)
{
    struct stats ttft = {0}, e2e = {0};
    for (size_t i = 0; i < run->records.n; i++) {
        const struct record *r = &run->records.p[i];
        bool in = tag < TAGS ? r->tag == tag : r->turn == turn;
        if (!in || !r->measured || r->outcome != OUTCOME_OK)
            continue;
        g->n++;
        g->prompt_tokens += r->prompt_tokens;
        g->cached_tokens += r->cached_tokens;
        add_if(&ttft, record_ttft(r));
        add_if(&e2e, record_e2e(r));
    }
    if (g->n) {
        g->prompt_tokens /= (double)g->n;
        g->cached_tokens /= (double)g->n;
    }
    stats_summary(&ttft, &g->ttft);
    stats_summary(&e2e, &g->e2e);
    stats_free(&ttft);
    stats_free(&e2e);
}

static struct second *at(struct result *o, uint64_t t_ns)
{
    size_t s = (size_t)(t_ns / NS_PER_S);
    return &o->series[MIN(s, o->n_series - 1)];
}

static int make_series(struct result *o, const struct run *run, struct err *e)
{
    o->n_series = (size_t)MIN(run->wall_ns / NS_PER_S + 1, SERIES_MAX);
    o->series = mem_array(o->n_series, sizeof *o->series);
    if (!o->series)
        return err_set(e, E_NOMEM, "no memory for %zu seconds", o->n_series);
    for (size_t i = 0; i < run->records.n; i++) {
        const struct record *r = &run->records.p[i];
        if (!r->t_send)
            continue;
        at(o, r->t_send)->sent++;
        at(o, r->t_end)->done += r->outcome == OUTCOME_OK;
        at(o, r->t_end)->failed += (uint32_t)outcome_failed(r->outcome);
        for (size_t s = r->t_send / NS_PER_S; s < o->n_series && s < r->t_end / NS_PER_S; s++)
            o->series[s].in_flight++;
        if (!r->n_outputs)
            continue;
        struct second *f = at(o, r->t_first);
        f->ttft_ms += record_ttft(r);
        f->ttft_n++;
        /* An output may carry several tokens: each stands for its share of the count. */
        double each = (double)record_tokens(r) / r->n_outputs;
        uint64_t t = r->t_first;
        for (uint32_t k = 0; k < r->n_outputs; k++) {
            at(o, t)->tokens += each;
            t += k + 1 < r->n_outputs ? r->gaps_us[k] * UINT64_C(1000) : 0;
        }
    }
    for (size_t s = 0; s < o->n_series; s++)
        if (o->series[s].ttft_n)
            o->series[s].ttft_ms /= o->series[s].ttft_n;
    return 0;
}

int result_make(struct result *o, const struct args *a, const struct run *run, struct err *e)
{
    memset(o, 0, sizeof *o);
    uint64_t last = 0, first = (uint64_t)(a->warmup * (double)NS_PER_S);
    for (int i = 0; i < SLO_METRICS; i++)
        o->has_slo |= a->slo_ms[i] > 0;
    for (size_t i = 0; i < run->records.n; i++) {
        const struct record *r = &run->records.p[i];
        if (!r->measured)
            continue;
        o->n++;
        o->by_outcome[r->outcome]++;
        o->failed += (uint64_t)outcome_failed(r->outcome);
        double late = record_late(r);
        stats_add(&o->samples[METRIC_LATE], late);
        o->late += late > RESULT_LATE_MS;
        last = MAX(last, r->t_end);
        o->n_turns = MAX(o->n_turns, MIN(r->turn + 1, RESULT_TURNS));
        if (r->outcome == OUTCOME_OK)
            take_good(o, a, r);
    }
    bool lost = false;
    for (int i = 0; i < METRICS; i++) {
        stats_summary(&o->samples[i], &o->m[i]);
        lost |= o->samples[i].failed;
    }
    if (lost) {
        result_free(o);
        return err_set(e, E_NOMEM, "no memory for all samples");
    }
    if (last > first) {
        o->window_s = (double)(last - first) / 1e9;
        o->request_rate = (double)o->by_outcome[OUTCOME_OK] / o->window_s;
        o->output_rate = (double)o->output_tokens / o->window_s;
        o->total_rate = (double)(o->output_tokens + o->prompt_tokens) / o->window_s;
    }
    for (enum tag t = 0; t < TAGS; t++)
        make_group(&o->tags[t], run, t, 0);
    for (uint32_t t = 0; o->n_turns > 1 && !a->fork && t < o->n_turns; t++)
        make_group(&o->turns[t], run, TAGS, t);
    return make_series(o, run, e);
}

void result_free(struct result *o)
{
    for (int i = 0; i < METRICS; i++)
        stats_free(&o->samples[i]);
    mem_free(o->series);
    o->series = NULL;
}
