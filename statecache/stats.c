/* Counters: names, histograms, and one consistent copy. Any thread. */
#include "statecache/stats.h"

#include <string.h>

#include "statecache/statecache_int.h"

const char *miss_reason_name(enum miss_reason r)
{
    static const char *const names[MISS_REASONS] = {
        "no_checkpoint", "evicted", "fingerprint", "numerics", "tokens_diverged", "too_short",
    };
    return names[r];
}

const char *tier_name(enum tier t)
{
    static const char *const names[TIERS] = {"device", "ram", "disk"};
    return names[t];
}

void statecache_usage(struct statecache *sc, const struct tenant_tag *tag,
                      struct tenant_usage *out)
{
    _Static_assert(ARRAY_LEN(out->bytes) == TIERS, "one for each tier");
    pthread_mutex_lock(&sc->lock);
    const struct tenant *t = core_tenant(sc, tag->b);
    *out = (struct tenant_usage){.sessions = t ? t->sessions : 0};
    if (t)
        memcpy(out->bytes, t->bytes, sizeof(out->bytes));
    pthread_mutex_unlock(&sc->lock);
}

void statecache_stats(struct statecache *sc, struct statecache_stats *out)
{
    pthread_mutex_lock(&sc->lock);
    *out = sc->stats;
    out->fsync = sc->health.fsync;
    out->packed = sc->health.packed;
    out->expanded = sc->health.expanded;
    out->files_written = sc->health.files_written;
    out->files_quarantined = sc->health.files_quarantined;
    out->write_errors = sc->health.write_errors + sc->journal.health.write_errors;
    latency_join(&out->fsync, &sc->journal.health.fsync);
    out->log_bytes = sc->journal.bytes;
    out->read_errors = sc->health.read_errors;
    out->pending = sc->n_due + sc->n_behind + (uint64_t)sc->writer.queued +
                   (uint64_t)sc->journal.writer.queued;
    out->sessions = sc->n_sessions;
    out->nodes = sc->prefix.n_nodes;
    out->tokens = sc->prefix.n_tokens;
    out->disk_on = core_disk_on(sc);
    pthread_mutex_unlock(&sc->lock);
}
