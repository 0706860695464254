/* Kimi Linear as GGUF has it: what takes latents to keys and to values are two tensors, that of the
 * keys turned within each head. Layers with a key/value head are those of latent attention. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.norm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm.weight", ".post_attention_layernorm.weight", 0},
    {".ssm_conv1d_q.weight", ".self_attn.q_conv1d.weight", FORM_FLOAT | FORM_WHOLE},
    {".ssm_conv1d_k.weight", ".self_attn.k_conv1d.weight", FORM_FLOAT | FORM_WHOLE},
    {".ssm_conv1d_v.weight", ".self_attn.v_conv1d.weight", FORM_FLOAT | FORM_WHOLE},
    {".ssm_f_a.weight", ".self_attn.f_a_proj.weight", 0},
    {".ssm_f_b.weight", ".self_attn.f_b_proj.weight", 0},
    {".ssm_beta.weight", ".self_attn.b_proj.weight", 0},
    {".ssm_g_a.weight", ".self_attn.g_a_proj.weight", 0},
    {".ssm_g_b.weight", ".self_attn.g_b_proj.weight", 0},
    {".ssm_a", ".self_attn.A_log", FORM_NEG_EXP | FORM_COLUMN},
    {".ssm_dt.bias", ".self_attn.dt_bias", 0},
    {".ssm_norm.weight", ".self_attn.o_norm.weight", 0},
    {".attn_q_a.weight", ".self_attn.q_a_proj.weight", 0},
    {".attn_q_a_norm.weight", ".self_attn.q_a_layernorm.weight", 0},
    {".attn_q_b.weight", ".self_attn.q_b_proj.weight", 0},
    {".attn_kv_a_mqa.weight", ".self_attn.kv_a_proj_with_mqa.weight", 0},
    {".attn_kv_a_norm.weight", ".self_attn.kv_a_layernorm.weight", 0},
    {".attn_k_b.weight", ".self_attn.k_b_proj.weight", 0},
    {".attn_v_b.weight", ".self_attn.v_b_proj.weight", 0},
    {".attn_k_b.weight", ".self_attn.kv_b_proj.weight", FORM_K_UP},
    {".attn_v_b.weight", ".self_attn.kv_b_proj.weight", FORM_V_UP},
    {".attn_kv_b.weight", ".self_attn.kv_b_proj.weight", 0},
    {".ffn_gate.weight", ".mlp.gate_proj.weight", 0},
    {".ffn_up.weight", ".mlp.up_proj.weight", 0},
    {".ffn_down.weight", ".mlp.down_proj.weight", 0},
    {".ffn_gate.weight", ".block_sparse_moe.gate_proj.weight", FORM_PACKED},
    {".ffn_up.weight", ".block_sparse_moe.up_proj.weight", FORM_PACKED},
    {".ffn_down.weight", ".block_sparse_moe.down_proj.weight", FORM_PACKED},
    {".ffn_gate_inp.weight", ".block_sparse_moe.gate.weight", 0},
    {".exp_probs_b.bias", ".block_sparse_moe.gate.e_score_correction_bias", 0},
    {".ffn_gate_exps.weight", ".block_sparse_moe.experts.%d.w1.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".block_sparse_moe.experts.%d.w3.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".block_sparse_moe.experts.%d.w2.weight", FORM_EXPERTS},
    {".ffn_gate_shexp.weight", ".block_sparse_moe.shared_experts.gate_proj.weight", 0},
    {".ffn_up_shexp.weight", ".block_sparse_moe.shared_experts.up_proj.weight", 0},
    {".ffn_down_shexp.weight", ".block_sparse_moe.shared_experts.down_proj.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"linear_attn_config.num_heads", "attention.head_count", KEY_SAME, true, "num_attention_heads"},
    {"linear_attn_config.head_dim", "kda.head_dim", KEY_INT, true, NULL},
    {"linear_attn_config.short_conv_kernel_size", "ssm.conv_kernel", KEY_INT, true, NULL},
    {"num_experts_per_token", "expert_used_count", KEY_INT, true, NULL},
    {"moe_router_activation_func", "expert_gating_func", KEY_WORD, false, "none softmax sigmoid"},
    {"moe_layer_freq", NULL, KEY_MUST, false, "1"},
    {"mla_use_nope", NULL, KEY_CONSTANT, false, "true"},
    GGUF_END};

const struct gguf_map gguf_kimi_linear = {
    .arch = "kimi-linear", .model_type = "kimi_linear", .layers = "model.layers.%d",
    .names = {names, gguf_names_attention}, .keys = {gguf_keys_latent, keys},
    .types_key = "layer_types", .types = {"linear_attention", "full_attention"},
    .ignored = "hidden_act attention_bias linear_conv_kernel_dim linear_head_dim linear_num_heads "
               "linear_attn_config mlp_layer_types num_key_value_heads head_dim qk_head_dim "
               "model_max_length pretraining_tp rope_theta rope_scaling num_nextn_predict_layers "
               "use_grouped_topk ep_size seq_aux topk_method scoring_func aux_loss_alpha"};
