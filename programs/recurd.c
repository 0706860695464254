/* recurd: the start order and the exit codes; nothing else.
 *
 * options -> socket -> HTTP -> model -> device -> weights -> scheduler -> READY, and back. */
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
#include "kernels/numerics.h"
#include "kernels/opencl/opencl.h"
#include "scheduler/sched.h"
#include "server/process/daemon.h"
#include "server/process/ending.h"
#include "server/process/loading.h"
#include "server/http/http.h"
#include "server/api/agent.h"
#include "server/api/api.h"
#include "server/api/jsonin.h"
#include "server/http/listen.h"
#include "server/otlp/otlp.h"
#include "server/terminal/terminal.h"

enum exit_code {
#define EXIT(name, code, sentence) EXIT_##name = code,
#include "server/process/exit.def"
#undef EXIT
};

/* How long the loops below sleep: shorter than any watchdog, long enough to cost nothing. */
#define TICK_MS 1000
#define DRAIN_TICK_MS 20
/* A request may take so long to come of a client who had connected when the signal came: with the
 * service manager's socket, whoever connects later is the next process's. */
#define CONNECTED_MS 2000
/* … and a thread that has just accepted him to say so. */
#define ACCEPTED_MS 60
/* A body that is on its way when draining begins may take so long. */
#define UNSERVED_MS 2000
/* … and all that follows the limit of draining: the cache writes for ten seconds at most. */
#define ENDING_MS 40000

struct recurd {
    struct options o;
    int fd;
    bool bound; /* by us: a file of a Unix socket goes with us */
    struct served *s;
    struct keys *keys; /* NULL = nobody is asked for one */
    struct otlp *otlp; /* NULL = nobody is told what requests took */
    struct routes routes;
    struct http *h;
    struct agent *agent; /* NULL = no load balancer asks it */
    struct progress progress; /* of loading, and of the end */
    char url[160];
    bool loaded, serving;
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
    r->bound = r->fd >= 0;
    return r->fd < 0 ? r->fd : 0;
}

/* --compress: are states in that tier? */
static bool compresses(const struct options *o, const char *tier)
{
    return strcmp(o->compress, "both") == 0 || strcmp(o->compress, tier) == 0;
}

/* The settings that the model, its device and its states are made by. */
static struct served_options served_options(const struct options *o)
{
    return (struct served_options){
        .dir = o->model,
        .alias = o->alias,
        .dummy = strcmp(o->load_format, "dummy") == 0,
        .quantize = o->quantize,
        .states = o->states,
        .chat_format = o->chat_format,
        .chat_template = o->chat_template,
        .request_templates = o->allow_request_templates == 1,
        .strict_fields = o->strict_fields == 1,
        .prompt_rules = o->prompt_rules,
        .device = o->device,
        .kernels = o->kernels,
        .cache_dir = o->cache_dir,
        .threads = (int)o->threads,
        .slots = (int32_t)o->slots,
        .queue = (int32_t)o->queue,
        .queue_share = (int32_t)(o->queue_share ? o->queue_share : (o->queue + 1) / 2),
        .stall_ns = (uint64_t)o->stall_timeout * NS_PER_S,
        .step_tokens = (int32_t)o->step_tokens,
        .paced = o->target_gap_ms != 0,
        .gap_ns = o->target_gap_ms == OPTIONS_AUTO ? 0 : (uint64_t)o->target_gap_ms * NS_PER_MS,
        .logit_rows = (int32_t)o->logit_rows,
        .context = o->context,
        .kv_bytes = o->kv_memory == OPTIONS_AUTO ? 0 : MIB(o->kv_memory),
        .state_dir = o->state_dir,
        .state_key = o->state_key,
        .state_key_old = o->state_key_old,
        .state_ram_bytes = MIB(o->state_memory),
        .state_disk_bytes = (uint64_t)o->state_disk << 20,
        .shared_url = o->shared,
        .shared_password = getenv("RECURD_SHARED_PASSWORD"),
        .shared_ca = o->shared_ca,
        .shared_endpoint = o->shared_endpoint,
        .shared_region = o->shared_region,
        .shared_credentials = o->shared_credentials,
        .shared_wait_ms = (int)o->shared_wait_ms,
        .shared_cold_wait_ms = (int)o->shared_cold_wait_ms,
        .shared_cold_after_s = o->shared_cold_after,
        .shared_ttl_s = o->shared_ttl,
        .shared_bytes_s = MIB(o->shared_rate),
        .compress_disk = compresses(o, "disk"),
        .compress_shared = compresses(o, "shared"),
        .session_ttl_s = o->session_ttl * 24 * 3600,
        .sessions = o->sessions,
        .trace = o->trace,
        .trace_digests = strcmp(o->trace_ids, "digest") == 0,
    };
}

static int exit_of(enum served_fault f) { return f == SERVED_MODEL ? EXIT_MODEL : EXIT_DEVICE; }

/* Whoever can write there can forge states, and who reads the key can make seals. */
static int check_modes(const struct options *o, struct err *e)
{
    char key[4200];
    int rc = o->state_dir ? file_check_mode(o->state_dir, 0022, e) : 0;
    if (!rc && o->state_key)
        rc = file_check_mode(o->state_key, 0077, e);
    if (!rc && o->shared_credentials)
        rc = file_check_mode(o->shared_credentials, 0077, e);
    if (!rc && o->state_key_old)
        rc = file_check_mode(o->state_key_old, 0077, e);
    if (!rc && o->state_dir && !o->state_key) {
        snprintf(key, sizeof key, "%.4100s/key", o->state_dir);
        rc = file_check_mode(key, 0077, e);
    }
    return rc;
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

/* The file of a Unix socket goes with us. */
static void forget_socket(const struct recurd *r)
{
    if (r->bound && strncmp(r->o.listen, "unix:", 5) == 0)
        (void)unlink(r->o.listen + 5); /* it may be gone already */
}

static void stop_agent(struct recurd *r)
{
    progress_stage(&r->progress, "the agent of load balancers", 0);
    agent_close(r->agent);
    r->agent = NULL;
}

/* Where requests come in, and who may send them. */
static int open_door(struct recurd *r, struct err *e)
{
    if (open_socket(r, e))
        return EXIT_LISTEN;
    if (keys_open(&r->keys, &r->o, e))
        return EXIT_USAGE;
    if (r->o.otlp_endpoint &&
        otlp_open(&r->otlp, r->o.otlp_endpoint, getenv("OTEL_EXPORTER_OTLP_HEADERS"),
                  r->o.otlp_service, (int)r->o.otlp_share, e))
        return EXIT_USAGE;
    if (!r->keys && !r->o.open_to_all && !listen_is_local(r->fd)) {
        err_set(e, E_DENIED, "listen %s: other machines can reach it, and no API key is asked for; "
                "give api-keys, or open-to-all 1 if that is meant", r->o.listen);
        return EXIT_USAGE;
    }
    return check_modes(&r->o, e) ? EXIT_USAGE : EXIT_CLEAN;
}

/* From now on connections are accepted and answered. */
static int start_http(struct recurd *r, struct err *e)
{
    if (listen_start(r->fd, r->o.listen, e))
        return EXIT_LISTEN;
    listen_describe(r->fd, r->url, sizeof r->url);
    if (!listen_is_local(r->fd))
        log_warn("%s can be reached from other machines%s", r->url,
                 r->keys ? "; keys and texts are not encrypted on the way"
                         : ", and no API key is asked for");
    int fd = r->fd;
    r->fd = -1; /* the HTTP server's from here on */
    int rc = http_open(&r->h, fd, &r->o, &r->routes, r->keys, r->otlp, &r->progress,
                       r->loaded ? r->s : NULL, e);
    if (rc == 0 && r->o.agent_listen)
        rc = agent_open(&r->agent, r->o.agent_listen, r->h, e);
    return rc ? EXIT_LISTEN : EXIT_CLEAN;
}

/* Opens and loads, while HTTP says how far it is. A signal ends the process cleanly. */
static int load(struct recurd *r, const struct served_options *so, struct err *e)
{
    struct loading l = {0};
    if (r->h)
        log_info("loading %s; %s/health says how far it is", so->dir, r->url);
    else
        log_info("loading %s", so->dir);
    enum loading_end end = loading_run(&l, so, e);
    r->s = l.s;
    switch (end) {
    case LOADING_STUCK:
        log_info("stopped while loading");
        forget_socket(r);
        _exit(EXIT_CLEAN); /* the loader still uses everything; nothing is kept yet */
    case LOADING_STOPPED: log_info("stopped while loading"); return EXIT_CLEAN;
    case LOADING_FAILED: return exit_of(l.fault);
    case LOADING_DONE: break;
    }
    if (r->keys && keys_bind(r->keys, r->s->cache, e))
        return EXIT_DEVICE;
    if (l.hangup)
        reload(r);
    malloc_trim(0); /* what loading needed and serving does not */
    r->loaded = true;
    return EXIT_CLEAN;
}

static int describe_model(struct recurd *r, const struct served_options *so, struct err *e)
{
    enum served_fault fault = served_open(&r->s, so, e);
    if (fault)
        return exit_of(fault);
    served_describe(r->s, stdout);
    return EXIT_CLEAN;
}

static int start(struct recurd *r, struct err *e)
{
    uint64_t t0 = clock_now_ns();
    bool serve = r->o.action == OPTIONS_SERVE;
    int code = serve ? open_door(r, e) : EXIT_CLEAN;
    if (code)
        return code;
    struct served_options so = served_options(&r->o);
    char demo[4096], status[400];
    so.progress = &r->progress;
    if (!so.dir && !find_demo(demo, sizeof demo)) {
        err_set(e, E_NOENT,
                "no --model was given and the bundled one is not at models/demo/gated-deltanet");
        return EXIT_MODEL;
    }
    so.dir = so.dir ? so.dir : demo;
    if (!serve)
        return describe_model(r, &so, e);
    if (api_open(&r->routes, e))
        return EXIT_LISTEN;
    /* Behind a socket of the service manager newcomers wait, as it was promised to them. */
    if (r->bound && (code = start_http(r, e)))
        return code;
    if ((code = load(r, &so, e)) || !r->loaded)
        return code;
    if (api_serve(&r->routes, r->s, e))
        return EXIT_LISTEN;
    if (r->bound)
        http_serve(r->h, r->s);
    else if ((code = start_http(r, e)))
        return code;
    r->serving = true;
    snprintf(status, sizeof status, "serving %s on %s", r->s->name, r->url);
    log_debug("arithmetic: %s", r->s->numerics);
    log_info("%s; %s%s; ready after %.2f s", status, r->s->device_name,
             numerics_inputs(r->s->numerics),
             (double)(clock_now_ns() - t0) / (double)NS_PER_S);
    clock_skip_gaps(true);
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
    /* Also what clock_skip_gaps asks for: a look at the clock every second. */
    struct sched_stats s;
    uint64_t now = clock_now_ns();
    if (!w->every_ms || now < w->fed_ns + w->every_ms * NS_PER_MS / 2)
        return;
    sched_stats(r->s->sched, &s);
    if (s.heartbeat_ns == w->heartbeat)
        return;
    daemon_watchdog();
    w->heartbeat = s.heartbeat_ns;
    w->fed_ns = now;
}

static int serve(struct recurd *r)
{
    struct watchdog w = {.every_ms = daemon_watchdog_ms()};
    uint64_t tick = w.every_ms ? MIN(w.every_ms / 2, TICK_MS) : TICK_MS;
    for (;;) {
        int sig = daemon_wait(tick);
        feed(r, &w);
        http_tick(r->h);
        if (sched_device_lost(r->s->sched)) {
            log_error("the device was lost; exiting so that a restart can bring it back");
            return EXIT_LOST;
        }
        if (sig == SIGHUP)
            reload(r);
        else if (sig)
            return EXIT_CLEAN;
    }
}

static bool is_stop(int sig) { return sig && sig != SIGHUP; }

/* Running requests may finish until the limit or a second signal; then they are told. */
static int drain(struct recurd *r)
{
    struct watchdog w = {.every_ms = daemon_watchdog_ms()};
    uint64_t begun = clock_now_ns(), end = begun + (uint64_t)r->o.drain * NS_PER_S;
    log_info("draining: running requests may finish within %lld s", (long long)r->o.drain);
    progress_stage(&r->progress, "running requests", 0);
    ending_within(&r->progress, (uint64_t)r->o.drain * 1000 + ENDING_MS, EXIT_STUCK);
    http_leave(r->h);
    uint64_t accepted = begun + ACCEPTED_MS * NS_PER_MS;
    uint64_t connected = MIN(end, begun + CONNECTED_MS * NS_PER_MS);
    for (uint64_t now = begun; now < accepted || (now < connected && http_expects(r->h));
         now = clock_now_ns()) {
        if (is_stop(daemon_wait(DRAIN_TICK_MS)))
            break;
        feed(r, &w);
    }
    daemon_stopping();
    sched_drain(r->s->sched);
    http_drain(r->h);
    while (!http_idle(r->h) && clock_now_ns() < end && !sched_device_lost(r->s->sched)) {
        if (is_stop(daemon_wait(DRAIN_TICK_MS)))
            break;
        feed(r, &w);
        if (clock_now_ns() > begun + UNSERVED_MS * NS_PER_MS)
            http_cut_unserved(r->h);
    }
    stop_agent(r);
    if (!http_close(r->h, &r->progress)) {
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
    int rc = log_set_format((enum log_format)log_format_parse(r->o.log_format),
                            LOG_JOURNAL_SOCKET);
    if (rc) {
        fprintf(stderr, "recurd: log-format: %s: %s\n", LOG_JOURNAL_SOCKET, strerror(rc));
        return EXIT_USAGE;
    }
    daemon_init();
    jsonin_init();
    int code = start(r, &e);
    if (e.code)
        fprintf(stderr, "recurd: %s\n", e.text);
    if (r->serving) {
        code = serve(r);
        int drained = drain(r);
        if (drained)
            _exit(drained); /* threads still use what is freed below */
        log_info("stopped");
    } else {
        ending_within(&r->progress, ENDING_MS, code);
        stop_agent(r);
        if (!http_close(r->h, &r->progress)) {
            forget_socket(r);
            _exit(code); /* a client is in the middle of a request that nobody will answer */
        }
    }
    if (r->fd >= 0)
        close(r->fd);
    forget_socket(r);
    progress_stage(&r->progress, "the collector of traces", 0);
    otlp_close(r->otlp); /* what the last requests took */
    progress_stage(&r->progress, "what the API keeps", 0);
    api_close(&r->routes);
    progress_stage(&r->progress, "the engine", 0);
    served_close(r->s);
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
    if (argc > 1 && strcmp(argv[1], "run") == 0)
        return terminal_main(argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "serve") == 0) { /* what is done without a word, too */
        argv++;
        argc--;
    }
    if (options_parse(&r.o, argc, argv, &e)) {
        for (int i = 0; i < MIN(r.o.n_faults, OPTIONS_FAULTS); i++)
            fprintf(stderr, "recurd: %s\n", r.o.faults[i] ? r.o.faults[i] : e.text);
        if (r.o.n_faults > OPTIONS_FAULTS)
            fprintf(stderr, "recurd: … and %d more\n", r.o.n_faults - OPTIONS_FAULTS);
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
