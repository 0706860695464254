/* The shared store: any bytes are an address or a sentence, a manifest that is wholly ours or
 * none (also behind its seal), and replies of a store or the end of its connection. */
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "statecache/shared/record.h"
#include "statecache/shared/seal.h"
#include "statecache/shared/wire.h"
#include "tests/fuzz/fuzz.h"

static struct format format = {.slot_bytes = 64, .page_bytes = 32, .page_tokens = 16,
                               .vocab = 50, .stretch = 32, .key = {1}};
static struct seal_keys keys;

static void address(const uint8_t *data, size_t n)
{
    struct shared_address a;
    struct err e = {0};
    char *text = malloc(n + 1);
    HOLDS(text);
    memcpy(text, data, n);
    text[n] = '\0';
    if (shared_address_parse(text, &a, &e) == 0)
        HOLDS((*a.host != '\0') != (*a.path != '\0') && a.db >= 0 &&
              (*a.path || (a.port > 0 && a.port < 65536)));
    else
        HOLDS(e.text[0] && e.code);
    free(text);
}

static void manifest(uint8_t *data, size_t n)
{
    struct link_name name = {{7}};
    struct manifest m;
    struct err e = {0};
    HOLDS(manifest_open(&keys, &format, &name, data, n, &m, &e) != 0 && !m.ids);
    if (n >= MANIFEST_HEAD) /* behind both seals */
        codec_sign(&format, data + 24);
    err_clear(&e);
    if (manifest_read(&format, data, n, &m, &e))
        return;
    HOLDS(m.n_chunks > 0 && n == MANIFEST_BYTES(m.n_chunks) && m.head.kind == CODEC_SHARED &&
          m.bytes == m.head.file_bytes - CODEC_HEAD &&
          m.bytes <= (uint64_t)m.n_chunks * MANIFEST_CHUNK);
    manifest_free(&m);
}

/* A session's record: in its box never ours; what is in it whole, or none. */
static void record(const uint8_t *data, size_t n)
{
    struct link_name name = {{7}};
    struct shared_record r;
    struct err e = {0};
    HOLDS(shared_record_open(&keys, &format, &name, data, n, &r, &e) != 0 && !r.plain);
    err_clear(&e);
    if (shared_record_read(&format, data, n, &r, &e))
        return;
    HOLDS(r.fence && r.n_ids >= 0 && r.n_ids <= RECORD_STRETCHES &&
          r.c.keep_tokens == r.n_ids * format.stretch);
    for (size_t i = 0; i < (size_t)r.n_ids * SHARED_ID; i++) /* every byte of it can be read */
        HOLDS(r.ids + i < data + n);
    for (uint32_t i = 0; i < r.c.n_tokens; i++) {
        int32_t t;
        memcpy(&t, (const char *)r.c.tokens + (size_t)i * sizeof(t), sizeof(t));
        HOLDS(t >= 0 && t < format.vocab);
    }
    if (r.c.n_answer)
        HOLDS((const uint8_t *)r.c.answer + r.c.n_answer <= data + n);
    struct buf box; /* and it goes through a box as it is */
    struct shared_record again;
    buf_init(&box, RECORD_BOX_MAX);
    HOLDS(shared_record_seal(&keys, &format, &name, &r, &box, &e) == 0 &&
          shared_record_open(&keys, &format, &name, (uint8_t *)box.p, box.len, &again, &e) == 0 &&
          again.fence == r.fence && again.c.generation == r.c.generation);
    shared_record_free(&again);
    buf_free(&box);
}

/* A store that says these bytes, whatever it is asked. */
struct peer { int fd; const uint8_t *data; size_t n; };

static void *speak(void *arg)
{
    struct peer *p = arg;
    int fd = accept(p->fd, NULL, NULL);
    for (size_t at = 0; fd >= 0 && at < p->n;) {
        ssize_t k = send(fd, p->data + at, p->n - at, MSG_NOSIGNAL);
        if (k <= 0)
            break;
        at += (size_t)k;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

/* Every byte of a name can be read. */
static void name(void *arg, const unsigned char *p, size_t n)
{
    (void)arg;
    HOLDS(!n || memchr(p, 1, n) != p + n);
}

static void replies(const uint8_t *data, size_t n)
{
    struct shared_address a = {.shown = "fuzz"};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%.80s/recurd-fuzz-%d", fuzz_temp(), (int)getpid());
    snprintf(a.path, sizeof(a.path), "%s", at.sun_path);
    struct peer p = {socket(AF_UNIX, SOCK_STREAM, 0), data, n};
    unlink(at.sun_path);
    HOLDS(p.fd >= 0 && bind(p.fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
          listen(p.fd, 1) == 0);
    pthread_t thread;
    HOLDS(pthread_create(&thread, NULL, speak, &p) == 0);
    struct wire *w;
    struct err e = {0};
    if (wire_open(&w, &a, NULL, &e) == 0) {
        struct word get[2] = {{"GET", 3}, {"k", 1}};
        struct reply r;
        char cursor[WIRE_CURSOR] = "0";
        int rc = wire_connect(w, 2000, 2000, &e);
        for (int i = 0; i < 8 && !rc; i++) {
            err_clear(&e);
            if (i % 3 == 2) {
                rc = wire_scan(w, "*", cursor, name, NULL, UINT64_MAX, &e);
                HOLDS(strnlen(cursor, sizeof cursor) < sizeof cursor);
                continue;
            }
            rc = wire_ask(w, get, 2, UINT64_MAX, &r, &e);
            if (!rc && r.kind == REPLY_TEXT) /* every byte of it can be read */
                HOLDS(r.n <= WIRE_REPLY_MAX + 65536 && (!r.n || memchr(r.p, 1, r.n) != r.p + r.n));
        }
        wire_close(w);
    } else {
        shutdown(p.fd, SHUT_RDWR);
    }
    shutdown(p.fd, SHUT_RDWR); /* if it was never connected to */
    pthread_join(thread, NULL);
    close(p.fd);
    unlink(at.sun_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool ready;
    if (!ready) {
        HOLDS(sodium_init() >= 0);
        seal_keys(&keys, format.key);
        ready = true;
    }
    if (n == 0)
        return 0;
    uint8_t *copy = malloc(n);
    HOLDS(copy);
    memcpy(copy, data + 1, n - 1);
    if (data[0] % 8 == 0)
        replies(copy, n - 1); /* rarer: it takes a connection */
    else if (data[0] % 4 == 2)
        record(copy, n - 1);
    else if (data[0] % 2)
        address(copy, n - 1);
    else
        manifest(copy, n - 1);
    free(copy);
    return 0;
}
