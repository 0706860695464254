/* GGUF files: what is read, and that every kind of damage is named. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "models/files/gguf_view.h"
#include "models/files/gguf_write.h"
#include "models/gguf.h"
#include "models/source.h"
#include "tests/unit/test_folder.h"

/* ---- bytes ------------------------------------------------------------------------------ */

static void put(struct buf *b, uint64_t x, int width)
{
    for (int i = 0; i < width; i++)
        buf_ch(b, (char)(x >> 8 * i));
}

static void put_string(struct buf *b, const char *s)
{
    put(b, strlen(s), 8);
    buf_str(b, s);
}

static void begin(struct buf *b, uint64_t version, uint64_t tensors, uint64_t values)
{
    buf_init(b, MIB(1));
    buf_str(b, "GGUF");
    put(b, version, 4);
    put(b, tensors, 8);
    put(b, values, 8);
}

static void put_int_value(struct buf *b, const char *key, uint64_t kind, uint64_t x, int width)
{
    put_string(b, key);
    put(b, kind, 4);
    put(b, x, width);
}

struct row { const char *name; uint64_t dims, shape[2], type, offset; };

static void put_tensor(struct buf *b, const struct row *t)
{
    put_string(b, t->name);
    put(b, t->dims, 4);
    for (uint64_t i = 0; i < MIN(t->dims, 2u); i++)
        put(b, t->shape[i], 8);
    put(b, t->type, 4);
    put(b, t->offset, 8);
}

/* Aligns, adds data bytes, and takes the file; b is freed. */
static struct err parse(struct buf *b, size_t data, struct gguf **out)
{
    struct err e = {0};
    struct gguf *g = NULL;
    while (b->len % 32)
        buf_ch(b, 0);
    for (size_t i = 0; i < data; i++)
        buf_ch(b, (char)i);
    int rc = gguf_parse(&g, b->p, b->len, b->len, "f.gguf", &e);
    cr_assert_eq(rc, e.code);
    cr_assert_eq(rc == 0, g != NULL);
    if (out)
        *out = g;
    else
        gguf_close(g);
    if (!out)
        buf_free(b);
    return e;
}

static void refused(struct err e, int code, const char *words)
{
    cr_assert_eq(e.code, code, "%d: %s", e.code, e.text);
    cr_assert(strstr(e.text, words), "\"%s\" lacks \"%s\"", e.text, words);
}

/* ---- what is read ----------------------------------------------------------------------- */

Test(gguf, values_and_tensors)
{
    struct buf b;
    struct gguf *g;
    int64_t x;
    double f;
    float pi = 3.25f;
    uint32_t bits;
    memcpy(&bits, &pi, sizeof bits);
    begin(&b, 2, 2, 5);
    put_int_value(&b, "a.count", GGUF_U32, 7, 4);
    put_int_value(&b, "a.depth", GGUF_I8, 0xfe, 1);
    put_int_value(&b, "a.pi", GGUF_F32, bits, 4);
    put_string(&b, "a.words");
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_STRING, 4);
    put(&b, 2, 8);
    put_string(&b, "one");
    put_string(&b, "");
    put_string(&b, "a.empty");
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_I32, 4);
    put(&b, 0, 8);
    put_tensor(&b, &(struct row){"m", 2, {3, 2}, 0, 0});
    put_tensor(&b, &(struct row){"v", 1, {4, 0}, 30, 32});
    struct err e = parse(&b, 64, &g);
    cr_assert_eq(e.code, 0, "%s", e.text);
    cr_assert(gguf_int(gguf_get(g, "a.count"), 0, &x) && x == 7);
    cr_assert(gguf_int(gguf_get(g, "a.depth"), 0, &x) && x == -2);
    cr_assert(gguf_num(gguf_get(g, "a.pi"), 0, &f) && f == 3.25);
    cr_assert(!gguf_int(gguf_get(g, "a.pi"), 0, &x) && !gguf_get(g, "a.p"));
    struct gguf_walk w = {.v = gguf_get(g, "a.words")};
    struct gguf_string s;
    cr_assert(gguf_next(&w, &s) && s.n == 3 && memcmp(s.p, "one", 3) == 0);
    cr_assert(gguf_next(&w, &s) && s.n == 0 && !gguf_next(&w, &s));
    cr_assert_eq(gguf_get(g, "a.empty")->n, 0);
    const struct gguf_tensor *m = gguf_find(g, "m"), *v = gguf_find(g, "v");
    cr_assert(m && v && m->n_dims == 2 && m->shape[0] == 2 && m->shape[1] == 3 && m->bytes == 24);
    cr_assert(v->dtype == DTYPE_BF16 && v->bytes == 8 && v->offset == m->offset + 32);
    unsigned char byte;
    cr_assert_eq(gguf_read(g, v, 7, 1, &byte, &e), 0);
    cr_assert_eq(byte, 39);
    cr_assert_eq(gguf_read(g, v, 7, 2, &byte, &e), E_RANGE);
    gguf_close(g);
    buf_free(&b);
}

/* ---- what is refused -------------------------------------------------------------------- */

Test(gguf, headers)
{
    struct buf b;
    begin(&b, 1, 0, 0);
    refused(parse(&b, 0, NULL), E_UNSUPPORTED, "version 1");
    begin(&b, 4, 0, 0);
    refused(parse(&b, 0, NULL), E_UNSUPPORTED, "version 4; 2 and 3");
    begin(&b, 3u << 24, 0, 0);
    refused(parse(&b, 0, NULL), E_UNSUPPORTED, "big-endian");
    begin(&b, 3, UINT64_MAX, 0);
    refused(parse(&b, 0, NULL), E_RANGE, "18446744073709551615 tensors in 8 bytes");
    begin(&b, 3, 0, 1 << 20);
    refused(parse(&b, 0, NULL), E_RANGE, "1048576 values");
    buf_init(&b, 100);
    buf_str(&b, "GGML00000000000000000000000000000000");
    refused(parse(&b, 0, NULL), E_FORMAT, "47 47 4d 4c");
    buf_init(&b, 100);
    struct err e = {0};
    struct gguf *g = NULL;
    cr_assert_lt(gguf_parse(&g, "GG", 2, 2, "f.gguf", &e), 0);
    refused(e, E_FORMAT, "the file ends at 2");
}

Test(gguf, bad_values)
{
    struct buf b;
    begin(&b, 3, 0, 1);
    put_int_value(&b, "k", 13, 0, 8);
    refused(parse(&b, 0, NULL), E_FORMAT, "kind 13, 0 to 12");
    begin(&b, 3, 0, 1);
    put_int_value(&b, "", GGUF_U8, 0, 8);
    refused(parse(&b, 0, NULL), E_FORMAT, "is empty");
    begin(&b, 3, 0, 1);
    put_int_value(&b, "a b", GGUF_U8, 0, 8);
    refused(parse(&b, 0, NULL), E_FORMAT, "byte 0x20 at 1");
    begin(&b, 3, 0, 2);
    put_int_value(&b, "k", GGUF_U8, 0, 1);
    put_int_value(&b, "k", GGUF_U8, 1, 1);
    refused(parse(&b, 0, NULL), E_CONFLICT, "k is there twice");
    begin(&b, 3, 0, 1);
    put(&b, UINT64_MAX, 8);
    refused(parse(&b, 64, NULL), E_RANGE, "18446744073709551615 bytes");
    begin(&b, 3, 0, 1);
    put_string(&b, "k");
    put(&b, GGUF_STRING, 4);
    put(&b, 1000, 8);
    refused(parse(&b, 0, NULL), E_FORMAT, "takes 1000 bytes");
    static const struct { uint64_t of, n; const char *words; } arrays[] = {
        {GGUF_ARRAY, 1, "array of arrays"}, {GGUF_STRING, 1ull << 60, "strings in the"},
        {GGUF_U64, 1ull << 62, "4611686018427387904 elements of 8"},
        {GGUF_F64, 1000, "takes 8000 bytes"}, {99, 1, "kind 99"}};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        begin(&b, 3, 0, 1);
        put_string(&b, "k");
        put(&b, GGUF_ARRAY, 4);
        put(&b, arrays[i].of, 4);
        put(&b, arrays[i].n, 8);
        struct err e = parse(&b, 64, NULL);
        refused(e, e.code, arrays[i].words);
        cr_assert_lt(e.code, 0);
    }
    begin(&b, 3, 0, 1);
    put_int_value(&b, "general.alignment", GGUF_U32, 12, 4);
    refused(parse(&b, 0, NULL), E_FORMAT, "alignment is 12");
}

Test(gguf, bad_tensors)
{
    static const struct { struct row t[2]; size_t data; const char *words; } cases[] = {
        {{{"m", 9, {0}, 0, 0}}, 64, "9 dimensions, at most 5"},
        {{{"m", 1, {0}, 0, 0}}, 64, "dimension 0 is 0"},
        {{{"m", 2, {1ull << 62, 4}, 0, 0}}, 64, "product"},
        {{{"m", 1, {1ull << 62, 0}, 0, 0}}, 64, "more bytes than can be counted"},
        {{{"m", 1, {4, 0}, 16, 0}}, 64, "type IQ2_XXS (16)"},
        {{{"m", 1, {4, 0}, 77, 0}}, 64, "type unknown (77)"},
        {{{"m", 1, {4, 0}, 0, 8}}, 64, "begins at data byte 8"},
        {{{"m", 1, {17, 0}, 0, 0}}, 64, "takes 68 bytes at data byte 0, the file has 64"},
        {{{"m", 1, {4, 0}, 0, UINT64_MAX - 31}}, 64, "it is cut off"},
        {{{"", 1, {4, 0}, 0, 0}}, 64, "has no name"},
        {{{"a\tb", 1, {4, 0}, 0, 0}}, 64, "byte 0x09 at 1"},
        {{{"m", 1, {9, 0}, 0, 0}, {"n", 1, {4, 0}, 0, 32}}, 64, "inside m"},
        {{{"m", 1, {4, 0}, 0, 0}, {"m", 1, {4, 0}, 0, 32}}, 64, "m is there twice"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        int n = cases[i].t[1].name ? 2 : 1;
        begin(&b, 3, (uint64_t)n, 0);
        for (int k = 0; k < n; k++)
            put_tensor(&b, &cases[i].t[k]);
        struct err e = parse(&b, cases[i].data, NULL);
        cr_assert_lt(e.code, 0, "case %zu", i);
        refused(e, e.code, cases[i].words);
    }
}

/* Every way to cut a file off is an error, none a crash. */
Test(gguf, cut_anywhere)
{
    struct buf b;
    struct gguf *g;
    begin(&b, 3, 1, 2);
    put_int_value(&b, "a", GGUF_U64, 1, 8);
    put_string(&b, "w");
    put(&b, GGUF_ARRAY, 4);
    put(&b, GGUF_STRING, 4);
    put(&b, 1, 8);
    put_string(&b, "text");
    put_tensor(&b, &(struct row){"m", 2, {4, 4}, 1, 0});
    struct err e = parse(&b, 32, &g);
    cr_assert_eq(e.code, 0, "%s", e.text);
    gguf_close(g);
    for (size_t n = 0; n < b.len; n++) {
        char *exact = malloc(n + 1); /* so that a sanitiser sees a read beyond */
        memcpy(exact, b.p, n);
        struct err cut = {0};
        cr_assert_lt(gguf_parse(&g, exact, n, n, "f.gguf", &cut), 0, "%zu bytes", n);
        cr_assert_null(g);
        free(exact);
    }
    buf_free(&b);
}

/* ---- files ------------------------------------------------------------------------------ */

static void write_model(const char *path, const char *arch, int no, int count, const char *name)
{
    struct err e = {0};
    struct gguf_out *o = gguf_out_open(path, &e);
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    gguf_out_text(o, "general.architecture", arch, strlen(arch));
    if (count > 1) {
        gguf_out_int(o, "split.no", no);
        gguf_out_int(o, "split.count", count);
        gguf_out_int(o, "split.tensors.count", count);
    }
    gguf_out_tensor(o, name, DTYPE_F32, 2, (int64_t[]){2, 4});
    gguf_out_data(o, x, 8);
    cr_assert_eq(gguf_out_finish(o), 0, "%s", e.text);
    gguf_out_close(o);
}

Test(gguf, split_sets, .init = make_dir, .fini = remove_dir)
{
    struct gguf *g = NULL;
    struct err e = {0};
    float x[4];
    write_model(in_dir("m-00001-of-00002.gguf"), "mamba", 0, 2, "one");
    cr_assert_lt(gguf_open(&g, in_dir("m-00001-of-00002.gguf"), &e), 0);
    refused(e, E_NOENT, "m-00002-of-00002.gguf");
    write_model(in_dir("m-00002-of-00002.gguf"), "mamba", 1, 2, "two");
    e = (struct err){0};
    cr_assert_eq(gguf_open(&g, in_dir("m-00001-of-00002.gguf"), &e), 0, "%s", e.text);
    cr_assert_eq(gguf_tensors(g), 2);
    cr_assert_eq(gguf_read(g, gguf_find(g, "two"), 16, 16, x, &e), 0);
    cr_assert(x[0] == 5 && x[3] == 8);
    gguf_close(g);
    cr_assert_lt(gguf_open(&g, in_dir("m-00002-of-00002.gguf"), &e), 0);
    refused(e, E_CONFLICT, "give the first");
    e = (struct err){0};
    cr_assert_eq(rename(in_dir("m-00001-of-00002.gguf"), in_dir("m.gguf")), 0);
    cr_assert_lt(gguf_open(&g, in_dir("m.gguf"), &e), 0);
    refused(e, E_CONFLICT, "does not end in -00001-of-00002.gguf");
    e = (struct err){0};
    write_model(in_dir("n-00001-of-00002.gguf"), "mamba", 0, 2, "one");
    write_model(in_dir("n-00002-of-00002.gguf"), "mamba", 0, 2, "two");
    cr_assert_lt(gguf_open(&g, in_dir("n-00001-of-00002.gguf"), &e), 0);
    refused(e, E_CONFLICT, "must be 2 of 2");
    e = (struct err){0};
    write_model(in_dir("n-00002-of-00002.gguf"), "mamba", 1, 2, "one");
    cr_assert_lt(gguf_open(&g, in_dir("n-00001-of-00002.gguf"), &e), 0);
    refused(e, E_CONFLICT, "one is there twice");
}

static void refuse_source(const char *path, int code, const char *words)
{
    struct model_source s;
    struct err e = {0};
    int rc = source_open(&s, path, &e);
    if (rc == 0) {
        struct checkpoint *c = NULL;
        cr_assert_lt(source_checkpoint(&s, &c, &e), 0);
        source_close(&s);
    }
    refused(e, code, words);
}

static void touch(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "wb");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

Test(gguf, near_misses, .init = make_dir, .fini = remove_dir)
{
    refuse_source(in_dir("nothing"), E_NOENT, "no such file");
    refuse_source(dir, E_NOENT, "has no config.json");
    touch("pytorch_model.bin", "");
    refuse_source(dir, E_NOENT, "pytorch_model.bin: PyTorch pickles are not read");
    refuse_source(in_dir("pytorch_model.bin"), E_UNSUPPORTED, "PyTorch pickle");
    touch("model.safetensors", "");
    refuse_source(in_dir("model.safetensors"), E_UNSUPPORTED, "give the directory");
    write_model(in_dir("a.gguf"), "llama", 0, 1, "token_embd.weight");
    refuse_source(dir, E_NOENT, "but a.gguf: give that file");
    refuse_source(in_dir("a.gguf"), E_UNSUPPORTED,
                  "\"llama\" is not supported; rwkv6, rwkv7, rwkv6qwen2");
    write_model(in_dir("b.gguf"), "clip", 0, 1, "x");
    refuse_source(in_dir("b.gguf"), E_UNSUPPORTED, "the model's own file");
    refuse_source(dir, E_NOENT, "2 files like a.gguf");
    write_model(in_dir("c.gguf"), "mamba", 0, 1, "token_embd.weight");
    refuse_source(in_dir("c.gguf"), E_RANGE, "mamba.block_count is 0");
    touch("d.gguf", "version https://git-lfs.github.com/spec/v1\n");
    refuse_source(in_dir("d.gguf"), E_UNSUPPORTED, "a pointer to a file");
    touch("notes", "hello");
    refuse_source(in_dir("notes"), E_UNSUPPORTED, "neither a directory with a model nor a GGUF");
}

/* ---- views ------------------------------------------------------------------------------ */

static const struct gguf_name names[] = {
    {"token_embd.weight", "embed", 0}, {".q", ".q", FORM_ROPE_Q}, {".v", ".v", FORM_V_TAIL},
    {".c", ".c", FORM_V_COLS}, {".e", ".experts.%d.w", FORM_EXPERTS}, GGUF_END};
static const struct gguf_key keys[] = {GGUF_END};
static const struct gguf_map map = {.arch = "t", .model_type = "t", .layers = "l.%d",
                                    .names = {names}, .keys = {keys}, .ignored = ""};

static void add(struct gguf_out *o, const char *name, int dims, const int64_t *shape)
{
    gguf_out_tensor(o, name, DTYPE_F32, dims, shape);
}

static void count(struct gguf_out *o, size_t n)
{
    float x[64];
    for (size_t i = 0; i < n; i++)
        x[i] = (float)i;
    gguf_out_data(o, x, n);
}

/* Elements of ours by name equal these, however they are read. */
static void expect(struct checkpoint *c, const char *name, size_t n, const int *want)
{
    struct err e = {0};
    float x[64];
    const struct tensor *t = checkpoint_find(c, name);
    cr_assert_not_null(t, "%s", name);
    cr_assert_eq((size_t)t->elems, n);
    for (size_t piece = 1; piece <= n; piece++)
        for (size_t at = 0; at < n; at += piece) {
            size_t k = MIN(piece, n - at);
            cr_assert_eq(checkpoint_read(c, t, (int64_t)at, (int64_t)k, x, &e), 0, "%s", e.text);
            for (size_t i = 0; i < k; i++)
                cr_assert_eq((int)x[i], want[at + i], "%s[%zu] in pieces of %zu", name, at + i,
                             piece);
        }
}

Test(gguf, orders, .init = make_dir, .fini = remove_dir)
{
    struct err e = {0};
    struct gguf *g;
    struct checkpoint *c;
    struct gguf_out *o = gguf_out_open(in_dir("t.gguf"), &e);
    gguf_out_int(o, "t.block_count", 2);
    gguf_out_int(o, "t.nextn_predict_layers", 1);
    gguf_out_int(o, "t.attention.head_count", 2);
    gguf_out_int(o, "t.ssm.group_count", 2);
    gguf_out_int(o, "t.ssm.time_step_rank", 4);
    gguf_out_int(o, "t.ssm.state_size", 1);
    add(o, "blk.0.q", 2, (int64_t[]){8, 1});
    add(o, "blk.0.v", 2, (int64_t[]){8, 2});
    add(o, "blk.0.c", 2, (int64_t[]){2, 8});
    add(o, "blk.0.e", 3, (int64_t[]){3, 2, 2});
    add(o, "blk.1.q", 2, (int64_t[]){8, 1}); /* of a draft head */
    count(o, 8);
    count(o, 16);
    count(o, 16);
    count(o, 12);
    count(o, 8);
    cr_assert_eq(gguf_out_finish(o), 0, "%s", e.text);
    gguf_out_close(o);
    cr_assert_eq(gguf_open(&g, in_dir("t.gguf"), &e), 0, "%s", e.text);
    cr_assert_eq(gguf_checkpoint(&c, g, &map, &e), 0, "%s", e.text);
    cr_assert_eq(checkpoint_count(c), 6);
    /* two heads of 4: neighbours become halves */
    expect(c, "l.0.q", 8, (int[]){0, 2, 1, 3, 4, 6, 5, 7});
    /* 4 rows of q and k, then 4 value heads of a row of 2: tiled becomes grouped */
    expect(c, "l.0.v", 16, (int[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15});
    expect(c, "l.0.c", 16, (int[]){0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15});
    expect(c, "l.0.experts.1.w", 4, (int[]){4, 5, 6, 7});
    expect(c, "l.0.experts.2.w", 4, (int[]){8, 9, 10, 11});
    checkpoint_close(c);
    gguf_close(g);
}

Test(gguf, unknown_tensor, .init = make_dir, .fini = remove_dir)
{
    struct err e = {0};
    struct gguf *g;
    struct checkpoint *c;
    write_model(in_dir("t.gguf"), "t", 0, 1, "strange");
    cr_assert_eq(gguf_open(&g, in_dir("t.gguf"), &e), 0, "%s", e.text);
    cr_assert_lt(gguf_checkpoint(&c, g, &map, &e), 0);
    refused(e, E_UNSUPPORTED, "architecture t is known to have");
    gguf_close(g);
    e = (struct err){0};
    write_model(in_dir("t.gguf"), "t", 0, 1, "blk.3.q");
    cr_assert_eq(gguf_open(&g, in_dir("t.gguf"), &e), 0, "%s", e.text);
    cr_assert_lt(gguf_checkpoint(&c, g, &map, &e), 0);
    refused(e, E_CONFLICT, "none of the 0 layers");
    gguf_close(g);
}

/* Names of a map are unique among layers of a kind, and lead somewhere. */
Test(gguf, maps)
{
    const struct gguf_map *m;
    for (size_t i = 0; (m = gguf_map_at(i)); i++) {
        cr_assert(strstr(m->layers, "%d"), "%s", m->arch);
        GGUF_EACH_NAME(m, a) {
            cr_assert_eq(a->gguf[0] == '.', a->name[0] == '.' , "%s: %s", m->arch, a->gguf);
            cr_assert(m->attends || !(a->form & FORM_ATTENDS), "%s: %s", m->arch, a->gguf);
            GGUF_EACH_NAME(m, b)
                if (a != b && !((a->form | b->form) & FORM_WRITE) &&
                    !((a->form ^ b->form) & FORM_ATTENDS))
                    cr_assert(strcmp(a->gguf, b->gguf), "%s: %s twice", m->arch, a->gguf);
        }
    }
}
