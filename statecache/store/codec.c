/* The file format. Offsets are written once here; every integer is little-endian. The order of
 * checks matters: nothing a file says is believed before its seal is. */
#include "statecache/store/codec.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "kernels/plan.h"
#include "statecache/index/planner.h"
#include "statecache/session.h"
#include "statecache/store/digest.h"

/* Its heads have the same length, seal, tenant, id and times: a file of it is known as ours, is
 * never loaded, and goes when it is as old as a session may be. */
#define CODEC_VERSION_OLD 2

static const char magic[8] = {'R', 'E', 'C', 'U', 'R', 'D', 'S', 'T'};

enum { /* offsets in the head */
    AT_MAGIC = 0, AT_VERSION = 8, AT_KIND = 10, AT_HEAD_BYTES = 12, AT_FINGERPRINT = 16,
    AT_SCHEMA = 48, AT_TENANT = 80, AT_ID = 96, AT_POSITION = 112, AT_GENERATION = 120,
    AT_CREATED = 128, AT_PARTS = 136, AT_POINT = 140, AT_FILE_BYTES = 144, AT_RESERVED = 152,
    AT_PATH = 160, AT_NUMERICS = 176, AT_TABLE = AT_NUMERICS + CODEC_NUMERICS, ROW = 64,
    AT_HMAC = AT_TABLE + PARTS * ROW
};
_Static_assert(AT_TABLE == CODEC_TABLE, "the rows' place");
_Static_assert(AT_HMAC + crypto_auth_hmacsha256_BYTES == CODEC_HEAD, "the head's layout");
_Static_assert(sizeof(float) == 4 && sizeof(int32_t) == 4, "parts are stored as they lie");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "arrays are written as they lie in memory, which is the file's order on little-endian only"
#endif

const char *codec_part_name(enum codec_part i)
{
    static const char *const names[PARTS] = {"tokens",  "state", "pages", "logits",
                                             "session", "turns", "answer"};
    return names[i];
}

void codec_numerics(const char *text, char out[CODEC_NUMERICS])
{
    unsigned char digest[16];
    char hex[17]; /* half of it is enough beside the text */
    memset(out, 0, CODEC_NUMERICS);
    size_t n = strlen(text);
    if (n < CODEC_NUMERICS) {
        memcpy(out, text, n);
        return;
    }
    crypto_generichash(digest, sizeof(digest), (const unsigned char *)text, n, NULL, 0);
    sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest) / 2);
    snprintf(out, CODEC_NUMERICS, "%.*s #%s", CODEC_NUMERICS - 19, text, hex);
}

void codec_layout(struct format *f, const struct plan *plan, int64_t stretch)
{
    crypto_generichash_state s;
    unsigned char length[8];
    int64_t saved = 0; /* by float16 before a section of the slot: no matter of the schema */
    crypto_generichash_init(&s, NULL, 0, sizeof(f->schema));
    bytes_put(length, (uint64_t)stretch, sizeof(length));
    crypto_generichash_update(&s, length, sizeof(length));
    for (int32_t i = 0; i < plan->n_sections; i++) {
        const struct section *x = &plan->sections[i];
        unsigned char row[sizeof(x->name) + 20] = {0};
        memcpy(row, x->name, strnlen(x->name, sizeof(x->name)));
        bytes_put(row + sizeof(x->name), (uint64_t)x->kind, 4);
        bytes_put(row + sizeof(x->name) + 4, (uint64_t)x->elems, 8);
        bytes_put(row + sizeof(x->name) + 12,
                  (uint64_t)(x->offset + (x->kind == SECTION_FIXED ? saved : 0)), 8);
        saved += (int64_t)(round_up((size_t)x->elems, 16) -
                           round_up((size_t)section_floats(x), 16));
        crypto_generichash_update(&s, row, sizeof(row));
    }
    crypto_generichash_final(&s, f->schema, sizeof(f->schema));
    f->plan = plan;
    f->slot_bytes = (uint64_t)plan->slot_floats * sizeof(float);
    f->page_bytes = (uint64_t)plan->page_token_floats * PAGE_TOKENS * sizeof(float);
    f->page_tokens = PAGE_TOKENS;
    f->vocab = plan->vocab;
    f->stretch = stretch;
}

void codec_name(const struct format *f, const unsigned char tenant[16],
                const unsigned char path[16], const int32_t *tokens, int64_t n,
                unsigned char name[16])
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, f->names, sizeof(f->names), 16);
    crypto_generichash_update(&s, tenant, 16);
    crypto_generichash_update(&s, f->fingerprint, sizeof(f->fingerprint));
    crypto_generichash_update(&s, f->schema, sizeof(f->schema));
    crypto_generichash_update(&s, (const unsigned char *)f->numerics, sizeof(f->numerics));
    crypto_generichash_update(&s, path, 16);
    if (n > 0)
        crypto_generichash_update(&s, (const unsigned char *)tokens, (size_t)n * sizeof(*tokens));
    crypto_generichash_final(&s, name, 16);
}

void codec_sign(const struct format *f, unsigned char head[CODEC_HEAD])
{
    crypto_auth_hmacsha256(head + AT_HMAC, head, AT_HMAC, f->key);
}

void codec_retag(unsigned char head[CODEC_HEAD], const unsigned char tenant[16])
{
    memcpy(head + AT_TENANT, tenant, 16);
}

void codec_seal(const struct format *f, struct head *h, const struct part part[PARTS],
                unsigned char out[CODEC_HEAD])
{
    uint64_t at = CODEC_HEAD;
    memset(out, 0, CODEC_HEAD);
    h->version = h->packed ? CODEC_VERSION_PACKED : CODEC_VERSION;
    for (int i = 0; i < PARTS; i++) {
        struct digest d;
        digest_init(&d, h->version);
        h->offset[i] = at;
        h->bytes[i] = 0;
        for (size_t k = 0; k < part[i].n_pieces; k++) {
            digest_update(&d, part[i].piece[k].p, part[i].piece[k].n);
            h->bytes[i] += part[i].piece[k].n;
        }
        digest_final(&d, h->digest[i]);
        h->stored[i] = h->bytes[i];
        at += h->bytes[i];
        unsigned char *row = out + AT_TABLE + i * ROW;
        const char *name = codec_part_name(i);
        memcpy(row, name, strlen(name));
        bytes_put(row + 16, h->offset[i], 8);
        bytes_put(row + 24, h->bytes[i], 8);
        memcpy(row + 32, h->digest[i], CODEC_DIGEST);
    }
    h->file_bytes = at;
    memcpy(out + AT_MAGIC, magic, sizeof(magic));
    bytes_put(out + AT_VERSION, h->version, 2);
    bytes_put(out + AT_KIND, (uint64_t)h->kind, 2);
    bytes_put(out + AT_HEAD_BYTES, CODEC_HEAD, 4);
    memcpy(out + AT_FINGERPRINT, f->fingerprint, 32);
    memcpy(out + AT_SCHEMA, f->schema, 32);
    memcpy(out + AT_NUMERICS, f->numerics, CODEC_NUMERICS);
    memcpy(out + AT_TENANT, h->tenant, 16);
    memcpy(out + AT_ID, h->id, 16);
    memcpy(out + AT_PATH, h->path, 16);
    bytes_put(out + AT_POSITION, (uint64_t)h->position, 8);
    bytes_put(out + AT_GENERATION, h->generation, 8);
    bytes_put(out + AT_CREATED, h->created_s, 8);
    bytes_put(out + AT_PARTS, PARTS, 4);
    bytes_put(out + AT_POINT, h->point, 4);
    bytes_put(out + AT_FILE_BYTES, h->file_bytes, 8);
    codec_sign(f, out);
}

void codec_digests(const unsigned char head[CODEC_HEAD], struct head *h)
{
    for (int i = 0; i < PARTS; i++)
        memcpy(h->digest[i], head + AT_TABLE + i * ROW + 32, CODEC_DIGEST);
}

/* Not the seal: a file may be sealed anew without being written anew. */
void codec_tag(const struct format *f, const struct head *h, uint64_t what, const void *p, size_t n,
               unsigned char out[CODEC_TAG])
{
    static const unsigned char use[8] = {'r', 'e', 'c', 'u', 'r', 'd', 'P', 'K'};
    struct blake3 b;
    crypto_generichash_state s;
    unsigned char digest[BLAKE3_OUT], number[8];
    blake3_init(&b, NULL);
    blake3_update(&b, p, n);
    blake3_final(&b, digest);
    bytes_put(number, what, sizeof(number));
    crypto_generichash_init(&s, f->names, sizeof(f->names), CODEC_TAG);
    crypto_generichash_update(&s, use, sizeof(use));
    crypto_generichash_update(&s, number, sizeof(number));
    for (int i = 0; i < PARTS; i++)
        crypto_generichash_update(&s, h->digest[i], CODEC_DIGEST);
    crypto_generichash_update(&s, digest, sizeof(digest));
    crypto_generichash_final(&s, out, CODEC_TAG);
}

/* How many token ids a file of this kind has at its position. */
static uint64_t tokens_of(const struct format *f, const struct head *h)
{
    uint64_t pos = (uint64_t)h->position;
    switch (h->kind) {
    case CODEC_STATE: return pos % (uint64_t)f->stretch;
    case CODEC_PATH: return (uint64_t)f->stretch;
    case CODEC_EXPORT:
    case CODEC_SHARED: return pos;
    case CODEC_SESSION: break;
    }
    return 0;
}

/* How many bytes part i of this head may have. */
static void part_range(const struct format *f, const struct head *h, int i, uint64_t *lo,
                       uint64_t *hi)
{
    bool state = h->kind == CODEC_STATE || h->kind == CODEC_EXPORT || h->kind == CODEC_SHARED;
    bool session = h->kind == CODEC_SESSION || h->kind == CODEC_EXPORT;
    uint64_t pos = (uint64_t)h->position;
    *lo = *hi = 0;
    if (f->slot_bytes == 0) { /* codec_inspect */
        *hi = UINT64_MAX;
        return;
    }
    switch ((enum codec_part)i) {
    case PART_TOKENS: *lo = *hi = 4 * tokens_of(f, h); break;
    case PART_STATE:
        *lo = state && !f->any_state ? f->slot_bytes : 0;
        *hi = !state ? 0 : f->any_state ? UINT64_MAX : f->slot_bytes;
        break;
    case PART_PAGES:
        if (state && f->page_bytes)
            *lo = *hi = (pos + (uint64_t)f->page_tokens - 1) / (uint64_t)f->page_tokens *
                        f->page_bytes;
        break;
    case PART_LOGITS: *hi = state ? (uint64_t)f->vocab * 4 : 0; break;
    case PART_SESSION: *lo = *hi = session ? SESSION_RECORD : 0; break;
    case PART_TURNS: *hi = session ? LIMIT_SESSION_TURNS * 8 : 0; break;
    case PART_ANSWER: *hi = session ? LIMIT_ANSWER_BYTES : 0; break;
    case PARTS: break;
    }
}

static int check_table(const struct format *f, const unsigned char *in, uint64_t file_bytes,
                       struct head *h, struct err *e)
{
    uint64_t at = CODEC_HEAD;
    for (int i = 0; i < PARTS; i++) {
        const unsigned char *row = in + AT_TABLE + i * ROW;
        unsigned char name[16] = {0};
        const char *want = codec_part_name(i);
        memcpy(name, want, strlen(want));
        uint64_t lo, hi;
        part_range(f, h, i, &lo, &hi);
        h->offset[i] = bytes_get(row + 16, 8);
        h->stored[i] = h->bytes[i] = bytes_get(row + 24, 8);
        memcpy(h->digest[i], row + 32, CODEC_DIGEST);
        if (memcmp(row, name, sizeof(name)) != 0 || h->offset[i] != at)
            return err_set(e, E_FORMAT, "row %d of the part table is not %s at %llu", i, want,
                           (unsigned long long)at);
        uint64_t unit = i == PART_TURNS ? 8 : i == PART_LOGITS && f->slot_bytes ? MAX(hi, 1) : 1;
        if (h->bytes[i] < lo || h->bytes[i] > hi || h->bytes[i] % unit)
            return err_set(e, E_FORMAT, "part %s has %llu bytes, %llu to %llu are possible", want,
                           (unsigned long long)h->bytes[i], (unsigned long long)lo,
                           (unsigned long long)hi);
        if (h->bytes[i] > file_bytes - at)
            return err_set(e, E_FORMAT, "part %s ends beyond the file's %llu bytes", want,
                           (unsigned long long)file_bytes);
        at += h->bytes[i];
    }
    if (at != file_bytes || bytes_get(in + AT_FILE_BYTES, 8) != file_bytes)
        return err_set(e, E_FORMAT, "%llu bytes are there, the head says %llu",
                       (unsigned long long)file_bytes,
                       (unsigned long long)bytes_get(in + AT_FILE_BYTES, 8));
    return 0;
}

/* Of a head whose seal is right: is it of this model, this arithmetic and this version? */
static int check_origin(const struct format *f, const unsigned char *in, struct head *h,
                        struct err *e)
{
    unsigned version = (unsigned)bytes_get(in + AT_VERSION, 2);
    memcpy(h->tenant, in + AT_TENANT, 16);
    memcpy(h->id, in + AT_ID, 16);
    h->created_s = bytes_get(in + AT_CREATED, 8);
    h->generation = bytes_get(in + AT_GENERATION, 8);
    h->version = version;
    h->packed = version == CODEC_VERSION_PACKED;
    if (version < CODEC_VERSION_READ)
        return err_set(e, E_CONFLICT, "it is of format version %u, this build reads %d to %d",
                       version, CODEC_VERSION_READ, CODEC_VERSION_PACKED);
    memcpy(h->numerics, in + AT_NUMERICS, CODEC_NUMERICS);
    h->numerics[CODEC_NUMERICS - 1] = '\0';
    if (memcmp(in + AT_FINGERPRINT, f->fingerprint, 32) != 0 ||
        memcmp(in + AT_SCHEMA, f->schema, 32) != 0)
        return err_set(e, E_CONFLICT, "it belongs to another model or tokenizer");
    h->same_model = true;
    if (memcmp(in + AT_NUMERICS, f->numerics, CODEC_NUMERICS) != 0)
        return err_set(e, E_CONFLICT, "it was made by the arithmetic \"%s\", and this is \"%s\"",
                       h->numerics, f->numerics);
    return 0;
}

/* Is it a head of ours at all? */
static int check_seal(const struct format *f, const unsigned char *in, struct head *h,
                      struct err *e)
{
    unsigned version = (unsigned)bytes_get(in + AT_VERSION, 2);
    if (memcmp(in + AT_MAGIC, magic, sizeof(magic)) != 0)
        return err_set(e, E_FORMAT, "this is not a state file: wrong magic");
    if (version > CODEC_VERSION_PACKED)
        return err_set(e, E_UNSUPPORTED, "format version %u, this build reads up to %d", version,
                       CODEC_VERSION_PACKED);
    if (version < CODEC_VERSION_OLD || bytes_get(in + AT_HEAD_BYTES, 4) != CODEC_HEAD)
        return err_set(e, E_FORMAT, "format version %u with a head of %u bytes does not exist",
                       version, (unsigned)bytes_get(in + AT_HEAD_BYTES, 4));
    h->old = crypto_auth_hmacsha256_verify(in + AT_HMAC, in, AT_HMAC, f->key) != 0;
    if (h->old &&
        (!f->two || crypto_auth_hmacsha256_verify(in + AT_HMAC, in, AT_HMAC, f->old) != 0))
        return err_set(e, E_DENIED, "the seal does not match: altered, or of another install key");
    return 0;
}

/* The length that the parts of a file add up to: a packed one has another, and says this one. */
static uint64_t unpacked_bytes(const unsigned char *in, uint64_t file_bytes, const struct head *h)
{
    return h->packed ? MAX(bytes_get(in + AT_FILE_BYTES, 8), CODEC_HEAD) : file_bytes;
}

/* What a head says of itself, whatever the model. */
static int read_fields(const unsigned char *in, uint64_t file_bytes, struct head *h, struct err *e)
{
    uint64_t kind = bytes_get(in + AT_KIND, 2), position = bytes_get(in + AT_POSITION, 8);
    uint32_t point = (uint32_t)bytes_get(in + AT_POINT, 4);
    if (kind < CODEC_STATE || kind > CODEC_SHARED || bytes_get(in + AT_PARTS, 4) != PARTS ||
        point > POINT_SWAP || bytes_get(in + AT_RESERVED, 8))
        return err_set(e, E_FORMAT, "kind %llu with %llu parts is not known",
                       (unsigned long long)kind, (unsigned long long)bytes_get(in + AT_PARTS, 4));
    if (position > (uint64_t)CODEC_POSITION_MAX)
        return err_set(e, E_RANGE, "position %llu, at most %lld is possible",
                       (unsigned long long)position, (long long)CODEC_POSITION_MAX);
    h->kind = (enum codec_kind)kind;
    if (h->packed && h->kind != CODEC_STATE)
        return err_set(e, E_FORMAT, "kind %llu is never packed, only states are",
                       (unsigned long long)kind);
    h->position = (int64_t)position;
    h->point = point;
    h->file_bytes = unpacked_bytes(in, file_bytes, h);
    memcpy(h->path, in + AT_PATH, 16);
    return 0;
}

int codec_open(const struct format *f, const unsigned char in[CODEC_HEAD], uint64_t file_bytes,
               struct head *h, struct err *e)
{
    memset(h, 0, sizeof(*h));
    int rc = check_seal(f, in, h, e);
    if (!rc)
        rc = check_origin(f, in, h, e);
    if (!rc)
        rc = read_fields(in, file_bytes, h, e);
    if (rc)
        return rc;
    int64_t whole = h->position / f->stretch; /* stretches of the path */
    bool follows = (h->kind == CODEC_STATE && whole > 0) || (h->kind == CODEC_PATH && whole > 1);
    if (h->kind == CODEC_PATH && (whole == 0 || h->position % f->stretch))
        return err_set(e, E_FORMAT, "a stretch of %lld tokens cannot end at %lld",
                       (long long)f->stretch, (long long)h->position);
    if (follows != !sodium_is_zero(h->path, sizeof(h->path)))
        return err_set(e, E_FORMAT, "kind %d at position %lld %s a path before its tokens",
                       (int)h->kind, (long long)h->position, follows ? "lacks" : "has");
    return check_table(f, in, h->file_bytes, h, e);
}

int codec_inspect(struct format *f, const unsigned char in[CODEC_HEAD], uint64_t file_bytes,
                  struct head *h, struct err *e)
{
    memset(h, 0, sizeof(*h));
    int rc = check_seal(f, in, h, e);
    if (rc)
        return rc;
    memcpy(f->fingerprint, in + AT_FINGERPRINT, sizeof(f->fingerprint));
    memcpy(f->schema, in + AT_SCHEMA, sizeof(f->schema));
    memcpy(f->numerics, in + AT_NUMERICS, sizeof(f->numerics));
    f->slot_bytes = 0; /* unknown: whatever the table says of the parts is possible */
    f->plan = NULL;
    rc = check_origin(f, in, h, e);
    if (!rc)
        rc = read_fields(in, file_bytes, h, e);
    return rc ? rc : check_table(f, in, h->file_bytes, h, e);
}

static int check_ids(const void *p, size_t n, int32_t vocab, struct err *e)
{
    const unsigned char *b = p; /* an imported blob may lie anywhere */
    for (size_t i = 0; i < n; i++) {
        int32_t id;
        memcpy(&id, b + i * 4, 4);
        if (id < 0 || id >= vocab)
            return err_set(e, E_FORMAT, "token %zu is %d, the vocabulary ends at %d", i, id,
                           vocab);
    }
    return 0;
}

/* Exponent all ones = infinite or not a number. Tested on the bits: no float comparison that a
 * compiler's mood could change. */
static int check_finite(const void *p, size_t n, const char *name, struct err *e)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, b + i * 4, 4);
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return err_set(e, E_FORMAT, "part %s: value %zu is not finite", name, i);
    }
    return 0;
}

/* The same of a slot's numbers in float16; the floats that two of them make are finite as long as
 * both are, so the others were seen to be. */
static int check_finite_halves(const struct plan *plan, const void *p, size_t n, const char *name,
                               struct err *e)
{
    for (int32_t i = 0; plan && i < plan->n_sections; i++) {
        const struct section *x = &plan->sections[i];
        const unsigned char *b = (const unsigned char *)p + (size_t)x->offset * 4;
        if (x->dtype != DTYPE_F16 || (size_t)(x->offset + section_floats(x)) * 4 > n)
            continue;
        for (int64_t k = 0; k < x->elems; k++) {
            uint16_t bits;
            memcpy(&bits, b + k * 2, 2);
            if ((bits & 0x7c00u) == 0x7c00u)
                return err_set(e, E_FORMAT, "part %s: value %lld of %s is not finite", name,
                               (long long)k, x->name);
        }
    }
    return 0;
}

int codec_check(const struct format *f, const struct head *h, enum codec_part i,
                const struct part *p, struct err *e)
{
    struct digest d;
    unsigned char digest[CODEC_DIGEST];
    const char *name = codec_part_name(i);
    uint64_t bytes = 0;
    digest_init(&d, h->version);
    for (size_t k = 0; k < p->n_pieces; k++) {
        digest_update(&d, p->piece[k].p, p->piece[k].n);
        bytes += p->piece[k].n;
    }
    digest_final(&d, digest);
    if (bytes != h->bytes[i])
        return err_set(e, E_FORMAT, "part %s: %llu bytes, the head says %llu", name,
                       (unsigned long long)bytes, (unsigned long long)h->bytes[i]);
    if (sodium_memcmp(digest, h->digest[i], sizeof(digest)) != 0)
        return err_set(e, E_FORMAT, "part %s is damaged: its %llu bytes have another digest", name,
                       (unsigned long long)bytes);
    int rc = 0;
    for (size_t k = 0; k < p->n_pieces && !rc; k++) {
        if (i == PART_TOKENS)
            rc = check_ids(p->piece[k].p, p->piece[k].n / 4, f->vocab, e);
        else if (i == PART_STATE || i == PART_PAGES || i == PART_LOGITS)
            rc = check_finite(p->piece[k].p, p->piece[k].n / 4, name, e);
        if (i == PART_STATE && !rc)
            rc = check_finite_halves(f->plan, p->piece[k].p, p->piece[k].n, name, e);
    }
    return rc;
}

void codec_tenant(const unsigned char key[CODEC_KEY], const char *key_id, unsigned char out[16])
{
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256(mac, (const unsigned char *)key_id, strlen(key_id), key);
    memcpy(out, mac, 16);
}
