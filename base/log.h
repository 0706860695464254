/* Logging to standard error, one line a message. Where $JOURNAL_STREAM says that standard error is
 * the journal, a line starts with the <N> priority prefix instead of a time stamp. Any thread.
 * Never logs prompts or keys. */
#ifndef RECURD_LOG_H
#define RECURD_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level max); /* default LOG_INFO */
int log_level_parse(const char *name);  /* "error" … "debug" -> level, or -1 */
void log_msg(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
