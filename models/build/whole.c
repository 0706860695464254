/* From a configuration to the finished plan: the family, what it left, the passes. Thread:
 * loading. */
#include <stdio.h>

#include "models/build/build_int.h"

static void count_weights(struct model *m)
{
    for (int32_t i = 0; i < m->plan.n_weights; i++) {
        const struct weight *w = &m->plan.weights[i];
        m->weight_bytes += w->rows * (int64_t)format_bytes(w->dtype, w->cols);
        for (const struct binding_part *x = m->bindings[i].parts; x; x = x->next)
            m->parameters += x->name[0] ? x->rows * (x->apart > 1 ? (w->cols - 1) / x->apart + 1
                                                                  : w->cols) : 0;
    }
}

static int build_whole(struct build *b)
{
    struct model *m = b->m;
    const char *type = cfg_str(b, "model_type", "");
    if (b->bare && !strncmp(type, "layer_", 6))
        type += 6;
    const struct arch *a = b_failed(b) ? NULL : b->find(type, b->err);
    snprintf(m->arch, sizeof m->arch, "%s", type);
    m->plan.logits = VIEW_NONE;
    if (!b_failed(b))
        build_common_keys(b);
    if (!b_failed(b))
        a->build(b);
    if (!b_failed(b) && !view_given(m->plan.logits))
        b_fail(b, E_UNSUPPORTED, "model_type %s: the architecture produced no logits", type);
    if (!b_failed(b))
        build_leftovers(b);
    int (*const passes[])(struct build *) = {pass_formats, pass_residual, pass_pack, pass_join,
                                             pass_activate, pass_fuse, pass_lives, pass_sections};
    for (size_t i = 0; i < ARRAY_LEN(passes) && !b_failed(b); i++)
        if (passes[i](b) < 0)
            b_fail(b, E_NOMEM, "no memory for the plan of %s", type);
    if (!b_failed(b) && build_check(b) == 0)
        count_weights(m);
    return b->err->code;
}

int build_model(struct model *m, arch_find_fn *arch_of, const struct config *c,
                struct checkpoint *ck, struct err *e)
{
    struct build b = {.m = m, .plan = &m->plan, .config = c, .ck = ck, .err = e, .embedding = -1,
                      .find = arch_of};
    return build_whole(&b);
}

int build_bare_layer(struct model *m, arch_find_fn *arch_of, const struct config *c,
                     struct checkpoint *ck, struct err *e)
{
    struct build b = {.m = m, .plan = &m->plan, .config = c, .ck = ck, .err = e, .embedding = -1,
                      .find = arch_of, .bare = true};
    return build_whole(&b);
}
