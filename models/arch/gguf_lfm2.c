/* LFM2 as GGUF has it. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"token_embd_norm.weight", "model.embedding_norm.weight", 0},
    {"output_norm.weight", "model.embedding_norm.weight", 0},
    {".attn_norm.weight", ".operator_norm.weight", 0},
    {".ffn_norm.weight", ".ffn_norm.weight", 0},
    {".shortconv.conv.weight", ".conv.conv.weight", FORM_FLOAT},
    {".shortconv.in_proj.weight", ".conv.in_proj.weight", 0},
    {".shortconv.out_proj.weight", ".conv.out_proj.weight", 0},
    {".attn_q.weight", ".self_attn.q_proj.weight", 0},
    {".attn_k.weight", ".self_attn.k_proj.weight", 0},
    {".attn_v.weight", ".self_attn.v_proj.weight", 0},
    {".attn_output.weight", ".self_attn.out_proj.weight", 0},
    {".attn_q_norm.weight", ".self_attn.q_layernorm.weight", 0},
    {".attn_k_norm.weight", ".self_attn.k_layernorm.weight", 0},
    {".ffn_gate.weight", ".feed_forward.w1.weight", 0},
    {".ffn_up.weight", ".feed_forward.w3.weight", 0},
    {".ffn_down.weight", ".feed_forward.w2.weight", 0},
    GGUF_END};

static const struct gguf_name names_moe[] = {
    {".ffn_gate_inp.weight", ".feed_forward.gate.weight", 0},
    {".exp_probs_b.bias", ".feed_forward.expert_bias", 0},
    {".ffn_gate_exps.weight", ".feed_forward.experts.%d.w1.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".feed_forward.experts.%d.w3.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".feed_forward.experts.%d.w2.weight", FORM_EXPERTS},
    {".ffn_gate_exps.weight", ".feed_forward.experts.gate_up_proj", FORM_GATE},
    {".ffn_up_exps.weight", ".feed_forward.experts.gate_up_proj", FORM_UP},
    {".ffn_down_exps.weight", ".feed_forward.experts.down_proj", FORM_PACKED},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"conv_L_cache", "shortconv.l_cache", KEY_INT, true, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, true, NULL},
    {"rope_parameters.rope_theta", "rope.freq_base", KEY_NUM, true, NULL},
    {"conv_bias", NULL, KEY_CONSTANT, false, "false"},
    GGUF_END};

static const struct gguf_key keys_dense[] = {
    {"intermediate_size",
     "feed_forward_length", KEY_ROWS, true, "model.layers.0.feed_forward.w1.weight"},
    {"block_auto_adjust_ff_dim", NULL, KEY_CONSTANT, false, "false"},
    GGUF_END};

static const struct gguf_key keys_moe[] = {
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"num_dense_layers", "leading_dense_block_count", KEY_INT, true, NULL},
    {"num_experts", "expert_count", KEY_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", KEY_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", KEY_INT, true, NULL},
    {"norm_topk_prob", NULL, KEY_CONSTANT, false, "true"},
    {"routed_scaling_factor", NULL, KEY_CONSTANT, false, "1.0"},
    {"use_expert_bias", NULL, KEY_CONSTANT, false, "true"},
    GGUF_END};

const struct gguf_map gguf_lfm2 = {
    .arch = "lfm2", .model_type = "lfm2", .layers = "model.layers.%d",
    .names = {names}, .keys = {keys, keys_dense},
    .types_key = "layer_types", .types = {"conv", "full_attention"},
    .ignored = "full_attn_idxs block_dim block_norm_eps block_mlp_init_scale "
               "block_out_init_scale block_use_xavier_init conv_dim conv_dim_out "
               "conv_use_xavier_init num_heads block_ff_dim block_multiple_of "
               "block_ffn_dim_multiplier block_auto_adjust_ff_dim use_pos_enc block_use_swiglu"
               " tie_embedding theta rope_theta head_dim"};

const struct gguf_map gguf_lfm2moe = {
    .arch = "lfm2moe", .model_type = "lfm2_moe", .layers = "model.layers.%d",
    .names = {names, names_moe}, .keys = {keys, keys_moe},
    .types_key = "layer_types", .types = {"conv", "full_attention"},
    .ignored = "full_attn_idxs block_dim block_norm_eps block_mlp_init_scale "
               "block_out_init_scale block_use_xavier_init conv_dim conv_dim_out "
               "conv_use_xavier_init num_heads block_ff_dim block_multiple_of "
               "block_ffn_dim_multiplier block_auto_adjust_ff_dim use_pos_enc block_use_swiglu"
               " tie_embedding theta rope_theta head_dim"};
