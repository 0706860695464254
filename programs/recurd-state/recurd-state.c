/* recurd-state: what a state folder holds, checked: reads only, beside a running daemon, too, which
 * replaces files as a whole; what is gone when its turn comes was removed meanwhile. rekey.h has
 * the commands that write. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/usage.h"
#include "programs/recurd-state/rekey.h"
#include "programs/recurd-state/store.h"
#include "server/api/responses.h"
#include "statecache/store/codec.h"
#include "statecache/store/digest.h"
#include "statecache/store/fields.h"
#include "statecache/store/fsio.h"
#include "statecache/store/installkey.h"
#include "statecache/store/packed.h"

#define READ_BYTES MIB(1) /* of a part at once */
#define PATH_BYTES 4096
/* What a file names and is not there may have gone with it: so often it is looked at again. */
#define AGAIN 3
#define AGAIN_US 50000

enum room { ROOM_STATES, ROOM_SESSIONS, ROOM_PATHS, ROOMS };
static const char *const rooms[ROOMS] = {"states", "sessions", "paths"};
static const enum codec_kind kind_in[ROOMS] = {CODEC_STATE, CODEC_SESSION, CODEC_PATH};

struct entry {
    enum room room;
    unsigned char name[16];
};

struct tool {
    const char *command, *dir, *only; /* only: a name, for show */
    struct format format;             /* the key; the rest is each file's own */
    struct entry *entries;
    size_t n, cap;
    int files[ROOMS], bad, old;
    uint64_t bytes[ROOMS], tokens;
    uint64_t unpacked;       /* bytes that all files would have if none were compressed */
    struct compressor *compressor; /* NULL until it is needed */
    int segments;            /* of the log of turns: what no file of the rooms has yet */
    uint64_t segment_bytes;
    int replies;             /* kept responses */
    uint64_t reply_bytes;
    bool full; /* no memory for all names */
};

static bool checks(const struct tool *t) { return strcmp(t->command, "ls") != 0; }
static bool shows(const struct tool *t) { return strcmp(t->command, "show") == 0; }

static void path_of(const struct tool *t, const struct entry *x, char out[PATH_BYTES])
{
    char hex[33];
    sodium_bin2hex(hex, sizeof hex, x->name, 16);
    snprintf(out, PATH_BYTES, "%s/%s/%s", t->dir, rooms[x->room], hex);
}

/* ---- the folder --------------------------------------------------------------------------- */

static int read_key(struct tool *t, const struct key_files *keys, struct err *e)
{
    char own[PATH_BYTES];
    snprintf(own, sizeof own, "%s/key", t->dir);
    return installkey_load(&t->format, &fsio_real, keys->key ? keys->key : own, keys->old, e);
}

struct listing {
    struct tool *t;
    enum room room;
};

static void note(void *arg, const char *text)
{
    struct listing *l = arg;
    struct tool *t = l->t;
    struct entry x = {.room = l->room};
    size_t n = 0;
    if (strlen(text) != 32 || sodium_hex2bin(x.name, 16, text, 32, NULL, &n, NULL) || n != 16)
        return; /* being written, or not ours */
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        struct entry *more = mem_realloc(t->entries, cap * sizeof *more);
        if (!more) {
            t->full = true;
            return;
        }
        t->entries = more;
        t->cap = cap;
    }
    t->entries[t->n++] = x;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->room != y->room ? (int)x->room - (int)y->room : memcmp(x->name, y->name, 16);
}

static int list(struct tool *t, struct err *e)
{
    for (int i = 0; i < ROOMS; i++) {
        char path[PATH_BYTES];
        struct listing l = {t, (enum room)i};
        snprintf(path, sizeof path, "%s/%s", t->dir, rooms[i]);
        int rc = fsio_real.list(NULL, path, note, &l);
        if (rc)
            return err_set(e, E_IO, "%s is no state folder: %s: %s", t->dir, path, strerror(-rc));
    }
    if (t->full)
        return err_set(e, E_NOMEM, "no memory for more than %zu names", t->n);
    if (t->n)
        qsort(t->entries, t->n, sizeof *t->entries, by_name);
    return 0;
}

static void note_segment(void *arg, const char *name)
{
    struct tool *t = arg;
    char path[PATH_BYTES];
    uint64_t size;
    if ((size_t)snprintf(path, sizeof path, "%s/log/%s", t->dir, name) >= sizeof path)
        return;
    int fd = fsio_real.open(NULL, path, &size);
    if (fd < 0)
        return; /* it has gone */
    fsio_real.close(NULL, fd);
    t->segments++;
    t->segment_bytes += size;
}

/* Of sessions' changes that are not in their record files yet only the bytes are told. */
static void list_log(struct tool *t)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/log", t->dir);
    (void)fsio_real.list(NULL, path, note_segment, t); /* there is none: nothing waits in it */
}

/* Listed, or made since. */
static bool exists(const struct tool *t, enum room room, const unsigned char name[16])
{
    struct entry key = {.room = room};
    char path[PATH_BYTES];
    uint64_t size;
    memcpy(key.name, name, 16);
    if (t->n && bsearch(&key, t->entries, t->n, sizeof key, by_name))
        return true;
    path_of(t, &key, path);
    int fd = fsio_real.open(NULL, path, &size);
    if (fd >= 0)
        fsio_real.close(NULL, fd);
    return fd >= 0;
}

/* ---- one file ----------------------------------------------------------------------------- */

struct file {
    const struct entry *x;
    int fd;
    struct format format; /* with what its head says of model and arithmetic */
    struct head h;
    struct fields fields; /* of a session */
    struct compressor *compressor;
    uint64_t unpacked;    /* bytes it would have if it were not compressed */
};

static int read_at(int fd, void *p, size_t n, uint64_t at, struct err *e)
{
    char *to = p;
    while (n > 0) {
        ssize_t k = fsio_real.pread(NULL, fd, to, n, at);
        if (k <= 0)
            return err_set(e, E_IO, "it cannot be read: %s", k ? strerror((int)-k) : "it is short");
        to += k;
        at += (uint64_t)k;
        n -= (size_t)k;
    }
    return 0;
}

struct taking {
    struct digest d;
    char *copy;
};

static void take(void *arg, const void *p, size_t n)
{
    struct taking *t = arg;
    digest_update(&t->d, p, n);
    if (t->copy) {
        memcpy(t->copy, p, n);
        t->copy += n;
    }
}

static int check_digest(const struct file *f, enum codec_part i, struct digest *d, struct err *e)
{
    unsigned char digest[CODEC_DIGEST];
    digest_final(d, digest);
    if (sodium_memcmp(digest, f->h.digest[i], sizeof digest) == 0)
        return 0;
    return err_set(e, E_FORMAT, "part %s is damaged: its %" PRIu64 " bytes have another digest",
                   codec_part_name(i), f->h.bytes[i]);
}

static int check_packed(const struct file *f, enum codec_part i, void *copy, struct err *e)
{
    struct packed p = {.io = &fsio_real, .fd = f->fd, .format = &f->format,
                       .compressor = f->compressor};
    struct taking t = {.copy = copy};
    digest_init(&t.d, f->h.version);
    int rc = packed_each(&p, &f->h, i, take, &t, e);
    return rc ? rc : check_digest(f, i, &t.d, e);
}

/* Its digest, and a copy of it if there is a place for one. */
static int check_part(const struct file *f, enum codec_part i, void *copy, struct err *e)
{
    if (f->h.packed)
        return check_packed(f, i, copy, e);
    struct digest d;
    uint64_t left = f->h.bytes[i], at = f->h.offset[i];
    char *piece = copy ? NULL : mem_array(1, READ_BYTES), *to = copy;
    int rc = copy || piece ? 0 : err_set(e, E_NOMEM, "no memory to read it");
    digest_init(&d, f->h.version);
    while (!rc && left > 0) {
        size_t n = (size_t)MIN(left, (uint64_t)READ_BYTES);
        char *p = copy ? to : piece;
        rc = read_at(f->fd, p, n, at, e);
        if (!rc)
            digest_update(&d, p, n);
        to += copy ? n : 0;
        at += n;
        left -= n;
    }
    mem_free(piece);
    return rc ? rc : check_digest(f, i, &d, e);
}

/* A state's and a stretch's name is a digest of its tokens. */
static int check_name(const struct file *f, struct err *e)
{
    unsigned char name[16];
    int32_t *tokens = mem_array(1, f->h.bytes[PART_TOKENS]);
    if (!tokens)
        return err_set(e, E_NOMEM, "no memory for %" PRIu64 " bytes of tokens",
                       f->h.bytes[PART_TOKENS]);
    int rc = check_part(f, PART_TOKENS, tokens, e);
    if (!rc)
        codec_name(&f->format, f->h.tenant, f->h.path, tokens,
                   (int64_t)(f->h.bytes[PART_TOKENS] / sizeof *tokens), name);
    mem_free(tokens);
    if (!rc && memcmp(name, f->x->name, 16) != 0)
        rc = err_set(e, E_FORMAT, "its name is not that of its tokens");
    return rc;
}

static int check_session(const struct tool *t, struct file *f, bool whole, struct err *e)
{
    unsigned char bytes[SESSION_RECORD];
    if (f->h.bytes[PART_SESSION] != SESSION_RECORD)
        return err_set(e, E_FORMAT, "the record has %" PRIu64 " bytes, not %d",
                       f->h.bytes[PART_SESSION], SESSION_RECORD);
    int rc = check_part(f, PART_SESSION, bytes, e);
    if (rc)
        return rc;
    fields_read(&f->fields, bytes);
    if (whole && f->fields.state_position && !exists(t, ROOM_STATES, f->fields.state))
        return err_set(e, E_BUSY, "the state it names is not there");
    return 0;
}

static int open_packed(struct tool *t, struct file *f, uint64_t size, struct err *e)
{
    struct packed p = {.io = &fsio_real, .fd = f->fd, .format = &f->format};
    int rc = t->compressor ? 0 : compressor_open(&t->compressor, e);
    f->compressor = t->compressor;
    return rc ? rc : packed_open(&p, size, &f->h, e);
}

static int open_file(struct tool *t, const struct entry *x, struct file *f, struct err *e)
{
    char path[PATH_BYTES];
    unsigned char head[CODEC_HEAD];
    uint64_t size = 0;
    *f = (struct file){.x = x, .format = t->format};
    path_of(t, x, path);
    f->fd = fsio_real.open(NULL, path, &size);
    if (f->fd == -ENOENT)
        return err_set(e, E_NOENT, "gone");
    if (f->fd < 0)
        return err_set(e, E_IO, "it cannot be opened: %s", strerror(-f->fd));
    f->h.file_bytes = size;
    int rc = size < CODEC_HEAD ? err_set(e, E_FORMAT, "%" PRIu64 " bytes, a head alone has %d",
                                         size, CODEC_HEAD)
                               : read_at(f->fd, head, CODEC_HEAD, 0, e);
    if (!rc)
        rc = codec_inspect(&f->format, head, size, &f->h, e);
    f->unpacked = rc ? size : f->h.file_bytes;
    if (!rc && f->h.packed)
        rc = open_packed(t, f, size, e);
    f->h.file_bytes = size;
    if (!rc && (f->h.kind != kind_in[x->room] || memcmp(f->h.id, x->name, 16) != 0))
        rc = err_set(e, E_FORMAT, "the file was renamed: it is kind %d of another name",
                     (int)f->h.kind);
    return rc;
}

static int check_file(const struct tool *t, struct file *f, struct err *e)
{
    int rc = f->x->room == ROOM_SESSIONS ? check_session(t, f, checks(t), e) : 0;
    if (rc || !checks(t))
        return rc;
    if (f->x->room != ROOM_SESSIONS)
        rc = check_name(f, e);
    for (int i = 0; i < PARTS && !rc; i++)
        rc = check_part(f, (enum codec_part)i, NULL, e);
    if (!rc && !sodium_is_zero(f->h.path, 16) && !exists(t, ROOM_PATHS, f->h.path))
        rc = err_set(e, E_BUSY, "the path before its tokens is not there");
    return rc;
}

/* ---- output ------------------------------------------------------------------------------- */

static void age(uint64_t then, char out[24])
{
    uint64_t now = clock_unix_s(), s = now > then ? now - then : 0;
    if (s < 120)
        snprintf(out, 24, "%" PRIu64 "s", s);
    else if (s < 7200)
        snprintf(out, 24, "%" PRIu64 "m", s / 60);
    else if (s < 172800)
        snprintf(out, 24, "%" PRIu64 "h", s / 3600);
    else
        snprintf(out, 24, "%" PRIu64 "d", s / 86400);
}

static void print_line(const struct file *f)
{
    static const char *const kinds[ROOMS] = {"state", "session", "path"};
    char name[33], model[9], tenant[9], old[24];
    const struct head *h = &f->h;
    sodium_bin2hex(name, sizeof name, f->x->name, 16);
    sodium_bin2hex(model, sizeof model, f->format.fingerprint, 4);
    sodium_bin2hex(tenant, sizeof tenant, h->tenant, 4);
    age(f->x->room == ROOM_SESSIONS ? f->fields.used_s : h->created_s, old);
    printf("%-7s %s %10" PRId64 " %12" PRIu64 " %12" PRIu64 " %6s  %s  %s  %s\n",
           kinds[f->x->room], name, h->position, h->file_bytes, f->unpacked, old, model, tenant,
           h->numerics);
}

static void show(const struct file *f)
{
    static const char *const points[] = {"grid",   "end",    "mark",
                                         "branch", "system", "swap"};
    const struct head *h = &f->h;
    char hex[33];
    if (f->x->room == ROOM_STATES && h->point < ARRAY_LEN(points))
        printf("    kept as: %s\n", points[h->point]);
    if (h->packed)
        printf("    compressed: %" PRIu64 " bytes take %" PRIu64 "\n", f->unpacked, h->file_bytes);
    if (!sodium_is_zero(h->path, 16))
        printf("    after path: %s\n", sodium_bin2hex(hex, sizeof hex, h->path, 16));
    for (int i = 0; i < PARTS; i++)
        if (h->bytes[i])
            printf("    %-8s %12" PRIu64 " bytes in %" PRIu64 " at %" PRIu64 "\n",
                   codec_part_name((enum codec_part)i), h->bytes[i], h->stored[i], h->offset[i]);
    if (f->x->room != ROOM_SESSIONS)
        return;
    const struct fields *x = &f->fields;
    printf("    generation %" PRIu64 ", %" PRIu64 " turns, position %" PRIu64 "\n", h->generation,
           x->turns, x->position);
    if (x->state_position)
        printf("    state: %s at %" PRIu64 "\n", sodium_bin2hex(hex, sizeof hex, x->state, 16),
               x->state_position);
    uint64_t now = clock_unix_s(), ends = x->used_s + x->ttl_s;
    printf("    expires in %" PRIu64 " s\n", ends > now ? ends - now : 0);
}

/* Looks at one file, and says what is wrong with it. */
static void look(struct tool *t, const struct entry *x)
{
    struct file f;
    struct err e = {0};
    char hex[33];
    sodium_bin2hex(hex, sizeof hex, x->name, 16);
    if (t->only && strcmp(t->only, hex) != 0)
        return;
    int rc = open_file(t, x, &f, &e);
    if (!rc)
        rc = check_file(t, &f, &e);
    for (int i = 0; i < AGAIN && rc == E_BUSY; i++) { /* replaced while we looked? */
        fsio_real.close(NULL, f.fd);
        usleep(AGAIN_US);
        err_clear(&e);
        rc = open_file(t, x, &f, &e);
        if (!rc)
            rc = check_file(t, &f, &e);
    }
    if (rc == E_NOENT)
        goto out; /* removed since it was listed */
    t->files[x->room]++;
    t->bytes[x->room] += f.h.file_bytes;
    t->unpacked += f.unpacked;
    if (rc == E_CONFLICT) { /* sealed by us, of an older version */
        t->old++;
        printf("old     %s/%s: %s\n", rooms[x->room], hex, e.text);
        goto out;
    }
    if (rc) {
        t->bad++;
        printf("BAD     %s/%s: %s\n", rooms[x->room], hex, e.text);
        goto out;
    }
    t->tokens += f.h.bytes[PART_TOKENS] / sizeof(int32_t);
    if (!checks(t) || shows(t))
        print_line(&f);
    if (shows(t))
        show(&f);
out:
    if (f.fd >= 0)
        fsio_real.close(NULL, f.fd);
}

/* A kept response. */
static void look_at_reply(void *arg, const char *name, uint64_t bytes, const char *wrong,
                          const struct response_file *f)
{
    struct tool *t = arg;
    char tenant[9];
    if (t->only && strcmp(t->only, name) != 0)
        return;
    t->replies++;
    t->reply_bytes += bytes;
    if (wrong) {
        t->bad++;
        printf("BAD     responses/%s: %s\n", name, wrong);
        return;
    }
    sodium_bin2hex(tenant, sizeof tenant, f->tenant.b, 4);
    if (!checks(t) || shows(t))
        printf("%-7s %-32s %10s %12" PRIu64 " %12" PRIu64 " %6s  %-8s  %-8s  %s\n", "reply", name,
               "-", bytes, bytes, "-", "-", tenant, "-");
    if (shows(t))
        printf("    response %12zu bytes\n    messages %12zu bytes\n", f->n_object,
               f->n_messages);
}

static int look_at_replies(struct tool *t, struct err *e)
{
    unsigned char key[16], old[16];
    codec_tenant(t->format.key, RESPONSES_KEY_ID, key);
    codec_tenant(t->format.old, RESPONSES_KEY_ID, old);
    return response_files_check(t->dir, key, t->format.two ? old : NULL, NULL, look_at_reply, t,
                                e);
}

static int run(struct tool *t, const struct key_files *keys, struct err *e)
{
    int rc = list(t, e);
    if (!rc)
        rc = read_key(t, keys, e);
    if (rc)
        return rc;
    if (!checks(t))
        printf("%-7s %-32s %10s %12s %12s %6s  %-8s  %-8s  %s\n", "kind", "name", "tokens", "bytes",
               "unpacked", "age", "model", "tenant", "arithmetic");
    for (size_t i = 0; i < t->n; i++)
        look(t, &t->entries[i]);
    if ((rc = look_at_replies(t, e)))
        return rc;
    int seen = t->files[0] + t->files[1] + t->files[2] + t->replies;
    if (t->only && seen == 0)
        return err_set(e, E_NOENT, "there is no file of the name %.40s", t->only);
    for (int i = 0; i < ROOMS; i++)
        printf("%-8s %8d files %15" PRIu64 " bytes\n", rooms[i], t->files[i], t->bytes[i]);
    printf("%-8s %7d files %15" PRIu64 " bytes\n", "responses", t->replies, t->reply_bytes);
    list_log(t);
    printf("%-8s %8d files %15" PRIu64 " bytes\n", "log", t->segments, t->segment_bytes);
    printf("all of these %20" PRIu64 " bytes, %" PRIu64 " if nothing were compressed\n",
           t->bytes[0] + t->bytes[1] + t->bytes[2], t->unpacked);
    printf("%d damaged, %d of an older version, %" PRIu64 " token ids stored\n", t->bad, t->old,
           t->tokens);
    return 0;
}

static const struct usage_row rows[] = {
#define SYNOPSIS USAGE_ROW_SYNOPSIS
#define ABOUT USAGE_ROW_ABOUT
#define FLAG USAGE_ROW_FLAG
#include "programs/recurd-state/args.def"
#undef FLAG
#undef ABOUT
#undef SYNOPSIS
};

static void usage(FILE *f) { usage_print(f, "recurd-state", rows, ARRAY_LEN(rows)); }

/* ls, check and show. The exit code. */
static int look_at_folder(struct tool *t, const struct key_files *keys)
{
    struct err e = {0};
    if (strlen(t->dir) > PATH_BYTES - 128)
        err_set(&e, E_RANGE, "the folder's path is too long");
    else
        (void)run(t, keys, &e);
    if (e.code)
        fprintf(stderr, "recurd-state: %s\n", e.text);
    compressor_close(t->compressor);
    mem_free(t->entries);
    sodium_memzero(&t->format, sizeof t->format);
    return e.code ? 2 : t->bad > 0;
}

/* check, prune and copy of shared stores. */
static int look_after(struct store_command *c, const struct key_files *keys)
{
    struct err e = {0};
    bool bad = false;
    int rc = c->to ? copy_store(c, keys, &bad, &e) : look_at_store(c, keys, &bad, &e);
    if (rc)
        fprintf(stderr, "recurd-state: %s\n", e.text);
    return rc ? 2 : bad;
}

/* rekey and reseal. */
static int seal_anew(char **words, const struct key_files *keys, const char *tenant)
{
    struct err e = {0};
    bool bad = false;
    int rc = strcmp(words[0], "rekey") == 0
                 ? rekey_folder(words[1], keys, &bad, &e)
                 : reseal_export(words[1], words[2], keys, tenant, &e);
    if (rc)
        fprintf(stderr, "recurd-state: %s\n", e.text);
    return rc ? 2 : bad;
}

static const struct { const char *name; int least, most; } commands[] = {
    {"ls", 1, 1}, {"check", 1, 1}, {"show", 1, 2}, {"rekey", 1, 1}, {"reseal", 2, 2},
    {"prune", 1, 1}, {"copy", 2, 2},
};

/* Is this a command, with as many words as it takes? */
static bool known(char **words, int n)
{
    for (size_t i = 0; n > 0 && i < ARRAY_LEN(commands); i++)
        if (strcmp(words[0], commands[i].name) == 0)
            return n > commands[i].least && n <= commands[i].most + 1;
    return false;
}

static bool number(const char *flag, const char *text, const char *unit, int64_t *out)
{
    char *end;
    long n = strtol(text, &end, 10);
    bool good = *text >= '0' && *text <= '9' && !*end && n <= 100000000;
    if (!good)
        fprintf(stderr, "recurd-state: %s is \"%.40s\", not 0 to 100000000 %s\n", flag, text, unit);
    *out = n;
    return good;
}

int main(int argc, char **argv)
{
    struct tool t = {0};
    struct key_files keys = {0};
    const char *tenant = NULL;
    struct store_command store = {.older_min = 10};
    struct option options[ARRAY_LEN(rows) + 1];
    usage_options(rows, ARRAY_LEN(rows), options);
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'k': keys.key = optarg; break;
        case 'o': keys.old = optarg; break;
        case 't': tenant = optarg; break;
        case 'a': store.ca = optarg; break;
        case 'j': store.json = true; break;
        case 'm':
            if (!number("older", optarg, "minutes", &store.older_min))
                return 2;
            break;
        case 'l':
            if (!number("ttl", optarg, "seconds", &store.ttl_s))
                return 2;
            break;
        case 'e': store.endpoint = optarg; break;
        case 'r': store.region = optarg; break;
        case 'c': store.credentials = optarg; break;
        default:
            usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    char **words = argv + optind;
    if (!known(words, argc - optind) || sodium_init() < 0) {
        usage(stderr);
        return 2;
    }
    if (strcmp(words[0], "rekey") == 0 || strcmp(words[0], "reseal") == 0)
        return seal_anew(words, &keys, tenant);
    store.prune = strcmp(words[0], "prune") == 0;
    if (strcmp(words[0], "copy") == 0)
        store.to = words[2];
    if (store.prune || store.to || (strcmp(words[0], "check") == 0 && strstr(words[1], "://"))) {
        store.url = words[1];
        return look_after(&store, &keys);
    }
    t.command = words[0];
    t.dir = words[1];
    t.only = argc - optind == 3 ? words[2] : NULL;
    return look_at_folder(&t, &keys);
}
