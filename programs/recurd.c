/* recurd: the start order and the exit codes; nothing else.
 *
 * options -> socket -> model -> device -> weights -> scheduler -> HTTP -> READY, and back. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "kernels/opencl/opencl.h"
#include "server/process/daemon.h"
#include "server/process/describe.h"
#include "server/http/http.h"
#include "server/api/jsonin.h"
#include "server/http/listen.h"

enum exit_code {
    EXIT_CLEAN = 0,
    EXIT_USAGE = 2,  /* flags or configuration file */
    EXIT_LISTEN = 3, /* the address is taken or not ours */
    EXIT_MODEL = 4,  /* missing, damaged or unsupported */
    EXIT_DEVICE = 5, /* no such device, or too little memory on it */
    EXIT_LOST = 6,   /* the device failed while serving: a restart may help */
    EXIT_STUCK = 7,  /* a request would not end */
};

/* How long the loops below sleep: shorter than any watchdog, long enough to cost nothing. */
#define TICK_MS 1000
#define DRAIN_TICK_MS 20
/* What a pure attention model gets when neither file nor flag says how long a sequence may be. */
#define DEFAULT_CONTEXT 8192

struct recurd {
    struct options o;
    int fd;
    struct model *m;
    struct device *d;
    struct capacity cap;
    struct sched *s;
    struct keys *keys; /* NULL = nobody is asked for one */
    struct http *h;
};

/* ---- where the bundled model is ---- */

static bool demo_at(const char *fmt, const char *dir, char *out, size_t size)
{
    char config[4200];
    snprintf(out, size, fmt, dir);
    snprintf(config, sizeof config, "%s/config.json", out);
    return file_exists(config);
}

/* Here, beside the program's build folder, or installed next to its bin folder. */
static bool find_demo(char *out, size_t size)
{
    char exe[3000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    return demo_at("%smodels/demo/gated-deltanet", "", out, size) ||
           demo_at("%s/../models/demo/gated-deltanet", exe, out, size) ||
           demo_at("%s/../../models/demo/gated-deltanet", exe, out, size) ||
           demo_at("%s/../share/recurd/demo/gated-deltanet", exe, out, size);
}

/* ---- start ---- */

static int open_socket(struct recurd *r, struct err *e)
{
    int rc = daemon_inherited_socket(&r->fd, e);
    if (rc)
        return rc;
    if (r->fd >= 0) {
        fcntl(r->fd, F_SETFL, fcntl(r->fd, F_GETFL) | O_NONBLOCK);
        return 0;
    }
    r->fd = listen_bind(r->o.listen, e);
    return r->fd < 0 ? r->fd : 0;
}

static int open_model(struct recurd *r, struct err *e)
{
    char demo[4096];
    struct model_options mo = {.dir = r->o.model, .chat_format = r->o.chat_format,
                               .dummy = strcmp(r->o.load_format, "dummy") == 0};
    if (!mo.dir) {
        if (!find_demo(demo, sizeof demo))
            return err_set(e, E_NOENT, "no --model was given and the bundled one is not at "
                                       "models/demo/gated-deltanet");
        mo.dir = demo;
    }
    return model_open(&r->m, &mo, e);
}

static void set_capacity(struct recurd *r)
{
    const struct options *o = &r->o;
    struct plan *p = &r->m->plan;
    r->cap = (struct capacity){.tokens = (int32_t)o->step_tokens,
                               .logits = (int32_t)MAX(o->logit_rows, o->slots),
                               .seqs = (int32_t)o->slots, .slots = (int32_t)o->slots};
    if (p->page_token_floats == 0)
        return;
    int64_t context = o->context ? o->context : r->m->context_max;
    if (context <= 0)
        context = DEFAULT_CONTEXT;
    int64_t page_bytes = p->page_token_floats * PAGE_TOKENS * (int64_t)sizeof(float);
    int64_t per_seq = (context + PAGE_TOKENS - 1) / PAGE_TOKENS;
    int64_t budget = MAX((int64_t)MIB(o->kv_memory) / page_bytes, 1);
    r->cap.pages = (int32_t)MIN(MIN(per_seq * o->slots, budget), INT32_MAX / PAGE_TOKENS);
    r->cap.pages_per_seq = (int32_t)MIN(per_seq, r->cap.pages);
}

static int open_device(struct recurd *r, struct err *e)
{
    struct device_options d = {.spec = r->o.device, .kernels = r->o.kernels,
                               .cache_dir = r->o.cache_dir, .threads = (int)r->o.threads};
    return device_open(&r->d, &d, e);
}

/* Numbers that other arithmetic made are not continued: the device and the kernels are part of
 * what a state belongs to, besides the model. */
static void fingerprint(const struct recurd *r, unsigned char out[32])
{
    char numerics[512];
    bool cpu = strcmp(r->d->backend->name, "cpu") == 0;
    snprintf(numerics, sizeof numerics, "1 %s %s %s", r->d->backend->name,
             cpu ? "" : r->d->description, r->o.kernels ? r->o.kernels : "");
    statecache_fingerprint(r->m->fingerprint, numerics, out);
}

/* How far apart states are kept: on a host 64 tokens take longer than a copy of any state. An
 * accelerator computes a thousand tokens while a state of 16 MiB crosses to the host. */
static int32_t grid(const struct recurd *r, bool host)
{
    int32_t spacing = 64;
    int64_t mib = r->m->plan.slot_floats * (int64_t)sizeof(float) >> 20;
    while (!host && spacing < 1024 && spacing < mib * 64)
        spacing *= 2;
    return spacing;
}

static int open_sched(struct recurd *r, struct err *e)
{
    unsigned char print[32];
    fingerprint(r, print);
    bool host = strcmp(r->d->backend->name, "cpu") == 0 || strcmp(r->d->backend->name, "ref") == 0;
    struct statecache_options cache = {
        .fingerprint = print,
        .dir = r->o.state_dir,
        .key_file = r->o.state_key,
        .ram_bytes = MIB(r->o.state_memory),
        .disk_bytes = (uint64_t)r->o.state_disk << 20,
        .park_slots = host ? 0 : (int32_t)r->o.slots, /* slots on the host are RAM like any other */
        .tenants = 1, /* until keys_bind says how many */
        .grid = grid(r, host),
        .session_ttl_s = r->o.session_ttl * 24 * 3600,
    };
    struct sched_options so = {
        .slots = (int32_t)r->o.slots,
        .queue = (int32_t)r->o.queue,
        .step_tokens = (int32_t)r->o.step_tokens,
        .logit_rows = r->cap.logits,
        .cache = r->o.state_memory ? &cache : NULL,
        .pages = r->cap.pages,
        .pages_per_seq = r->cap.pages_per_seq,
    };
    return sched_open(&r->s, r->m, r->d, &so, e);
}

static int start(struct recurd *r, struct err *e)
{
    uint64_t t0 = clock_now_ns();
    if (r->o.action == OPTIONS_SERVE && open_socket(r, e))
        return EXIT_LISTEN;
    if (r->o.action == OPTIONS_SERVE && keys_open(&r->keys, &r->o, e))
        return EXIT_USAGE;
    daemon_status("loading the model");
    if (open_model(r, e))
        return EXIT_MODEL;
    set_capacity(r);
    if (open_device(r, e))
        return EXIT_DEVICE;
    if (r->o.action == OPTIONS_DESCRIBE) {
        describe(r->m, r->d, &r->cap, stdout);
        return EXIT_CLEAN;
    }
    if (model_load(r->m, r->d, &r->cap, e))
        return e->code == E_DEVICE || e->code == E_NOMEM ? EXIT_DEVICE : EXIT_MODEL;
    if (open_sched(r, e) || (r->keys && keys_bind(r->keys, sched_cache(r->s), e)))
        return EXIT_DEVICE;
    malloc_trim(0); /* what loading needed and serving does not */
    if (listen_start(r->fd, r->o.listen, e))
        return EXIT_LISTEN;
    char url[160], status[400];
    listen_describe(r->fd, url, sizeof url);
    if (!listen_is_local(r->fd))
        log_warn("%s can be reached from other machines%s", url,
                 r->keys ? "; keys and texts are not encrypted on the way"
                         : ", and no API key is asked for");
    int fd = r->fd;
    r->fd = -1; /* the HTTP server's from here on */
    if (http_open(&r->h, fd, &r->o, r->m, r->d, r->s, r->keys, e))
        return EXIT_LISTEN;
    snprintf(status, sizeof status, "serving %s on %s", r->m->name, url);
    log_info("%s; %s; ready after %.2f s", status, r->d->description,
             (double)(clock_now_ns() - t0) / (double)NS_PER_S);
    daemon_ready(status);
    return EXIT_CLEAN;
}

/* ---- serve ---- */

struct watchdog {
    uint64_t every_ms;  /* 0 = nobody asked */
    uint64_t heartbeat; /* the engine's, when it was last fed */
    uint64_t fed_ns;
};

/* Tells the service manager that the engine lives: when its heartbeat has moved, and no oftener
 * than asked, because a full notification socket blocks. */
static void feed(struct recurd *r, struct watchdog *w)
{
    struct sched_stats s;
    uint64_t now = clock_now_ns();
    if (!w->every_ms || now < w->fed_ns + w->every_ms * NS_PER_MS / 2)
        return;
    sched_stats(r->s, &s);
    if (s.heartbeat_ns == w->heartbeat)
        return;
    daemon_watchdog();
    w->heartbeat = s.heartbeat_ns;
    w->fed_ns = now;
}

/* The only thing that changes without a restart. */
static void reload(struct recurd *r)
{
    struct err e = {0};
    if (!r->keys)
        log_info("SIGHUP: there are no API keys to reload; restart to change other settings");
    else if (keys_reload(r->keys, &e))
        log_error("SIGHUP: the API keys stay as they were: %s", e.text);
}

static int serve(struct recurd *r)
{
    struct watchdog w = {.every_ms = daemon_watchdog_ms()};
    uint64_t tick = w.every_ms ? MIN(w.every_ms / 2, TICK_MS) : TICK_MS;
    for (;;) {
        int sig = daemon_wait(tick);
        feed(r, &w);
        if (sched_device_lost(r->s)) {
            log_error("the device was lost; exiting so that a restart can bring it back");
            return EXIT_LOST;
        }
        if (sig == SIGHUP)
            reload(r);
        else if (sig)
            return EXIT_CLEAN;
    }
}

/* Running requests may finish until the limit or a second signal; then they are told. */
static int drain(struct recurd *r)
{
    struct watchdog w = {.every_ms = daemon_watchdog_ms()};
    uint64_t end = clock_now_ns() + (uint64_t)r->o.drain * NS_PER_S;
    log_info("draining: running requests may finish within %lld s", (long long)r->o.drain);
    daemon_stopping();
    sched_drain(r->s);
    http_drain(r->h);
    while (!http_idle(r->h) && clock_now_ns() < end && !sched_device_lost(r->s)) {
        int sig = daemon_wait(DRAIN_TICK_MS);
        if (sig && sig != SIGHUP)
            break;
        feed(r, &w);
    }
    if (!http_close(r->h)) {
        log_error("a request did not end; exiting without cleaning up");
        return EXIT_STUCK;
    }
    r->h = NULL;
    return EXIT_CLEAN;
}

/* From this size on memory goes back to the system when it is freed: the library's own bound grows
 * up to 32 MiB with use, and then one request with a long history would stay resident for good. */
#define MAPPED_BYTES MIB(1)

static int run(struct recurd *r)
{
    struct err e = {0};
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES); /* without it memory is only used less well */
    r->fd = -1;
    daemon_init();
    jsonin_init();
    int code = start(r, &e);
    if (e.code)
        fprintf(stderr, "recurd: %s\n", e.text);
    if (r->h) {
        code = serve(r);
        int drained = drain(r);
        if (drained)
            _exit(drained); /* threads still use what is freed below */
        log_info("stopped");
    }
    if (r->fd >= 0)
        close(r->fd);
    sched_close(r->s);
    if (r->d)
        r->d->backend->close(r->d);
    model_close(r->m); /* after the device, which reads its plan */
    keys_close(r->keys);
    return code;
}

static void print_line(void *f, const char *text) { fprintf(f, "%s\n", text); }

static int list_devices(void)
{
    struct err e = {0};
    if (opencl_list(print_line, stdout, &e) == 0)
        return EXIT_CLEAN;
    fprintf(stderr, "recurd: %s\n", e.text);
    return EXIT_DEVICE;
}

static int check(const struct options *o)
{
    struct err e = {0};
    struct keys *keys;
    if (keys_open(&keys, o, &e)) {
        fprintf(stderr, "recurd: %s\n", e.text);
        return EXIT_USAGE;
    }
    keys_close(keys);
    options_print(o, stdout);
    return EXIT_CLEAN;
}

int main(int argc, char **argv)
{
    struct recurd r = {0};
    struct err e = {0};
    int code = EXIT_CLEAN;
    if (options_parse(&r.o, argc, argv, &e) || log_level_parse(r.o.log_level) < 0) {
        err_set(&e, E_RANGE, "log-level: \"%.60s\" is none of error, warn, info, debug",
                r.o.log_level);
        fprintf(stderr, "recurd: %s\n", e.text);
        options_fini(&r.o);
        return EXIT_USAGE;
    }
    log_set_level((enum log_level)log_level_parse(r.o.log_level));
    switch (r.o.action) {
    case OPTIONS_HELP: options_print_help(stdout); break;
    case OPTIONS_VERSION: printf("recurd %s (%s)\n", version_number(), version_commit()); break;
    case OPTIONS_CHECK: code = check(&r.o); break;
    case OPTIONS_DEFAULTS: options_print_defaults(stdout); break;
    case OPTIONS_DEVICES: code = list_devices(); break;
    case OPTIONS_SERVE:
    case OPTIONS_DESCRIBE: code = run(&r); break;
    }
    options_fini(&r.o);
    return code;
}
