/* PLaMo 2 as GGUF has it: the norms' weights with what is added to them. Some names
 * have no .weight. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.norm.weight", FORM_ADD_ONE},
    {".attn_norm.weight", ".pre_mixer_norm.weight", FORM_ADD_ONE},
    {".post_attention_norm", ".post_mixer_norm.weight", FORM_ADD_5TH},
    {".post_attention_norm.weight", ".post_mixer_norm.weight", FORM_ADD_5TH},
    {".ffn_norm.weight", ".pre_mlp_norm.weight", FORM_ADD_ONE},
    {".post_ffw_norm", ".post_mlp_norm.weight", FORM_ADD_11TH},
    {".post_ffw_norm.weight", ".post_mlp_norm.weight", FORM_ADD_11TH},
    {".ffn_up.weight", ".mlp.gate_up_proj.weight", 0},
    {".ffn_down.weight", ".mlp.down_proj.weight", 0},
    {".attn_qkv.weight", ".mixer.qkv_proj.weight", 0},
    {".attn_q_norm.weight", ".mixer.q_weight", FORM_FLOAT},
    {".attn_k_norm.weight", ".mixer.k_weight", FORM_FLOAT},
    {".attn_output.weight", ".mixer.o_proj.weight", 0},
    {".ssm_in.weight", ".mixer.in_proj.weight", 0},
    {".ssm_conv1d.weight", ".mixer.conv1d.weight", FORM_FLOAT},
    {".ssm_x.weight", ".mixer.bcdt_proj.weight", 0},
    {".ssm_dt.weight", ".mixer.dt_proj.weight", 0},
    {".ssm_dt.bias", ".mixer.dt_bias", 0},
    {".ssm_a", ".mixer.A_log", FORM_NEG_EXP},
    {".ssm_d", ".mixer.D", 0},
    {".ssm_dt_norm", ".mixer.dt_norm_weight", 0},
    {".ssm_dt_norm.weight", ".mixer.dt_norm_weight", 0},
    {".ssm_b_norm", ".mixer.B_norm_weight", 0},
    {".ssm_b_norm.weight", ".mixer.B_norm_weight", 0},
    {".ssm_c_norm", ".mixer.C_norm_weight", 0},
    {".ssm_c_norm.weight", ".mixer.C_norm_weight", 0},
    {".ssm_out.weight", ".mixer.out_proj.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, true, NULL},
    {"hidden_size_per_head", "attention.key_length", KEY_INT, true, NULL},
    {"hidden_size_per_head", "attention.value_length", KEY_INT, false, NULL},
    {"hidden_size_per_head", "ssm.inner_size", KEY_QUOTIENT, false, "ssm.time_step_rank"},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"rope_theta", "rope.freq_base", KEY_NUM, false, NULL},
    {"mamba_d_state", "ssm.state_size", KEY_INT, true, NULL},
    {"mamba_d_conv", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"mamba_num_heads", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"ssm_group_count", "ssm.group_count", KEY_FIXED, false, "0"},
    GGUF_END};

const struct gguf_map gguf_plamo2 = {
    .arch = "plamo2", .model_type = "plamo2", .layers = "model.layers.layers.%d",
    .names = {names}, .keys = {keys},
    .types_key = "layer_types", .types = {"mamba", "attention"}, .attends = ".attn_qkv.weight",
    .ignored = "hidden_act attention_window_size full_attention_idx mamba_chunk_size mamba_step "
               "mamba_enabled head_dim rope_scaling rope_parameters"};
