/* A GGUF file -> a directory with safetensors, config.json and the tokenizer's files: what the
 * daemon makes of the file at every start, written down. Tensors have the names of the family's
 * map, the configuration its keys. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "models/convert_int.h"
#include "models/files/gguf_plain.h"
#include "models/files/jsontext.h"
#include "models/source.h"
#include "models/text/gguf_vocab.h"

static void write_json(const struct convert_options *o, const char *name, const struct config *c,
                       struct err *e)
{
    char *text = config_text(c);
    if (text)
        (void)!convert_dir_file(o->out, name, text, strlen(text), e); /* e tells */
    else
        err_set(e, E_NOMEM, "%s: out of memory for %s", jsontext_tail(o->out), name);
    free(text);
}

static void write_tokenizer(const struct convert_options *o, const struct gguf *g, struct err *e)
{
    struct config *config = NULL;
    struct buf text;
    const char *name;
    buf_init(&text, LIMIT_TOKENIZER_BYTES);
    int rc = gguf_tokenizer_file(&name, &text, g, e);
    if (rc == 0 && name)
        rc = convert_dir_file(o->out, name, text.p ? text.p : "", text.len, e);
    if (rc == 0)
        rc = gguf_tokenizer_config(&config, g, e);
    if (rc == 0 && config)
        write_json(o, "tokenizer_config.json", config, e);
    config_free(config);
    buf_free(&text);
}

static void write_weights(const struct convert_options *o, struct model_source *s, struct err *e)
{
    struct checkpoint *view = NULL, *plain = NULL;
    if (source_checkpoint(s, &view, e) == 0 &&
        gguf_plain(&plain, view, s->map, o->any, o->matrix, e) == 0 &&
        convert_dir_weights(o, plain, e) == 0 && gguf_plain_inexact(plain))
        log_info("%s: %" PRIu64 " values that the format stores transformed are those of no "
                 "float32, as of another exp: the nearest were taken", jsontext_tail(o->dir),
                 gguf_plain_inexact(plain));
    checkpoint_close(plain);
    checkpoint_close(view);
}

int convert_from_gguf(const struct convert_options *o, struct err *e)
{
    struct err mine = {0};
    struct model_source s;
    e = e ? e : &mine;
    if (!o->any && !format_plain(o->matrix))
        return err_set(e, E_UNSUPPORTED, "safetensors hold matrices as F32, F16 or BF16, not as %s",
                       formats[o->matrix].name);
    if (source_open(&s, o->dir, e) < 0)
        return e->code;
    if (!s.gguf)
        err_set(e, E_UNSUPPORTED, "%s: is not a GGUF file", jsontext_tail(o->dir));
    if (e->code == 0 && convert_dir_make(o->out, e) == 0)
        write_tokenizer(o, s.gguf, e);
    if (e->code == 0)
        write_weights(o, &s, e);
    if (e->code == 0)
        write_json(o, "config.json", s.config, e);
    source_close(&s);
    return e->code;
}
