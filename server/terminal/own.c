/* A daemon of one's own. */
#include "server/terminal/own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"

#define LOOK_MS 20 /* how often it is asked whether it serves */
#define BODY_BYTES KIB(64)

static int make_folder(struct own *o, struct err *e)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    /* A path of a socket has 107 bytes. */
    if (!base || base[0] != '/' || strlen(base) > 40)
        base = "/tmp";
    snprintf(o->dir, sizeof o->dir, "%s/recurd-run-XXXXXX", base);
    if (!mkdtemp(o->dir)) {
        int rc = err_set(e, E_IO, "no folder for a socket in %s: %s", base, strerror(errno));
        o->dir[0] = '\0';
        return rc;
    }
    snprintf(o->where, sizeof o->where, "unix:%s/socket", o->dir);
    return 0;
}

/* In the child: gone with its parent, deaf to the terminal's Ctrl-C. */
NORETURN static void become(char **argv, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
        execv("/proc/self/exe", argv);
    _exit(127);
}

static int launch(struct own *o, char *const *flags, struct err *e)
{
    size_t n = 0;
    while (flags[n])
        n++;
    char **argv = mem_array(n + 6, sizeof *argv);
    if (!argv)
        return err_set(e, E_NOMEM, "no memory for %zu flags", n);
    static char name[] = "recurd", level[] = "--log-level", warn[] = "warn", at[] = "--listen";
    argv[0] = name;
    argv[1] = level; /* the caller's own comes later and wins */
    argv[2] = warn;
    memcpy(argv + 3, flags, n * sizeof *argv);
    argv[n + 3] = at;
    argv[n + 4] = o->where;
    pid_t self = getpid();
    o->pid = fork();
    if (o->pid == 0)
        become(argv, self);
    mem_free(argv);
    if (o->pid < 0) {
        o->pid = 0;
        return err_set(e, E_IO, "no process for the daemon: %s", strerror(errno));
    }
    return 0;
}

/* Whether it has ended; then it is waited for. */
static bool ended(struct own *o)
{
    int status;
    if (waitpid(o->pid, &status, WNOHANG) != o->pid)
        return false;
    o->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    o->pid = 0;
    return true;
}

static int until_served(struct own *o, const struct talk *t, struct err *e)
{
    struct buf out;
    int rc = 0;
    buf_init(&out, BODY_BYTES);
    while (rc == 0) {
        struct err why = {0};
        buf_clear(&out);
        int status = talk_ask(t, "GET", "/readyz", NULL, NULL, NULL, &out, &why);
        if (status == 200)
            break;
        if (status == E_CLOSED || *t->stop)
            rc = err_set(e, E_CLOSED, "stopped while the model was being loaded");
        else if (ended(o))
            rc = err_set(e, E_DEVICE, "the daemon ended with exit code %d", o->exit_code);
        else
            nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
    buf_free(&out);
    return rc;
}

int own_start(struct own *o, struct talk *t, char *const *flags, struct err *e)
{
    int rc = make_folder(o, e);
    if (!rc)
        rc = talk_open(t, o->where, e);
    if (!rc)
        rc = launch(o, flags, e);
    if (!rc)
        rc = until_served(o, t, e);
    return rc;
}

void own_stop(struct own *o)
{
    if (o->pid) {
        kill(o->pid, SIGTERM);
        while (waitpid(o->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        o->pid = 0;
    }
    if (o->dir[0]) {
        (void)unlink(o->where + 5); /* the daemon took it along, unless it was killed */
        (void)rmdir(o->dir);
        o->dir[0] = '\0';
    }
}
