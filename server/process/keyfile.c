/* Lines to keys. Invariant: a secret leaves this file only as its SHA-256, and every buffer that
 * held one is wiped. Thread: any. */
#include "server/process/keyfile.h"

#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

#define FIRST_KEYS 16

static const struct { const char *word; int64_t max; } limits[] = {
#define KEYLIMIT(name, word, max, sentence) {word, max},
#include "server/process/keylimit.def"
#undef KEYLIMIT
};

static const char words[] =
#define KEYLIMIT(name, word, max, sentence) word "=N, "
#include "server/process/keylimit.def"
#undef KEYLIMIT
    "metrics, priority";

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
static const char hashed[] = "sha256:";

/* A word of the line being read. */
struct word {
    const char *p;
    size_t n;
};

struct parse {
    struct keyfile *f;
    const char *name; /* of the file */
    int line;
    struct err *e;
};

static bool is_letter(char c) { return c && strchr(letters, c); }

static bool is_name(struct word w)
{
    for (size_t i = 0; i < w.n; i++)
        if (!is_letter(w.p[i]) && !(w.p[i] && strchr("._@-", w.p[i])))
            return false;
    return w.n > 0 && w.n <= KEY_NAME_BYTES;
}

/* What a bearer token may consist of (RFC 6750). */
static bool is_secret(struct word w)
{
    for (size_t i = 0; i < w.n; i++)
        if (!is_letter(w.p[i]) && !(w.p[i] && strchr("-._~+/=", w.p[i])))
            return false;
    return true;
}

/* The next word at *p, before end or a comment; n = 0: there is none. */
static struct word next(const char **p, const char *end)
{
    while (*p < end && (**p == ' ' || **p == '\t'))
        ++*p;
    struct word w = {*p, 0};
    if (*p < end && **p == '#')
        return w;
    while (*p < end && **p != ' ' && **p != '\t')
        ++*p;
    w.n = (size_t)(*p - w.p);
    return w;
}

static int digest(const struct parse *s, struct word w, unsigned char out[KEY_DIGEST])
{
    size_t n = 0;
    if (w.n > strlen(hashed) && memcmp(w.p, hashed, strlen(hashed)) == 0) {
        w.p += strlen(hashed);
        w.n -= strlen(hashed);
        if (w.n != 2 * KEY_DIGEST ||
            sodium_hex2bin(out, KEY_DIGEST, w.p, w.n, NULL, &n, NULL) || n != KEY_DIGEST)
            return err_set(s->e, E_FORMAT, "%s line %d: sha256: is not followed by %d hexadecimal "
                           "digits", s->name, s->line, 2 * KEY_DIGEST);
        return 0;
    }
    if (w.n < KEY_SECRET_MIN || w.n > KEY_SECRET_MAX)
        return err_set(s->e, E_RANGE, "%s line %d: a secret of %zu bytes; %d to %d are allowed",
                       s->name, s->line, w.n, KEY_SECRET_MIN, KEY_SECRET_MAX);
    if (!is_secret(w))
        return err_set(s->e, E_FORMAT, "%s line %d: the secret has a character that is none of "
                       "A-Z a-z 0-9 - . _ ~ + / =", s->name, s->line);
    crypto_hash_sha256(out, (const unsigned char *)w.p, w.n);
    return 0;
}

/* One secret, or several with commas between them. */
static int secrets(const struct parse *s, struct keyfile_key *k, struct word w)
{
    for (const char *end = w.p + w.n;;) {
        const char *comma = memchr(w.p, ',', (size_t)(end - w.p));
        struct word one = {w.p, (size_t)((comma ? comma : end) - w.p)};
        if (k->n_secrets == KEY_SECRETS)
            return err_set(s->e, E_RANGE, "%s line %d: more than %d secrets", s->name, s->line,
                           KEY_SECRETS);
        int rc = digest(s, one, k->secret[k->n_secrets]);
        if (rc)
            return rc;
        k->n_secrets++;
        if (!comma)
            return 0;
        w.p = comma + 1;
    }
}

static int limit(const struct parse *s, struct keyfile_key *k, struct word w)
{
    if (w.n == 7 && memcmp(w.p, "metrics", 7) == 0 && !k->metrics) {
        k->metrics = true;
        return 0;
    }
    if (w.n == 8 && memcmp(w.p, "priority", 8) == 0 && !k->priority) {
        k->priority = true;
        return 0;
    }
    for (int i = 0; i < KEY_LIMITS; i++) {
        size_t n = strlen(limits[i].word);
        if (w.n <= n || w.p[n] != '=' || memcmp(w.p, limits[i].word, n) != 0)
            continue;
        int64_t v = 0;
        size_t digits = n + 1;
        while (digits < w.n && w.p[digits] >= '0' && w.p[digits] <= '9' && v <= limits[i].max)
            v = v * 10 + (w.p[digits++] - '0');
        if (k->limit[i] >= 0)
            return err_set(s->e, E_CONFLICT, "%s line %d: %s has two values", s->name, s->line,
                           limits[i].word);
        if (digits == n + 1 || digits < w.n || v > limits[i].max)
            return err_set(s->e, E_RANGE, "%s line %d: %s is not a number from 0 to %lld", s->name,
                           s->line, limits[i].word, (long long)limits[i].max);
        k->limit[i] = v;
        return 0;
    }
    return err_set(s->e, E_FORMAT, "%s line %d: what follows the secret is none of %s", s->name,
                   s->line, words);
}

static int unique(const struct parse *s, const struct keyfile_key *k)
{
    for (int i = 0; i < s->f->n; i++) {
        const struct keyfile_key *o = &s->f->keys[i];
        if (o != k && strcmp(o->name, k->name) == 0)
            return err_set(s->e, E_CONFLICT, "%s line %d: the name of line %d again", s->name,
                           s->line, o->line);
        for (int a = 0; a < o->n_secrets; a++)
            for (int b = 0; b < (o == k ? a : k->n_secrets); b++)
                if (memcmp(o->secret[a], k->secret[b], KEY_DIGEST) == 0)
                    return err_set(s->e, E_CONFLICT, "%s line %d: a secret of line %d again",
                                   s->name, s->line, o->line);
    }
    return 0;
}

static struct keyfile_key *add(struct keyfile *f)
{
    if (f->n == f->cap) {
        /* Not realloc, which would leave the old copy in the heap. */
        int cap = f->cap ? f->cap * 2 : FIRST_KEYS;
        struct keyfile_key *more = mem_array((size_t)cap, sizeof *more);
        if (!more)
            return NULL;
        if (f->n)
            memcpy(more, f->keys, (size_t)f->n * sizeof *more);
        int n = f->n;
        keyfile_free(f);
        *f = (struct keyfile){more, n, cap};
    }
    struct keyfile_key *k = &f->keys[f->n++];
    for (int i = 0; i < KEY_LIMITS; i++)
        k->limit[i] = -1;
    return k;
}

static int check_bytes(const struct parse *s, const char *p, size_t n)
{
    if (n > KEYFILE_LINE)
        return err_set(s->e, E_RANGE, "%s line %d: %zu bytes, at most %d are read", s->name,
                       s->line, n, KEYFILE_LINE);
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
            return err_set(s->e, E_FORMAT, "%s line %d: a control character", s->name, s->line);
    if (!utf8_valid(p, n))
        return err_set(s->e, E_FORMAT, "%s line %d: not UTF-8", s->name, s->line);
    return 0;
}

static int parse_line(const struct parse *s, const char *p, size_t n)
{
    if (n && p[n - 1] == '\r')
        n--;
    int rc = check_bytes(s, p, n);
    const char *end = p + n;
    struct word name = next(&p, end);
    if (rc || !name.n)
        return rc;
    if (!is_name(name))
        return err_set(s->e, E_FORMAT, "%s line %d: a name has 1 to %d characters of A-Z a-z 0-9 "
                       "- . _ @", s->name, s->line, KEY_NAME_BYTES);
    if (s->f->n == KEYFILE_KEYS)
        return err_set(s->e, E_RANGE, "%s line %d: more than %d keys", s->name, s->line,
                       KEYFILE_KEYS);
    struct keyfile_key *k = add(s->f);
    if (!k)
        return err_set(s->e, E_NOMEM, "%s line %d: no memory for a key", s->name, s->line);
    memcpy(k->name, name.p, name.n);
    k->line = s->line;
    struct word w = next(&p, end);
    if (!w.n)
        return err_set(s->e, E_FORMAT, "%s line %d: a name without a secret", s->name, s->line);
    rc = secrets(s, k, w);
    while (!rc && (w = next(&p, end)).n)
        rc = limit(s, k, w);
    return rc ? rc : unique(s, k);
}

int keyfile_parse(struct keyfile *f, const char *text, size_t n, const char *name, struct err *e)
{
    struct parse s = {.f = f, .name = name, .line = 1, .e = e};
    *f = (struct keyfile){0};
    for (const char *p = text, *end = p + n; p < end; s.line++) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        int rc = parse_line(&s, p, (size_t)((lf ? lf : end) - p));
        if (rc)
            return rc;
        p = lf ? lf + 1 : end;
    }
    if (!f->n)
        return err_set(e, E_FORMAT, "%s: there is no key in it", name);
    return 0;
}

static int check_mode(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return err_set(e, E_IO, "%s: its permissions cannot be read", path);
    if (st.st_mode & (S_IROTH | S_IWOTH))
        return err_set(e, E_DENIED, "%s: every user may %s it (mode %04o); chmod 600 is right",
                       path, st.st_mode & S_IROTH ? "read" : "write", st.st_mode & 07777);
    return 0;
}

int keyfile_read(struct keyfile *f, const char *path, struct err *e)
{
    uint64_t size = 0;
    *f = (struct keyfile){0};
    int fd = file_open(path, &size, e);
    if (fd < 0)
        return fd;
    int rc = check_mode(fd, path, e);
    if (!rc && size > KEYFILE_BYTES)
        rc = err_set(e, E_RANGE, "%s: %llu bytes, at most %zu are read", path,
                     (unsigned long long)size, KEYFILE_BYTES);
    char *text = rc ? NULL : mem_zalloc((size_t)size + 1);
    if (!rc && !text)
        rc = err_set(e, E_NOMEM, "%s: no memory for %llu bytes", path, (unsigned long long)size);
    if (!rc)
        rc = file_pread(fd, text, (size_t)size, 0, path, e);
    if (!rc)
        rc = keyfile_parse(f, text, (size_t)size, path, e);
    if (text)
        sodium_memzero(text, (size_t)size);
    mem_free(text);
    close(fd);
    return rc;
}

int keyfile_single(struct keyfile *f, const char *name, const char *secret, const char *where,
                   struct err *e)
{
    struct parse s = {.f = f, .name = where, .line = 1, .e = e};
    *f = (struct keyfile){0};
    struct keyfile_key *k = add(f);
    if (!k)
        return err_set(e, E_NOMEM, "%s: no memory for a key", where);
    memcpy(k->name, name, strlen(name));
    k->line = 1;
    return secrets(&s, k, (struct word){secret, strlen(secret)});
}

void keyfile_free(struct keyfile *f)
{
    if (f->keys)
        sodium_memzero(f->keys, (size_t)f->cap * sizeof *f->keys);
    mem_free(f->keys);
    *f = (struct keyfile){0};
}
