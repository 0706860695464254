/* Opening order: model, device, weights, scheduler; and what follows from their facts. */
#include "scheduler/served.h"

#include <string.h>

#include "base/mem.h"
#include "models/describe.h"
#include "models/model.h"
#include "scheduler/sched.h"
#include "scheduler/tracefile.h"

/* What a pure attention model gets when neither file nor flag says how long a sequence may be. */
#define DEFAULT_CONTEXT 8192

static void set_capacity(struct served *s, const struct served_options *o)
{
    const struct plan *p = &s->model->plan;
    s->cap = (struct capacity){.tokens = o->step_tokens, .logits = MAX(o->logit_rows, o->slots),
                               .seqs = o->slots, .slots = o->slots};
    if (p->page_token_floats == 0)
        return;
    int64_t context = o->context ? o->context : s->model->context_max;
    if (context <= 0)
        context = DEFAULT_CONTEXT;
    int64_t page_bytes = p->page_token_floats * PAGE_TOKENS * (int64_t)sizeof(float);
    int64_t per_seq = (context + PAGE_TOKENS - 1) / PAGE_TOKENS;
    int64_t budget = MAX((int64_t)o->kv_bytes / page_bytes, 1);
    s->cap.pages = (int32_t)MIN(MIN(per_seq * o->slots, budget), INT32_MAX / PAGE_TOKENS);
    s->cap.pages_per_seq = (int32_t)MIN(per_seq, s->cap.pages);
}

/* What the server may know of the model. */
static void set_facts(struct served *s)
{
    const struct model *m = s->model;
    memcpy(s->name, m->name, sizeof s->name);
    memcpy(s->arch, m->arch, sizeof s->arch);
    memcpy(s->fingerprint, m->fingerprint, sizeof s->fingerprint);
    s->tok = m->tok;
    s->chat = m->chat;
    s->defaults = m->defaults;
    s->vocab = m->plan.vocab;
    s->bos = m->bos;
    s->context_max = m->context_max;
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
    if (!s) {
        err_set(e, E_NOMEM, "no memory for the model's facts");
        return SERVED_DEVICE;
    }
    if (model_open(&s->model, &mo, e))
        return SERVED_MODEL;
    set_capacity(s, o);
    set_facts(s);
    s->request_templates = o->request_templates;
    progress_stage(o->progress, "opening the device", 0);
    if (device_open(&s->device, &d, e))
        return SERVED_DEVICE;
    s->device_name = s->device->description;
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
        .ram_bytes = o->state_ram_bytes,
        .disk_bytes = o->state_disk_bytes,
        .park_slots = backend->host_memory ? 0 : o->slots,
        .tenants = 1, /* until keys_bind says how many */
        .grid = grid(s),
        .session_ttl_s = o->session_ttl_s,
        .sessions_per_tenant = o->sessions,
    };
    struct sched_options so = {
        .slots = o->slots,
        .queue = o->queue,
        .queue_share = o->queue_share,
        .stall_ns = o->stall_ns,
        .paced = true,
        .step_tokens = o->step_tokens,
        .logit_rows = s->cap.logits,
        .cache = o->state_ram_bytes ? &cache : NULL,
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
    return rc;
}

enum served_fault served_load(struct served *s, const struct served_options *o, struct err *e)
{
    if (model_load(s->model, s->device, &s->cap, e))
        return e->code == E_DEVICE || e->code == E_NOMEM ? SERVED_DEVICE : SERVED_MODEL;
    progress_stage(o->progress, "opening the state cache", 0);
    set_facts(s); /* the weights are in the fingerprint now */
    s->numerics = s->device->backend->numerics(s->device);
    return open_sched(s, o, e) ? SERVED_DEVICE : SERVED_OK;
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
    model_close(s->model); /* after the device, which reads its plan */
    mem_free(s);
}
