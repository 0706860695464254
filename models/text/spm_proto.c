/* The wire format of a SentencePiece ModelProto, as far as it matters here. The file is hostile:
 * lengths are compared with what is left before they are used. Thread: any. */
#include "models/text/spm_proto.h"

#include <inttypes.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "models/text/spm_charsmap.h"
#include "models/text/trie.h"

/* The library keeps this many matches of user-defined symbols at one place on its stack, and
 * does not check: "a", "aa", "aaa" … must not nest deeper. */
#define NESTED_MAX 64

/* Field numbers of sentencepiece_model.proto. */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_ALGORITHM = 3,
       TRAINER_SUFFIX = 24, TRAINER_UNK = 40, TRAINER_BOS = 41, TRAINER_EOS = 42 };
enum { NORMALIZER_MAP = 2, NORMALIZER_DUMMY_PREFIX = 3, NORMALIZER_EXTRA = 4,
       NORMALIZER_ESCAPE = 5 };

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct cursor {
    const unsigned char *base;
    size_t at, end;
    const char *name;
};

struct field {
    uint32_t number, wire;
    uint64_t value;  /* of a varint */
    size_t at, n;    /* of the value's bytes */
};

static int bad(const struct cursor *c, const char *what, struct err *e)
{
    return err_set(e, E_FORMAT, "%s: not a SentencePiece model: %s at byte %zu of %zu", c->name,
                   what, c->at, c->end);
}

static int varint(struct cursor *c, uint64_t *out, struct err *e)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (c->at >= c->end)
            return bad(c, "a number is cut off", e);
        unsigned char b = c->base[c->at++];
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return 0;
    }
    return bad(c, "a number is too long", e);
}

static int next_field(struct cursor *c, struct field *f, struct err *e)
{
    uint64_t key;
    int rc = varint(c, &key, e);
    if (rc < 0)
        return rc;
    f->number = (uint32_t)(key >> 3);
    f->wire = key & 7;
    if (key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return bad(c, "a field has no number", e);
    f->at = c->at;
    f->n = f->wire == WIRE_64 ? 8 : 4;
    if (f->wire == WIRE_VARINT) {
        rc = varint(c, &f->value, e);
        f->n = c->at - f->at;
        return rc;
    }
    if (f->wire == WIRE_BYTES) {
        uint64_t n;
        rc = varint(c, &n, e);
        if (rc < 0)
            return rc;
        if (n > c->end - c->at)
            return bad(c, "a field is longer than the rest", e);
        f->n = (size_t)n;
        f->at = c->at;
    } else if (f->wire != WIRE_32 && f->wire != WIRE_64) {
        return bad(c, "an unknown wire type", e);
    }
    if (f->n > c->end - c->at)
        return bad(c, "a field is longer than the rest", e);
    c->at += f->n;
    return 0;
}

static struct cursor inside(const struct cursor *c, const struct field *f)
{
    return (struct cursor){c->base, f->at, f->at + f->n, c->name};
}

static int read_piece(struct spm_proto *p, struct cursor c, struct err *e)
{
    struct spm_piece piece = {.type = SPM_NORMAL};
    while (c.at < c.end) {
        struct field f;
        int rc = next_field(&c, &f, e);
        if (rc < 0)
            return rc;
        if (f.number == PIECE_TEXT && f.wire == WIRE_BYTES) {
            piece.text = (const char *)c.base + f.at;
            piece.n = f.n;
        } else if (f.number == PIECE_SCORE && f.wire == WIRE_32) {
            memcpy(&piece.score, c.base + f.at, sizeof piece.score);
        } else if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT) {
            if (f.n != 1 || f.value < SPM_NORMAL || f.value > SPM_BYTE)
                return err_set(e, E_FORMAT, "%s: piece %zu has type %" PRIu64 ", known are 1 to 6",
                               c.name, p->n, f.value);
            piece.type = (enum spm_type)f.value;
            piece.type_at = f.at;
        }
    }
    if (piece.n == 0 || piece.n > LIMIT_TOKEN_BYTES || !utf8_valid(piece.text, piece.n) ||
        memchr(piece.text, 0, piece.n))
        return err_set(e, E_FORMAT, "%s: piece %zu has %zu bytes, 1 to %d of UTF-8 without NUL are "
                       "allowed", c.name, p->n, piece.n, LIMIT_TOKEN_BYTES);
    if (p->n == LIMIT_VOCAB)
        return err_set(e, E_RANGE, "%s: more than %d pieces", c.name, LIMIT_VOCAB);
    if (p->n == p->cap) {
        size_t cap = MAX(p->cap * 2, (size_t)1024);
        struct spm_piece *grown = mem_realloc(p->pieces, cap * sizeof *grown);
        if (!grown)
            return err_set(e, E_NOMEM, "%s: out of memory for %zu pieces", c.name, cap);
        p->pieces = grown;
        p->cap = cap;
    }
    p->pieces[p->n++] = piece;
    return 0;
}

static int read_trainer(struct spm_proto *p, struct cursor c, struct err *e)
{
    while (c.at < c.end) {
        struct field f;
        int rc = next_field(&c, &f, e);
        if (rc < 0)
            return rc;
        if (f.wire != WIRE_VARINT)
            continue;
        if (f.number == TRAINER_ALGORITHM)
            p->algorithm = (int64_t)f.value;
        else if (f.number == TRAINER_BOS)
            p->bos = (int64_t)f.value;
        else if (f.number == TRAINER_EOS)
            p->eos = (int64_t)f.value;
        else if (f.number == TRAINER_UNK)
            p->unk = (int64_t)f.value;
        else if (f.number == TRAINER_SUFFIX) /* white space as suffix */
            p->space_leads = p->space_leads && f.value == 0;
    }
    return 0;
}

static int read_normalizer(struct spm_proto *p, struct cursor c, bool of_input, bool *table,
                           struct err *e)
{
    while (c.at < c.end) {
        struct field f;
        int rc = next_field(&c, &f, e);
        if (rc == 0 && f.number == NORMALIZER_MAP && f.wire == WIRE_BYTES && f.n)
            rc = spm_charsmap_check(c.base + f.at, f.n, c.name, e);
        if (rc < 0)
            return rc;
        if (!of_input)
            continue;
        if (f.number == NORMALIZER_MAP && f.n)
            *table = true;
        else if (f.wire == WIRE_VARINT && f.number == NORMALIZER_DUMMY_PREFIX)
            p->dummy_prefix = f.value != 0;
        else if (f.wire == WIRE_VARINT && f.number == NORMALIZER_EXTRA)
            p->keeps_text = f.value == 0;
        else if (f.wire == WIRE_VARINT && f.number == NORMALIZER_ESCAPE)
            p->escape_whitespace = f.value != 0;
    }
    return 0;
}

static int check_nesting(const struct spm_proto *p, const char *name, struct err *e)
{
    struct trie t = {0};
    int rc = 0;
    for (size_t i = 0; i < p->n && rc == 0; i++)
        if (p->pieces[i].type == SPM_USER_DEFINED)
            rc = trie_add(&t, p->pieces[i].text, p->pieces[i].n, (int32_t)i);
    if (rc < 0)
        err_set(e, rc, "%s: out of memory for %zu pieces", name, p->n);
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        size_t depth = 0;
        if (p->pieces[i].type != SPM_USER_DEFINED || p->pieces[i].n < NESTED_MAX)
            continue;
        for (size_t k = 1; k <= p->pieces[i].n; k++)
            depth += trie_get(&t, p->pieces[i].text, k) >= 0;
        if (depth > NESTED_MAX)
            rc = err_set(e, E_RANGE, "%s: piece %zu begins with %zu user-defined symbols, at most "
                         "%d are allowed", name, i, depth, NESTED_MAX);
    }
    trie_free(&t);
    return rc;
}

/* Which characters no piece can reach across. */
static void find_boundaries(struct spm_proto *p)
{
    static const char mark[] = "\xe2\x96\x81";
    for (size_t i = 0; i < p->n; i++) {
        const struct spm_piece *piece = &p->pieces[i];
        bool other = false; /* something else than a space was before */
        if (piece->n > 1 && memchr(piece->text, '\n', piece->n))
            p->newline_alone = false;
        for (size_t k = 0; k < piece->n;) {
            bool space = piece->n - k >= 3 && memcmp(piece->text + k, mark, 3) == 0;
            if (other && (space || piece->text[k] == ' '))
                p->space_leads = false;
            other = other || !space;
            k += space ? 3 : 1;
        }
    }
}

int spm_proto_read(struct spm_proto *p, const unsigned char *bytes, size_t n, const char *name,
                   struct err *e)
{
    struct cursor c = {bytes, 0, n, name};
    bool table = false;
    *p = (struct spm_proto){.bos = 1, .eos = 2, .algorithm = SPM_UNIGRAM,
                            .dummy_prefix = true, .escape_whitespace = true,
                            .space_leads = true, .newline_alone = true};
    while (c.at < c.end) {
        struct field f;
        int rc = next_field(&c, &f, e);
        if (rc == 0 && f.wire != WIRE_BYTES)
            continue;
        if (rc == 0 && f.number == MODEL_PIECE)
            rc = read_piece(p, inside(&c, &f), e);
        else if (rc == 0 && f.number == MODEL_TRAINER)
            rc = read_trainer(p, inside(&c, &f), e);
        else if (rc == 0 && (f.number == MODEL_NORMALIZER || f.number == MODEL_DENORMALIZER))
            rc = read_normalizer(p, inside(&c, &f), f.number == MODEL_NORMALIZER, &table, e);
        if (rc < 0)
            return rc;
    }
    if (p->n == 0)
        return err_set(e, E_FORMAT, "%s: not a SentencePiece model: no pieces in %zu bytes", name,
                       n);
    p->keeps_text = p->keeps_text && !table;
    find_boundaries(p);
    return check_nesting(p, name, e);
}

void spm_proto_free(struct spm_proto *p)
{
    mem_free(p->pieces);
    p->pieces = NULL;
    p->n = p->cap = 0;
}
