/* Shared by the fuzz targets: each is one LLVMFuzzerTestOneInput that may refuse its input, but
 * must not crash, leak or break the property it checks. Run by tests/fuzz/run.sh. */
#ifndef RECURD_FUZZ_H
#define RECURD_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/log.h"
#include "models/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A broken property is a crash like any other. */
#define HOLDS(x) ((x) ? (void)0 : (fprintf(stderr, "does not hold: %s\n", #x), abort()))

/* Where run.sh removes what is left. */
static inline const char *fuzz_temp(void)
{
    const char *dir = getenv("TMPDIR");
    return dir && *dir ? dir : "/tmp";
}

/* A directory of this process with one file of these bytes. */
static inline const char *fuzz_dir(const char *name, const void *p, size_t n)
{
    static char dir[256];
    char path[300];
    if (!dir[0]) {
        log_set_level(LOG_ERROR); /* each choice of a file is logged */
        snprintf(dir, sizeof dir, "%.230s/recurd-fuzz-XXXXXX", fuzz_temp());
        HOLDS(mkdtemp(dir));
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    HOLDS(f && fwrite(p, 1, n, f) == n);
    fclose(f);
    return dir;
}

/* The pieces of the ids add up to exactly these bytes. */
static inline void fuzz_same_text(const struct tokenizer *t, const struct ids *ids,
                                  const char *text, size_t n)
{
    size_t at = 0, len;
    for (size_t i = 0; i < ids->len; i++) {
        const char *p = tokenizer_piece(t, ids->p[i], &len);
        HOLDS(len <= n - at && memcmp(p, text + at, len) == 0);
        at += len;
    }
    HOLDS(at == n);
}

#endif
