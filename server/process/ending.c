/* A thread that nobody waits for: the end of the process is its own. */
#include "server/process/ending.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static struct {
    const struct progress *p;
    uint64_t ms;
    int code;
} end; /* written before the thread starts */

static void *watch(void *arg)
{
    struct timespec left = {(time_t)(end.ms / 1000), (long)(end.ms % 1000) * (long)NS_PER_MS};
    struct progress_view at;
    (void)arg;
    while (nanosleep(&left, &left))
        ;
    progress_view(end.p, &at);
    log_error("the server did not end within %.1f s (%s did not); exiting without it",
              (double)end.ms / 1000, at.what);
    _exit(end.code);
}

void ending_within(const struct progress *p, uint64_t ms, int code)
{
    pthread_t thread;
    end.p = p;
    end.ms = ms;
    end.code = code;
    if (pthread_create(&thread, NULL, watch, NULL) == 0)
        (void)pthread_detach(thread);
}
