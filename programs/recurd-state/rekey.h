/* recurd-state's commands that seal anew: a whole folder, or one exported session. */
#ifndef RECURD_STATE_REKEY_H
#define RECURD_STATE_REKEY_H

#include "base/err.h"

/* The keys a command is given, by their files. */
struct key_files {
    const char *key, *old; /* NULL = not given */
};

/* rekey DIR, told on stdout. *bad: files that no key would save. */
int rekey_folder(const char *dir, const struct key_files *keys, bool *bad,
                 struct err *e) MUST_USE;
/* reseal FROM TO: an exported session that `old` sealed, for an installation whose key is `key`.
 * tenant: the API key it belongs to, called so at both; NULL = as it is, which needs keys that
 * name alike, or a server without API keys. */
int reseal_export(const char *from, const char *to, const struct key_files *keys,
                  const char *tenant, struct err *e) MUST_USE;

#endif
