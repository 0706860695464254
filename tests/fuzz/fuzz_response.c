/* Any bytes as the file of a kept response, as they are and sealed: what is read back is what the
 * file says, and of the name that it has; anything else is removed. Before, the check that only
 * reads has looked at it. */
#include <sodium.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "server/api/responses.h"
#include "tests/fuzz/fuzz.h"

#define NAME "responses/resp_a"
#define HEAD 128
#define SEAL_AT 96

static const unsigned char key[16] = "a key of sixteen";

static void seal(uint8_t *p, size_t n)
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, key, sizeof key, 32);
    crypto_generichash_update(&s, p, SEAL_AT);
    crypto_generichash_update(&s, p + HEAD, n - HEAD);
    crypto_generichash_final(&s, p + SEAL_AT, 32);
}

static int good, bad;

static void see(void *arg, const char *name, uint64_t bytes, const char *wrong,
                const struct response_file *f)
{
    (void)arg;
    HOLDS(strcmp(name, "resp_a") == 0);
    HOLDS(wrong || (HEAD + f->n_object + f->n_messages == bytes && !strcmp(f->id, name)));
    good += !wrong;
    bad += wrong != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool made;
    struct responses *s;
    struct err e = {0};
    struct tenant_tag t;
    struct buf object, messages;
    char path[128];
    uint8_t *p = malloc(n + 1);
    HOLDS(p);
    memcpy(p, data, n);
    if (n > HEAD && data[SEAL_AT] & 1)
        seal(p, n);
    if (!made) {
        snprintf(path, sizeof path, "%s/responses", fuzz_dir("x", p, 0));
        HOLDS(mkdir(path, 0700) == 0);
        made = true;
    }
    const char *dir = fuzz_dir(NAME, p, n);
    good = bad = 0;
    HOLDS(response_files_check(dir, key, NULL, NULL, see, NULL, &e) == 0 && good + bad == 1);
    HOLDS(responses_open_in(&s, dir, key, NULL, NULL, &e) == 0);
    buf_init(&object, MIB(80));
    buf_init(&messages, MIB(80));
    memset(&t, 0, sizeof t);
    if (n >= HEAD)
        memcpy(t.b, p + 16, sizeof t.b);
    bool found = responses_get(s, &t, "resp_a", &object, &messages);
    HOLDS(!found || (n >= HEAD && object.len + messages.len == n - HEAD &&
                     strcmp((char *)p + 48, "resp_a") == 0));
    HOLDS(!found || !object.len || memcmp(object.p, p + HEAD, object.len) == 0);
    HOLDS(found || !good); /* what the check finds good is read; its texts may be of anything */
    responses_close(s);
    snprintf(path, sizeof path, "%s/%s", dir, NAME);
    HOLDS((access(path, F_OK) == 0) == found);
    buf_free(&object);
    buf_free(&messages);
    free(p);
    return 0;
}
