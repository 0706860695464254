/* One line a message to standard error, in one write(2), so that lines of different threads do
 * not mix. Any thread; no lock. Invariant: a message cannot forge a second line or send escape
 * sequences to a terminal, whatever names it quotes. */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

/* Room for a prefix and an error sentence (384) with context; longer messages are cut. */
#define LINE_MAX_BYTES 1024

static const struct {
    const char *name;
    int priority; /* of syslog(3), as the journal reads it */
} levels[] = {{"error", 3}, {"warn", 4}, {"info", 6}, {"debug", 7}};

static _Atomic int max_level = LOG_INFO;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool to_journal;

void log_set_level(enum log_level max)
{
    atomic_store_explicit(&max_level, (int)max, memory_order_relaxed);
}

int log_level_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (!strcmp(name, levels[i].name))
            return (int)i;
    return -1;
}

/* $JOURNAL_STREAM is "device:inode" of the stream. It is inherited by everything started from a
 * desktop session, so only a standard error that is that very stream counts. */
static void find_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return;
    char own[64];
    snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    to_journal = !strcmp(stream, own);
}

static size_t prefix(char *line, size_t size, enum log_level level)
{
    int n;
    pthread_once(&once, find_journal);
    if (to_journal) {
        n = snprintf(line, size, "<%d>", levels[level].priority);
    } else {
        time_t now = time(NULL);
        struct tm t = {0};
        localtime_r(&now, &t);
        n = snprintf(line, size, "%02d:%02d:%02d %s ", t.tm_hour, t.tm_min, t.tm_sec,
                     levels[level].name);
    }
    return (size_t)n;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
        return;
    char line[LINE_MAX_BYTES + 1]; /* + the newline */
    size_t start = prefix(line, LINE_MAX_BYTES, level);

    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line + start, LINE_MAX_BYTES - start, fmt, args);
    va_end(args);
    size_t room = LINE_MAX_BYTES - start - 1, len = n < 0 ? 0 : (size_t)n;
    if (len > room)
        len = utf8_complete(line + start, room);
    for (size_t i = start; i < start + len; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20 || c == 0x7f)
            line[i] = '?';
    }
    len += start;
    line[len++] = '\n';
    /* Nowhere to report a failure to report; a full pipe loses the line rather than the server. */
    ssize_t ignored = write(STDERR_FILENO, line, len);
    (void)ignored;
}
