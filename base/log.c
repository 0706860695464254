/* One line a message to standard error, in one write(2), or one datagram to the journal, so that
 * lines of different threads do not mix. Any thread; no lock. Invariant: a message cannot forge a
 * second line, a field or an escape sequence of a terminal, whatever names it quotes. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

/* Room for a prefix and an error sentence (384) with context; longer messages are cut. */
#define MESSAGE_BYTES 1000
/* … and for the fields of a request, escaped. */
#define LINE_BYTES 4096

static const struct {
    const char *name;
    int priority; /* of syslog(3), as the journal reads it */
} levels[] = {{"error", 3}, {"warn", 4}, {"info", 6}, {"debug", 7}};

static _Atomic int max_level = LOG_INFO;
static enum log_format format = LOG_TEXT; /* set before other threads */
static int journal_fd = -1;
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

/* ---- the line at the bottom ---- */

#define CLEAR_LINE "\r\033[K"

static _Atomic bool status_shown;

void log_status_line(const char *text)
{
    char line[256];
    int n = 0;
    if (!text && !atomic_load_explicit(&status_shown, memory_order_relaxed))
        return;
    if (text && !isatty(STDERR_FILENO))
        return;
    atomic_store_explicit(&status_shown, text != NULL, memory_order_relaxed);
    n = snprintf(line, sizeof line, CLEAR_LINE "%.200s", text ? text : "");
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored;
}

/* ---- text into a line of limited length ---- */

struct line {
    char p[LINE_BYTES + 2]; /* + the newline */
    size_t n;
};

static void put(struct line *l, const char *s, size_t n)
{
    n = MIN(n, LINE_BYTES - l->n);
    memcpy(l->p + l->n, s, n);
    l->n += n;
}

static void put_str(struct line *l, const char *s) { put(l, s, strlen(s)); }

/* Without control characters, and without `also` (0 = none). */
static void put_plain(struct line *l, const char *s, size_t n, char also)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        put(l, c < 0x20 || c == 0x7f || (also && c == (unsigned char)also) ? "?" : s + i, 1);
    }
}

static void put_json(struct line *l, const char *s, size_t n)
{
    bool valid = utf8_valid(s, n);
    put_str(l, "\"");
    for (size_t i = 0; i < n && l->n < LINE_BYTES - 16; i++) {
        unsigned char c = (unsigned char)s[i];
        char escape[8];
        if (c == '"' || c == '\\') {
            escape[0] = '\\';
            escape[1] = (char)c;
            put(l, escape, 2);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put_str(l, escape);
        } else {
            put(l, c >= 0x80 && !valid ? "?" : s + i, 1);
        }
    }
    put_str(l, "\"");
}

static void put_number(struct line *l, const struct log_field *f)
{
    char number[64];
    snprintf(number, sizeof number, "%.*f", f->digits, f->number);
    put_str(l, number);
}

/* ---- the formats ---- */

/* " name=value", quoted where a value has a space. */
static void put_fields(struct line *l, const struct log_field *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put_str(l, " ");
        put_str(l, f[i].name);
        put_str(l, "=");
        if (!f[i].text) {
            put_number(l, &f[i]);
            continue;
        }
        bool quoted = !*f[i].text || strpbrk(f[i].text, " =");
        put_str(l, quoted ? "\"" : "");
        put_plain(l, f[i].text, strlen(f[i].text), '"');
        put_str(l, quoted ? "\"" : "");
    }
}

static void text_line(struct line *l, enum log_level level, const char *msg, size_t n,
                      const struct log_field *f, size_t fields)
{
    char head[48];
    pthread_once(&once, find_journal);
    if (to_journal) {
        snprintf(head, sizeof head, "<%d>", levels[level].priority);
    } else {
        time_t now = time(NULL);
        struct tm t = {0};
        localtime_r(&now, &t);
        snprintf(head, sizeof head, "%02d:%02d:%02d %s ", t.tm_hour, t.tm_min, t.tm_sec,
                 levels[level].name);
    }
    put_str(l, head);
    put_plain(l, msg, n, 0);
    put_fields(l, f, fields);
    l->p[l->n++] = '\n';
}

static void json_line(struct line *l, enum log_level level, const char *msg, size_t n,
                      const struct log_field *f, size_t fields)
{
    char head[96];
    struct timespec now;
    struct tm t = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &t);
    size_t at = strftime(head, sizeof head, "{\"time\":\"%Y-%m-%dT%H:%M:%S", &t);
    snprintf(head + at, sizeof head - at, ".%03ldZ\",\"level\":\"%s\",\"message\":",
             now.tv_nsec / 1000000, levels[level].name);
    put_str(l, head);
    put_json(l, msg, n);
    for (size_t i = 0; i < fields; i++) {
        put_str(l, ",\"");
        put_str(l, f[i].name);
        put_str(l, "\":");
        if (f[i].text)
            put_json(l, f[i].text, strlen(f[i].text));
        else
            put_number(l, &f[i]);
    }
    l->n = MIN(l->n, LINE_BYTES - 1);
    put_str(l, "}");
    l->p[l->n++] = '\n';
}

/* The journal's native protocol: NAME=value, a line each. The message has the fields, too. */
static void journal_datagram(struct line *l, enum log_level level, const char *msg, size_t n,
                             const struct log_field *f, size_t fields)
{
    char head[64];
    snprintf(head, sizeof head, "PRIORITY=%d\nSYSLOG_IDENTIFIER=recurd\nMESSAGE=",
             levels[level].priority);
    put_str(l, head);
    put_plain(l, msg, n, 0);
    put_fields(l, f, fields);
    for (size_t i = 0; i < fields; i++) {
        put_str(l, "\nRECURD_");
        for (const char *c = f[i].name; *c; c++) {
            char upper = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
            put(l, &upper, 1);
        }
        put_str(l, "=");
        if (f[i].text)
            put_plain(l, f[i].text, strlen(f[i].text), 0);
        else
            put_number(l, &f[i]);
    }
    l->p[l->n++] = '\n';
}

/* Nowhere to report a failure to report; a full pipe loses the line rather than the server. */
static void emit(enum log_level level, const char *msg, size_t n, const struct log_field *f,
                 size_t fields)
{
    struct line l = {.n = 0};
    ssize_t ignored;
    if (format == LOG_JOURNAL) {
        journal_datagram(&l, level, msg, n, f, fields);
        ignored = send(journal_fd, l.p, l.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        if (atomic_load_explicit(&status_shown, memory_order_relaxed))
            put_str(&l, CLEAR_LINE);
        if (format == LOG_JSON)
            json_line(&l, level, msg, n, f, fields);
        else
            text_line(&l, level, msg, n, f, fields);
        ignored = write(STDERR_FILENO, l.p, l.n);
    }
    (void)ignored;
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    if (!log_wants(level))
        return;
    char msg[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= sizeof msg)
        len = utf8_complete(msg, sizeof msg - 1);
    emit(level, msg, len, NULL, 0);
}

void log_fields(enum log_level level, const char *msg, const struct log_field *f, size_t n)
{
    if (log_wants(level))
        emit(level, msg, strlen(msg), f, n);
}

/* ---- where to ---- */

int log_format_parse(const char *name)
{
    static const char *const names[] = {"text", "json", "journal"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i]))
            return (int)i;
    return -1;
}

int log_set_format(enum log_format f, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (f != LOG_JOURNAL) {
        format = f;
        return 0;
    }
    if (strlen(path) >= sizeof a.sun_path)
        return ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        int rc = errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (journal_fd >= 0)
        close(journal_fd);
    journal_fd = fd;
    format = LOG_JOURNAL;
    return 0;
}
