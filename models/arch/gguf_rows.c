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
