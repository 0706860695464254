/* Jamba as GGUF has it: which layers attend and which have experts, the file itself tells. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.final_layernorm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm.weight", ".pre_ff_layernorm.weight", 0},
    {".ssm_in.weight", ".mamba.in_proj.weight", 0},
    {".ssm_conv1d.weight", ".mamba.conv1d.weight", FORM_FLOAT},
    {".ssm_conv1d.bias", ".mamba.conv1d.bias", 0},
    {".ssm_out.weight", ".mamba.out_proj.weight", 0},
    {".ssm_x.weight", ".mamba.x_proj.weight", 0},
    {".ssm_dt.weight", ".mamba.dt_proj.weight", 0},
    {".ssm_dt.bias", ".mamba.dt_proj.bias", 0},
    {".ssm_a", ".mamba.A_log", FORM_NEG_EXP | FORM_FLOAT},
    {".ssm_d", ".mamba.D", 0},
    {".ssm_dt_norm.weight", ".mamba.dt_layernorm.weight", 0},
    {".ssm_b_norm.weight", ".mamba.b_layernorm.weight", 0},
    {".ssm_c_norm.weight", ".mamba.c_layernorm.weight", 0},
    {".ffn_gate.weight", ".feed_forward.gate_proj.weight", 0},
    {".ffn_up.weight", ".feed_forward.up_proj.weight", 0},
    {".ffn_down.weight", ".feed_forward.down_proj.weight", 0},
    {".ffn_gate_inp.weight", ".feed_forward.router.weight", 0},
    {".ffn_gate_exps.weight", ".feed_forward.experts.%d.gate_proj.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".feed_forward.experts.%d.up_proj.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".feed_forward.experts.%d.down_proj.weight", FORM_EXPERTS},
    {".ffn_gate_exps.weight", ".feed_forward.experts.gate_up_proj", FORM_GATE},
    {".ffn_up_exps.weight", ".feed_forward.experts.gate_up_proj", FORM_UP},
    {".ffn_down_exps.weight", ".feed_forward.experts.down_proj", FORM_PACKED},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"mamba_d_conv", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"mamba_d_state", "ssm.state_size", KEY_INT, true, NULL},
    {"mamba_expand", "ssm.inner_size", KEY_RATIO, true, "embedding_length"},
    {"mamba_dt_rank", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"num_experts", "expert_count", KEY_INT, false, NULL},
    {"num_experts", NULL, KEY_CONSTANT, false, "1"},
    {"num_experts_per_tok", "expert_used_count", KEY_INT, false, NULL},
    {"mamba_proj_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mamba_conv_bias", NULL, KEY_CONSTANT, false, "true"},
    GGUF_END};

const struct gguf_map gguf_jamba = {
    .arch = "jamba", .model_type = "jamba", .layers = "model.layers.%d",
    .names = {names, gguf_names_attention}, .keys = {keys, gguf_keys_attention},
    .types_key = "layer_types", .types = {"mamba", "attention"},
    .ignored = "hidden_act output_router_logits router_aux_loss_coef num_logits_to_keep "
               "pretraining_tp init_method rope_theta rope_scaling normalization_function "
               "time_step_limit time_step_min time_step_max time_step_floor mamba_chunk_size "
               "chunk_size embd_pdrop resid_pdrop hidden_dropout z_loss_coefficient head_dim "
               "attn_layer_offset attn_layer_period expert_layer_offset expert_layer_period "
               "use_mamba_kernels use_mambapy use_associative_scan sliding_window "
               "mamba_inner_layernorms calc_logits_for_entire_prompt"};
