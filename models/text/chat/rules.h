/* Normalising rules: what some clients write into the head of their system prompt and change with
 * every request (a billing line, a counter, a date) keeps everything after it from ever being
 * found in the state cache. A rule is a pattern and what stands there instead; it is applied to
 * the text of system and developer messages, each text part by itself, before the template sees
 * them: so the prompt is the same whatever the template does, and nothing that a user or the
 * model wrote is touched.
 *
 * Thread: any, after chat_rules_open. */
#ifndef RECURD_CHAT_RULES_H
#define RECURD_CHAT_RULES_H

#include "base/base.h"
#include "base/err.h"
#include "base/limits.h"

struct json_t;
struct chat_rules;

/* setting: "default" (rules.def), "none", or a file with a rule a line: NAME, a tab, a pattern, a
 * tab, a replacement, which may be left out; "default" alone on a line stands for rules.def; '#'
 * begins a comment line. A name is 1 to 40 of a-z 0-9 - _ . Patterns are PCRE2's, matched as UTF-8
 * and everywhere (\A = only at the beginning); in replacements $1 and \n mean what they mean there.
 * *out = NULL with "none". E_IO, E_FORMAT, E_RANGE with file and line. */
int chat_rules_open(struct chat_rules **out, const char *setting, struct err *e) MUST_USE;
/* The same of a file's text. path: for messages. */
int chat_rules_parse(struct chat_rules **out, const char *text, size_t n, const char *path,
                     struct err *e) MUST_USE;
void chat_rules_close(struct chat_rules *r); /* NULL is fine */

/* Changes messages (been through chat_check) in place. Returns a bit for each rule that changed
 * something. A text on which a rule runs into its limits keeps what it was before that rule, and
 * is counted as a failure. r may be NULL. */
uint32_t chat_rules_apply(struct chat_rules *r, struct json_t *messages);

/* Rule i of chat_rules_count, for headers and metrics: how many messages it changed, and on how
 * many it failed. */
int chat_rules_count(const struct chat_rules *r);
const char *chat_rules_name(const struct chat_rules *r, int i);
uint64_t chat_rules_applied(const struct chat_rules *r, int i);
uint64_t chat_rules_failed(const struct chat_rules *r, int i);

#endif
