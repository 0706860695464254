/* Falcon-H1 as GGUF has it: the factors of its paths are multiplied into the matrices. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.final_layernorm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm", ".pre_ff_layernorm.weight", 0}, /* so its writers have it */
    {".ffn_norm.weight", ".pre_ff_layernorm.weight", 0},
    {".ffn_gate.weight", ".feed_forward.gate_proj.weight", 0},
    {".ffn_up.weight", ".feed_forward.up_proj.weight", 0},
    {".ffn_down.weight", ".feed_forward.down_proj.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"mamba_d_ssm", "ssm.inner_size", KEY_INT, true, NULL},
    {"head_dim", "attention.key_length", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"rope_parameters.rope_theta", "rope.freq_base", KEY_NUM, true, NULL},
    {"mamba_rms_norm", "blk.0.ssm_norm.weight", KEY_TENSOR, false, NULL},
    {"mamba_norm_before_gate", NULL, KEY_CONSTANT, false, "false"},
    {"mlp_bias", NULL, KEY_CONSTANT, false, "false"},
    {"projectors_bias", NULL, KEY_CONSTANT, false, "false"},
    {"attention_in_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"attention_out_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"embedding_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"key_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"lm_head_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"ssm_in_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"ssm_out_multiplier", NULL, KEY_CONSTANT, false, "1.0"},
    {"mlp_multipliers", NULL, KEY_CONSTANT, false, "[1.0, 1.0]"},
    {"ssm_multipliers", NULL, KEY_CONSTANT, false, "[1.0, 1.0, 1.0, 1.0, 1.0]"},
    GGUF_END};

const struct gguf_map gguf_falcon_h1 = {
    .arch = "falcon-h1", .model_type = "falcon_h1", .layers = "model.layers.%d",
    .names = {names, gguf_names_mamba2, gguf_names_attention},
    .keys = {keys, gguf_keys_mamba2, gguf_keys_attention},
    .ignored = "hidden_act output_router_logits router_aux_loss_coef num_logits_to_keep "
               "pretraining_tp init_method rope_theta rope_scaling normalization_function "
               "time_step_limit time_step_min time_step_max time_step_floor mamba_chunk_size "
               "chunk_size embd_pdrop resid_pdrop hidden_dropout z_loss_coefficient "
               "mamba_expand"};
