/* Mamba and Mamba-2 as GGUF has them. A Mamba-2 of GGUF norms every group on its own. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "backbone.embeddings.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "backbone.norm_f.weight", 0},
    {".attn_norm.weight", ".norm.weight", 0},
    {".ssm_in.weight", ".mixer.in_proj.weight", 0},
    {".ssm_conv1d.weight", ".mixer.conv1d.weight", FORM_FLOAT},
    {".ssm_conv1d.bias", ".mixer.conv1d.bias", 0},
    {".ssm_out.weight", ".mixer.out_proj.weight", 0},
    GGUF_END};

static const struct gguf_name names_1[] = {
    {".ssm_x.weight", ".mixer.x_proj.weight", 0},
    {".ssm_dt.weight", ".mixer.dt_proj.weight", 0},
    {".ssm_dt.bias", ".mixer.dt_proj.bias", 0},
    {".ssm_a", ".mixer.A_log", FORM_NEG_EXP | FORM_FLOAT},
    {".ssm_d", ".mixer.D", 0},
    GGUF_END};

static const struct gguf_name names_2[] = {
    {".ssm_dt.bias", ".mixer.dt_bias", 0},
    {".ssm_a", ".mixer.A_log", FORM_NEG_EXP | FORM_COLUMN},
    {".ssm_d", ".mixer.D", FORM_COLUMN},
    {".ssm_norm.weight", ".mixer.norm.weight", FORM_GROUPS},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"conv_kernel", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"state_size", "ssm.state_size", KEY_INT, true, NULL},
    {"use_bias", NULL, KEY_CONSTANT, false, "false"},
    {"use_conv_bias", NULL, KEY_CONSTANT, false, "true"},
    {"hidden_act", NULL, KEY_CONSTANT, false, "\"silu\""},
    GGUF_END};

static const struct gguf_key keys_1[] = {
    {"model_type", "ssm.dt_b_c_rms", KEY_EITHER, false, "falcon_mamba mamba"},
    {"layer_norm_epsilon", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"intermediate_size", "ssm.inner_size", KEY_INT, true, NULL},
    {"time_step_rank", "ssm.time_step_rank", KEY_INT, true, NULL},
    GGUF_END};

static const struct gguf_key keys_2[] = {
    {"layer_norm_epsilon", "attention.layer_norm_rms_epsilon", KEY_ALIAS, false, "n_groups"},
    {"norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"expand", "ssm.inner_size", KEY_RATIO, true, "embedding_length"},
    {"n_groups", "ssm.group_count", KEY_INT, true, NULL},
    {"num_heads", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"head_dim", "ssm.inner_size", KEY_QUOTIENT, true, "ssm.time_step_rank"},
    {"rmsnorm", NULL, KEY_CONSTANT, false, "true"},
    {"norm_before_gate", NULL, KEY_CONSTANT, false, "false"},
    {"rms_norm", NULL, KEY_MUST, false, "true"},
    {"D_has_hdim", NULL, KEY_MUST, false, "false"},
    GGUF_END};

const struct gguf_map gguf_mamba = {
    .arch = "mamba", .model_type = "mamba", .layers = "backbone.layers.%d",
    .names = {names, names_1}, .keys = {keys, keys_1},
    .ignored = "expand hidden_dropout_prob residual_in_fp32 dt_init_floor dt_init_scheme "
               "dt_max dt_min dt_scale time_step_floor time_step_init_scheme time_step_max "
               "time_step_min time_step_scale use_associative_scan use_mambapy mixer_rms_eps "
               "use_falcon_mambapy rescale_prenorm_residual dt_rank A_init_range chunk_size "
               "conv_init mamba_chunk_size mamba_ssm_cache_dtype time_step_rank "
               "use_mamba_kernels use_mem_eff_path intermediate_size"};

const struct gguf_map gguf_mamba2 = {
    .arch = "mamba2", .model_type = "mamba2", .layers = "backbone.layers.%d",
    .names = {names, names_2}, .keys = {keys, keys_2},
    .ignored = "expand hidden_dropout_prob residual_in_fp32 dt_init_floor dt_init_scheme "
               "dt_max dt_min dt_scale time_step_floor time_step_init_scheme time_step_max "
               "time_step_min time_step_scale use_associative_scan use_mambapy mixer_rms_eps "
               "use_falcon_mambapy rescale_prenorm_residual dt_rank A_init_range chunk_size "
               "conv_init mamba_chunk_size mamba_ssm_cache_dtype time_step_rank "
               "use_mamba_kernels use_mem_eff_path intermediate_size dt_limit "
               "time_step_limit"};
