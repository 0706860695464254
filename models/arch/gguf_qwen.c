/* Qwen3-Next and Qwen3.5, dense and with experts, as GGUF has them. Value heads of Qwen3.5 are
 * stored tiled: the j-th of every key head before the next. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.norm.weight", FORM_ADD_ONE},
    {".attn_norm.weight", ".input_layernorm.weight", FORM_ADD_ONE},
    {".post_attention_norm.weight", ".post_attention_layernorm.weight", FORM_ADD_ONE},
    {".attn_q_norm.weight", ".self_attn.q_norm.weight", FORM_ADD_ONE},
    {".attn_k_norm.weight", ".self_attn.k_norm.weight", FORM_ADD_ONE},
    {".ssm_norm.weight", ".linear_attn.norm.weight", 0},
    GGUF_END};

static const struct gguf_name tiled[] = {
    {".attn_qkv.weight", ".linear_attn.in_proj_qkv.weight", FORM_V_TAIL},
    {".attn_gate.weight", ".linear_attn.in_proj_z.weight", FORM_V_ROWS},
    {".ssm_beta.weight", ".linear_attn.in_proj_b.weight", FORM_V_ROWS},
    {".ssm_alpha.weight", ".linear_attn.in_proj_a.weight", FORM_V_ROWS},
    {".ssm_a", ".linear_attn.A_log", FORM_NEG_EXP | FORM_V_ROWS},
    {".ssm_dt.bias", ".linear_attn.dt_bias", FORM_V_ROWS},
    {".ssm_conv1d.weight", ".linear_attn.conv1d.weight", FORM_V_TAIL | FORM_FLOAT},
    {".ssm_out.weight", ".linear_attn.out_proj.weight", FORM_V_COLS},
    GGUF_END};

static const struct gguf_name grouped[] = {
    {".attn_qkv.weight", ".linear_attn.in_proj_qkv.weight", 0},
    {".attn_gate.weight", ".linear_attn.in_proj_z.weight", 0},
    {".attn_qkv.weight", ".linear_attn.in_proj_qkvz.weight", FORM_QKV},
    {".attn_gate.weight", ".linear_attn.in_proj_qkvz.weight", FORM_Z},
    {".ssm_in.weight", ".linear_attn.in_proj_qkvz.weight", 0},
    {".ssm_ba.weight", ".linear_attn.in_proj_ba.weight", 0},
    {".ssm_a", ".linear_attn.A_log", FORM_NEG_EXP},
    {".ssm_dt.bias", ".linear_attn.dt_bias", 0},
    {".ssm_conv1d.weight", ".linear_attn.conv1d.weight", FORM_FLOAT},
    {".ssm_out.weight", ".linear_attn.out_proj.weight", 0},
    GGUF_END};

static const struct gguf_name dense[] = {
    {".ffn_gate.weight", ".mlp.gate_proj.weight", 0},
    {".ffn_up.weight", ".mlp.up_proj.weight", 0},
    {".ffn_down.weight", ".mlp.down_proj.weight", 0},
    GGUF_END};

static const struct gguf_name sparse[] = {
    {".ffn_gate_inp.weight", ".mlp.gate.weight", 0},
    {".ffn_gate_inp_shexp.weight", ".mlp.shared_expert_gate.weight", FORM_ROW},
    {".ffn_gate_shexp.weight", ".mlp.shared_expert.gate_proj.weight", 0},
    {".ffn_up_shexp.weight", ".mlp.shared_expert.up_proj.weight", 0},
    {".ffn_down_shexp.weight", ".mlp.shared_expert.down_proj.weight", 0},
    {".ffn_gate_exps.weight", ".mlp.experts.%d.gate_proj.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".mlp.experts.%d.up_proj.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".mlp.experts.%d.down_proj.weight", FORM_EXPERTS},
    {".ffn_gate_up_exps.weight", ".mlp.experts.gate_up_proj", 0},
    {".ffn_gate_exps.weight", ".mlp.experts.gate_up_proj", FORM_GATE},
    {".ffn_up_exps.weight", ".mlp.experts.gate_up_proj", FORM_UP},
    {".ffn_down_exps.weight", ".mlp.experts.down_proj", FORM_PACKED},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"head_dim", "attention.key_length", KEY_INT, true, NULL},
    {"rope_parameters.rope_theta", "rope.freq_base", KEY_NUM, false, NULL},
    {"rope_parameters.partial_rotary_factor",
     "rope.dimension_count", KEY_RATIO, false, "attention.key_length"},
    {"linear_conv_kernel_dim", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"linear_key_head_dim", "ssm.state_size", KEY_INT, true, NULL},
    {"linear_num_key_heads", "ssm.group_count", KEY_INT, true, NULL},
    {"linear_num_value_heads", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"linear_value_head_dim", "ssm.inner_size", KEY_QUOTIENT, true, "ssm.time_step_rank"},
    {"full_attention_interval", "full_attention_interval", KEY_INT, false, NULL},
    {"attention_bias", NULL, KEY_CONSTANT, false, "false"},
    {"attn_output_gate", NULL, KEY_CONSTANT, false, "true"},
    GGUF_END};

static const struct gguf_key keys_sparse[] = {
    {"num_experts", "expert_count", KEY_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", KEY_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", KEY_INT, true, NULL},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", KEY_INT, false, NULL},
    {"norm_topk_prob", NULL, KEY_CONSTANT, false, "true"},
    {"decoder_sparse_step", NULL, KEY_CONSTANT, false, "1"},
    GGUF_END};

static const struct gguf_key keys_dense[] = {
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    GGUF_END};

#define IGNORED \
    "hidden_act mtp_num_hidden_layers mtp_use_dedicated_embeddings sliding_window " \
    "use_sliding_window max_window_layers mlp_only_layers mamba_ssm_dtype output_router_logits " \
    "router_aux_loss_coef pretraining_tp rope_theta rope_scaling partial_rotary_factor"

const struct gguf_map gguf_qwen35 = {
    .arch = "qwen35", .model_type = "qwen3_5_text", .layers = "model.layers.%d",
    .names = {names, gguf_names_attention, tiled, dense},
    .keys = {keys, gguf_keys_attention, keys_dense},
    .types_key = "layer_types", .types = {"linear_attention", "full_attention"},
    .ignored = IGNORED};

const struct gguf_map gguf_qwen35moe = {
    .arch = "qwen35moe", .model_type = "qwen3_5_moe_text", .layers = "model.layers.%d",
    .names = {names, gguf_names_attention, tiled, sparse},
    .keys = {keys, gguf_keys_attention, keys_sparse},
    .types_key = "layer_types", .types = {"linear_attention", "full_attention"},
    .ignored = IGNORED " intermediate_size"};

const struct gguf_map gguf_qwen3next = {
    .arch = "qwen3next", .model_type = "qwen3_next", .layers = "model.layers.%d",
    .names = {names, gguf_names_attention, grouped, dense, sparse},
    .keys = {keys, gguf_keys_attention, keys_sparse, keys_dense},
    .types_key = "layer_types", .types = {"linear_attention", "full_attention"},
    .ignored = IGNORED};
