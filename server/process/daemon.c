/* sd_notify, signals, socket activation. Every sd_* call is a no-op outside systemd. */
#include "server/process/daemon.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

static void taken_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1); /* daemon_wake's */
}

void daemon_init(void)
{
    sigset_t set;
    taken_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* 10,000 connections are more than the usual soft limit of 1,024 descriptors. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int daemon_inherited_socket(int *fd, struct err *e)
{
    *fd = -1;
    int n = sd_listen_fds(1);
    if (n <= 0)
        return 0;
    if (n > 1)
        return err_set(e, E_RANGE, "the service manager passed %d sockets, 1 is expected", n);
    if (sd_is_socket(SD_LISTEN_FDS_START, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
        return err_set(e, E_RANGE, "the descriptor the service manager passed is not a "
                                   "listening stream socket");
    *fd = SD_LISTEN_FDS_START;
    return 0;
}

void daemon_ready(const char *status) { sd_notifyf(0, "READY=1\nSTATUS=%s", status); }
void daemon_loading(const char *status)
{
    /* The manager never shortens a limit because of this. */
    sd_notifyf(0, "STATUS=%s\nEXTEND_TIMEOUT_USEC=120000000", status);
}
void daemon_stopping(void) { sd_notify(0, "STOPPING=1\nSTATUS=draining"); }
void daemon_status(const char *status) { sd_notifyf(0, "STATUS=%s", status); }
void daemon_watchdog(void) { sd_notify(0, "WATCHDOG=1"); }

uint64_t daemon_watchdog_ms(void)
{
    uint64_t us;
    return sd_watchdog_enabled(0, &us) > 0 ? us / 2000 : 0;
}

int daemon_wait(uint64_t ms)
{
    sigset_t set;
    taken_signals(&set);
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    int sig = sigtimedwait(&set, NULL, &t);
    return sig > 0 && sig != SIGUSR1 ? sig : 0;
}

void daemon_wake(void) { (void)kill(getpid(), SIGUSR1); }
