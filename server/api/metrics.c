/* GET /metrics: what there is to see, as Prometheus reads it. Times in seconds, sizes in bytes, as
 * is usual. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "models/text/chat/rules.h"
#include "scheduler/sched.h"
#include "server/api/api.h"
#include "server/http/exchange.h"
#include "server/api/constrain.h"
#include "server/api/jsonout.h"
#include "server/api/metrics_text.h"
#include "server/api/serve.h"
#include "server/otlp/otlp.h"
#include "statecache/stats.h"

static uint64_t load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_fmt(out, "# HELP recurd_%s %s\n# TYPE recurd_%s %s\n", name, help, name, type);
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t v)
{
    head(out, name, "counter", help);
    buf_fmt(out, "recurd_%s %llu\n", name, (unsigned long long)v);
}

static void gauge(struct buf *out, const char *name, const char *help, int64_t v)
{
    head(out, name, "gauge", help);
    buf_fmt(out, "recurd_%s %lld\n", name, (long long)v);
}

static void seconds(struct buf *out, const char *name, const char *help, uint64_t ns)
{
    head(out, name, "counter", help);
    buf_fmt(out, "recurd_%s %.6f\n", name, (double)ns / (double)NS_PER_S);
}

/* Behind a bucket's number. */
static void exemplar(struct buf *out, const struct histogram *h, int bucket)
{
    struct exemplar x;
    if (stats_exemplar(h, bucket, &x))
        buf_fmt(out, "%c # {trace_id=\"%s\"} %.6f %.0f", METRICS_EXEMPLAR, x.trace, x.value,
                x.unix_s);
    buf_ch(out, '\n');
}

static void histogram_of(struct buf *out, const char *name, const char *help,
                         const struct histogram *h, const double bounds[STATS_BUCKETS])
{
    uint64_t sum = 0;
    head(out, name, "histogram", help);
    for (int i = 0; i <= STATS_BUCKETS; i++) {
        sum += load(&h->buckets[i]);
        buf_fmt(out, "recurd_%s_bucket{le=\"", name);
        if (i < STATS_BUCKETS)
            buf_fmt(out, "%g", bounds[i]);
        else
            buf_str(out, "+Inf");
        buf_fmt(out, "\"} %llu", (unsigned long long)sum);
        exemplar(out, h, i);
    }
    buf_fmt(out, "recurd_%s_sum %.6f\nrecurd_%s_count %llu\n", name,
            (double)load(&h->sum_us) / 1e6, name, (unsigned long long)sum);
}

static void histogram(struct buf *out, const char *name, const char *help,
                      const struct histogram *h)
{
    histogram_of(out, name, help, h, stats_bounds);
}

static void build_info(struct buf *out, const struct http *h)
{
    head(out, "build_info", "gauge", "What runs here; always 1");
    buf_fmt(out, "recurd_build_info{version=\"%s\",commit=\"%s\",model=", version_number(),
            version_commit());
    jsonout_str(out, h->served->name);
    buf_str(out, ",architecture=");
    jsonout_str(out, h->served->arch);
    buf_str(out, ",device=");
    jsonout_str(out, h->served->device_name);
    buf_str(out, "} 1\n");
}

static int64_t parked_slots(struct http *h)
{
    struct statecache_stats c = {0};
    if (h->served->cache)
        statecache_stats(h->served->cache, &c);
    return (int64_t)c.entries[TIER_DEVICE];
}

static void engine(struct buf *out, struct http *h)
{
    struct sched_stats s;
    sched_stats(h->served->sched, &s);
    counter(out, "requests_total", "Sequences accepted by the scheduler", s.requests);
    counter(out, "requests_finished_total", "Sequences that came to their end", s.finished);
    counter(out, "requests_cancelled_total", "Sequences whose client left", s.cancelled);
    counter(out, "requests_failed_total", "Sequences that ended in an error", s.failed);
    counter(out, "requests_rejected_total", "Sequences refused: the queue was full", s.rejected);
    counter(out, "requests_timeout_total", "Sequences that ran out of time", s.timeouts);
    counter(out, "prompt_tokens_total", "Prompt tokens that were computed", s.prompt_tokens);
    counter(out, "cached_tokens_total", "Prompt tokens taken from the state cache instead",
            s.cached_tokens);
    counter(out, "asked_tokens_total", "Prompt tokens, computed and cached ones together",
            s.prompt_tokens + s.cached_tokens);
    counter(out, "output_tokens_total", "Tokens generated", s.output_tokens);
    counter(out, "steps_total", "Steps of the engine", s.steps);
    counter(out, "step_tokens_total", "Tokens computed in all steps", s.step_tokens);
    seconds(out, "step_seconds_total", "Time the device spent on all steps", s.step_ns);
    counter(out, "receipt_rows_total", "Rows of logits that receipts were made of", s.receipt_rows);
    seconds(out, "receipt_seconds_total", "Time of their digests, beside the engine", s.receipt_ns);
    seconds(out, "receipt_copy_seconds_total", "Time the engine took for their rows",
            s.receipt_copy_ns);
    head(out, "step_target_seconds", "gauge",
         "Time the last step with streams and prompts was allowed to take; 0 = none was");
    buf_fmt(out, "recurd_step_target_seconds %.6f\n", (double)s.gap_ns / (double)NS_PER_S);
    gauge(out, "requests_running", "Sequences that have a slot now", s.running);
    gauge(out, "requests_waiting", "Sequences that wait for one now", s.waiting);
    int64_t parked = parked_slots(h);
    gauge(out, "slots_used", "State slots of sequences", MAX(s.slots_used - parked, 0));
    gauge(out, "slots_parked", "State slots of states kept for later, free when needed", parked);
    head(out, "slots_used_ratio", "gauge", "Share of the state slots that sequences have");
    buf_fmt(out, "recurd_slots_used_ratio %.4f\n", (double)MAX(s.slots_used - parked, 0) /
            (double)MAX(s.slots_total, 1));
    gauge(out, "slots", "State slots there are", s.slots_total);
    gauge(out, "state_bytes", "Bytes of state one sequence keeps in its slot",
          h->served->state_bytes);
    gauge(out, "weight_bytes", "Bytes of weights on the device", h->served->weight_bytes);
    if (served_device_bytes(h->served) >= 0)
        gauge(out, "device_bytes", "Bytes held on the device",
              served_device_bytes(h->served));
}

/* One value for each tier. */
static void tiers(struct buf *out, const char *name, const char *type, const char *help,
                  const uint64_t v[TIERS])
{
    head(out, name, type, help);
    for (int t = 0; t < TIERS; t++)
        buf_fmt(out, "recurd_%s{tier=\"%s\"} %llu\n", name, tier_name((enum tier)t),
                (unsigned long long)v[t]);
}

static void latency(struct buf *out, const char *name, const char *help, const struct latency *l)
{
    uint64_t sum = 0;
    double edge = 1e-4;
    head(out, name, "histogram", help);
    for (int i = 0; i < LATENCY_BUCKETS - 1; i++, edge *= 4) {
        sum += l->bucket[i];
        buf_fmt(out, "recurd_%s_bucket{le=\"%g\"} %llu\n", name, edge, (unsigned long long)sum);
    }
    buf_fmt(out, "recurd_%s_bucket{le=\"+Inf\"} %llu\nrecurd_%s_sum %.6f\nrecurd_%s_count %llu\n",
            name, (unsigned long long)l->count, name, (double)l->sum_ns / (double)NS_PER_S, name,
            (unsigned long long)l->count);
}

static void cache_hits(struct buf *out, const struct statecache_stats *c)
{
    counter(out, "cache_hits_total", "Prompts that started from a kept state", c->hits);
    counter(out, "cache_exact_hits_total", "… of these, without computing a token", c->exact_hits);
    head(out, "cache_misses_total", "counter", "Prompts computed from their first token, and why");
    for (int r = 0; r < MISS_REASONS; r++)
        buf_fmt(out, "recurd_cache_misses_total{reason=\"%s\"} %llu\n",
                miss_reason_name((enum miss_reason)r), (unsigned long long)c->misses[r]);
    counter(out, "cache_replayed_tokens_total", "Known tokens computed again after a hit",
            c->replayed_tokens);
    counter(out, "cache_waits_total", "Prompts that waited for a prefix another one was computing",
            c->waits);
    counter(out, "cache_captures_total", "States kept", c->captures);
    counter(out, "cache_captures_skipped_total", "States not kept for lack of room",
            c->captures_skipped);
    counter(out, "cache_thinned_total", "States given up because newer ones are near", c->thinned);
    counter(out, "cache_swaps_out_total", "Sequences preempted with their state", c->swaps_out);
    counter(out, "cache_swaps_in_total", "… and brought back", c->swaps_in);
}

/* A value of each tier whose states may be compressed. */
static void compressed_row(struct buf *out, const char *name, const char *help,
                           const struct compress_count *tiers[1 + SHARED_STORES], size_t member,
                           double unit)
{
    static const char *const names[1 + SHARED_STORES] = {"disk", "shared", "cold"};
    head(out, name, "counter", help);
    for (int t = 0; t < 1 + SHARED_STORES; t++)
        if (tiers[t])
            buf_fmt(out, "recurd_%s{tier=\"%s\"} %.9g\n", name, names[t],
                    (double)*(const uint64_t *)((const char *)tiers[t] + member) / unit);
}

/* The ratio is content by stored bytes, the speed content by seconds. */
static void compressed(struct buf *out, const struct statecache_stats *c)
{
    const struct compress_count *in[1 + SHARED_STORES] = {&c->packed};
    const struct compress_count *back[1 + SHARED_STORES] = {&c->expanded};
    for (int i = 0; i < SHARED_STORES; i++) {
        in[1 + i] = c->shared[i].on ? &c->shared[i].packed : NULL;
        back[1 + i] = c->shared[i].on ? &c->shared[i].expanded : NULL;
    }
    static const size_t content = offsetof(struct compress_count, content_bytes),
                        stored = offsetof(struct compress_count, stored_bytes),
                        ns = offsetof(struct compress_count, ns);
    compressed_row(out, "compress_content_bytes_total", "Bytes of states that were compressed", in,
                   content, 1);
    compressed_row(out, "compress_stored_bytes_total", "… and what became of them", in, stored, 1);
    compressed_row(out, "compress_seconds_total", "Time that it took", in, ns, 1e9);
    compressed_row(out, "expand_content_bytes_total",
                   "Bytes of states that came from compressed ones", back, content, 1);
    compressed_row(out, "expand_stored_bytes_total", "… and the bytes of those", back, stored, 1);
    compressed_row(out, "expand_seconds_total", "Time that it took", back, ns, 1e9);
}

struct shared_row {
    const char *name, *help;
    size_t at; /* of a uint64_t in struct shared_stats */
};

static const struct shared_row shared_rows[] = {
#define ROW(name, field, help) {name "_total", help, offsetof(struct shared_stats, field)}
    ROW("hits", hits, "Requests that found a state in the shared store"),
    ROW("misses", misses, "Requests that asked it and found nothing"),
    ROW("timeouts", timeouts, "Requests that it did not answer in time"),
    ROW("writes", writes, "States put into the shared store"),
    ROW("dropped", dropped, "States left out: it was slow, full or down"),
    ROW("over_budget", over_budget, "… of these, because writing there had taken its share of "
        "network or processors"),
    ROW("errors", errors, "Its failures, and what it had that did not check"),
    ROW("read_bytes", read_bytes, "Bytes of states read from it"),
    ROW("written_bytes", written_bytes, "Bytes of states written to it"),
    ROW("requests", requests, "Requests to a bucket, s3:// only"),
    ROW("repeated", repeated, "Of them sent again: it was busy, or a connection broke"),
}, shared_session_rows[] = {
    ROW("session_reads", session_reads, "Sessions taken over from another replica's record"),
    ROW("session_writes", session_writes, "Records of sessions put into the shared store"),
    ROW("session_conflicts", session_conflicts, "Sessions that another replica held, or went on "
        "with"),
    ROW("session_calls", session_calls, "Sessions that the store had forgotten, called for at all "
        "replicas"),
    ROW("session_sealed", session_sealed, "Sessions asked for whose record no key here opens"),
    ROW("session_late", session_late, "Questions about sessions not answered in time"),
#undef ROW
};

static void shared_counters(struct buf *out, const struct shared_stats *s, const char *prefix,
                            const struct shared_row *rows, size_t n)
{
    char name[64];
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, rows[i].name);
        counter(out, name, rows[i].help,
                *(const uint64_t *)(const void *)((const char *)s + rows[i].at));
    }
}

static void waits(struct buf *out, const struct shared_stats *s, const char *prefix)
{
    const struct { const char *outcome; uint64_t n; } rows[] = {
        {"hit", s->waits_hit}, {"miss", s->waits_miss}, {"late", s->waits_late},
        {"skipped", s->waits_skipped},
    };
    char name[64];
    snprintf(name, sizeof name, "%swaits_total", prefix);
    head(out, name, "counter", "Requests that might have waited for it: they got a state, heard "
         "that there is none, went on without an answer, or did not wait");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        buf_fmt(out, "recurd_%s{outcome=\"%s\"} %llu\n", name, rows[i].outcome,
                (unsigned long long)rows[i].n);
}

/* The first store's are recurd_shared_…, those of a cold one behind it recurd_shared_cold_…. */
static void shared(struct buf *out, const struct shared_stats *s, const char *prefix)
{
    char name[64];
    snprintf(name, sizeof name, "%sup", prefix);
    gauge(out, name, "Whether the shared store is in use", s->up);
    snprintf(name, sizeof name, "%swaited_for", prefix);
    gauge(out, name, "Whether requests wait for its answers: they come in time", s->waited_for);
    snprintf(name, sizeof name, "%slacks_answers", prefix);
    gauge(out, name, "Answers in time until requests wait for it again", s->lacks);
    snprintf(name, sizeof name, "%spending", prefix);
    gauge(out, name, "States that wait to be put, or are being put", (int64_t)s->pending);
    snprintf(name, sizeof name, "%sanswer_seconds", prefix);
    head(out, name, "gauge", "What an answer of it takes now");
    buf_fmt(out, "recurd_%s %.6f\n", name, (double)s->answer_ns / (double)NS_PER_S);
    waits(out, s, prefix);
    shared_counters(out, s, prefix, shared_rows, ARRAY_LEN(shared_rows));
    snprintf(name, sizeof name, "%swrite_cpu_seconds_total", prefix);
    seconds(out, name, "Time of a processor that putting states took", s->write_cpu_ns);
    snprintf(name, sizeof name, "%sget_seconds", prefix);
    latency(out, name, "Asking for one state and reading it", &s->get);
    snprintf(name, sizeof name, "%sput_seconds", prefix);
    latency(out, name, "Putting one state", &s->put);
}

/* Records of sessions are in one store, whichever can do it. */
static void shared_stores(struct buf *out, const struct shared_stats s[SHARED_STORES])
{
    static const char *const prefixes[SHARED_STORES] = {"shared_", "shared_cold_"};
    for (int i = 0; i < SHARED_STORES; i++)
        if (s[i].on)
            shared(out, &s[i], prefixes[i]);
    for (int i = 0; i < SHARED_STORES; i++)
        if (s[i].sessions)
            shared_counters(out, &s[i], prefixes[0], shared_session_rows,
                            ARRAY_LEN(shared_session_rows));
}

static void cache(struct buf *out, struct http *h)
{
    struct statecache_stats c;
    struct statecache *sc = h->served->cache;
    if (!sc)
        return;
    statecache_stats(sc, &c);
    tiers(out, "cache_entries", "gauge", "States in each tier now", c.entries);
    tiers(out, "cache_bytes", "gauge", "Bytes of states in each tier now", c.bytes);
    tiers(out, "cache_bytes_max", "gauge", "Budget of each tier", c.bytes_max);
    tiers(out, "cache_evictions_total", "counter", "States a budget pushed out", c.evictions);
    cache_hits(out, &c);
    counter(out, "cache_spill_bytes_total", "Bytes of states written to disk", c.spill_bytes);
    counter(out, "cache_reload_bytes_total", "Bytes of states read back", c.reload_bytes);
    latency(out, "cache_spill_seconds", "Writing one state", &c.spill);
    latency(out, "cache_reload_seconds", "Reading one state back", &c.reload);
    latency(out, "cache_fsync_seconds", "One fsync", &c.fsync);
    counter(out, "cache_files_written_total", "State and session files written", c.files_written);
    counter(out, "cache_files_quarantined_total", "Files that did not check", c.files_quarantined);
    counter(out, "cache_write_errors_total", "File writes that failed", c.write_errors);
    counter(out, "cache_read_errors_total", "File reads that failed", c.read_errors);
    counter(out, "cache_commits_total", "Turns of sessions", c.commits);
    counter(out, "cache_commits_durable_total", "… of these, on disk when answered",
            c.commits_durable);
    counter(out, "cache_commits_memory_total", "… of these, in memory only", c.commits_memory);
    gauge(out, "cache_disk_on", "Whether states get to the disk", c.disk_on);
    gauge(out, "cache_pending", "States and sessions that wait to be written, and disk jobs "
          "under way; 0: all that is to be on disk is there", (int64_t)c.pending);
    shared_stores(out, c.shared);
    compressed(out, &c);
    gauge(out, "sessions", "Sessions there are", (int64_t)c.sessions);
    gauge(out, "cache_nodes", "Nodes of the prefix index", (int64_t)c.nodes);
    gauge(out, "cache_tokens", "Token ids the prefix index holds", (int64_t)c.tokens);
}

/* One counter of every key. */
static void key_counter(struct buf *out, struct keys *k, const char *name, const char *type,
                        size_t member, const char *help)
{
    head(out, name, type, help);
    for (struct key *key = keys_next(k, NULL); key; key = keys_next(k, key))
        buf_fmt(out, "recurd_%s{key=\"%s\"} %llu\n", name, key->name,
                (unsigned long long)load((uint64_t *)((char *)key + member)));
}

static void key_states(struct buf *out, struct keys *k, struct statecache *sc)
{
    struct tenant_usage u;
    head(out, "key_sessions", "gauge", "Sessions of the key now");
    for (struct key *key = keys_next(k, NULL); key; key = keys_next(k, key)) {
        statecache_usage(sc, &key->tenant, &u);
        buf_fmt(out, "recurd_key_sessions{key=\"%s\"} %lld\n", key->name,
                (long long)u.sessions);
    }
    head(out, "key_state_bytes", "gauge", "Bytes of states of the key in each tier now");
    for (struct key *key = keys_next(k, NULL); key; key = keys_next(k, key)) {
        statecache_usage(sc, &key->tenant, &u);
        for (int t = 0; t < TIERS; t++)
            buf_fmt(out, "recurd_key_state_bytes{key=\"%s\",tier=\"%s\"} %llu\n", key->name,
                    tier_name((enum tier)t), (unsigned long long)u.bytes[t]);
    }
}

/* A name has no character that a label would have to escape. */
static void keys(struct buf *out, struct http *h)
{
    static const struct { const char *name, *type; size_t member; const char *help; } rows[] = {
        {"key_requests_running", "gauge", offsetof(struct key, requests),
         "Sequences of the key now"},
        {"key_requests_total", "counter", offsetof(struct key, admitted), "… and in all"},
        {"key_requests_refused_total", "counter", offsetof(struct key, refused),
         "Sequences refused: the key had its share"},
        {"key_prompt_tokens_total", "counter", offsetof(struct key, prompt_tokens),
         "Prompt tokens of answered requests, cached ones and a session's included"},
        {"key_cached_tokens_total", "counter", offsetof(struct key, cached_tokens),
         "… of these, taken from the state cache"},
        {"key_output_tokens_total", "counter", offsetof(struct key, output_tokens),
         "Tokens generated for the key"},
    };
    if (!h->keys)
        return;
    gauge(out, "keys", "API keys in force", keys_count(h->keys));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        key_counter(out, h->keys, rows[i].name, rows[i].type, rows[i].member, rows[i].help);
    if (h->served->cache)
        key_states(out, h->keys, h->served->cache);
}

static void http(struct buf *out, struct http *h)
{
    struct watch_counts w;
    struct stats *s = &h->stats;
    watch_counts(h->watch, &w);
    head(out, "http_responses_total", "counter", "Replies by route and status");
    for (int r = 0; r <= ROUTE_UNKNOWN; r++) {
        for (int c = 0; c < STATS_STATUSES; c++) {
            uint64_t n = load(&s->responses[r][c]);
            if (n)
                buf_fmt(out, "recurd_http_responses_total{route=\"%s\",status=\"%d\"} %llu\n",
                        route_name(h->routes, r), stats_status_code((enum stats_status)c),
                        (unsigned long long)n);
        }
    }
    counter(out, "http_connections_accepted_total", "Connections accepted", w.accepted);
    counter(out, "http_disconnects_total", "Clients that left before their reply", w.disconnects);
    counter(out, "http_timeouts_total", "Connections cut by a deadline", w.timeouts);
    counter(out, "http_streams_total", "Replies streamed", load(&s->streams));
    counter(out, "http_heartbeats_total", "Comment lines sent on silent streams",
            load(&s->heartbeats));
    counter(out, "http_aborted_total", "Replies that ended before their end", load(&s->aborted));
    gauge(out, "http_connections", "Connections open now", w.open);
    gauge(out, "http_memory_bytes", "Bytes that bodies, parsed JSON and replies take now",
          __atomic_load_n(&h->budget.used, __ATOMIC_RELAXED));
    gauge(out, "http_memory_bytes_max", "Budget of them", h->budget.max);
    counter(out, "http_memory_refused_total", "Times that something was refused for it",
            __atomic_load_n(&h->budget.refused, __ATOMIC_RELAXED));
    gauge(out, "http_exchanges", "Requests under way now, this one included",
          __atomic_load_n(&s->exchanges, __ATOMIC_RELAXED));
    gauge(out, "http_suspended", "Connections that wait for the engine now",
          __atomic_load_n(&s->suspended, __ATOMIC_RELAXED));
    gauge(out, "http_generations", "Requests that own sequences now",
          __atomic_load_n(&s->generations, __ATOMIC_RELAXED));
    histogram(out, "time_to_first_token_seconds", "From the request to its first token",
              &s->first_token);
    histogram(out, "request_seconds", "From the request to its last token", &s->request);
    histogram(out, "time_per_output_token_seconds", "After the first token, mean of a request",
              &s->per_token);
}

static void generations(struct buf *out, const struct stats *s)
{
    head(out, "generations_total", "counter", "Generations by how they ended");
    for (int i = 0; i < FINISHES; i++)
        buf_fmt(out, "recurd_generations_total{finish_reason=\"%s\"} %llu\n", stats_finish_name(i),
                (unsigned long long)load(&s->finishes[i]));
    histogram(out, "queue_time_seconds", "From the request to a place among those that run",
              &s->queue);
    histogram_of(out, "prompt_length_tokens", "Prompt tokens of a generation, cached ones included",
                 &s->prompt_length, stats_lengths);
    histogram_of(out, "output_length_tokens", "Tokens that a generation wrote", &s->output_length,
                 stats_lengths);
}

static void grammars(struct buf *out, struct constrainer *c)
{
    struct constrainer_stats s;
    constrainer_stats(c, &s);
    counter(out, "grammars_compiled_total", "Definitions of answers that were compiled",
            s.compiled);
    counter(out, "grammars_reused_total", "… and taken from those kept", s.reused);
    counter(out, "grammars_refused_total", "… and refused", s.refused);
    seconds(out, "grammar_compile_seconds_total", "Time spent compiling them", s.compile_ns);
    gauge(out, "grammar_bytes", "Bytes of the grammars kept now", (int64_t)s.bytes);
}

static void prompt_rules(struct buf *out, const struct chat_rules *r)
{
    if (!chat_rules_count(r))
        return;
    head(out, "prompt_rules_applied_total", "counter", "Messages that a normalising rule changed");
    for (int i = 0; i < chat_rules_count(r); i++)
        buf_fmt(out, "recurd_prompt_rules_applied_total{rule=\"%s\"} %llu\n",
                chat_rules_name(r, i), (unsigned long long)chat_rules_applied(r, i));
    head(out, "prompt_rules_failed_total", "counter", "Messages on which it ran into its limits");
    for (int i = 0; i < chat_rules_count(r); i++)
        buf_fmt(out, "recurd_prompt_rules_failed_total{rule=\"%s\"} %llu\n",
                chat_rules_name(r, i), (unsigned long long)chat_rules_failed(r, i));
}

static void traces(struct buf *out, struct otlp *o)
{
    struct otlp_counts c;
    if (!o)
        return;
    otlp_counts(o, &c);
    counter(out, "traces_exported_total", "Requests whose spans the collector took", c.exported);
    counter(out, "traces_dropped_total", "… and did not take in time, or at all", c.dropped);
    counter(out, "traces_failures_total", "Posts of spans that failed", c.failures);
}

/* The names Prometheus clients everywhere use for a process. */
static void process(struct buf *out, const struct http *h)
{
    unsigned long size = 0, resident = 0;
    struct timespec cpu;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%lu %lu", &size, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    buf_fmt(out,
            "# HELP process_resident_memory_bytes Memory of the process\n"
            "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n"
            "# HELP process_cpu_seconds_total Time that it spent on CPUs\n"
            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.3f\n"
            "# HELP process_start_time_seconds When it was started, since 1970\n"
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %llu\n",
            (unsigned long long)resident * (unsigned long long)sysconf(_SC_PAGESIZE),
            (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9,
            (unsigned long long)h->started_unix_s);
}

void api_metrics(struct exchange *x)
{
    struct buf *out = &x->reply;
    build_info(out, x->http);
    engine(out, x->http);
    cache(out, x->http);
    keys(out, x->http);
    http(out, x->http);
    generations(out, &x->http->stats);
    grammars(out, serve_state(x)->constrainer);
    prompt_rules(out, x->http->served->rules);
    traces(out, x->http->otlp);
    process(out, x->http);
    metrics_other_names(out, x->http->o->metrics_names, x->http->served->name);
    const char *accept = MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, "Accept");
    bool openmetrics = accept && strstr(accept, "application/openmetrics-text");
    metrics_respell(out, openmetrics);
    exchange_answer(x, 200, openmetrics
                    ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                    : "text/plain; version=0.0.4; charset=utf-8");
}
