/* Compare and set, and signs of life. */
#include "statecache/shared/claim.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

static const char magic[8] = {'R', 'E', 'C', 'U', 'R', 'D', 'C', 'L'};

/* What is no text under our name is nobody's record. 56 = CLAIM_HEAD, or all of a shorter value. */
static const char swap_script[] =
    "local t=redis.call('TYPE',KEYS[1]).ok\n"
    "if t~='string' and t~='none' then redis.call('DEL',KEYS[1]) end\n"
    "local v=redis.call('GET',KEYS[1]) or ''\n"
    "if string.sub(v,1,56)~=ARGV[1] then return v end\n"
    "if ARGV[3]=='' then redis.call('SETRANGE',KEYS[1],0,ARGV[2])\n"
    "elseif ARGV[4]=='0' then redis.call('SET',KEYS[1],ARGV[2]..ARGV[3])\n"
    "else redis.call('SET',KEYS[1],ARGV[2]..ARGV[3],'EX',ARGV[4]) end\n"
    "return 1";
_Static_assert(CLAIM_HEAD == 56, "what the script compares");

/* As many names as a reply can hold. */
static const char call_script[] =
    "redis.call('SET',KEYS[1],'1','PX',ARGV[1])\n"
    "local v=redis.call('GET',KEYS[2]) or ''\n"
    "if string.len(v)<1000000 then redis.call('SET',KEYS[2],v..ARGV[2],'PX',2*ARGV[1]) end\n"
    "return 1";
static const char calls[] = "recurd:b:0", epoch_key[] = "recurd:e:0";

static struct word word(const char *text) { return (struct word){text, strlen(text)}; }

struct claim_name claim_record_key(const struct link_name *name)
{
    struct claim_name k;
    snprintf(k.text, sizeof(k.text), "recurd:r:");
    sodium_bin2hex(k.text + 9, sizeof(k.text) - 9, name->b, sizeof(name->b));
    return k;
}

static struct claim_name life_key(const unsigned char replica[16])
{
    struct link_name n;
    memcpy(n.b, replica, sizeof(n.b));
    struct claim_name k = claim_record_key(&n);
    k.text[7] = 'l';
    return k;
}

void claim_head(const struct claim *c, unsigned char out[CLAIM_HEAD])
{
    memcpy(out, magic, sizeof(magic));
    bytes_put(out + 8, c->fence, 8);
    memcpy(out + 16, c->holder, 16);
    memcpy(out + CLAIM_OPEN, c->nonce, SHARED_NONCE);
}

bool claim_is_free(const struct claim *c) { return sodium_is_zero(c->holder, sizeof(c->holder)); }

void claim_read(const void *p, size_t n, struct claim_value *out)
{
    *out = (struct claim_value){.p = p, .n = n};
    out->record = n > CLAIM_HEAD && memcmp(p, magic, sizeof(magic)) == 0 &&
                  bytes_get(out->p + 8, 8) < CLAIM_FENCE_MAX;
    if (!out->record)
        return;
    out->at.fence = bytes_get(out->p + 8, 8);
    memcpy(out->at.holder, out->p + 16, 16);
    memcpy(out->at.nonce, out->p + CLAIM_OPEN, SHARED_NONCE);
}

int claim_get(struct wire *w, const struct claim_name *key, uint64_t deadline_ns,
              struct claim_value *out, struct err *e)
{
    struct word get[2] = {word("GET"), word(key->text)};
    struct reply r = {0};
    int rc = wire_send(w, get, 2, deadline_ns, e);
    if (!rc)
        rc = wire_receive(w, deadline_ns, &r, e);
    if (!rc) /* an error: it is no text */
        claim_read(r.kind == REPLY_TEXT ? r.p : NULL, r.kind == REPLY_TEXT ? r.n : 0, out);
    return rc;
}

int claim_swap(struct wire *w, const struct claim_name *key, const void *expected, size_t n,
               const struct claim *next, const void *box, size_t n_box, int64_t ttl_s,
               uint64_t deadline_ns, bool *done, struct claim_value *now, struct err *e)
{
    unsigned char head[CLAIM_HEAD];
    char ttl[24];
    struct reply r = {0};
    claim_head(next, head);
    snprintf(ttl, sizeof(ttl), "%lld", (long long)ttl_s);
    struct word words[8] = {word("EVAL"), word(swap_script), word("1"), word(key->text),
                            {expected, n}, {head, CLAIM_OPEN}, {box, n_box}, word(ttl)};
    int rc = wire_ask(w, words, 8, deadline_ns, &r, e);
    *done = !rc && r.kind == REPLY_NUMBER && r.number == 1;
    if (!rc && !*done && r.kind != REPLY_TEXT)
        rc = err_set(e, E_FORMAT, "the shared store answers a script with something else");
    if (!rc)
        claim_read(r.p, *done ? 0 : r.n, now);
    return rc;
}

int claim_live(struct wire *w, const unsigned char replica[16], uint64_t deadline_ns, struct err *e)
{
    struct claim_name k = life_key(replica);
    char ms[24];
    struct reply r;
    snprintf(ms, sizeof(ms), "%d", CLAIM_LIFE_MS);
    struct word set[5] = {word("SET"), word(k.text), word("1"), word("PX"), word(ms)};
    return wire_ask(w, set, 5, deadline_ns, &r, e);
}

int claim_lives(struct wire *w, const unsigned char replica[16], uint64_t deadline_ns, bool *lives,
                struct err *e)
{
    struct claim_name k = life_key(replica);
    struct word exists[2] = {word("EXISTS"), word(k.text)};
    struct reply r = {0};
    int rc = wire_ask(w, exists, 2, deadline_ns, &r, e);
    *lives = !rc && r.kind == REPLY_NUMBER && r.number == 1;
    return rc;
}

int claim_call(struct wire *w, const struct link_name *name, bool aloud, uint64_t deadline_ns,
               struct err *e)
{
    struct claim_name k = life_key(name->b);
    char ms[24];
    struct reply r;
    snprintf(ms, sizeof(ms), "%d", CLAIM_CALL_MS);
    struct word words[7] = {word("EVAL"), word(call_script), word("2"), word(k.text), word(calls),
                            word(ms), {name->b, sizeof(name->b)}};
    struct word set[5] = {word("SET"), word(k.text), word("1"), word("PX"), word(ms)};
    return aloud ? wire_ask(w, words, 7, deadline_ns, &r, e)
                 : wire_ask(w, set, 5, deadline_ns, &r, e);
}

int claim_hear(struct wire *w, unsigned char epoch[16], struct buf *names, uint64_t deadline_ns,
               struct err *e)
{
    unsigned char fresh[16];
    struct reply r = {0};
    randombytes_buf(fresh, sizeof(fresh));
    struct word set[4] = {word("SET"), word(epoch_key), {fresh, sizeof(fresh)}, word("NX")};
    struct word get[2] = {word("GET"), word(epoch_key)}, list[2] = {word("GET"), word(calls)};
    int rc = wire_ask(w, set, 4, deadline_ns, &r, e);
    if (!rc)
        rc = wire_ask(w, get, 2, deadline_ns, &r, e);
    memset(epoch, 0, 16);
    if (!rc && r.kind == REPLY_TEXT && r.n == 16)
        memcpy(epoch, r.p, 16);
    if (!rc)
        rc = wire_ask(w, list, 2, deadline_ns, &r, e);
    if (!rc && r.kind == REPLY_TEXT && r.n % 16 == 0 && buf_add(names, r.p, r.n))
        rc = err_set(e, E_NOMEM, "no memory for the names of %zu sessions", r.n / 16);
    return rc;
}

int claim_end(struct wire *w, const unsigned char replica[16], uint64_t deadline_ns, struct err *e)
{
    struct claim_name k = life_key(replica);
    struct word del[2] = {word("DEL"), word(k.text)};
    struct reply r;
    return wire_ask(w, del, 2, deadline_ns, &r, e);
}
