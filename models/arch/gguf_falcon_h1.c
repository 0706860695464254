/* Falcon-H1 as GGUF has it: the factors of its paths are multiplied into the matrices. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.final_layernorm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm", ".pre_ff_layernorm.weight", 0}, /* so its writers have it */
    {".ffn_norm.weight", ".pre_ff_layernorm.weight", 0},
    {".ssm_in.weight", ".mamba.in_proj.weight", 0},
    {".ssm_conv1d.weight", ".mamba.conv1d.weight", FORM_FLOAT},
    {".ssm_conv1d.bias", ".mamba.conv1d.bias", 0},
    {".ssm_out.weight", ".mamba.out_proj.weight", 0},
    {".ssm_dt.bias", ".mamba.dt_bias", 0},
    {".ssm_a", ".mamba.A_log", FORM_NEG_EXP | FORM_COLUMN},
    {".ssm_d", ".mamba.D", FORM_COLUMN},
    {".ssm_norm.weight", ".mamba.norm.weight", FORM_GROUPS},
    {".attn_q.weight", ".self_attn.q_proj.weight", 0},
    {".attn_k.weight", ".self_attn.k_proj.weight", 0},
    {".attn_v.weight", ".self_attn.v_proj.weight", 0},
    {".attn_output.weight", ".self_attn.o_proj.weight", 0},
    {".ffn_gate.weight", ".feed_forward.gate_proj.weight", 0},
    {".ffn_up.weight", ".feed_forward.up_proj.weight", 0},
    {".ffn_down.weight", ".feed_forward.down_proj.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, true, NULL},
    {"mamba_d_conv", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"mamba_d_state", "ssm.state_size", KEY_INT, true, NULL},
    {"mamba_n_groups", "ssm.group_count", KEY_INT, true, NULL},
    {"mamba_n_heads", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"mamba_d_head", "ssm.inner_size", KEY_QUOTIENT, true, "ssm.time_step_rank"},
    {"mamba_d_ssm", "ssm.inner_size", KEY_INT, true, NULL},
    {"head_dim", "attention.key_length", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"rope_parameters.rope_theta", "rope.freq_base", KEY_NUM, true, NULL},
    {"mamba_rms_norm", "blk.0.ssm_norm.weight", KEY_TENSOR, false, NULL},
    {"mamba_norm_before_gate", NULL, KEY_CONSTANT, false, "false"},
    {"attention_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mlp_bias", NULL, KEY_CONSTANT, false, "false"},
    {"projectors_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mamba_proj_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mamba_conv_bias", NULL, KEY_CONSTANT, false, "true"},
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
    .names = {names}, .keys = {keys},
    .ignored = "hidden_act output_router_logits router_aux_loss_coef num_logits_to_keep "
               "pretraining_tp init_method rope_theta rope_scaling normalization_function "
               "time_step_limit time_step_min time_step_max time_step_floor mamba_chunk_size "
               "chunk_size embd_pdrop resid_pdrop hidden_dropout z_loss_coefficient "
               "mamba_expand"};
