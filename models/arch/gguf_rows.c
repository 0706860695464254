/* Rows that several maps share. */
#include "models/files/gguf_map.h"

const struct gguf_name gguf_names_attention[] = {
    {".attn_q.weight", ".self_attn.q_proj.weight", 0},
    {".attn_k.weight", ".self_attn.k_proj.weight", 0},
    {".attn_v.weight", ".self_attn.v_proj.weight", 0},
    {".attn_output.weight", ".self_attn.o_proj.weight", 0},
    GGUF_END};

const struct gguf_name gguf_names_mamba2[] = {
    {".ssm_in.weight", ".mamba.in_proj.weight", 0},
    {".ssm_conv1d.weight", ".mamba.conv1d.weight", FORM_FLOAT},
    {".ssm_conv1d.bias", ".mamba.conv1d.bias", 0},
    {".ssm_out.weight", ".mamba.out_proj.weight", 0},
    {".ssm_dt.bias", ".mamba.dt_bias", 0},
    {".ssm_a", ".mamba.A_log", FORM_NEG_EXP | FORM_COLUMN},
    {".ssm_d", ".mamba.D", FORM_COLUMN},
    {".ssm_norm.weight", ".mamba.norm.weight", FORM_GROUPS},
    GGUF_END};

const struct gguf_key gguf_keys_attention[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, true, NULL},
    GGUF_END};

const struct gguf_key gguf_keys_mamba2[] = {
    {"mamba_d_conv", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"mamba_d_state", "ssm.state_size", KEY_INT, true, NULL},
    {"mamba_n_groups", "ssm.group_count", KEY_INT, true, NULL},
    {"mamba_n_heads", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"mamba_d_head", "ssm.inner_size", KEY_QUOTIENT, true, "ssm.time_step_rank"},
    {"mamba_proj_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mamba_conv_bias", NULL, KEY_CONSTANT, false, "true"},
    {"attention_bias", NULL, KEY_CONSTANT, false, "false"},
    GGUF_END};

/* The frame of RWKV-6 and RWKV-7 under the RWKV project's own names. */
const struct gguf_name gguf_names_rwkv[] = {
    {"token_embd.weight", "emb.weight", 0},
    {"output.weight", "head.weight", 0},
    {"token_embd_norm.weight", "blocks.0.ln0.weight", 0},
    {"token_embd_norm.bias", "blocks.0.ln0.bias", 0},
    {"output_norm.weight", "ln_out.weight", 0},
    {"output_norm.bias", "ln_out.bias", 0},
    {".attn_norm.weight", ".ln1.weight", 0},
    {".attn_norm.bias", ".ln1.bias", 0},
    {".attn_norm_2.weight", ".ln2.weight", 0},
    {".attn_norm_2.bias", ".ln2.bias", 0},
    GGUF_END};

/* Latent attention, and experts as in DeepSeek-V3, under Kimi Linear's names. */
const struct gguf_key gguf_keys_latent[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"q_lora_rank", "attention.q_lora_rank", KEY_INT, false, NULL},
    {"kv_lora_rank", "attention.kv_lora_rank", KEY_INT, true, NULL},
    {"kv_lora_rank", "attention.key_length", KEY_LESS, false, "rope.dimension_count"},
    {"qk_rope_head_dim", "rope.dimension_count", KEY_INT, true, NULL},
    {"qk_nope_head_dim", "attention.key_length_mla", KEY_LESS, true, "rope.dimension_count"},
    {"v_head_dim", "attention.value_length_mla", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", KEY_INT, true, NULL},
    {"num_experts", "expert_count", KEY_INT, true, NULL},
    {"num_shared_experts", "expert_shared_count", KEY_INT, true, NULL},
    {"first_k_dense_replace", "leading_dense_block_count", KEY_INT, true, NULL},
    {"routed_scaling_factor", "expert_weights_scale", KEY_NUM, true, NULL},
    {"moe_renormalize", "expert_weights_norm", KEY_BOOL, false, NULL},
    {"num_expert_group", "expert_group_count", KEY_INT, false, NULL},
    {"topk_group", "expert_group_used_count", KEY_INT, false, NULL},
    GGUF_END};
