/* Logging to standard error, one line a message: as text, as JSON, or to the journal itself with
 * fields of its own. Text where $JOURNAL_STREAM says that standard error is the journal starts
 * with the <N> priority prefix instead of a time stamp. Any thread. Never logs prompts or keys. */
#ifndef RECURD_LOG_H
#define RECURD_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON, LOG_JOURNAL };

/* A named value of a message: text, or with text NULL a number. */
struct log_field {
    const char *name; /* lower case, digits and '_' */
    const char *text;
    double number;
    int digits; /* after the point */
};
#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

void log_set_level(enum log_level max); /* default LOG_INFO */
/* A line at the bottom of a terminal that the next one replaces; NULL = none. Nothing happens where
 * standard error is no terminal. */
void log_status_line(const char *text);
/* Before other threads start. journal: its socket, for LOG_JOURNAL. 0, or an
 * errno: nobody is there. */
int log_set_format(enum log_format f, const char *journal) MUST_USE;
int log_format_parse(const char *name); /* "text", "json", "journal" -> format, or -1 */
bool log_wants(enum log_level level);
void log_fields(enum log_level level, const char *msg, const struct log_field *f, size_t n);
int log_level_parse(const char *name);  /* "error" … "debug" -> level, or -1 */
void log_msg(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
