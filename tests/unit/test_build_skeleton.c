/* The common frame and the families on it, from configurations alone: what is refused, in which
 * words, and how large the states are. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "base/mem.h"
#include "models/model.h"

#define COMMON "\"hidden_size\": 64, \"num_hidden_layers\": 2, \"vocab_size\": 50, " \
               "\"intermediate_size\": 96, "

/* Opens a model of random weights with this config; the message of what went wrong in e. */
static struct model *open_config(const char *json, struct err *e)
{
    char dir[] = "/tmp/recurd-test-XXXXXX", path[64];
    struct model *m = NULL;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(json, f);
    fclose(f);
    if (model_open(&m, &(struct model_options){.dir = dir, .dummy = true}, e) < 0)
        cr_assert_null(m);
    unlink(path);
    rmdir(dir);
    return m;
}

static int64_t state_floats(const struct model *m)
{
    int64_t n = 0;
    for (int32_t i = 0; i < m->plan.n_sections; i++)
        n += m->plan.sections[i].kind == SECTION_FIXED ? m->plan.sections[i].elems : 0;
    return n;
}

/* H 2, D 64: K = V = 32 unless the family says otherwise; convolutions keep 3 rows. */
Test(build_skeleton, the_state_of_each_family_has_the_size_the_literature_gives)
{
    static const struct { const char *config; int64_t floats_a_layer; } cases[] = {
        {"\"model_type\": \"gla\", \"num_heads\": 2", 2 * 16 * 32},
        {"\"model_type\": \"gla\", \"num_heads\": 2, \"use_short_conv\": true",
         2 * 16 * 32 + 3 * (32 + 32 + 64)},
        {"\"model_type\": \"simple_gla\", \"num_heads\": 2", 2 * 32 * 32 + 3 * 192},
        {"\"model_type\": \"retnet\", \"num_heads\": 2", 2 * 32 * 64},
        {"\"model_type\": \"delta_net\", \"num_heads\": 2", 2 * 32 * 32 + 3 * 192},
        {"\"model_type\": \"gated_deltanet\", \"num_heads\": 2, \"head_dim\": 32",
         2 * 32 * 64 + 3 * (64 + 64 + 128)},
        {"\"model_type\": \"comba\", \"num_heads\": 2, \"head_dim\": 32, \"expand_v\": 1",
         2 * 32 * 32 + 3 * 192},
        {"\"model_type\": \"gated_deltaproduct\", \"num_heads\": 2, \"head_dim\": 32, "
         "\"expand_v\": 1, \"num_householder\": 3", 2 * 32 * 32 + 3 * (64 + 3 * 128)},
        {"\"model_type\": \"kda\", \"num_heads\": 2, \"head_dim\": 32, \"num_v_heads\": 4",
         4 * 32 * 32 + 3 * (64 + 64 + 128)},
        {"\"model_type\": \"gdn2\", \"num_heads\": 2, \"head_dim\": 32", 2 * 32 * 32 + 3 * 192},
        {"\"model_type\": \"precond_gated_deltanet\", \"num_heads\": 2, \"head_dim\": 32, "
         "\"expand_v\": 1", 2 * 32 * 32 + 64 + 3 * 192},
        {"\"model_type\": \"precond_kda\", \"num_heads\": 2, \"head_dim\": 32, "
         "\"num_v_heads\": 4", 4 * 32 * 32 + 128 + 3 * (64 + 64 + 128)},
        {"\"model_type\": \"hgrn\"", 64},
        {"\"model_type\": \"hgrn2\", \"expand_ratio\": 32", 2 * 32 * 32},
        {"\"model_type\": \"lightnet\", \"expand_ratio\": 32", 2 * 32 * 32 + 64},
        {"\"model_type\": \"rwkv6\", \"num_heads\": 2", 2 * 16 * 32 + 2 * 64},
        {"\"model_type\": \"rwkv7\", \"head_dim\": 32", 2 * 32 * 32 + 2 * 64},
        {"\"model_type\": \"linear_attn\", \"num_heads\": 2, \"feature_map\": \"hedgehog\", "
         "\"norm_feature_map\": true", 2 * 64 * 32 + 2 * 64},
        {"\"model_type\": \"linear_attn\", \"num_heads\": 2, \"feature_map\": \"dpfp\"",
         2 * 256 * 32},
        {"\"model_type\": \"based\", \"num_key_value_heads\": 2", 2 * 153 * 33},
        {"\"model_type\": \"gsa\", \"num_heads\": 2, \"num_slots\": 16", 2 * 16 * (32 + 32)},
        {"\"model_type\": \"abc\", \"num_heads\": 2, \"num_slots\": 16",
         2 * 16 * (16 + 32) + 2 * 16},
        {"\"model_type\": \"raven\", \"num_heads\": 2, \"num_slots\": 16, \"topk\": 4",
         2 * 16 * (32 + 32)},
        {"\"model_type\": \"mom\", \"num_heads\": 2, \"head_dim\": 32, \"num_memories\": 3",
         4 * (2 * 32 * 32 + 3 * 192)},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char json[1024];
        struct err e = {0};
        snprintf(json, sizeof json, "{" COMMON "%s}", cases[i].config);
        struct model *m = open_config(json, &e);
        cr_expect_eq(e.code, 0, "%s: %s", cases[i].config, e.text);
        if (m)
            cr_expect_eq(state_floats(m), 2 * cases[i].floats_a_layer, "%s: %lld floats",
                         cases[i].config, (long long)state_floats(m));
        model_close(m);
    }
}

Test(build_skeleton, what_a_configuration_contradicts_is_named)
{
    static const struct { const char *config, *words; } cases[] = {
        {"\"model_type\": \"gla\", \"num_heads\": 5", "keys of 32 and values of 64 in 5 heads"},
        {"\"model_type\": \"gla\", \"num_heads\": 4, \"num_kv_heads\": 3", "in 4 heads on 3"},
        {"\"model_type\": \"gla\", \"num_heads\": 0", "in 0 heads"},
        {"\"model_type\": \"gla\", \"expand_k\": -1", "keys of -64"},
        {"\"model_type\": \"gla\", \"hidden_act\": \"swash\"", "hidden_act \"swash\""},
        {"\"model_type\": \"gla\", \"feature_map\": \"magic\"", "feature_map \"magic\""},
        {"\"model_type\": \"gla\", \"use_magic\": true", "key \"use_magic\""},
        {"\"model_type\": \"gla\", \"num_hidden_layers\": 0", "num_hidden_layers 0"},
        {"\"model_type\": \"gla\", \"attnres_block_size\": 3", "attnres_block_size 3"},
        {"\"model_type\": \"rwkv6\", \"attnres_block_size\": 2", "attnres_block_size 2"},
        {"\"model_type\": \"gla\", \"attn\": {\"layers\": [1], \"num_heads\": 4, \"bits\": 1}",
         "key \"attn.bits\""},
        {"\"model_type\": \"gla\", \"attn\": {\"layers\": [1], \"num_heads\": 5}", "num_heads 5"},
        {"\"model_type\": \"comba\", \"num_v_heads\": 12", "num_v_heads 12"},
        {"\"model_type\": \"kda\", \"lower_bound\": 2", "lower_bound 2"},
        {"\"model_type\": \"kda\", \"num_heads\": 4, \"num_v_heads\": 6", "6 value heads, 4 key"},
        {"\"model_type\": \"delta_net\", \"qk_norm\": \"max\"", "qk_norm \"max\""},
        {"\"model_type\": \"delta_net\", \"qk_activation\": \"lu\"", "qk_activation \"lu\""},
        {"\"model_type\": \"hgrn2\", \"expand_ratio\": 7", "heads of 7 in a width of 64"},
        {"\"model_type\": \"rwkv6\", \"hidden_act\": \"relu\"", "hidden_act"},
        {"\"model_type\": \"rwkv7\", \"attn\": {\"layers\": [1]}", "hybrid"},
        {"\"model_type\": \"mom\", \"attn\": {\"layers\": [1]}", "hybrid"},
        {"\"model_type\": \"mom\", \"topk\": 9", "9 best of 4"},
        {"\"model_type\": \"mom\", \"mom_backend\": \"gla\"", "mom_backend \"gla\""},
        {"\"model_type\": \"raven\", \"router_score\": \"tanh\"",
         "router_score is neither sigmoid nor"},
        {"\"model_type\": \"raven\", \"topk\": 65", "65 best of num_slots 64"},
        {"\"model_type\": \"gsa\", \"num_slots\": 0", "num_slots 0"},
        {"\"model_type\": \"linear_attn\", \"feature_map\": \"cosine\"", "\"cosine\""},
        {"\"model_type\": \"based\", \"num_key_value_heads\": 2, \"feature_dim\": 65",
         "feature_dim 65"},
        {"\"model_type\": \"gated_deltaproduct\", \"num_householder\": 0", "num_householder 0"},
        {"\"model_type\": \"precond_kda\", \"squash_x\": -1", "squash_x -1"},
        {"\"model_type\": \"glue\"", "\"glue\""},
        {"\"model_type\": \"rwkv8\"", "the nearest are rwkv7, rwkv6, rwkv"},
        {"\"model_type\": \"gla\", \"norm_eps\": -1e-6", "norm_eps is -1e-06, from 0 to 1"},
        {"\"model_type\": \"mamba2\", \"layer_norm_epsilon\": -1", "layer_norm_epsilon is -1"},
        {"\"model_type\": \"nsa\", \"num_heads\": 1, \"block_counts\": 2",
         "block_counts 2, at least 3"},
        {"\"model_type\": \"gated_deltanet\", \"output_gate_activation\": \"relu\"",
         "output_gate_activation \"relu\" is not swish, silu or sigmoid"},
        {"\"model_type\": \"mamba\", \"rms_norm\": false", "rms_norm false"},
        {"\"model_type\": \"mamba\", \"d_inner\": 100", "d_inner is 100, 128 by the newer keys"},
        {"\"model_type\": \"lfm2\", \"num_attention_heads\": 4, \"num_key_value_heads\": 4, "
         "\"rope_scaling\": {\"type\": \"ntk\"}",
         "rope_type \"ntk\" is not supported, only default"},
        {"\"model_type\": \"minimax\", \"num_attention_heads\": 4, \"num_key_value_heads\": 4, "
         "\"partial_rotary_factor\": 0.5", "rotary_dim says 16"},
        {"\"model_type\": \"kimi_linear\", \"mlp_layer_types\": [\"sparse\"]",
         "mlp_layer_types has 1 entries, none for layer 1"},
        {"\"model_type\": \"kimi_linear\", \"mlp_layer_types\": [\"dense\", \"moe\"]",
         "mlp_layer_types[1] \"moe\" is not dense or sparse"},
        {"\"model_type\": \"kimi_linear\", \"topk_group\": 0", "topk_group 0 of 1"},
        {"\"model_type\": \"bailing_hybrid\", \"num_attention_heads\": 2, "
         "\"linear_num_heads\": 3", "linear_num_heads 3 is not num_attention_heads 2"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char json[1024];
        struct err e = {0};
        const char *own = strstr(cases[i].config, "num_hidden_layers");
        snprintf(json, sizeof json, "{\"hidden_size\": 64, \"vocab_size\": 50, %s %s}",
                 own ? "" : "\"num_hidden_layers\": 2,", cases[i].config);
        struct model *m = open_config(json, &e);
        cr_expect_null(m, "%s: accepted", cases[i].config);
        cr_expect_not_null(strstr(e.text, cases[i].words), "%s: \"%s\"", cases[i].config, e.text);
        model_close(m);
    }
}

Test(build_skeleton, mlp_layer_types_says_which_layers_have_experts)
{
    struct err e = {0};
    struct model *m = open_config("{" COMMON "\"model_type\": \"kimi_linear\", \"num_experts\": 8, "
                                  "\"moe_intermediate_size\": 16, \"first_k_dense_replace\": 1, "
                                  "\"mlp_layer_types\": [\"sparse\", \"dense\"]}", &e);
    cr_assert_eq(e.code, 0, "%s", e.text);
    int chosen[2] = {0};
    for (int32_t i = 0; i < m->plan.n_ops; i++)
        if (m->plan.ops[i].kind == OP_TOPK)
            chosen[m->plan.ops[i].layer]++;
    cr_expect_eq(chosen[0], 1);
    cr_expect_eq(chosen[1], 0);
    model_close(m);
}

Test(build_skeleton, layers_that_attn_lists_keep_rows_of_keys_instead_of_a_state)
{
    struct err e = {0};
    struct model *m = open_config("{" COMMON "\"model_type\": \"gla\", \"attn\": ["
                                  "{\"layers\": [0], \"num_heads\": 4, \"num_kv_heads\": 2}, "
                                  "{\"layers\": [1], \"num_heads\": 4, \"window_size\": 5}]}", &e);
    cr_assert_eq(e.code, 0, "%s", e.text);
    cr_expect_eq(m->plan.page_token_floats, 2 * 2 * 16);
    cr_expect_eq(state_floats(m), 5 * 2 * 64);
    model_close(m);
}

/* Processor time of a good config of two layers, the longest of some. */
static clock_t time_of_a_good_one(void)
{
    clock_t most = 0;
    for (int i = 0; i < 5; i++) {
        struct err e = {0};
        clock_t start = clock();
        struct model *m = open_config("{" COMMON "\"model_type\": \"gla\", \"num_heads\": 2}", &e);
        most = MAX(most, clock() - start);
        cr_assert_not_null(m, "%s", e.text);
        model_close(m);
    }
    return MAX(most, 1);
}

/* What a reader cannot use must not cost time: no size of a config is computed with before it is
 * compared. */
Test(build_skeleton, sizes_beyond_any_model_are_refused_at_once)
{
    static const struct { const char *key; const char *words; } cases[] = {
        {"\"num_hidden_layers\": 100000", "num_hidden_layers is 100000, at most 1024"},
        {"\"n_layer\": 100000", "n_layer is 100000, at most 1024"},
        {"\"hidden_size\": 100000", "hidden_size is 100000, at most 65536"},
        {"\"text_config\": {\"num_hidden_layers\": 100000}", "num_hidden_layers is 100000"},
    };
    static const char *const types[] = {
#define ARCH(name) #name,
#include "models/archs.def"
#undef ARCH
    };
    clock_t good = time_of_a_good_one();
    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            char json[512];
            struct err e = {0};
            const char *type = !strcmp(types[t], "rwkv4") ? "rwkv" : types[t];
            if (strstr(cases[i].key, "text_config"))
                type = "qwen3_5";
            snprintf(json, sizeof json, "{\"model_type\": \"%s\", %s}", type, cases[i].key);
            clock_t start = clock();
            struct model *m = open_config(json, &e);
            /* A size that is computed with before it is compared costs twenty seconds. */
            cr_expect_leq(clock() - start, 100 * good, "%s: slow", json);
            cr_expect_null(m, "%s: accepted", json);
            cr_expect_not_null(strstr(e.text, cases[i].words), "%s: \"%s\"", json, e.text);
            cr_expect_not_null(strstr(e.text, "recurd-test-"), "no directory in \"%s\"", e.text);
            model_close(m);
        }
}

Test(build_skeleton, what_changes_nothing_is_left_aside_and_named)
{
    struct err e = {0};
    struct model *m = open_config("{" COMMON "\"model_type\": \"gla\", \"num_heads\": 2, "
                                  "\"unsloth_fixed\": true, \"_commit_hash\": \"01\", "
                                  "\"new_switch\": false, \"new_factor\": 0, \"top_k\": 5, "
                                  "\"embd_dropout\": 0.1, \"unheard\": null}", &e);
    cr_assert_not_null(m, "%s", e.text);
    cr_expect_eq(m->n_left_aside, 6);
    cr_expect_str_eq(m->left_aside,
                     "_commit_hash, embd_dropout, new_factor, new_switch, top_k, unsloth_fixed");
    model_close(m);
}

Test(build_skeleton, arithmetic_is_refused_wherever_it_stands)
{
    static const struct { const char *config, *words; } cases[] = {
        {"\"model_type\": \"gla\", \"num_heads\": 2, \"quantization_config\": {\"bits\": 4}",
         "quantization_config.quant_method is \"\""},
        {"\"model_type\": \"gla\", \"num_heads\": 2, \"rope_scaling\": {\"factor\": 2}",
         "key \"rope_scaling\""},
        {"\"model_type\": \"qwen3_5\", \"text_config\": {}, \"quantization_config\": {\"b\": 4}",
         "quantization_config.quant_method is \"\""},
        {"\"model_type\": \"lfm2\", \"num_attention_heads\": 4, \"num_key_value_heads\": 4, "
         "\"rope_parameters\": {\"rope_theta\": 1e4, \"twist\": 2}", "\"rope_parameters.twist\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char json[1024];
        struct err e = {0};
        snprintf(json, sizeof json, "{" COMMON "%s}", cases[i].config);
        struct model *m = open_config(json, &e);
        cr_expect_null(m, "%s: accepted", cases[i].config);
        cr_expect_not_null(strstr(e.text, cases[i].words), "%s: \"%s\"", cases[i].config, e.text);
        model_close(m);
    }
}
