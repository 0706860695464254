/* Records of sessions as bytes and boxes. */
#include "statecache/shared/record.h"

#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "statecache/store/fields.h"

#define RECORD_VERSION 1
#define WHICH 8 /* bytes of the nonce that say which key; the others are random */
_Static_assert(WHICH + 16 == SHARED_NONCE && WHICH <= SHARED_WHICH, "a nonce's parts");

static const char magic[8] = {'R', 'E', 'C', 'U', 'R', 'D', 'S', 'E'};
enum { AT_MAGIC = 0, AT_VERSION = 8, AT_ZERO = 10, AT_IDS = 12, AT_FENCE = 16, AT_STRETCH = 24 };
_Static_assert(AT_STRETCH + 8 == RECORD_HEAD, "the record's layout");

void shared_record_name(const struct format *f, const unsigned char tenant[16],
                        const unsigned char id[16], struct link_name *out)
{
    crypto_generichash_state s;
    crypto_generichash_init(&s, f->names, sizeof(f->names), sizeof(out->b));
    crypto_generichash_update(&s, (const unsigned char *)magic, sizeof(magic));
    crypto_generichash_update(&s, tenant, 16);
    crypto_generichash_update(&s, f->fingerprint, sizeof(f->fingerprint));
    crypto_generichash_update(&s, id, 16);
    crypto_generichash_final(&s, out->b, sizeof(out->b));
}

bool shared_record_says(const struct seal_keys *k, const unsigned char *box, size_t n)
{
    return n >= SHARED_NONCE && memcmp(box, k->which, WHICH) == 0;
}

int shared_record_seal(const struct seal_keys *k, const struct format *f,
                       const struct link_name *name, const struct shared_record *r,
                       struct buf *out, struct err *e)
{
    unsigned char head[RECORD_HEAD] = {0}, nonce[SHARED_NONCE], tag[SHARED_TAG] = {0};
    size_t at = out->len;
    memcpy(head, magic, sizeof(magic));
    bytes_put(head + AT_VERSION, RECORD_VERSION, 2);
    bytes_put(head + AT_IDS, (uint64_t)r->n_ids, 4);
    bytes_put(head + AT_FENCE, r->fence, 8);
    bytes_put(head + AT_STRETCH, (uint64_t)f->stretch, 8);
    memcpy(nonce, k->which, WHICH);
    randombytes_buf(nonce + WHICH, sizeof(nonce) - WHICH);
    bool bad = buf_add(out, nonce, sizeof(nonce)) || buf_add(out, head, sizeof(head)) ||
               (r->n_ids && buf_add(out, r->ids, (size_t)r->n_ids * SHARED_ID)) ||
               change_encode(out, &r->c) || buf_add(out, tag, sizeof(tag));
    if (bad || r->n_ids > RECORD_STRETCHES || out->len - at > RECORD_BOX_MAX)
        return err_set(e, bad ? E_NOMEM : E_RANGE, "a session's record of %zu bytes, %d stretches: "
                       "at most %zu and %d are shared", out->len - at, r->n_ids,
                       (size_t)RECORD_BOX_MAX, RECORD_STRETCHES);
    unsigned char *in = (unsigned char *)out->p + at + SHARED_NONCE; /* sealed where it lies */
    crypto_aead_xchacha20poly1305_ietf_encrypt(in, NULL, in,
                                               out->len - at - SHARED_NONCE - SHARED_TAG, name->b,
                                               sizeof(name->b), NULL, nonce, k->boxes);
    return 0;
}

/* Of a session: the fields agree with what is beside them. */
static int check_fields(const struct format *f, const struct shared_record *r, struct err *e)
{
    struct fields x;
    const struct change *c = &r->c;
    fields_read(&x, c->fields);
    if (x.position != (uint64_t)c->keep_tokens + c->n_tokens || x.lo_turn > x.turns ||
        x.turns - x.lo_turn != c->n_turns || x.turns > INT64_MAX / 2)
        return err_set(e, E_FORMAT, "a session's record of %lld and %u tokens, %u turns says it "
                       "has %llu and %llu", (long long)c->keep_tokens, c->n_tokens, c->n_turns,
                       (unsigned long long)x.position, (unsigned long long)x.turns);
    for (uint32_t i = 0; i < c->n_tokens; i++) {
        int32_t t;
        memcpy(&t, (const char *)c->tokens + (size_t)i * sizeof(t), sizeof(t));
        if (t < 0 || t >= f->vocab)
            return err_set(e, E_FORMAT, "token %d in a session's record, the vocabulary ends at %d",
                           t, f->vocab);
    }
    return 0;
}

/* The head, and how many stretches of what length follow it. */
static int read_head(const unsigned char *in, size_t n, struct shared_record *out,
                     uint64_t *stretch, struct err *e)
{
    *out = (struct shared_record){0};
    if (n < RECORD_HEAD || memcmp(in, magic, sizeof(magic)) != 0)
        return err_set(e, E_FORMAT, "a session's record of %zu bytes is none of ours", n);
    unsigned version = (unsigned)bytes_get(in + AT_VERSION, 2);
    if (version != RECORD_VERSION)
        return err_set(e, E_UNSUPPORTED, "a session's record of version %u, this build reads %d",
                       version, RECORD_VERSION);
    uint64_t ids = bytes_get(in + AT_IDS, 4);
    *stretch = bytes_get(in + AT_STRETCH, 8);
    if (bytes_get(in + AT_ZERO, 2) || ids > RECORD_STRETCHES || ids * SHARED_ID > n - RECORD_HEAD)
        return err_set(e, E_FORMAT, "a session's record of %zu bytes names %llu stretches", n,
                       (unsigned long long)ids);
    out->fence = bytes_get(in + AT_FENCE, 8);
    out->n_ids = (int32_t)ids;
    out->ids = in + RECORD_HEAD;
    return 0;
}

int shared_record_read(const struct format *f, const unsigned char *in, size_t n,
                       struct shared_record *out, struct err *e)
{
    uint64_t stretch = 0;
    int rc = read_head(in, n, out, &stretch, e);
    if (rc)
        return rc;
    if (stretch != (uint64_t)f->stretch)
        return err_set(e, E_FORMAT, "a session's record has stretches of %llu tokens, not %lld",
                       (unsigned long long)stretch, (long long)f->stretch);
    uint64_t ids = (uint64_t)out->n_ids;
    size_t at = RECORD_HEAD + (size_t)ids * SHARED_ID, used = 0;
    rc = change_decode(in + at, n - at, &out->c, &used, e);
    if (rc)
        return rc;
    const struct change *c = &out->c;
    if (used != n - at || c->base || c->keep_turns || !out->fence ||
        (uint64_t)c->keep_tokens != ids * stretch ||
        (c->kind == CHANGE_SESSION && c->n_tokens >= stretch) ||
        (c->kind == CHANGE_DELETED && (ids || c->n_tokens || c->n_turns || c->n_answer)))
        return err_set(e, E_FORMAT, "a session's record keeps %lld tokens of %llu stretches, and "
                       "%zu of %zu bytes are its own", (long long)c->keep_tokens,
                       (unsigned long long)ids, used, n - at);
    return c->kind == CHANGE_SESSION ? check_fields(f, out, e) : 0;
}

/* f NULL: no more than its head is read. */
static int open_box(const struct seal_keys *k, const struct format *f,
                    const struct link_name *name, const unsigned char *box, size_t n,
                    struct shared_record *out, struct err *e)
{
    uint64_t stretch;
    *out = (struct shared_record){0};
    if (n < SHARED_NONCE + SHARED_TAG || n > RECORD_BOX_MAX)
        return err_set(e, E_FORMAT, "a session's record in %zu bytes, %d to %zu are possible", n,
                       SHARED_NONCE + SHARED_TAG, (size_t)RECORD_BOX_MAX);
    size_t inside = n - SHARED_NONCE - SHARED_TAG;
    unsigned char *in = mem_array(1, inside);
    if (!in)
        return err_set(e, E_NOMEM, "no memory for a session's record of %zu bytes", inside);
    int rc = 0;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(in, NULL, NULL, box + SHARED_NONCE,
                                                   n - SHARED_NONCE, name->b, sizeof(name->b), box,
                                                   k->boxes) != 0)
        rc = err_set(e, E_DENIED, "a session's record does not match its seal: altered, of another "
                     "name, or of another key");
    if (!rc)
        rc = f ? shared_record_read(f, in, inside, out, e)
               : read_head(in, inside, out, &stretch, e);
    if (rc) {
        mem_free(in);
        *out = (struct shared_record){0};
        return rc;
    }
    out->plain = in;
    return 0;
}

int shared_record_open(const struct seal_keys *k, const struct format *f,
                       const struct link_name *name, const unsigned char *box, size_t n,
                       struct shared_record *out, struct err *e)
{
    return open_box(k, f, name, box, n, out, e);
}

int shared_record_stretches(const struct seal_keys *k, const struct link_name *name,
                            const unsigned char *box, size_t n, struct shared_record *out,
                            struct err *e)
{
    return open_box(k, NULL, name, box, n, out, e);
}

void shared_record_free(struct shared_record *r)
{
    mem_free(r->plain);
    *r = (struct shared_record){0};
}
