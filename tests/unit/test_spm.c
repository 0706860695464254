/* What is checked of a SentencePiece file before the library sees it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "models/text/spm_charsmap.h"
#include "models/text/spm_probe.h"
#include "models/text/spm_proto.h"

/* ---- normaliser tables ---- */

#define UNITS 512
struct table {
    unsigned char bytes[4 + 4 * UNITS + 4];
};

static void put_unit(struct table *t, size_t i, uint32_t u)
{
    for (int k = 0; k < 4; k++)
        t->bytes[4 + 4 * i + (size_t)k] = (unsigned char)(u >> 8 * k);
}

static uint32_t unit(uint32_t label, bool value, uint32_t offset)
{
    return label | (value ? 0x100u : 0) | offset << 10;
}

/* "a" -> the string at 0. The root's base is 1, so the unit of 'a' is at 1 ^ 0x61; its value at
 * 0x60 ^ 0x10. */
static void small_table(struct table *t)
{
    memset(t, 0, sizeof *t);
    t->bytes[1] = 4 * UNITS >> 8;
    for (size_t i = 0; i < UNITS; i++)
        put_unit(t, i, 0x80000000); /* a label that no byte has */
    put_unit(t, 0, unit(0, false, 1));
    put_unit(t, 0x60, unit('a', true, 0x10));
    put_unit(t, 0x70, 0x80000000);
}

static const char *check(const struct table *t, size_t n)
{
    static struct err e;
    err_clear(&e);
    /* An exact copy on the heap: a read behind its end is the sanitizer's. */
    unsigned char *copy = mem_zalloc(n);
    memcpy(copy, t->bytes, n);
    int rc = spm_charsmap_check(copy, n, "f", &e);
    mem_free(copy);
    return rc == 0 ? "" : e.text;
}

Test(spm, a_sound_table_is_accepted)
{
    struct table t;
    small_table(&t);
    cr_assert_str_eq(check(&t, sizeof t.bytes), "");
}

Test(spm, a_table_that_leads_out_of_itself_is_refused)
{
    struct table t;
    small_table(&t);
    put_unit(&t, 0x60, unit('a', false, 0x1000));
    cr_assert(strstr(check(&t, sizeof t.bytes), "unit 4192 of 512 is outside"));
    small_table(&t);
    put_unit(&t, 0, unit(0, false, 0x200));
    cr_assert(strstr(check(&t, sizeof t.bytes), "is outside"));
    small_table(&t);
    put_unit(&t, 0x70, 0x80000004);
    cr_assert(strstr(check(&t, sizeof t.bytes), "points behind the strings"));
    small_table(&t);
    put_unit(&t, 0x60, unit('a', false, 0x61)); /* back to the root's base */
    cr_assert(strstr(check(&t, sizeof t.bytes), "is its own child"));
}

Test(spm, a_table_with_wrong_lengths_is_refused)
{
    struct table t;
    small_table(&t);
    cr_assert(strstr(check(&t, 4), "4 bytes, 5 are the least"));
    cr_assert(strstr(check(&t, 4 + 4 * UNITS), "2052 bytes, its trie claims 2048"));
    cr_assert(strstr(check(&t, 100), "its trie claims 2048"));
    t.bytes[0] = 2;
    cr_assert(strstr(check(&t, sizeof t.bytes), "its trie claims 2050"));
}

Test(spm, more_matches_than_the_library_has_room_for_are_refused)
{
    /* a, aa, aaa, …: each unit of 'a' has a value and the next base. */
    for (uint32_t depth = 31; depth <= 33; depth++) {
        struct table t;
        small_table(&t);
        put_unit(&t, 0x60, 0x80000000);
        /* Bases 256, 258, …: the value of a base is the unit at it, its child at base ^ 'a'. */
        put_unit(&t, 0, unit(0, false, 256));
        for (uint32_t i = 0; i < depth; i++) {
            uint32_t base = 256 + 2 * i, child = base ^ 'a', next = base + 2;
            put_unit(&t, child, unit('a', true, child ^ next));
            put_unit(&t, next, 0x80000000);
        }
        const char *says = check(&t, sizeof t.bytes);
        if (depth <= 32)
            cr_assert_str_eq(says, "", "%u: %s", depth, says);
        else
            cr_assert(strstr(says, "nests too many matches"), "%u: %s", depth, says);
    }
}

Test(spm, every_flip_in_a_real_table_is_refused_or_harmless)
{
    struct buf file;
    struct spm_proto p;
    struct err e = {0};
    buf_init(&file, MIB(4));
    cr_assert_eq(file_read("tests/golden/tokenizers/spm_unigram/tokenizer.model", &file, &e), 0);
    int refused = 0;
    for (size_t i = 0; i < 400; i++) {
        size_t at = file.len / 400 * i + i % 7;
        file.p[at] = (char)(file.p[at] ^ 1 << i % 8);
        err_clear(&e);
        refused += spm_proto_read(&p, (unsigned char *)file.p, file.len, "f", &e) < 0;
        spm_proto_free(&p);
        file.p[at] = (char)(file.p[at] ^ 1 << i % 8);
    }
    cr_assert_gt(refused, 10);
    err_clear(&e);
    cr_assert_eq(spm_proto_read(&p, (unsigned char *)file.p, file.len, "f", &e), 0, "%s", e.text);
    spm_proto_free(&p);
    buf_free(&file);
}

/* ---- the wire format ---- */

static struct err refuse(const char *bytes, size_t n)
{
    struct spm_proto p;
    struct err e = {0};
    cr_assert_lt(spm_proto_read(&p, (const unsigned char *)bytes, n, "f", &e), 0);
    spm_proto_free(&p);
    return e;
}

Test(spm, pieces_and_settings_are_read)
{
    static const char bytes[] = "\x0a\x07\x0a\x03<u>\x18\x02"  /* <u>, unknown */
                                "\x0a\x03\x0a\x01" "a"         /* a, normal */
                                "\x12\x06\xc8\x02\x01\xd0\x02\x00" /* bos 1, eos 0 */
                                "\x1a\x04\x18\x00\x28\x00";    /* no dummy prefix, no escape */
    struct spm_proto p;
    struct err e = {0};
    cr_assert_eq(spm_proto_read(&p, (const unsigned char *)bytes, sizeof bytes - 1, "f", &e), 0,
                 "%s", e.text);
    cr_assert_eq(p.n, 2);
    cr_assert_eq(p.pieces[0].type, SPM_UNKNOWN);
    cr_assert_eq(p.pieces[0].type_at, 8);
    cr_assert_eq(p.pieces[1].type, SPM_NORMAL);
    cr_assert_eq(p.pieces[1].n, 1);
    cr_assert(p.bos == 1 && p.eos == 0 && !p.dummy_prefix && !p.escape_whitespace);
    spm_proto_free(&p);
    for (size_t cut = 1; cut < sizeof bytes - 1; cut++) {
        err_clear(&e);
        int rc = spm_proto_read(&p, (const unsigned char *)bytes, cut, "f", &e);
        cr_assert(rc == 0 ? p.n > 0 : e.text[0] != 0, "cut at %zu", cut);
        spm_proto_free(&p);
    }
}

Test(spm, a_malformed_model_is_refused_with_its_place)
{
    static const struct { const char *bytes; size_t n; const char *says; } cases[] = {
        {"", 0, "no pieces in 0 bytes"},
        {"hello world", 11, "at byte"},
        {"\x0a\x05", 2, "a field is longer than the rest at byte 2 of 2"},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 12, "a number is too long"},
        {"\x0b", 1, "an unknown wire type"},
        {"\x02\x00", 2, "a field has no number"},
        {"\x0a\x02\x0a\x00", 4, "piece 0 has 0 bytes, 1 to 512"},
        {"\x0a\x03\x0a\x01\xff", 5, "piece 0 has 1 bytes"},
        {"\x0a\x03\x0a\x01\x00", 5, "without NUL"},
        {"\x0a\x05\x0a\x01" "a\x18\x09", 7, "piece 0 has type 9, known are 1 to 6"},
        {"\x1a\x04\x12\x02zz", 6, "the normaliser table has 2 bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = refuse(cases[i].bytes, cases[i].n);
        cr_assert(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
    }
}

Test(spm, symbols_nested_deeper_than_the_library_has_room_for_are_refused)
{
    for (size_t depth = 64; depth <= 65; depth++) {
        struct buf b;
        struct spm_proto p;
        struct err e = {0};
        buf_init(&b, MIB(1));
        for (size_t n = 1; n <= depth; n++) { /* a, aa, aaa, … user-defined */
            buf_ch(&b, 0x0a);
            buf_ch(&b, (char)(n + 4));
            buf_ch(&b, 0x0a);
            buf_ch(&b, (char)n);
            for (size_t i = 0; i < n; i++)
                buf_ch(&b, 'a');
            buf_add(&b, "\x18\x04", 2);
        }
        int rc = spm_proto_read(&p, (unsigned char *)b.p, b.len, "f", &e);
        cr_assert_eq(rc, depth == 64 ? 0 : E_RANGE, "%zu: %s", depth, e.text);
        if (rc < 0)
            cr_assert(strstr(e.text, "begins with 65 user-defined symbols, at most 64"), "%s",
                      e.text);
        spm_proto_free(&p);
        buf_free(&b);
    }
}

/* ---- the probe ---- */

static atomic_bool stormy = true;

static void *storm(void *unused)
{
    size_t n = 1;
    while (atomic_load(&stormy)) {
        mem_free(mem_zalloc(n));
        n = n * 5 % 300007;
    }
    return unused;
}

/* A child forked from a process whose other threads allocate finds the allocator's locks taken,
 * now and then, and waits for ever. */
Test(spm, a_model_is_tried_beside_threads_that_allocate)
{
    pthread_t threads[3];
    struct buf model;
    struct err e = {0};
    buf_init(&model, MIB(4));
    cr_assert_eq(file_read("models/demo/gated-deltanet/tokenizer.model", &model, &e), 0, "%s",
                 e.text);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, storm, NULL), 0);
    for (int i = 0; i < 20; i++)
        cr_expect_eq(spm_probe(model.p, model.len, "it", &e), 0, "%s", e.text);
    atomic_store(&stormy, false);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    model.len /= 2;
    cr_expect_eq(spm_probe(model.p, model.len, "half", &e), E_FORMAT);
    cr_expect(strncmp(e.text, "half: ", 6) == 0, "%s", e.text);
    buf_free(&model);
}
