/* safetensors: what is accepted, and that every kind of damage is named. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "models/files/checkpoint.h"
#include "tests/unit/test_folder.h"

static void write_bytes(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(in_dir(name), "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* A file of this header and the bytes 0, 1, 2, … behind it. */
static void write_st(const char *name, const char *header, size_t data_bytes)
{
    unsigned char file[8192] = {0};
    size_t n = strlen(header);
    cr_assert_lt(8 + n + data_bytes, sizeof file);
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < data_bytes; i++)
        file[8 + n + i] = (unsigned char)i;
    write_bytes(name, file, 8 + n + data_bytes);
}

static struct err refuse_dir(void)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    cr_assert_lt(checkpoint_open(&c, dir, &e), 0);
    cr_assert_null(c);
    cr_assert(e.text[0] && !strchr(e.text, '\n'));
    return e;
}

#define TWO "{\"__metadata__\":{\"format\":\"pt\"}," \
            "\"b.weight\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}," \
            "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]}}"

TestSuite(checkpoint, .init = make_dir, .fini = remove_dir);

Test(checkpoint, tensors_are_found_and_read_in_part)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    write_st("model.safetensors", TWO, 20);
    cr_assert_eq(checkpoint_open(&c, dir, &e), 0, "%s", e.text);
    cr_assert_eq(checkpoint_count(c), 2);
    cr_assert_str_eq(checkpoint_at(c, 0)->name, "b.weight");
    const struct tensor *t = checkpoint_find(c, "b.weight");
    cr_assert_eq(t->dtype, DTYPE_BF16);
    cr_assert_eq(t->n_dims, 2);
    cr_assert_eq(t->shape[1], 3);
    cr_assert_eq(t->elems, 6);
    uint16_t two[2];
    cr_assert_eq(checkpoint_read(c, t, 3, 2, two, &e), 0, "%s", e.text);
    cr_assert_eq(two[0], 0x0706);
    cr_assert_eq(two[1], 0x0908);
    cr_assert_null(checkpoint_find(c, "absent"));
    cr_assert_eq(checkpoint_read(c, t, 5, 2, two, &e), E_RANGE);
    cr_assert(strstr(e.text, "b.weight has 6 elements, not 2 from 5"), "%s", e.text);
    checkpoint_close(c);
}

Test(checkpoint, scalars_and_odd_byte_positions_are_read)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    write_st("model.safetensors",
             "{\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
             "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[2,6]} }", 6);
    cr_assert_eq(checkpoint_open(&c, dir, &e), 0, "%s", e.text);
    const struct tensor *t = checkpoint_find(c, "s");
    uint32_t bits;
    cr_assert_eq(t->elems, 1);
    cr_assert_eq(checkpoint_read(c, t, 0, 1, &bits, &e), 0);
    cr_assert_eq(bits, 0x05040302);
    checkpoint_close(c);
}

Test(checkpoint, a_header_cut_at_any_byte_is_refused)
{
    struct checkpoint *c;
    size_t n = strlen(TWO);
    for (size_t cut = 0; cut < n; cut++) {
        struct err e = {0};
        c = NULL;
        cr_assert_lt(checkpoint_parse_header(&c, TWO, cut, 20, "x.safetensors", &e), 0,
                     "cut at %zu", cut);
        cr_assert_null(c);
        cr_assert(strstr(e.text, "x.safetensors"), "%s", e.text);
    }
    struct err e = {0};
    cr_assert_eq(checkpoint_parse_header(&c, TWO, n, 20, "x.safetensors", &e), 0, "%s", e.text);
    checkpoint_close(c);
}

Test(checkpoint, a_file_cut_at_any_byte_is_refused)
{
    struct buf file;
    struct err e = {0};
    write_st("model.safetensors", TWO, 20);
    buf_init(&file, 8192);
    cr_assert_eq(file_read(in_dir("model.safetensors"), &file, &e), 0);
    for (size_t cut = 0; cut < file.len; cut++) {
        write_bytes("model.safetensors", file.p, cut);
        e = refuse_dir();
        cr_assert(strstr(e.text, "model.safetensors"), "cut at %zu: %s", cut, e.text);
    }
    buf_free(&file);
}

#define T(name, dtype, shape, from, to) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "]," \
    "\"data_offsets\":[" #from "," #to "]}"

Test(checkpoint, every_contradiction_is_refused_with_file_tensor_and_both_numbers)
{
    static const struct { const char *header; size_t data; const char *says; } cases[] = {
        {"{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 4, 12) "}", 12,
         "tensor b begins at data byte 4, inside a, which ends at 8"},
        {"{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 0, 8) "}", 8,
         "begins at data byte 0, inside a, which ends at 8"},
        {"{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 12, 20) "}", 20,
         "data bytes 8 to 12 before tensor b belong to no tensor"},
        {"{" T("a", "F32", "2", 1, 9) "}", 9, "data bytes 0 to 1 before tensor a"},
        {"{" T("a", "F32", "2", 0, 8) "}", 9, "the tensors end at data byte 8, the file at 9"},
        {"{}", 4, "the tensors end at data byte 0, the file at 4"},
        {"{" T("a", "F32", "2", 0, 8) "}", 7, "tensor a ends at data byte 8, the file has 7"},
        {"{" T("a", "F32", "2", 0, 8) "," T("a", "F32", "2", 8, 16) "}", 16, "appears twice"},
        {"{" T("a", "F64", "1", 0, 8) "}", 8, "tensor a has dtype F64"},
        {"{" T("a", "U8", "8", 0, 8) "}", 8, "tensor a has dtype U8"},
        {"{" T("a", "F8_E5M2", "8", 0, 8) "}", 8, "dtype F8_E5M2"},
        {"{" T("a", "F32", "3", 0, 8) "}", 8, "tensor a has 3 F32 elements, but 8 bytes"},
        {"{" T("a", "F32", "1,1,1,1,1,1,1,1,1", 0, 4) "}", 4,
         "tensor a has 9 dimensions, at most 5"},
        {"{" T("a", "F32", "4294967296,4294967296", 0, 8) "}", 8,
         "the product of its 2 dimensions exceeds 9223372036854775807"},
        {"{" T("a", "F32", "4611686018427387904", 0, 0) "}", 0,
         "tensor a has 4611686018427387904 F32 elements, but 0 bytes"},
        {"{" T("a", "F32", "0", 0, 0) "}", 0, "dimension 0 is 0"},
        {"{" T("a", "F32", "-2", 0, 8) "}", 8, "dimension 0 is -2"},
        {"{" T("a", "F32", "2.0", 0, 8) "}", 8, "dimension 0 is"},
        {"{" T("a", "F32", "2", -8, 0) "}", 8, "data_offsets run from -8 to 0"},
        {"{" T("a", "F32", "2", 8, 0) "}", 8, "data_offsets run from 8 to 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "not a pair"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "tensor a has no shape"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor a has dtype (none)"},
        {"{\"a\":7}", 0, "tensor a is not described by an object"},
        {"{" T("", "F32", "2", 0, 8) "}", 8, "has 0 bytes, 1 to 255"},
        {"{" T("a\\n", "F32", "2", 0, 8) "}", 8, "control byte 0x0a at 1"},
        {"[]", 0, "not an object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_st("model.safetensors", cases[i].header, cases[i].data);
        struct err e = refuse_dir();
        cr_assert(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
        cr_assert(strstr(e.text, "model.safetensors"), "case %zu: %s", i, e.text);
    }
}

Test(checkpoint, a_header_length_beyond_the_file_or_the_limit_is_refused)
{
    static const unsigned char claims[][8] = {
        {9, 0, 0, 0, 0, 0, 0, 0}, {255, 255, 255, 255, 255, 255, 255, 255},
        {248, 255, 255, 255, 255, 255, 255, 255}};
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        char file[16] = "";
        memcpy(file, claims[i], 8);
        write_bytes("model.safetensors", file, sizeof file);
        struct err e = refuse_dir();
        cr_assert(strstr(e.text, "the file has 8 after its length"), "%s", e.text);
    }
    cr_assert_eq(truncate(in_dir("model.safetensors"), (off_t)LIMIT_ST_HEADER_BYTES * 2), 0);
    unsigned char large[8] = {0, 0, 0, 1, 0, 0, 0, 0};
    large[0] = 1;
    FILE *f = fopen(in_dir("model.safetensors"), "r+b");
    fwrite(large, 1, 8, f);
    fclose(f);
    struct err e = refuse_dir();
    cr_assert(strstr(e.text, "the header has 16777217 bytes, at most 16777216"), "%s", e.text);
}

#define MAP(a, b) \
    "{\"metadata\":{\"total_size\":16},\"weight_map\":{\"a\":\"" a "\",\"b\":\"" b "\"}}"

Test(checkpoint, shards_are_joined_by_their_map)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    const char *map = MAP("one.safetensors", "two.safetensors");
    write_st("one.safetensors", "{" T("a", "F32", "2", 0, 8) "}", 8);
    write_st("two.safetensors", "{" T("b", "F32", "1", 0, 4) "}", 4);
    write_bytes("model.safetensors.index.json", map, strlen(map));
    cr_assert_eq(checkpoint_open(&c, dir, &e), 0, "%s", e.text);
    cr_assert_eq(checkpoint_count(c), 2);
    uint32_t bits;
    cr_assert_eq(checkpoint_read(c, checkpoint_find(c, "b"), 0, 1, &bits, &e), 0, "%s", e.text);
    cr_assert_eq(bits, 0x03020100);
    checkpoint_close(c);
}

Test(checkpoint, shards_that_miss_repeat_or_hide_a_tensor_are_refused)
{
    static const struct { const char *map, *says; int code; } cases[] = {
        {MAP("one.safetensors", "three.safetensors"), "three.safetensors", E_NOENT},
        {MAP("one.safetensors", "one.safetensors"), "tensor b is not in one.safetensors",
         E_CONFLICT},
        {MAP("two.safetensors", "two.safetensors"), "a is not in two.safetensors", E_CONFLICT},
        {MAP("two.safetensors", "one.safetensors"), "is mapped to two.safetensors, but is in one",
         E_CONFLICT},
        {MAP("one.safetensors", "../two.safetensors"), "no shard name", E_FORMAT},
        {MAP("one.safetensors", "/etc/two.safetensors"), "no shard name", E_FORMAT},
        {MAP("one.safetensors", ".safetensors"), "no shard name", E_FORMAT},
        {MAP("one.safetensors", "two.bin"), "no shard name", E_FORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":3}}", "no string", E_FORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"twice.safetensors\"}}",
         "tensor a is in two files", E_CONFLICT},
        {"{\"weight_map\":{\"b\":\"twice.safetensors\"}}", "tensor a of twice.safetensors is not",
         E_CONFLICT},
        {"{\"weight_map\":{}}", "has no weight_map", E_FORMAT},
        {"{\"weight_map\":[]}", "has no weight_map", E_FORMAT},
    };
    write_st("one.safetensors", "{" T("a", "F32", "2", 0, 8) "}", 8);
    write_st("two.safetensors", "{" T("b", "F32", "1", 0, 4) "}", 4);
    write_st("twice.safetensors", "{" T("a", "F32", "1", 0, 4) "," T("b", "F32", "1", 4, 8) "}",
             8);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_bytes("model.safetensors.index.json", cases[i].map, strlen(cases[i].map));
        struct err e = refuse_dir();
        cr_assert_eq(e.code, cases[i].code, "case %zu: %s", i, e.text);
        cr_assert(strstr(e.text, cases[i].says), "case %zu: %s", i, e.text);
    }
}

Test(checkpoint, an_empty_directory_names_both_files_it_looked_for)
{
    struct err e = refuse_dir();
    cr_assert_eq(e.code, E_NOENT);
    cr_assert(strstr(e.text, "neither model.safetensors nor model.safetensors.index.json"));
}

Test(checkpoint, a_file_that_shrank_after_opening_is_an_error)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    float x[2];
    write_st("model.safetensors", "{" T("a", "F32", "2", 0, 8) "}", 8);
    cr_assert_eq(checkpoint_open(&c, dir, &e), 0);
    cr_assert_eq(truncate(in_dir("model.safetensors"), 20), 0);
    cr_assert_eq(checkpoint_read(c, checkpoint_at(c, 0), 0, 2, x, &e), E_IO);
    cr_assert(strstr(e.text, "model.safetensors"), "%s", e.text);
    checkpoint_close(c);
}

Test(checkpoint, whole_numbers_are_read_as_such_alone)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    int64_t ids[32];
    cr_assert_eq(checkpoint_open_file(
                     &c, "tests/golden/public/gated_deltanet/expected.safetensors", &e), 0, "%s",
                 e.text);
    const struct tensor *t = checkpoint_find(c, "greedy_7");
    cr_assert_eq(t->elems, 32);
    cr_assert_eq(checkpoint_read_int(c, t, 0, 32, ids, &e), 0, "%s", e.text);
    for (int i = 0; i < 32; i++)
        cr_assert(ids[i] >= 0 && ids[i] < 256);
    cr_assert_eq(checkpoint_read(c, t, 0, 32, ids, &e), E_UNSUPPORTED);
    err_clear(&e);
    cr_assert_eq(checkpoint_read_int(c, checkpoint_find(c, "logits_1"), 0, 1, ids, &e),
                 E_UNSUPPORTED);
    checkpoint_close(c);

    write_st("wide.safetensors", "{" T("a", "I64", "1", 0, 8) "}", 8);
    err_clear(&e);
    cr_assert_eq(checkpoint_open_file(&c, in_dir("wide.safetensors"), &e), 0, "%s", e.text);
    cr_assert(checkpoint_at(c, 0)->whole_numbers);
    cr_assert_eq(checkpoint_read_int(c, checkpoint_at(c, 0), 0, 1, ids, &e), 0, "%s", e.text);
    cr_assert_eq(ids[0], 506097522914230528);
    cr_assert_eq(checkpoint_read_int(c, checkpoint_at(c, 0), 0, 2, ids, &e), E_RANGE);
    checkpoint_close(c);
}

Test(checkpoint, demo_models_open)
{
    static const char *dirs[] = {"models/demo/gated-deltanet", "models/demo/rwkv7",
                                 "tests/golden/hf/hf_kimi_linear"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        struct checkpoint *c = NULL;
        struct err e = {0};
        cr_assert_eq(checkpoint_open(&c, dirs[i], &e), 0, "%s", e.text);
        cr_assert_gt(checkpoint_count(c), 10);
        checkpoint_close(c);
    }
}

Test(checkpoint, every_allocation_may_fail)
{
    write_st("model.safetensors", TWO, 20);
    for (uint64_t at = 1; at < 20; at++) {
        struct checkpoint *c = NULL;
        struct err e = {0};
        mem_fail_at(at);
        int rc = checkpoint_open(&c, dir, &e);
        mem_fail_at(0);
        cr_assert(rc == 0 || rc == E_NOMEM, "at %d: %s", (int)at, e.text);
        checkpoint_close(c);
    }
}

/* 130 rows of 200 bytes 0x38 (1), a scale for each 128 x 128 of them, and a vector beside. */
#define FP8 "{\"x.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[130,200]," \
            "\"data_offsets\":[0,26000]}," \
            "\"x.weight_scale_inv\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[26000,%d]}}"

static int open_fp8(struct checkpoint **c, const char *dtype, const char *shape, const void *scales,
                    int bytes, struct err *e)
{
    static unsigned char file[32768];
    char header[512];
    int n = snprintf(header, sizeof header, FP8, dtype, shape, 26000 + bytes);
    memset(file, 0, 8);
    file[0] = (unsigned char)n;
    file[1] = (unsigned char)(n >> 8);
    memcpy(file + 8, header, (size_t)n);
    memset(file + 8 + n, 0x38, 26000);
    memcpy(file + 8 + n + 26000, scales, (size_t)bytes);
    write_bytes("model.safetensors", file, (size_t)(8 + n + 26000 + bytes));
    return checkpoint_open(c, dir, e);
}

Test(checkpoint, fp8_is_joined_with_its_scales)
{
    static const struct { const char *dtype, *shape; float scales[4]; int bytes; } forms[] = {
        {"F32", "[2,2]", {1, 2, 3, 4}, 16}, {"F32", "[1]", {1}, 4}, {"F32", "[]", {1}, 4}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct checkpoint *c = NULL;
        struct err e = {0};
        uint8_t rows[3 * 2 * 132];
        float f[400];
        cr_assert_eq(open_fp8(&c, forms[i].dtype, forms[i].shape, forms[i].scales, forms[i].bytes,
                              &e), 0, "%s", e.text);
        cr_assert_eq(checkpoint_count(c), 1);
        const struct tensor *t = checkpoint_find(c, "x.weight");
        cr_assert_eq(t->dtype, DTYPE_FP8);
        cr_assert_null(checkpoint_find(c, "x.weight_scale_inv"));
        cr_assert_eq(checkpoint_read(c, t, 127 * 200, 2 * 200, rows, &e), 0, "%s", e.text);
        format_decode(DTYPE_FP8, rows, 200, f);
        format_decode(DTYPE_FP8, rows + 264, 200, f + 200);
        bool grid = i == 0;
        cr_assert(f[0] == 1 && f[127] == 1 && f[128] == (grid ? 2 : 1) && f[199] == f[128]);
        cr_assert(f[200] == (grid ? 3 : 1) && f[399] == (grid ? 4 : 1));
        /* any elements as floats, across rows and blocks */
        memset(f, 0, sizeof f);
        cr_assert_eq(checkpoint_floats(c, t, 127 * 200 + 190, 150, f, &e), 0, "%s", e.text);
        cr_assert(f[0] == (grid ? 2 : 1) && f[10] == (grid ? 3 : 1) && f[149] == (grid ? 4 : 1));
        cr_assert_eq(checkpoint_read(c, t, 1, 200, rows, &e), E_RANGE);
        cr_assert(strstr(e.text, "elements 1 to 201 are no whole rows of 200"), "%s", e.text);
        checkpoint_close(c);
    }
}

Test(checkpoint, fp8_without_a_scale_that_fits_is_refused)
{
    static const struct { const char *shape; int n; const char *what; } wrong[] = {
        {"[2]", 2, "shape [2] does not lie over [130, 200]"}, {"[2,3]", 6, "shape [2, 3]"},
        {"[1,2,2]", 4, "shape [1, 2, 2]"}, {"[200]", 200, "shape [200]"}};
    float scales[200] = {0};
    struct checkpoint *c = NULL;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct err e = {0};
        cr_assert_eq(open_fp8(&c, "F32", wrong[i].shape, scales, 4 * wrong[i].n, &e), E_FORMAT);
        cr_assert(strstr(e.text, wrong[i].what), "%s", e.text);
    }
    struct err e = {0};
    cr_assert_eq(open_fp8(&c, "I32", "[2,2]", scales, 16, &e), E_UNSUPPORTED);
    write_st("model.safetensors", "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],"
             "\"data_offsets\":[0,4]}}", 4);
    e = refuse_dir();
    cr_assert(strstr(e.text, "there is no a_scale_inv and no a_scale"), "%s", e.text);
}

Test(checkpoint, every_allocation_of_fp8_may_fail)
{
    float one = 1, f[200];
    struct checkpoint *c = NULL;
    struct err e = {0};
    cr_assert_eq(open_fp8(&c, "F32", "[]", &one, 4, &e), 0, "%s", e.text);
    checkpoint_close(c);
    for (uint64_t at = 1; at < 30; at++) {
        c = NULL;
        e = (struct err){0};
        mem_fail_at(at);
        int rc = checkpoint_open(&c, dir, &e);
        if (rc == 0)
            rc = checkpoint_floats(c, checkpoint_find(c, "x.weight"), 0, 200, f, &e);
        mem_fail_at(0);
        cr_assert(rc == 0 || rc == E_NOMEM, "at %d: %s", (int)at, e.text);
        checkpoint_close(c);
    }
}

Test(checkpoint, half_floats_convert_exactly)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t bits = (uint16_t)h;
        float x, want;
        int e = h >> 10 & 0x1f, f = h & 0x3ff;
        format_decode(DTYPE_F16, &bits, 1, &x);
        want = e == 31 ? (f ? NAN : INFINITY)
               : e     ? ldexpf(1024.0f + (float)f, e - 25)
                       : ldexpf((float)f, -24);
        if (isnan(want))
            cr_assert(isnan(x), "%04x", h);
        else
            cr_assert(x == (h & 0x8000 ? -want : want) && !signbit(x) == !(h & 0x8000), "%04x", h);
        format_decode(DTYPE_BF16, &bits, 1, &x);
        uint32_t wide;
        memcpy(&wide, &x, 4);
        cr_assert_eq(wide, h << 16);
    }
}

/* ---- transforms the other way round ------------------------------------------------------ */

static const enum transform one_to_one[] = {TENSOR_AS_IS, TENSOR_ADD_ONE, TENSOR_ADD_5TH,
                                            TENSOR_ADD_11TH, TENSOR_EXP, TENSOR_NEG_EXP};

/* Of what a transform made there is an x that gives the same bits; most are its own. */
Test(transform, what_was_transformed_comes_back)
{
    uint32_t seed = 1;
    for (size_t k = 0; k < ARRAY_LEN(one_to_one); k++)
        for (int i = 0; i < 200000; i++) {
            seed = seed * 1664525 + 1013904223;
            float x = ((float)(seed >> 8) / (1 << 24) - 0.5f) * (i % 3 ? 20 : i % 2 ? 0.01f : 2);
            float y = tensor_transform(one_to_one[k], x);
            float back = tensor_transform(one_to_one[k], tensor_untransform(one_to_one[k], y));
            cr_assert(back == y, "transform %d of %.9g is %.9g, back and forth %.9g",
                      (int)one_to_one[k], (double)x, (double)y, (double)back);
        }
}

/* A value no x has comes within the distance of its neighbours; one outside is told. */
Test(transform, what_was_not_is_near_or_told)
{
    for (float y = 1e-6f; y < 1e6f; y *= 1.000123f) {
        float x = tensor_untransform(TENSOR_NEG_EXP, -y);
        double off = fabs(exp((double)x) - (double)y) / (double)y;
        double step = fmax(1, fabs((double)x)) * 0x1p-23;
        cr_assert(off <= step, "%.9g: off by %g", (double)y, off);
    }
    cr_assert(isnan(tensor_untransform(TENSOR_NEG_EXP, 1)));
    cr_assert(isnan(tensor_untransform(TENSOR_EXP, -1)));
    cr_assert(isnan(tensor_untransform(TENSOR_SIGMOID, 0.5f)));
    cr_assert(tensor_transform(TENSOR_NEG_EXP, tensor_untransform(TENSOR_NEG_EXP, -0.0f)) == 0);
}
