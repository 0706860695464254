/* Directories and GGUF files as sources of a model. */
#include "models/source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/files/fp8.h"
#include "models/files/gguf_view.h"
#include "models/files/jsontext.h"
#include "models/gguf.h"
#include "models/text/gguf_vocab.h"
#include "models/text/tokenizer.h"

#define PATH_BYTES 4096

static bool ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcasecmp(s + n - k, tail) == 0;
}

/* ---- what people give by mistake -------------------------------------------------------- */

/* The first file of dir whose name ends so, and how many there are. */
static int count_files(const char *dir, const char *tail, char *first, size_t size)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *f; d && (f = readdir(d));) {
        if (f->d_name[0] == '.' || !ends_in(f->d_name, tail))
            continue;
        if (n++ == 0 || strcmp(f->d_name, first) < 0)
            snprintf(first, size, "%s", f->d_name);
    }
    if (d)
        closedir(d);
    return n;
}

/* A directory without what a checkpoint needs, told by what lies in it. */
static int explain_directory(const char *dir, const char *lacks, struct err *e)
{
    static const struct { const char *tail, *advice; } others[] = {
        {".gguf", "give that file"},
        {".pth", "convert it with recurd-convert"},
        {".bin", "PyTorch pickles are not read: save the model as safetensors"},
        {".pt", "PyTorch pickles are not read: save the model as safetensors"}};
    char first[256] = "";
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        int n = count_files(dir, others[i].tail, first, sizeof first);
        if (n == 1)
            return err_set(e, E_NOENT, "%s: has no %s, but %.200s: %s", jsontext_tail(dir), lacks,
                           first, others[i].advice);
        if (n > 1)
            return err_set(e, E_NOENT, "%s: has no %s, but %d files like %.150s: %s",
                           jsontext_tail(dir), lacks, n, first, others[i].advice);
    }
    return err_set(e, E_NOENT, "%s: has no %s", jsontext_tail(dir), lacks);
}

/* A file that is no GGUF file. */
static int explain_file(const char *path, struct err *e)
{
    static const struct { const char *tail, *advice; } others[] = {
        {".safetensors", "is one file of a checkpoint: give the directory that it lies in"},
        {".json", "is one file of a checkpoint: give the directory that it lies in"},
        {".pth", "is a PyTorch pickle: recurd-convert makes a model of an RWKV .pth"},
        {".bin", "is a PyTorch pickle, which is not read: save the model as safetensors"},
        {".pt", "is a PyTorch pickle, which is not read: save the model as safetensors"},
        {".onnx", "is an ONNX graph: give a directory with safetensors, or a GGUF file"},
        {".gguf", "does not begin with the letters GGUF: it is damaged, or a pointer to a file"}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (ends_in(path, others[i].tail))
            return err_set(e, E_UNSUPPORTED, "%s: %s", jsontext_tail(path), others[i].advice);
    return err_set(e, E_UNSUPPORTED, "%s: is neither a directory with a model nor a GGUF file",
                   jsontext_tail(path));
}

static bool is_gguf(const char *path)
{
    char magic[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool yes = fd >= 0 && pread(fd, magic, sizeof magic, 0) == sizeof magic &&
               memcmp(magic, "GGUF", sizeof magic) == 0;
    if (fd >= 0)
        close(fd);
    return yes;
}

/* ---- opening ---------------------------------------------------------------------------- */

static const struct gguf_map *find_map(const struct gguf *g, struct err *e)
{
    char known[512] = "";
    const struct gguf_value *v = gguf_get(g, "general.architecture");
    struct gguf_string name = gguf_text(v);
    size_t at = 0;
    const struct gguf_map *m, *last = NULL;
    for (size_t i = 0; (m = gguf_map_at(i)); last = m, i++) {
        if (gguf_text_is(v, m->arch))
            return m;
        if (last && strcmp(last->arch, m->arch) == 0)
            continue; /* for writing alone */
        at += (size_t)snprintf(known + MIN(at, sizeof known), sizeof known - MIN(at, sizeof known),
                               "%s%s", i ? ", " : "", m->arch);
    }
    if (!name.p)
        err_set(e, E_FORMAT, "%s: general.architecture is missing", gguf_path(g));
    else if (gguf_text_is(v, "clip") || gguf_text_is(v, "mmproj"))
        err_set(e, E_UNSUPPORTED, "%s: the encoder of images that goes with a model; give the "
                "model's own file", gguf_path(g));
    else
        err_set(e, E_UNSUPPORTED, "%s: architecture \"%.*s\" is not supported; %s are",
                gguf_path(g), (int)MIN(name.n, 40), name.p, known);
    return NULL;
}

static int open_gguf(struct model_source *s, struct err *e)
{
    if (gguf_open(&s->gguf, s->path, e) < 0)
        return e->code;
    s->map = find_map(s->gguf, e);
    return s->map ? gguf_config(&s->config, s->gguf, s->map, e) : e->code;
}

static int open_directory(struct model_source *s, struct err *e)
{
    char path[PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/config.json", s->path) >= sizeof path)
        return err_set(e, E_RANGE, "%s: the path is longer than %d bytes",
                       jsontext_tail(s->path), PATH_BYTES);
    if (!file_exists(path))
        return explain_directory(s->path, "config.json", e);
    int rc = config_read(&s->config, path, e);
    return rc < 0 ? rc : fp8_check_config(s->config, e);
}

int source_open(struct model_source *s, const char *path, struct err *e)
{
    struct err mine = {0};
    struct stat st;
    e = e ? e : &mine;
    *s = (struct model_source){.path = path};
    int rc;
    if (stat(path, &st) != 0)
        rc = err_set(e, E_NOENT, "%s: there is no such file or directory", path);
    else if (S_ISDIR(st.st_mode))
        rc = open_directory(s, e);
    else
        rc = is_gguf(path) ? open_gguf(s, e) : explain_file(path, e);
    if (rc < 0)
        source_close(s);
    return rc;
}

void source_close(struct model_source *s)
{
    config_free(s->config);
    gguf_close(s->gguf);
    s->config = NULL;
    s->gguf = NULL;
}

/* ---- what it gives ---------------------------------------------------------------------- */

int source_checkpoint(struct model_source *s, struct checkpoint **out, struct err *e)
{
    char path[PATH_BYTES];
    if (s->gguf)
        return gguf_checkpoint(out, s->gguf, s->map, e);
    static const char *const any[] = {"model.safetensors", "model.safetensors.index.json"};
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(any); i++)
        found |= (size_t)snprintf(path, sizeof path, "%s/%s", s->path, any[i]) < sizeof path &&
                 file_exists(path);
    return found ? checkpoint_open(out, s->path, e)
                 : explain_directory(s->path, "model.safetensors or model.safetensors.index.json "
                                     "(load-format dummy needs none)", e);
}

int source_tokenizer(struct model_source *s, struct tokenizer **out, int32_t vocab, struct err *e)
{
    return s->gguf ? tokenizer_open_gguf(out, s->gguf, vocab, e)
                   : tokenizer_open(out, s->path, vocab, e);
}

int source_tokenizer_config(struct model_source *s, struct config **out, struct err *e)
{
    *out = NULL;
    return s->gguf ? gguf_tokenizer_config(out, s->gguf, e) : 0;
}

int source_generation(struct model_source *s, struct config **out, struct err *e)
{
    char path[PATH_BYTES];
    *out = NULL;
    snprintf(path, sizeof path, "%s/generation_config.json", s->path);
    return s->gguf || !file_exists(path) ? 0 : config_read(out, path, e);
}

static void digest_file(crypto_hash_sha256_state *h, const char *dir, const char *name)
{
    char path[PATH_BYTES];
    struct buf b;
    buf_init(&b, LIMIT_TOKENIZER_BYTES);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (file_exists(path) && file_read(path, &b, NULL) == 0) {
        crypto_hash_sha256_update(h, (const unsigned char *)name, strlen(name));
        crypto_hash_sha256_update(h, (const unsigned char *)b.p, b.len);
    }
    buf_free(&b);
}

void source_digest(const struct model_source *s, unsigned char out[32])
{
    crypto_hash_sha256_state h;
    if (s->gguf) {
        gguf_digest(s->gguf, out);
        return;
    }
    crypto_hash_sha256_init(&h);
    digest_file(&h, s->path, "config.json");
    for (size_t i = 0; tokenizer_file(i); i++)
        digest_file(&h, s->path, tokenizer_file(i));
    crypto_hash_sha256_final(&h, out);
}

/* Length of name without "-00001-of-00003". */
static size_t without_split(const char *name, size_t n)
{
    static const char shape[] = "-ddddd-of-ddddd";
    size_t k = sizeof shape - 1;
    if (n <= k)
        return n;
    for (size_t i = 0; i < k; i++) {
        char c = name[n - k + i];
        if (shape[i] == 'd' ? c < '0' || c > '9' : c != shape[i])
            return n;
    }
    return n - k;
}

/* ".../models--org--name/snapshots/HASH" -> "org/name": the folder of a hub's cache. */
static bool hub_name(const char *path, size_t n, char *out, size_t size)
{
    static const char mark[] = "models--", between[] = "/snapshots/";
    const char *at = NULL;
    for (const char *p = path; (p = strstr(p, mark)); p++)
        if (p == path || p[-1] == '/')
            at = p + strlen(mark);
    const char *end = at ? strchr(at, '/') : NULL;
    const char *two = at ? strstr(at, "--") : NULL;
    if (!end || strncmp(end, between, strlen(between)) != 0)
        return false;
    const char *hash = end + strlen(between);
    if (!*hash || hash >= path + n || memchr(hash, '/', (size_t)(path + n - hash)))
        return false;
    if (two && two < end)
        snprintf(out, size, "%.*s/%.*s", (int)(two - at), at, (int)(end - two - 2), two + 2);
    else
        snprintf(out, size, "%.*s", (int)(end - at), at);
    return true;
}

void source_name(const struct model_source *s, char *out, size_t size)
{
    const char *path = s->path;
    size_t n = strlen(path), from;
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (!s->gguf && hub_name(path, n, out, size))
        return;
    for (from = n; from > 0 && path[from - 1] != '/';)
        from--;
    if (s->gguf && n - from > 5 && ends_in(path, ".gguf"))
        n = from + without_split(path + from, n - from - 5);
    snprintf(out, size, "%.*s", (int)(n - from), path + from);
}
