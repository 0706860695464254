/* Requests through the whole server: sockets, framing, exchanges, every API, the scheduler, on a
 * device whose logits are a hash. What comes back must be whole replies, none of them a 500, and
 * afterwards nothing may be left running.
 *
 * An input is what some connections send, all at the same time: bytes as they are, but for 0xFF and
 * a letter: C begins the next connection, W ends a write, P waits a moment. Behind its last
 * byte each connection asks for its end. Seeds are made here (LLVMFuzzerInitialize). */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <sodium.h>
#include <linux/sockios.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "models/model.h"
#include "scheduler/sched.h"
#include "server/api/api.h"
#include "server/http/http.h"
#include "server/http/listen.h"
#include "tests/fuzz/fuzz.h"
#ifdef __clang__ /* what is looked for is in the server, not in its clients and the device */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif
#include "tests/unit/fake_backend.h"

#define VOCAB 4096
#define CONNECTIONS 24   /* of one input */
#define QUIET_MS 4       /* nothing more comes, whatever it waits for */
#define REPLIES_MOST (8U << 20)

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed);
int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* Threads allocate while an input is judged; leaks are looked for by the API tests. */
const char *__asan_default_options(void) { return "detect_leaks=0"; }

/* What scheduler/served.c does with a model's files and a device; there are none here. */
int64_t served_device_bytes(const struct served *s)
{
    (void)s;
    return -1;
}

enum served_fault served_open(struct served **out, const struct served_options *o, struct err *e)
{
    (void)out;
    (void)o;
    (void)err_set(e, E_UNSUPPORTED, "nothing is loaded here");
    return SERVED_MODEL;
}

enum served_fault served_load(struct served *s, const struct served_options *o, struct err *e)
{
    (void)s;
    return served_open(NULL, o, e);
}

/* ---- the server ----------------------------------------------------------------------------- */

static struct fake fake;
static struct model model;
static struct served served;
static struct options options;
static struct routes routes;
static struct http *http;
static struct sockaddr_un door = {.sun_family = AF_UNIX};
static uint64_t replies, sent_ns; /* of all inputs */

static void say_how_many(void)
{
    double s = (double)sent_ns / (double)NS_PER_S;
    printf("stat::requests_answered: %llu\nstat::requests_per_sec: %.0f\n",
           (unsigned long long)replies, s > 0 ? (double)replies / s : 0);
}

/* Any token will do where nothing is asked of the row: the time is for requests. */
static int sample(struct device *d, const struct sample_row *rows, int32_t n,
                  struct sample_result *out, struct err *e)
{
    int rc = 0;
    for (int32_t i = 0; i < n && !rc; i++) {
        const struct sample_row *r = &rows[i];
        if (r->draw && r->n_top < 0 && !sample_edits(r))
            out[i] = (struct sample_result){
                .id = (int32_t)(fake_mix((uint64_t)fake.steps) % VOCAB)};
        else
            rc = fake_sample(d, r, 1, &out[i], e);
    }
    return rc;
}

static void open_engine(void)
{
    struct err e = {0};
    struct capacity c = {.tokens = 64, .logits = 16, .slots = 16, .seqs = 16};
    static const struct receipt_origin origin = {.build = "0", .numerics = "hash/1",
                                                 .vocab = VOCAB};
    struct sched_options o = {.slots = 16, .queue = 64, .queue_share = 32, .step_tokens = 64,
                              .logit_rows = 16, .origin = &origin};
    static struct backend backend;
    fake_open(&fake, VOCAB, c);
    backend = fake_backend;
    backend.sample = sample;
    fake.base.backend = &backend;
    model = (struct model){.plan = fake.plan, .eos = {2}, .n_eos = 1, .bos = 1,
                           .context_max = 300};
    HOLDS(tokenizer_open(&model.tok, "models/demo/gated-deltanet", VOCAB, &e) == 0);
    HOLDS(sched_open(&served.sched, &model, &fake.base, &o, &e) == 0);
    served.name = "m";
    snprintf(served.names[0], sizeof served.names[0], "m");
    served.n_names = 1;
    served.tok = model.tok;
    served.defaults = (struct generation_defaults){0, NAN, NAN, NAN, -1, -1}; /* the largest */
    served.vocab = VOCAB;
    served.bos = 1;
    served.context_max = model.context_max;
    served.device_name = "a hash";
    served.numerics = "hash/1";
    served.cap = c;
}

static void open_server(void)
{
    static struct progress loading;
    struct err e = {0};
    char spec[128];
    log_set_level(LOG_ERROR);
    HOLDS(sodium_init() >= 0);
    open_engine();
    options_defaults(&options);
    options.connections = 1000;
    snprintf(door.sun_path, sizeof door.sun_path, "%s/socket", fuzz_dir("x", "", 0));
    snprintf(spec, sizeof spec, "unix:%s", door.sun_path);
    int fd = listen_bind(spec, &e);
    HOLDS(fd >= 0 && listen_start(fd, spec, &e) == 0);
    HOLDS(api_open(&routes, &e) == 0 && api_serve(&routes, &served, &e) == 0);
    HOLDS(http_open(&http, fd, &options, &routes, NULL, NULL, &loading, &served, &e) == 0);
    http->guarded = true; /* as on loopback: Host and Origin are looked at */
    atexit(say_how_many);
}

/* ---- replies -------------------------------------------------------------------------------- */

/* The value of a header of the head p … end; NULL: none. */
static const char *header(const char *p, const char *end, const char *name)
{
    size_t n = strlen(name);
    for (; p < end; p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1)
        if ((size_t)(end - p) > n && strncasecmp(p, name, n) == 0 && p[n] == ':')
            return p + n + 1 + strspn(p + n + 1, " ");
    return NULL;
}

/* Behind a chunked body; NULL: it is not there as a whole. */
static const char *behind_chunks(const char *p, const char *end)
{
    for (;;) {
        char *line;
        unsigned long long n = strtoull(p, &line, 16);
        if (end - line < 2)
            return NULL;
        HOLDS(line > p && line[0] == '\r' && line[1] == '\n' && n < REPLIES_MOST);
        p = line + 2;
        if ((unsigned long long)(end - p) < n + 2)
            return NULL;
        HOLDS(p[n] == '\r' && p[n + 1] == '\n');
        p += n + 2;
        if (n == 0)
            return p;
    }
}

static void check_json(const char *p, size_t n)
{
    json_t *j = json_loadb(p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    HOLDS(j);
    json_decref(j);
}

/* One reply; returns what follows it, NULL if it is cut off (the connection was). */
static const char *check_reply(const char *p, const char *end)
{
    const char *head = memmem(p, (size_t)(end - p), "\r\n\r\n", 4);
    if (!head)
        return NULL;
    HOLDS(head - p > 12 && memcmp(p, "HTTP/1.", 7) == 0 && p[8] == ' ');
    head += 4;
    long status = strtol(p + 9, NULL, 10);
    HOLDS(status >= 100 && status < 600 && status != 500);
    if (status < 200)
        return head; /* 100 Continue */
    replies++;
    const char *length = header(p, head - 2, "Content-Length");
    const char *type = header(p, head - 2, "Content-Type");
    bool chunked = header(p, head - 2, "Transfer-Encoding") != NULL;
    if (end - head >= 7 && memcmp(head, "HTTP/1.", 7) == 0)
        return head; /* to HEAD, or without a body */
    if (chunked)
        return behind_chunks(head, end);
    if (!length)
        return status == 204 || status == 304 ? head : NULL;
    unsigned long long n = strtoull(length, NULL, 10);
    if ((unsigned long long)(end - head) < n)
        return NULL;
    if (n > 0 && type && strncmp(type, "application/json", 16) == 0)
        check_json(head, n);
    return head + n;
}

static void check_replies(struct buf *b)
{
    HOLDS(buf_add(b, "", 1) == 0); /* numbers end */
    const char *p = b->p, *end = b->p + b->len - 1;
    while (p && p < end)
        p = check_reply(p, end);
}

/* ---- clients -------------------------------------------------------------------------------- */

struct client {
    int fd;
    const uint8_t *p, *end; /* what is left of its part of the input */
    bool closing;           /* its last request was sent */
    bool odd;               /* it leaves without a word */
    struct buf got;
};

static const char last[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

static void begin(struct client *c, const uint8_t *p, const uint8_t *end)
{
    *c = (struct client){.p = p, .end = end, .odd = (end - p) & 1};
    buf_init(&c->got, REPLIES_MOST);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    HOLDS(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&door, sizeof door) == 0);
    HOLDS(fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0);
}

/* One write, as far as the socket takes it. False: the server closed. */
static bool push(struct client *c)
{
    uint8_t out[4096];
    const uint8_t *p = c->p;
    size_t n = 0;
    while (n < sizeof out && p < c->end) {
        if (*p == 0xFF && c->end - p >= 2 && (p[1] == 'W' || p[1] == 'P')) {
            if (n > 0)
                break;
            if (p[1] == 'P')
                (void)poll(NULL, 0, 1);
            c->p = p += 2;
            continue;
        }
        out[n++] = *p++;
    }
    ssize_t k = n ? send(c->fd, out, n, MSG_NOSIGNAL) : 0;
    if (k > 0)
        c->p += k;
    if (c->p == c->end && !c->closing) {
        c->closing = true;
        if (send(c->fd, last, sizeof last - 1, MSG_NOSIGNAL) < 0)
            return errno == EAGAIN;
    }
    return k >= 0 || errno == EAGAIN;
}

/* What is there. False: it is the end. */
static bool pull(struct client *c)
{
    char in[16384];
    ssize_t k = recv(c->fd, in, sizeof in, 0);
    if (k > 0)
        HOLDS(buf_add(&c->got, in, (size_t)k) == 0 || c->got.failed);
    return k > 0 ? !c->got.failed : k < 0 && errno == EAGAIN;
}

static void end(struct client *c)
{
    close(c->fd);
    c->fd = -1;
    if (!c->got.failed)
        check_replies(&c->got);
    buf_free(&c->got);
}

/* The server has read all that was sent and computes nothing: it waits for bytes that do not come,
 * at least where a millisecond without a reply has passed besides. */
static bool all_read(const struct client *c, int n)
{
    for (int i = 0, unread; i < n; i++)
        if (c[i].fd >= 0 && (!c[i].closing || ioctl(c[i].fd, SIOCOUTQ, &unread) || unread))
            return false;
    return sched_idle(served.sched);
}

/* Who waits for what does not come leaves, or only says that nothing more comes from its side. */
static bool leaves(struct client *c)
{
    return c->odd || !c->closing || shutdown(c->fd, SHUT_WR) != 0;
}

/* Until all have their end, or nothing moves any more. */
static void talk(struct client *c, int n)
{
    bool told = false;
    for (int left = n; left > 0;) {
        struct pollfd p[CONNECTIONS];
        for (int i = 0; i < n; i++)
            p[i] = (struct pollfd){.fd = c[i].fd,
                                   .events = c[i].closing ? POLLIN : POLLIN | POLLOUT};
        bool quiet = poll(p, (nfds_t)n, told ? QUIET_MS : 1) == 0;
        bool tell = quiet && !told && (all_read(c, n) || poll(p, (nfds_t)n, QUIET_MS - 1) == 0);
        if (quiet && !told)
            quiet = false;
        told |= tell;
        left = 0;
        for (int i = 0; i < n; i++) {
            if (c[i].fd < 0)
                continue;
            bool open = !quiet && !(tell && leaves(&c[i]));
            if (p[i].revents & (POLLIN | POLLHUP | POLLERR))
                open = pull(&c[i]);
            if (open && p[i].revents & POLLOUT && !push(&c[i]))
                open = pull(&c[i]); /* it said why before it closed */
            if (open)
                left++;
            else
                end(&c[i]);
        }
    }
}

static void all_ends(void)
{
    uint64_t until = clock_now_ns() + 15 * NS_PER_S;
    while (!http_idle(http) || !sched_idle(served.sched)) {
        HOLDS(clock_now_ns() < until);
        (void)poll(NULL, 0, 1);
    }
    HOLDS(!fake.broken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct client c[CONNECTIONS];
    static unsigned inputs;
    int k = 0;
    uint64_t t0 = clock_now_ns();
    for (const uint8_t *p = data, *end_of = data + n; p < end_of && k < CONNECTIONS; k++) {
        const uint8_t *next = memmem(p, (size_t)(end_of - p), "\xFF" "C", 2);
        begin(&c[k], p, next ? next : end_of);
        p = next ? next + 2 : end_of;
    }
    talk(c, k);
    if (++inputs % 64 == 0)
        all_ends();
    sent_ns += clock_now_ns() - t0;
    return 0;
}

/* ---- inputs --------------------------------------------------------------------------------- */

static const struct { const char *method, *path, *body; } asked[] = {
    {"POST", "/v1/completions", "{\"prompt\":\"a b\",\"max_tokens\":2}"},
    {"POST", "/v1/completions", "{\"prompt\":[5,6],\"max_tokens\":3,\"stream\":true,\"n\":2}"},
    {"POST", "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1,\"logprobs\":2,\"echo\":true}"},
    {"POST", "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"},
    {"POST", "/v1/messages",
     "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"},
    {"POST", "/v1/responses", "{\"input\":\"a\",\"max_output_tokens\":1}"},
    {"POST", "/api/generate", "{\"prompt\":\"a\",\"options\":{\"num_predict\":1}}"},
    {"POST", "/tokenize", "{\"prompt\":\"some text\"}"},
    {"POST", "/detokenize", "{\"tokens\":[5,6,7]}"},
    {"POST", "/v1/sessions", "{}"},
    {"DELETE", "/v1/sessions/0123456789abcdef0123456789abcdef", NULL},
    {"GET", "/v1/models", NULL}, {"GET", "/health", NULL}, {"GET", "/props", NULL},
    {"HEAD", "/livez", NULL}, {"OPTIONS", "/v1/completions", NULL}, {"GET", "/readyz", NULL},
    {"GET", "/livez", NULL}, {"GET", "/livez", NULL}, {"GET", "/nothing/here?a=b%20c", NULL},
    {"GET", "/metrics", NULL}, {"GET", "/openapi.json", NULL}, {"GET", "/app.js", NULL},
};
#define LONG_REPLIES 3 /* the last of them; now and then */

static const char *const headers[] = {
    "Content-Length: 5", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
    "Connection: close", "Connection: keep-alive, x", "Expect: 100-continue", "Host: evil.example",
    "Origin: http://evil.example", "Authorization: Bearer a", "X-Api-Key: a", "Upgrade: h2c",
    "Content-Type: text/plain", "X-Request-Id: 1", "Accept-Encoding: gzip", "Te: trailers",
    "Content-Length: 99999999999999999999", "Range: bytes=0-1", " folded", "X:\tv", "Cookie: a=b",
};

static void add(struct buf *b, const char *text) { (void)buf_add(b, text, strlen(text)); }

static void add_body(struct buf *b, const char *body, struct rng *r)
{
    char line[64];
    size_t n = strlen(body);
    if (rng_below(r, 3)) {
        snprintf(line, sizeof line, "Content-Length: %zu\r\n\r\n", n);
        add(b, line);
        (void)buf_add(b, body, n);
        return;
    }
    add(b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t k; n > 0; body += k, n -= k) {
        k = 1 + (size_t)rng_below(r, n);
        snprintf(line, sizeof line, "%zx%s\r\n", k, rng_below(r, 8) ? "" : ";a=b");
        add(b, line);
        (void)buf_add(b, body, k);
        add(b, "\r\n");
    }
    add(b, rng_below(r, 8) ? "0\r\n\r\n" : "0\r\nX-Trailer: a\r\n\r\n");
}

static void add_request(struct buf *b, struct rng *r)
{
    size_t usual = ARRAY_LEN(asked) - LONG_REPLIES;
    size_t i = rng_below(r, 64) ? (size_t)rng_below(r, usual)
                                : usual + (size_t)rng_below(r, LONG_REPLIES);
    char line[160];
    snprintf(line, sizeof line, "%s %s HTTP/1.%d\r\nHost: localhost\r\n", asked[i].method,
             asked[i].path, rng_below(r, 16) ? 1 : 0);
    add(b, line);
    for (uint64_t k = rng_below(r, 6) ? 0 : 1 + rng_below(r, 3); k > 0; k--) {
        add(b, headers[rng_below(r, ARRAY_LEN(headers))]);
        add(b, "\r\n");
    }
    if (!asked[i].body) {
        add(b, "\r\n");
        return;
    }
    add(b, "Content-Type: application/json\r\n");
    add_body(b, asked[i].body, r);
}

/* Connections of up to eight requests each, as many as fit. */
static size_t fresh(uint8_t *out, size_t most, struct rng *r)
{
    struct buf b;
    size_t n = 0;
    buf_init(&b, 1 << 16);
    for (int k = 0; k < CONNECTIONS; k++) {
        for (uint64_t i = 1 + rng_below(r, 8); i > 0; i--)
            add_request(&b, r);
        if (b.len + 2 > most)
            break;
        n = b.len;
        add(&b, "\xFF" "C");
    }
    if (n)
        memcpy(out, b.p, n);
    buf_free(&b);
    return n;
}

static size_t insert(uint8_t *data, size_t n, size_t most, size_t at, const char *p, size_t k)
{
    if (n + k > most)
        return n;
    memmove(data + at + k, data + at, n - at);
    memcpy(data + at, p, k);
    return n + k;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed)
{
    struct rng r = {.seed = seed};
    size_t at = n ? (size_t)rng_below(&r, n) : 0, made;
    char line[128];
    switch (rng_below(&r, 6)) {
    case 0:
        made = fresh(data, most, &r);
        n = made ? made : n;
        break;
    case 1:
        return insert(data, n, most, at, rng_below(&r, 4) ? "\xFF" "W" : "\xFF" "P", 2);
    case 2: {
        uint8_t *after = n ? memchr(data + at, '\n', n - at) : NULL;
        snprintf(line, sizeof line, "%s\r\n", headers[rng_below(&r, ARRAY_LEN(headers))]);
        if (after)
            return insert(data, n, most, (size_t)(after + 1 - data), line, strlen(line));
        break;
    }
    default: break;
    }
    for (uint64_t k = 1 + rng_below(&r, 4); k > 0; k--) /* some places, not the whole */
        if (n > 64) {
            at = (size_t)rng_below(&r, n - 32);
            if (rng_below(&r, 2))
                data[at] = (uint8_t)rng_below(&r, 256);
            else
                (void)LLVMFuzzerMutate(data + at, 32, 32);
        } else {
            n = LLVMFuzzerMutate(data, n, most);
        }
    return n;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static uint8_t seed[16000];
    open_server();
    for (int i = 1; i < *argc; i++) {
        if ((*argv)[i][0] == '-')
            continue;
        for (unsigned k = 0; k < 16; k++) { /* into the first folder, the one of finds */
            struct rng r = {.seed = k + 1};
            char path[4096];
            snprintf(path, sizeof path, "%s/seed-%u", (*argv)[i], k);
            size_t n = fresh(seed, k < 8 ? 2000 : sizeof seed, &r);
            FILE *f = fopen(path, "wb");
            if (f && fwrite(seed, 1, n, f) == n)
                (void)fclose(f);
        }
        break;
    }
    return 0;
}
#ifdef __clang__
#pragma clang attribute pop
#endif
