/* The loader's thread and its audience. */
#include "server/process/loading.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/process/daemon.h"

/* How often a terminal hears of it, and the service manager at most. */
#define TICK_MS 100
#define STATUS_NS (500 * NS_PER_MS)
/* A piece of weights takes milliseconds; a compiler of kernels may take minutes, and is left. */
#define STOP_NS (2 * NS_PER_S)

struct loader {
    const struct served_options *o;
    struct served *s;
    enum served_fault fault;
    struct err e;
    int ended; /* atomic: all of the above is the main thread's again */
};

static void *load_main(void *arg)
{
    struct loader *l = arg;
    mem_clear_lacked();
    l->fault = served_open(&l->s, l->o, &l->e);
    if (!l->fault)
        l->fault = served_load(l->s, l->o, &l->e);
    if (mem_lacked() && (!l->fault || l->e.code != E_NOMEM)) {
        /* Not a fault of the model, nor a model that may be served: something may be missing. */
        struct err why = l->e;
        err_clear(&l->e);
        err_set(&l->e, E_NOMEM, "too little memory to load the model%s%s", l->fault ? ": " : "",
                l->fault ? why.text : "");
        l->fault = SERVED_DEVICE;
    }
    __atomic_store_n(&l->ended, 1, __ATOMIC_RELEASE);
    daemon_wake();
    return NULL;
}

void loading_text(const struct progress *p, char *out, size_t size)
{
    struct progress_view v;
    progress_view(p, &v);
    if (v.known)
        snprintf(out, size, "loading, %d %%", (int)(v.share * 100));
    else
        snprintf(out, size, "loading: %s", v.what);
}

/* What was told last, and when. */
struct told {
    char text[200];
    const char *stage;
    uint64_t status_ns;
};

static void tell(struct told *t, const struct progress *p)
{
    struct progress_view v;
    char text[200], line[240];
    uint64_t now = clock_now_ns();
    loading_text(p, text, sizeof text);
    progress_view(p, &v);
    if (v.known)
        snprintf(line, sizeof line, "%s (%s, %.0f of %.0f MiB)", text, v.what,
                 (double)v.done / 0x1p20, (double)v.total / 0x1p20);
    else
        snprintf(line, sizeof line, "%s", text);
    log_status_line(line);
    if (t->stage != v.what)
        log_debug("loading: %s", v.what);
    t->stage = v.what;
    if (strcmp(text, t->text) == 0 || now < t->status_ns + STATUS_NS)
        return;
    daemon_loading(line);
    snprintf(t->text, sizeof t->text, "%s", text);
    t->status_ns = now;
}

enum loading_end loading_run(struct loading *out, const struct served_options *o, struct err *e)
{
    /* STUCK leaves the thread running, so what it uses does not lie here. */
    struct loader *l = mem_zalloc(sizeof *l);
    struct told told = {.text = ""};
    pthread_t thread;
    uint64_t stopped_ns = 0;
    int rc = ENOMEM;
    if (l) {
        l->o = o;
        rc = pthread_create(&thread, NULL, load_main, l);
    }
    if (rc) {
        mem_free(l);
        err_set(e, E_NOMEM, "the loading thread cannot be started: %s", strerror(rc));
        out->fault = SERVED_DEVICE;
        return LOADING_FAILED;
    }
    while (!__atomic_load_n(&l->ended, __ATOMIC_ACQUIRE)) {
        tell(&told, o->progress);
        int sig = daemon_wait(TICK_MS);
        if (sig == SIGHUP)
            out->hangup = true;
        else if (sig && stopped_ns) /* a second one: at once */
            return LOADING_STUCK;
        else if (sig) {
            progress_stop(o->progress);
            stopped_ns = clock_now_ns();
            daemon_stopping();
        }
        if (stopped_ns && clock_now_ns() > stopped_ns + STOP_NS &&
            !__atomic_load_n(&l->ended, __ATOMIC_ACQUIRE))
            return LOADING_STUCK;
    }
    log_status_line(NULL);
    pthread_join(thread, NULL);
    out->s = l->s;
    out->fault = l->fault;
    if (stopped_ns) {
        mem_free(l);
        return LOADING_STOPPED;
    }
    if (l->fault)
        *e = l->e;
    mem_free(l);
    return out->fault ? LOADING_FAILED : LOADING_DONE;
}
