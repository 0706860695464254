/* An RWKV .pth file -> a directory with safetensors and a config.json.
 *
 * Such files hold tensors under the project's own names and nothing else; which version it is, and
 * how wide a head, one tensor tells (the families read the rest off the shapes). */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/convert_int.h"
#include "models/files/jsontext.h"
#include "models/files/pth.h"

/* The first row whose tensor the file has. A head's width: the last size of tensor `heads`, or the
 * model's width over its first size. */
static const struct version {
    const char *tensor, *model_type, *key, *heads;
    bool last;
    const char *eps; /* of the norms, where the format says it: 1e-5 in all of them */
} versions[] = {
    {"blocks.0.att.r_k", "rwkv7", "head_dim", "blocks.0.att.r_k", true, "norm_eps"},
    {"blocks.0.att.time_maa_w1", "rwkv6", "head_size", "blocks.0.att.time_faaaa", true,
     "layer_norm_epsilon"},
    {"blocks.0.att.ln_x.weight", "rwkv5", "head_size", "blocks.0.att.time_decay", false, NULL},
    {"blocks.0.att.time_first", "rwkv", NULL, NULL, false, NULL},
};

static int64_t layers_of(struct checkpoint *c)
{
    char name[64];
    int64_t n = 0;
    do
        snprintf(name, sizeof name, "blocks.%" PRId64 ".ln1.weight", n++);
    while (n <= LIMIT_LAYERS && checkpoint_find(c, name));
    return n - 1;
}

/* The object of config.json; NULL and e: this is no RWKV model. */
static json_t *describe(struct checkpoint *c, const char *pth, struct err *e)
{
    const struct tensor *emb = checkpoint_find(c, "emb.weight");
    const struct version *v = versions;
    while (v < versions + ARRAY_LEN(versions) && !checkpoint_find(c, v->tensor))
        v++;
    if (v == versions + ARRAY_LEN(versions) || !emb || emb->n_dims != 2) {
        err_set(e, E_UNSUPPORTED, "%s: has %zu tensors, but none of RWKV 4 to 7; other models must "
                "be saved as safetensors", jsontext_tail(pth), checkpoint_count(c));
        return NULL;
    }
    json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "model_type", v->model_type, "hidden_size",
                          (json_int_t)emb->shape[1], "num_hidden_layers", (json_int_t)layers_of(c),
                          "vocab_size", (json_int_t)emb->shape[0]);
    const struct tensor *t = v->heads ? checkpoint_find(c, v->heads) : NULL;
    int64_t heads = t && t->n_dims > 0 ? t->shape[0] : 0, width = 0;
    if (v->key && heads > 0)
        width = v->last ? t->shape[t->n_dims - 1] : emb->shape[1] / heads;
    if (v->key && width < 1)
        err_set(e, E_FORMAT, "%s: tensor %s does not tell the width of a head",
                jsontext_tail(pth), v->heads);
    if (!o || (v->key && json_object_set_new(o, v->key, json_integer(width)) < 0) ||
        (v->eps && json_object_set_new(o, v->eps, json_real(1e-5)) < 0))
        err_set(e, E_NOMEM, "%s: out of memory for its configuration", jsontext_tail(pth));
    return o;
}

bool convert_is_pth(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".pth") == 0;
}

int convert_pth_open(struct checkpoint **ck, struct config **config, const char *path,
                     struct err *e)
{
    if (pth_open(ck, path, e) < 0)
        return e->code;
    json_t *o = describe(*ck, path, e);
    char *text = e->code ? NULL : json_dumps(o, JSON_REAL_PRECISION(17));
    json_decref(o);
    if (e->code == 0 && !text)
        err_set(e, E_NOMEM, "%s: out of memory for its configuration", jsontext_tail(path));
    if (text)
        (void)!config_parse(config, text, strlen(text), path, e); /* e tells */
    free(text);
    return e->code;
}

int convert_pth(const struct convert_options *o, struct err *e)
{
    struct err mine = {0};
    struct checkpoint *c = NULL;
    struct config *config = NULL;
    e = e ? e : &mine;
    char *text = NULL;
    if (convert_pth_open(&c, &config, o->dir, e) == 0 && convert_dir_make(o->out, e) == 0 &&
        convert_dir_weights(o, c, e) == 0 && !(text = config_text(config)))
        err_set(e, E_NOMEM, "%s: out of memory for its configuration", jsontext_tail(o->out));
    if (text)
        (void)!convert_dir_file(o->out, "config.json", text, strlen(text), e); /* e tells */
    free(text);
    config_free(config);
    checkpoint_close(c);
    return e->code;
}
