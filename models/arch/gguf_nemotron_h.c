/* Nemotron-H and Nemotron 3 as GGUF has them. */
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
    {".ssm_dt.bias", ".mixer.dt_bias", 0},
    {".ssm_a", ".mixer.A_log", FORM_NEG_EXP | FORM_COLUMN},
    {".ssm_d", ".mixer.D", FORM_COLUMN},
    {".ssm_norm.weight", ".mixer.norm.weight", FORM_GROUPS},
    {".attn_q.weight", ".mixer.q_proj.weight", 0},
    {".attn_k.weight", ".mixer.k_proj.weight", 0},
    {".attn_v.weight", ".mixer.v_proj.weight", 0},
    {".attn_output.weight", ".mixer.o_proj.weight", 0},
    {".attn_q.bias", ".mixer.q_proj.bias", 0},
    {".attn_k.bias", ".mixer.k_proj.bias", 0},
    {".attn_v.bias", ".mixer.v_proj.bias", 0},
    {".attn_output.bias", ".mixer.o_proj.bias", 0},
    {".ffn_up.weight", ".mixer.up_proj.weight", 0},
    {".ffn_down.weight", ".mixer.down_proj.weight", 0},
    {".ffn_gate_inp.weight", ".mixer.gate.weight", 0},
    {".exp_probs_b.bias", ".mixer.gate.e_score_correction_bias", 0},
    {".ffn_up_exps.weight", ".mixer.experts.%d.up_proj.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".mixer.experts.%d.down_proj.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".mixer.experts.up_proj", FORM_PACKED},
    {".ffn_down_exps.weight", ".mixer.experts.down_proj", FORM_PACKED},
    {".ffn_up_shexp.weight", ".mixer.shared_experts.up_proj.weight", 0},
    {".ffn_down_shexp.weight", ".mixer.shared_experts.down_proj.weight", 0},
    {".ffn_latent_down.weight", ".mixer.fc1_latent_proj.weight", 0},
    {".ffn_latent_up.weight", ".mixer.fc2_latent_proj.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"layer_norm_epsilon", "attention.layer_norm_rms_epsilon", KEY_NUM, false, NULL},
    {"layer_norm_epsilon", "attention.layer_norm_epsilon", KEY_NUM, false, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, true, NULL},
    {"head_dim", "attention.key_length", KEY_INT, true, NULL},
    {"conv_kernel", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"ssm_state_size", "ssm.state_size", KEY_INT, true, NULL},
    {"n_groups", "ssm.group_count", KEY_INT, true, NULL},
    {"mamba_num_heads", "ssm.time_step_rank", KEY_INT, true, NULL},
    {"mamba_head_dim", "ssm.inner_size", KEY_QUOTIENT, true, "ssm.time_step_rank"},
    {"use_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mamba_proj_bias", NULL, KEY_CONSTANT, false, "false"},
    {"mlp_bias", NULL, KEY_CONSTANT, false, "false"},
    {"use_conv_bias", NULL, KEY_CONSTANT, false, "true"},
    {"attention_bias", NULL, KEY_CONSTANT, false, "true"},
    GGUF_END};

static const struct gguf_key keys_dense[] = {
    {"intermediate_size", "feed_forward_length", KEY_MOST, true, NULL},
    GGUF_END};

static const struct gguf_key keys_moe[] = {
    {"n_routed_experts", "expert_count", KEY_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", KEY_INT, true, NULL},
    {"moe_intermediate_size", "expert_feed_forward_length", KEY_INT, true, NULL},
    {"moe_shared_expert_intermediate_size",
     "expert_shared_feed_forward_length", KEY_INT, false, NULL},
    {"n_shared_experts", "expert_shared_count", KEY_INT, false, NULL},
    {"norm_topk_prob", "expert_weights_norm", KEY_BOOL, false, NULL},
    {"routed_scaling_factor", "expert_weights_scale", KEY_NUM, false, NULL},
    {"n_group", "expert_group_count", KEY_INT, false, NULL},
    {"topk_group", "expert_group_used_count", KEY_INT, false, NULL},
    {"moe_latent_size", "moe_latent_size", KEY_INT, false, NULL},
    GGUF_END};

const struct gguf_map gguf_nemotron_h = {
    .arch = "nemotron_h", .model_type = "nemotron_h", .layers = "backbone.layers.%d",
    .names = {names}, .keys = {keys, keys_dense},
    .types_key = "layers_block_type", .types = {"linear_attention", "full_attention", "mlp", "moe"},
    .ignored = "attention_bias "
               "hidden_act output_router_logits router_aux_loss_coef num_logits_to_keep "
               "pretraining_tp init_method rope_theta rope_scaling normalization_function "
               "time_step_limit time_step_min time_step_max time_step_floor mamba_chunk_size "
               "chunk_size embd_pdrop resid_pdrop hidden_dropout z_loss_coefficient head_dim "
               "expand mlp_hidden_act mamba_hidden_act mamba_ssm_cache_dtype "
               "moe_shared_expert_overlap mtp_layers_block_type mtp_hybrid_override_pattern "
               "num_nextn_predict_layers rescale_prenorm_residual residual_in_fp32 "
               "sliding_window use_mamba_kernels rope_parameters partial_rotary_factor "
               "norm_eps hybrid_override_pattern n_routed_experts num_experts_per_tok "
               "moe_intermediate_size moe_shared_expert_intermediate_size n_shared_experts "
               "norm_topk_prob routed_scaling_factor n_group topk_group moe_latent_size"};

const struct gguf_map gguf_nemotron_h_moe = {
    .arch = "nemotron_h_moe", .model_type = "nemotron_h", .layers = "backbone.layers.%d",
    .names = {names}, .keys = {keys, keys_moe},
    .types_key = "layers_block_type", .types = {"linear_attention", "full_attention", "mlp", "moe"},
    .ignored = "attention_bias "
               "hidden_act output_router_logits router_aux_loss_coef num_logits_to_keep "
               "pretraining_tp init_method rope_theta rope_scaling normalization_function "
               "time_step_limit time_step_min time_step_max time_step_floor mamba_chunk_size "
               "chunk_size embd_pdrop resid_pdrop hidden_dropout z_loss_coefficient head_dim "
               "expand mlp_hidden_act mamba_hidden_act mamba_ssm_cache_dtype "
               "moe_shared_expert_overlap mtp_layers_block_type mtp_hybrid_override_pattern "
               "num_nextn_predict_layers rescale_prenorm_residual residual_in_fp32 "
               "sliding_window use_mamba_kernels rope_parameters partial_rotary_factor "
               "norm_eps hybrid_override_pattern intermediate_size"};
