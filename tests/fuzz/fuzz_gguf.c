/* A GGUF file: what is accepted lies inside its bytes, and what is made of it (config, tensors of a
 * family, those of a directory with safetensors, tokenizer) is refused or can be read whole. */
#include "base/buf.h"
#include "models/files/gguf_plain.h"
#include "models/gguf.h"
#include "models/text/gguf_vocab.h"
#include "tests/fuzz/fuzz.h"

#define SMALL 4096 /* elements read of a tensor */

static void read_values(const struct gguf *g)
{
    for (size_t i = 0; i < gguf_values(g); i++) {
        const struct gguf_value *v = gguf_value(g, i);
        struct gguf_walk w = {.v = v};
        struct gguf_string s;
        int64_t n;
        double x;
        uint64_t count = 0;
        while (gguf_next(&w, &s))
            count++;
        HOLDS(count == (v->of == GGUF_STRING ? v->n : 0));
        if (v->n)
            (void)!(gguf_int(v, v->n - 1, &n) || gguf_num(v, v->n - 1, &x));
        HOLDS(!gguf_int(v, v->n, &n) && !gguf_num(v, v->n, &x));
    }
}

static void read_tensors(const struct gguf *g, size_t size)
{
    for (size_t i = 0; i < gguf_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        struct err e = {0};
        char byte;
        HOLDS(t->elems > 0 && t->offset <= size && t->bytes <= size - t->offset);
        HOLDS(gguf_find(g, t->name) == t);
        HOLDS(gguf_read(g, t, t->bytes - 1, 1, &byte, &e) == 0);
        HOLDS(gguf_read(g, t, t->bytes, 1, &byte, &e) < 0);
    }
}

/* Values may be none that the format stores; names and shapes are those of a checkpoint. */
static void read_plain(struct checkpoint *view, const struct gguf_map *map, bool any)
{
    static char dst[SMALL * 4];
    struct checkpoint *c = NULL;
    struct err e = {0};
    if (gguf_plain(&c, view, map, any, DTYPE_BF16, &e) < 0) {
        HOLDS(e.text[0]);
        return;
    }
    for (size_t i = 0; i < checkpoint_count(c); i++) {
        const struct tensor *t = checkpoint_at(c, i);
        int64_t elems = 1;
        for (int k = 0; k < t->n_dims; k++)
            elems *= t->shape[k];
        HOLDS(checkpoint_find(c, t->name) == t && elems == t->elems && format_plain(t->dtype));
        if (t->elems <= SMALL && checkpoint_read(c, t, 0, t->elems, dst, &e) < 0)
            HOLDS(e.text[0]);
    }
    checkpoint_close(c);
}

static void read_model(const struct gguf *g, const struct gguf_map *map)
{
    static char dst[SMALL * 4];
    struct config *config = NULL;
    struct checkpoint *c = NULL;
    struct err e = {0};
    if (gguf_config(&config, g, map, &e) == 0)
        HOLDS(config_has(config, "model_type"));
    config_free(config);
    e = (struct err){0};
    if (gguf_checkpoint(&c, g, map, &e) < 0)
        return;
    for (size_t i = 0; i < checkpoint_count(c); i++) {
        const struct tensor *t = checkpoint_at(c, i);
        HOLDS(checkpoint_find(c, t->name) == t);
        if (t->elems <= SMALL)
            HOLDS(checkpoint_read(c, t, 0, t->elems, dst, &e) == 0);
    }
    read_plain(c, map, true);
    read_plain(c, map, false);
    checkpoint_close(c);
}

static void read_vocabulary(const struct gguf *g)
{
    struct err e = {0};
    struct buf text;
    const char *name;
    buf_init(&text, MIB(1));
    int rc = gguf_tokenizer_file(&name, &text, g, &e);
    HOLDS(rc == e.code && (rc == 0 || !name));
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gguf *g = NULL;
    struct err e = {0};
    int rc = gguf_parse(&g, data, n, n, "f", &e);
    HOLDS((rc == 0) == (g != NULL) && rc == e.code);
    if (!g)
        return 0;
    read_values(g);
    read_tensors(g, n);
    const struct gguf_map *map;
    for (size_t i = 0; (map = gguf_map_at(i)); i++)
        if (gguf_text_is(gguf_get(g, "general.architecture"), map->arch))
            read_model(g, map);
    struct tokenizer *t = NULL;
    if (!gguf_text_is(gguf_get(g, "tokenizer.ggml.model"), "llama")) /* that starts a process */
        (void)!tokenizer_open_gguf(&t, g, LIMIT_VOCAB, &e);
    tokenizer_close(t);
    read_vocabulary(g);
    gguf_close(g);
    return 0;
}
