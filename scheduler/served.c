/* Opening order: model, device, weights, scheduler; and what follows from their facts. */
#include "scheduler/served.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "base/version.h"
#include "kernels/cpu/quota.h"
#include "models/describe.h"
#include "models/model.h"
#include "scheduler/capacity.h"
#include "models/text/chat/rules.h"
#include "scheduler/sched.h"
#include "scheduler/tracefile.h"

/* Aliases with commas between; without any the model's own name comes later. */
static int set_names(struct served *s, const char *list, struct err *e)
{
    size_t n;
    for (const char *at = list; at && *at; at += n + (at[n] == ',')) {
        n = strcspn(at, ",");
        if (s->n_names == SERVED_NAMES)
            return err_set(e, E_RANGE, "alias: more than %d names", SERVED_NAMES);
        if (n == 0 || n >= sizeof s->names[0])
            return err_set(e, E_RANGE, "alias: a name has %zu bytes, 1 … %zu are allowed", n,
                           sizeof s->names[0] - 1);
        if (!utf8_valid(at, n))
            return err_set(e, E_FORMAT, "alias: name %d is not UTF-8", s->n_names + 1);
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)at[i] < 0x21 || at[i] == 0x7f)
                return err_set(e, E_FORMAT, "alias: name %d has a space or a control character",
                               s->n_names + 1);
        memcpy(s->names[s->n_names++], at, n);
    }
    s->n_names = MAX(s->n_names, 1);
    return 0;
}

/* What the server may know of the model. */
static void set_facts(struct served *s)
{
    const struct model *m = s->model;
    if (!s->names[0][0])
        memcpy(s->names[0], m->name, sizeof s->names[0]);
    s->name = s->names[0];
    memcpy(s->arch, m->arch, sizeof s->arch);
    memcpy(s->fingerprint, m->fingerprint, sizeof s->fingerprint);
    s->tok = m->tok;
    s->chat = m->chat;
    s->defaults = m->defaults;
    s->vocab = m->plan.vocab;
    s->bos = m->bos;
    s->parameters = m->parameters;
    s->weight_bytes = m->weight_bytes;
    s->state_bytes = m->plan.slot_floats * (int64_t)sizeof(float);
}

enum served_fault served_open(struct served **out, const struct served_options *o, struct err *e)
{
    struct model_options mo = {.dir = o->dir, .chat_format = o->chat_format,
                               .chat_template = o->chat_template, .dummy = o->dummy,
                               .threads = o->threads, .progress = o->progress};
    struct device_options d = {.spec = o->device, .kernels = o->kernels,
                               .cache_dir = o->cache_dir, .threads = o->threads};
    struct served *s = *out = mem_zalloc(sizeof *s);
    if (o->quantize && !quantize_parse(o->quantize, &mo.quantize)) {
        err_set(e, E_RANGE, "quantize: \"%.60s\" is none of none, q8 and q4", o->quantize);
        return SERVED_MODEL;
    }
    if (o->states && !states_parse(o->states, &mo.states)) {
        err_set(e, E_RANGE, "states: \"%.60s\" is none of float32 and float16", o->states);
        return SERVED_MODEL;
    }
    if (!s) {
        err_set(e, E_NOMEM, "no memory for the model's facts");
        return SERVED_DEVICE;
    }
    if (set_names(s, o->alias, e))
        return SERVED_MODEL;
    if (model_open(&s->model, &mo, e))
        return SERVED_MODEL;
    set_facts(s);
    s->request_templates = o->request_templates;
    s->strict_fields = o->strict_fields;
    if (o->prompt_rules && chat_rules_open(&s->rules, o->prompt_rules, e))
        return SERVED_MODEL;
    progress_stage(o->progress, "opening the device", 0);
    if (device_open(&s->device, &d, e))
        return SERVED_DEVICE;
    if (plan_validate_states(&s->model->plan, s->device->backend->limits(s->device), e))
        return SERVED_DEVICE;
    s->device_name = s->device->description;
    capacity_choose(s, o);
    if (o->threads > quota_cpus(NULL, 0))
        log_warn("threads %d: this process may keep %d CPU%s busy; more threads than that take "
                 "each other's time", o->threads, quota_cpus(NULL, 0),
                 quota_cpus(NULL, 0) == 1 ? "" : "s");
    return SERVED_OK;
}

/* How far apart states are kept: on a host 64 tokens take longer than a copy of any state. An
 * accelerator computes a thousand tokens while a state of 16 MiB crosses to the host. */
static int32_t grid(const struct served *s)
{
    int32_t spacing = 64;
    int64_t mib = s->state_bytes >> 20;
    while (!s->device->backend->host_memory && spacing < 1024 && spacing < mib * 64)
        spacing *= 2;
    return spacing;
}

static int open_sched(struct served *s, const struct served_options *o, struct err *e)
{
    const struct backend *backend = s->device->backend;
    struct statecache_options cache = {
        .fingerprint = s->model->fingerprint,
        .numerics = s->numerics,
        .dir = o->state_dir,
        .key_file = o->state_key,
        .key_file_old = o->state_key_old,
        .ram_bytes = o->state_ram_bytes,
        .disk_bytes = o->state_disk_bytes,
        .shared_url = o->shared_url,
        .shared_password = o->shared_password,
        .shared_ca = o->shared_ca,
        .shared_endpoint = o->shared_endpoint,
        .shared_region = o->shared_region,
        .shared_credentials = o->shared_credentials,
        .shared_wait_ms = o->shared_wait_ms,
        .shared_cold_wait_ms = o->shared_cold_wait_ms,
        .shared_cold_after_s = o->shared_cold_after_s,
        .shared_ttl_s = o->shared_ttl_s,
        .shared_bytes_s = o->shared_bytes_s,
        .compress_disk = o->compress_disk ? COMPRESS_PAYING : COMPRESS_NEVER,
        .compress_shared = o->compress_shared ? COMPRESS_PAYING : COMPRESS_NEVER,
        .park_slots = backend->host_memory ? 0 : s->cap.slots,
        .tenants = 1, /* until keys_bind says how many */
        .grid = grid(s),
        .session_ttl_s = o->session_ttl_s,
        .sessions_per_tenant = o->sessions,
    };
    struct receipt_origin origin = {.vocab = s->vocab};
    snprintf(origin.build, sizeof origin.build, "%s %s", version_number(), version_commit());
    snprintf(origin.numerics, sizeof origin.numerics, "%s", s->numerics);
    memcpy(origin.model, s->fingerprint, sizeof origin.model);
    struct sched_options so = {
        .slots = s->cap.slots,
        .queue = o->queue,
        .queue_share = o->queue_share,
        .stall_ns = o->stall_ns,
        .paced = o->paced,
        .gap_ns = o->gap_ns,
        .step_tokens = o->step_tokens,
        .logit_rows = s->cap.logits,
        .cache = o->state_ram_bytes ? &cache : NULL,
        .origin = &origin,
        .receipt_threads = MAX(quota_cpus(NULL, 0) / 8, 1),
        .pages = s->cap.pages,
        .pages_per_seq = s->cap.pages_per_seq,
    };
    struct tracefile_options trace = {.path = o->trace, .digests = o->trace_digests,
                                      .model = s->name, .fingerprint = s->fingerprint,
                                      .numerics = s->numerics};
    int rc = o->trace ? tracefile_open(&s->trace, &trace, e) : 0;
    if (rc)
        return rc;
    if (s->trace)
        so.trace = tracefile_sink(s->trace);
    rc = sched_open(&s->sched, s->model, s->device, &so, e);
    if (!rc)
        s->cache = sched_cache(s->sched);
    s->state_dir = s->cache ? o->state_dir : NULL;
    return rc;
}

enum served_fault served_load(struct served *s, const struct served_options *o, struct err *e)
{
    uint64_t from = clock_now_ns();
    if (model_load(s->model, s->device, &s->cap, e))
        return e->code == E_DEVICE || e->code == E_NOMEM ? SERVED_DEVICE : SERVED_MODEL;
    double seconds = (double)MAX(clock_now_ns() - from, 1) / (double)NS_PER_S;
    double mib = (double)s->weight_bytes / 0x1p20;
    log_info("%s: %.1f MiB of weights %s in %.2f s, %.0f MiB/s", s->model->name, mib,
             s->model->dummy_seed ? "made" : "loaded", seconds, mib / seconds);
    progress_stage(o->progress, "opening the state cache", 0);
    set_facts(s); /* the weights are in the fingerprint now */
    s->numerics = s->device->backend->numerics(s->device);
    if (open_sched(s, o, e))
        return SERVED_DEVICE;
    capacity_log(s, o);
    return SERVED_OK;
}

void served_describe(const struct served *s, FILE *f)
{
    describe(s->model, s->device, &s->cap, f);
}

int64_t served_device_bytes(const struct served *s)
{
    const struct backend *b = s->device->backend;
    return b->memory ? b->memory(s->device) : -1;
}

void served_close(struct served *s)
{
    if (!s)
        return;
    sched_close(s->sched);
    tracefile_close(s->trace);
    if (s->device)
        s->device->backend->close(s->device);
    chat_rules_close(s->rules);
    model_close(s->model); /* after the device, which reads its plan */
    mem_free(s);
}
