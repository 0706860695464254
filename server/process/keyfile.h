/* The file of API keys: a name, its secret and its limits on each line. Any bytes end in keys that
 * are within these bounds, or in one sentence that quotes nothing of the file: what stands there
 * may be a secret in the wrong place. Thread: any. */
#ifndef RECURD_KEYFILE_H
#define RECURD_KEYFILE_H

#include "base/err.h"
#include "base/limits.h"

#define KEYFILE_BYTES KIB(512)  /* 1,024 keys with room for a comment each */
#define KEYFILE_KEYS 1024       /* all are compared with every request's: 5 us */
#define KEYFILE_LINE 2048       /* a name, four secrets and all limits */
#define KEY_NAME_BYTES 64       /* a label in metrics and log lines */
#define KEY_SECRETS 4           /* of one name: old and new while clients change over */
#define KEY_SECRET_MIN 16       /* 96 bits in base64: cannot be tried out */
#define KEY_SECRET_MAX 256
#define KEY_DIGEST 32

enum key_limit {
#define KEYLIMIT(name, word, max, sentence) KEY_##name,
#include "server/process/keylimit.def"
#undef KEYLIMIT
    KEY_LIMITS
};

struct keyfile_key {
    char name[KEY_NAME_BYTES + 1];
    int line, n_secrets;
    unsigned char secret[KEY_SECRETS][KEY_DIGEST]; /* SHA-256 of each */
    int64_t limit[KEY_LIMITS];                     /* -1 = none */
    bool metrics;                                  /* may read /metrics */
    bool priority;                                 /* may go before other keys */
};

/* Owner: whoever declared it. */
struct keyfile {
    struct keyfile_key *keys;
    int n, cap;
};

/* text of n bytes; name stands in messages. At least one key, no name and no secret twice.
 * After a failure too, keyfile_free must be called. */
int keyfile_parse(struct keyfile *f, const char *text, size_t n, const char *name,
                  struct err *e) MUST_USE;
/* E_DENIED when others may read or write the file. */
int keyfile_read(struct keyfile *f, const char *path, struct err *e) MUST_USE;
/* One key without limits, as $RECURD_API_KEY gives it; where stands in messages. */
int keyfile_single(struct keyfile *f, const char *name, const char *secret, const char *where,
                   struct err *e) MUST_USE;
void keyfile_free(struct keyfile *f);

#endif
