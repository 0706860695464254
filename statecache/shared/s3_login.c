/* Credentials: three lines of a file, or three variables. */
#include "statecache/shared/s3_login.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"

#define FILE_MAX 16384 /* bytes */

static const struct field {
    const char *key, *variable;
    size_t at, size;
    bool optional;
} fields[] = {
    {"aws_access_key_id", "AWS_ACCESS_KEY_ID", offsetof(struct s3_keys, id), S3_KEY_ID, false},
    {"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", offsetof(struct s3_keys, secret),
     S3_SECRET, false},
    {"aws_session_token", "AWS_SESSION_TOKEN", offsetof(struct s3_keys, token), S3_TOKEN, true},
};

/* They go into headers: printable, without white space, and an id without what parts its line. */
static int set(struct s3_keys *k, const struct field *f, const char *name, const char *value,
               size_t n, struct err *e)
{
    if (n == 0 || n >= f->size)
        return err_set(e, E_RANGE, "%s: %zu characters, 1 to %zu are possible", name, n,
                       f->size - 1);
    for (size_t i = 0; i < n; i++)
        if (value[i] <= ' ' || value[i] > '~' ||
            (f->at == offsetof(struct s3_keys, id) && strchr("/,=", value[i])))
            return err_set(e, E_FORMAT, "%s: character %zu is none that such a word has", name, i);
    char *to = (char *)k + f->at;
    memcpy(to, value, n);
    to[n] = '\0';
    return 0;
}

static int complete(const struct s3_keys *k, bool file, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (!fields[i].optional && !*((const char *)k + fields[i].at))
            return err_set(e, E_NOENT, file ? "it has no %s in [default]"
                                            : "shared: no credentials: neither $%s nor "
                                              "shared-credentials is given",
                           file ? fields[i].key : fields[i].variable);
    return 0;
}

struct text { const char *p; size_t n; };

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static struct text trim(const char *p, size_t n)
{
    while (n > 0 && blank(*p)) {
        p++;
        n--;
    }
    while (n > 0 && blank(p[n - 1]))
        n--;
    return (struct text){p, n};
}

static bool is(struct text t, const char *word)
{
    return t.n == strlen(word) && memcmp(t.p, word, t.n) == 0;
}

/* One key = value; keys that we do not use are others'. */
static int take_line(struct text line, struct s3_keys *out, struct err *e)
{
    const char *eq = memchr(line.p, '=', line.n);
    if (!eq)
        return err_set(e, E_FORMAT, "a line is no key = value");
    struct text key = trim(line.p, (size_t)(eq - line.p));
    struct text value = trim(eq + 1, line.n - (size_t)(eq - line.p) - 1);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (is(key, fields[i].key))
            return set(out, &fields[i], fields[i].key, value.p, value.n, e);
    return 0;
}

int s3_credentials_parse(const char *text, size_t n, struct s3_keys *out, struct err *e)
{
    bool ours = true;
    int rc = 0;
    memset(out, 0, sizeof(*out));
    for (size_t at = 0, row = 1; at < n && !rc; row++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at;
        struct text line = trim(text + at, len);
        at += len + 1;
        if (line.n > 0 && line.p[0] == '[')
            ours = is(line, "[default]");
        else if (ours && line.n > 0 && line.p[0] != '#' && line.p[0] != ';')
            rc = take_line(line, out, e);
        if (rc)
            err_wrap(e, "line %zu", row);
    }
    if (!rc)
        rc = complete(out, true, e);
    if (rc)
        sodium_memzero(out, sizeof(*out));
    return rc;
}

static int read_file(struct s3_login *l, struct err *e)
{
    struct buf text;
    struct s3_keys keys;
    buf_init(&text, FILE_MAX);
    int rc = file_check_mode(l->file, 0077, e);
    if (!rc)
        rc = file_read(l->file, &text, e);
    if (!rc && s3_credentials_parse(text.p ? text.p : "", text.len, &keys, e))
        rc = err_wrap(e, "%s", l->file);
    if (!rc)
        l->keys = keys;
    sodium_memzero(&keys, sizeof(keys));
    if (text.p)
        sodium_memzero(text.p, text.len);
    buf_free(&text);
    return rc;
}

int s3_login_renew(struct s3_login *l, struct err *e)
{
    struct stat st;
    if (!l->file)
        return 0;
    if (stat(l->file, &st))
        return err_set(e, errno == ENOENT ? E_NOENT : E_IO, "%s: %s", l->file, strerror(errno));
    if (st.st_size == l->size && st.st_ino == l->inode &&
        st.st_mtim.tv_sec == l->mtime.tv_sec && st.st_mtim.tv_nsec == l->mtime.tv_nsec)
        return 0;
    int rc = read_file(l, e);
    if (!rc) { /* as it was before it was read: what changes later differs */
        l->mtime = st.st_mtim;
        l->size = st.st_size;
        l->inode = st.st_ino;
    }
    return rc;
}

int s3_login_open(struct s3_login *l, const char *file, struct err *e)
{
    memset(l, 0, sizeof(*l));
    if (file && !(l->file = mem_strdup(file)))
        return err_set(e, E_NOMEM, "no memory for the name of the credentials' file");
    if (file)
        return s3_login_renew(l, e);
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(fields) && !rc; i++) {
        const char *value = getenv(fields[i].variable);
        if (value && *value)
            rc = set(&l->keys, &fields[i], fields[i].variable, value, strlen(value), e);
    }
    return rc ? rc : complete(&l->keys, false, e);
}

void s3_login_close(struct s3_login *l)
{
    mem_free(l->file);
    sodium_memzero(l, sizeof(*l));
}
