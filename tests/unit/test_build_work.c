/* From a configuration to a plan: the work grows as the layers do. Counted, not timed: how often
 * something looks at an op. */
#define op_views plan_op_views
#include "kernels/plan.c"
#undef op_views

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/model.h"
#include "tests/unit/test_folder.h"

TestSuite(build_work, .init = make_dir, .fini = remove_dir);

static int64_t looks;

void op_views(struct op *op, view_fn *f, void *arg);
void op_views(struct op *op, view_fn *f, void *arg)
{
    looks++;
    plan_op_views(op, f, arg);
}

struct work { int64_t looks; int32_t ops; };

/* Of a model of this family with so many layers. */
static struct work work_of(const char *family, int layers)
{
    static const struct capacity one = {.tokens = 1, .logits = 1, .seqs = 1, .slots = 1,
                                        .pages = 1, .pages_per_seq = 1};
    struct err e = {0};
    struct model *m;
    struct model_options o = {.dir = dir, .dummy = true, .dummy_seed = 1};
    FILE *f = fopen(in_dir("config.json"), "w");
    cr_assert_not_null(f);
    fprintf(f, "{%s, \"num_hidden_layers\": %d}", family, layers);
    fclose(f);
    looks = 0;
    cr_assert_geq(model_open(&m, &o, &e), 0, "%s", e.text);
    cr_assert_gt(plan_layout(&m->plan, &one), 0);
    struct work w = {looks, m->plan.n_ops};
    model_close(m);
    return w;
}

Test(build_work, is_linear_in_the_layers)
{
    static const char *const families[] = {
        "\"model_type\": \"rwkv7\", \"vocab_size\": 256, \"hidden_size\": 64, \"head_dim\": 32, "
        "\"intermediate_size\": 96, \"hidden_act\": \"sqrelu\", \"norm_eps\": 1e-5, "
        "\"decay_low_rank_dim\": 16, \"a_low_rank_dim\": 16, \"v_low_rank_dim\": 16, "
        "\"gate_low_rank_dim\": 16, \"norm_first\": true, \"norm_bias\": true, "
        "\"tie_word_embeddings\": false",
        "\"model_type\": \"qwen3_5_text\", \"vocab_size\": 256, \"hidden_size\": 64, "
        "\"head_dim\": 32, \"hidden_act\": \"silu\", \"intermediate_size\": 96, "
        "\"linear_conv_kernel_dim\": 4, \"linear_key_head_dim\": 16, "
        "\"linear_num_key_heads\": 2, \"linear_num_value_heads\": 4, "
        "\"linear_value_head_dim\": 16, \"max_position_embeddings\": 32768, "
        "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-6, "
        "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\", "
        "\"partial_rotary_factor\": 0.25}, \"full_attention_interval\": 4, "
        "\"tie_word_embeddings\": false",
    };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct work few = work_of(families[i], 16), many = work_of(families[i], 128);
        cr_assert_gt(many.ops, 7 * few.ops);
        cr_assert_gt(few.looks, few.ops);
        /* An op of the larger plan costs as many looks as one of the smaller. */
        cr_assert_leq(many.looks * few.ops, few.looks * many.ops * 5 / 4,
                      "%lld looks at %d ops, %lld at %d", (long long)few.looks, few.ops,
                      (long long)many.looks, many.ops);
    }
}
