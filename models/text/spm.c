/* SentencePiece models (tokenizer.model) as a tokenizer format.
 *
 * The file is read by our own code first (spm_proto.c): that gives the vocabulary, and lets the
 * special symbols be declared "control" before the library sees them, so that the library never
 * finds one in ordinary text; the search in tokenizer.c alone does. Another process tries the
 * result before this one opens it (spm_probe.c). Thread: any, after spm_open. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "models/text/spm_probe.h"
#include "models/text/spm_proto.h"
#include "models/text/spm_shim.h"
#include "models/text/tokenizer_int.h"

/* The library needs 250 bytes of memory for a byte of text. Where the vocabulary shows that no
 * piece can reach across a place, a long text is cut there, with the same result; at
 * CHUNK_MAX it is cut anyhow. */
#define CHUNK_BYTES KIB(4)
#define CHUNK_MAX KIB(64)
#define SPECIALS_MAX 256 /* additional_special_tokens looked at; the longest list has ~100 */

#define SPACE_MARK "\xe2\x96\x81" /* U+2581 stands for a space inside pieces */

/* Two processors where the model puts a space before a text: it must not put one before what
 * follows a special token. */
struct spm {
    struct spm_shim *first, *rest; /* rest may be first */
    bool cut_spaces, cut_newlines; /* texts may be cut before spaces, after newlines */
};

/* Appended to a model, it overrides one setting: normalizer_spec { add_dummy_prefix: false }. */
static const char no_dummy_prefix[] = {0x1a, 0x02, 0x18, 0x00};

/* ---- the vocabulary --------------------------------------------------------------------- */

/* Whether the configuration calls the piece special: 1 yes, 0 no, -1 says nothing of it. */
static int named_special(const struct config *cfg, const struct spm_piece *piece, int32_t id)
{
    struct err none = {0};
    char key[16];
    snprintf(key, sizeof key, "%d", id);
    const struct config *list = config_obj(cfg, "added_tokens_decoder", &none);
    const struct config *o = list ? config_obj(list, key, &none) : NULL;
    if (o)
        return config_bool(o, "special", false, &none);
    int64_t listed = config_len(cfg, "additional_special_tokens");
    for (int64_t i = 0; i < MIN(listed, SPECIALS_MAX); i++) {
        const char *s = config_str_at(cfg, "additional_special_tokens", i, &none);
        if (s && strlen(s) == piece->n && memcmp(s, piece->text, piece->n) == 0)
            return 1;
    }
    return -1;
}

static bool is_special(const struct config *cfg, const struct spm_piece *piece, int32_t id)
{
    if (piece->type == SPM_CONTROL || piece->type == SPM_UNKNOWN)
        return true;
    int named = piece->type == SPM_BYTE ? 0 : named_special(cfg, piece, id);
    if (named >= 0)
        return named;
    if (piece->type != SPM_USER_DEFINED)
        return false;
    /* Nobody says: what is written like a turn marker is one. */
    return piece->n > 4 && memcmp(piece->text, "<|", 2) == 0 &&
           memcmp(piece->text + piece->n - 2, "|>", 2) == 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* <0x0A> -> its byte; -1 = not written so. */
static int byte_of(const struct spm_piece *piece)
{
    if (piece->n != 6 || memcmp(piece->text, "<0x", 3) != 0 || piece->text[5] != '>')
        return -1;
    int high = hex_digit(piece->text[3]), low = hex_digit(piece->text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static int add_piece(struct tokenizer *t, const struct spm_proto *p, size_t i, bool special,
                     struct err *e)
{
    const struct spm_piece *piece = &p->pieces[i];
    char text[LIMIT_TOKEN_BYTES];
    size_t n = 0, mark = strlen(SPACE_MARK);
    if (special) {
        struct added a = {.text = piece->text, .n = piece->n, .id = (int32_t)i, .special = true};
        return tokenizer_add(t, &a, e);
    }
    if (piece->type == SPM_BYTE) {
        int byte = byte_of(piece);
        if (byte < 0)
            return err_set(e, E_FORMAT, "%s: byte piece %zu is not written <0xNN>", t->path, i);
        text[0] = (char)byte;
        return tokenizer_set(t, (int64_t)i, text, 1, 0, e);
    }
    for (size_t k = 0; k < piece->n;) {
        if (p->escape_whitespace && piece->n - k >= mark &&
            memcmp(piece->text + k, SPACE_MARK, mark) == 0) {
            text[n++] = ' ';
            k += mark;
        } else {
            text[n++] = piece->text[k++];
        }
    }
    return tokenizer_set(t, (int64_t)i, text, n, 0, e);
}

/* Fills the table, and turns special symbols into control symbols in the bytes. */
static int read_vocabulary(struct tokenizer *t, const struct spm_proto *p, char *bytes,
                           const struct config *cfg, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        const struct spm_piece *piece = &p->pieces[i];
        bool special = is_special(cfg, piece, (int32_t)i);
        if (special && !piece->type_at)
            return err_set(e, E_CONFLICT, "%s: piece %zu is ordinary, but tokenizer_config.json "
                           "calls it special", t->path, i);
        if (special && piece->type != SPM_UNKNOWN)
            bytes[piece->type_at] = SPM_CONTROL;
        rc = add_piece(t, p, i, special, e);
    }
    t->bos = p->bos >= 0 && p->bos < (int64_t)p->n ? (int32_t)p->bos : -1;
    t->eos = p->eos >= 0 && p->eos < (int64_t)p->n ? (int32_t)p->eos : -1;
    return rc;
}

/* ---- format ----------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

/* Length of the next piece of text to encode by itself. */
static size_t next_chunk(const struct spm *s, const char *text, size_t n)
{
    for (size_t i = CHUNK_BYTES; i < MIN(n, CHUNK_MAX); i++) {
        if (s->cut_newlines && text[i - 1] == '\n')
            return i;
        if (s->cut_spaces && text[i] == ' ' && text[i - 1] != ' ' &&
            memcmp(text + i - strlen(SPACE_MARK), SPACE_MARK, strlen(SPACE_MARK)) != 0)
            return i;
    }
    if (n <= CHUNK_MAX)
        return n;
    /* Not inside a character, and not beside a space: some normalisers drop those at the ends. */
    size_t at = CHUNK_MAX;
    while ((text[at] & 0xc0) == 0x80 ||
           (at > CHUNK_BYTES && (is_blank(text[at]) || is_blank(text[at - 1]))))
        at--;
    return at;
}

static int encode_chunk(const struct spm_shim *s, const char *text, size_t n, struct ids *out,
                        struct err *e)
{
    int32_t *ids;
    size_t count;
    if (spm_shim_encode(s, text, n, &ids, &count) < 0)
        return err_set(e, E_NOMEM, "SentencePiece could not encode %zu bytes", n);
    int rc = ids_add_all(out, ids, count);
    free(ids);
    if (rc == E_RANGE)
        return err_set(e, rc, "the text has more than the %zu tokens allowed", out->max);
    return rc == 0 ? 0 : err_set(e, rc, "out of memory for %zu tokens", count);
}

static int encode(const void *impl, const char *text, size_t n, bool start, struct ids *out,
                  struct err *e)
{
    const struct spm *s = impl;
    for (size_t len; n; text += len, n -= len, start = false) {
        len = next_chunk(s, text, n);
        int rc = encode_chunk(start ? s->first : s->rest, text, len, out, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void close_spm(void *impl)
{
    struct spm *s = impl;
    if (s->rest != s->first)
        spm_shim_close(s->rest);
    spm_shim_close(s->first);
    mem_free(s);
}

static const struct tokenizer_format format = {
    .encode = encode, .close = close_spm, .keeps_words = true};

/* After the probe: the same bytes, in this process. */
static int open_library(struct tokenizer *t, struct buf *model, const struct spm_proto *p,
                        struct err *e)
{
    struct spm *s = mem_zalloc(sizeof *s);
    if (!s)
        return err_set(e, E_NOMEM, "%s: out of memory", t->path);
    t->impl = s;
    t->format = &format;
    s->first = s->rest = spm_shim_open(model->p, model->len);
    s->cut_spaces = p->keeps_text && p->space_leads;
    s->cut_newlines = p->keeps_text && p->newline_alone;
    if (s->first && p->dummy_prefix) {
        s->rest = NULL;
        if (buf_add(model, no_dummy_prefix, sizeof no_dummy_prefix) == 0)
            s->rest = spm_shim_open(model->p, model->len);
    }
    if (!s->first || !s->rest)
        return err_set(e, E_NOMEM, "%s: SentencePiece cannot load this model of %zu bytes",
                       t->path, model->len);
    if (spm_shim_size(s->first) != t->n)
        return err_set(e, E_CONFLICT, "%s: SentencePiece reads %d pieces, we %d", t->path,
                       spm_shim_size(s->first), t->n);
    return 0;
}

int spm_build(struct tokenizer *t, struct buf *model, const struct config *cfg, struct err *e)
{
    struct spm_proto p = {0};
    /* What the reference does where the configuration is silent: every piece of text between
     * special tokens is treated as a text of its own ("legacy"), and bos comes first. */
    t->every_start = config_bool(cfg, "legacy", true, e);
    int rc = spm_proto_read(&p, (const unsigned char *)model->p, model->len, t->path, e);
    if (rc == 0)
        rc = read_vocabulary(t, &p, model->p, cfg, e);
    if (rc == 0)
        rc = spm_probe(model->p, model->len, t->path, e);
    if (rc == 0)
        rc = open_library(t, model, &p, e);
    spm_proto_free(&p);
    t->adds_bos = t->bos >= 0;
    return rc < 0 ? rc : e->code;
}

int model_file_open(struct tokenizer *t, const char *path, const struct config *cfg,
                    struct err *e)
{
    struct buf model;
    buf_init(&model, LIMIT_TOKENIZER_BYTES);
    int rc = file_read(path, &model, e);
    if (rc == 0)
        rc = model.len && tiktoken_looks_so(model.p, model.len)
                 ? tiktoken_build(t, model.p, model.len, cfg, e)
                 : spm_build(t, &model, cfg, e);
    buf_free(&model);
    return rc;
}
