/* MiniMax-Text-01 and M1 as GGUF has them: one factor of the residual stream, and what is added to
 * it unchanged. Layers whose keys stand apart attend. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.norm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm.weight", ".post_attention_layernorm.weight", 0},
    {".attn_qkv.weight", ".self_attn.qkv_proj.weight", 0},
    {".attn_gate.weight", ".self_attn.output_gate.weight", 0},
    {".attn_norm_2.weight", ".self_attn.norm.weight", 0},
    {".attn_q.weight", ".self_attn.q_proj.weight", 0},
    {".attn_k.weight", ".self_attn.k_proj.weight", 0},
    {".attn_v.weight", ".self_attn.v_proj.weight", 0},
    {".attn_output.weight", ".self_attn.o_proj.weight", FORM_ATTENDS},
    {".attn_output.weight", ".self_attn.out_proj.weight", 0},
    {".ffn_gate_inp.weight", ".block_sparse_moe.gate.weight", 0},
    {".ffn_gate_inp.weight", ".mlp.gate.weight", FORM_PACKED},
    {".ffn_gate_exps.weight", ".block_sparse_moe.experts.%d.w1.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".block_sparse_moe.experts.%d.w2.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".block_sparse_moe.experts.%d.w3.weight", FORM_EXPERTS},
    {".ffn_gate_exps.weight", ".mlp.experts.gate_up_proj", FORM_GATE},
    {".ffn_up_exps.weight", ".mlp.experts.gate_up_proj", FORM_UP},
    {".ffn_down_exps.weight", ".mlp.experts.down_proj", FORM_PACKED},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"num_attention_heads", "attention.head_count", KEY_MOST, true, NULL},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, true, NULL},
    {"head_dim", "attention.key_length", KEY_INT, true, NULL},
    {"head_dim", "attention.value_length", KEY_INT, false, NULL},
    {"rotary_dim", "rope.dimension_count", KEY_INT, false, NULL},
    {"rope_parameters.rope_theta", "rope.freq_base", KEY_NUM, false, NULL},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"num_local_experts", "expert_count", KEY_INT, true, NULL},
    {"num_experts_per_tok", "expert_used_count", KEY_INT, true, NULL},
    {"full_attn_alpha_factor", "residual_scale", KEY_NUM, true, NULL},
    {"linear_attn_alpha_factor", "residual_scale", KEY_SAME, true, "full_attn_alpha_factor"},
    {"mlp_alpha_factor", "residual_scale", KEY_SAME, true, "full_attn_alpha_factor"},
    {"full_attn_beta_factor", NULL, KEY_CONSTANT, false, "1.0"},
    {"linear_attn_beta_factor", NULL, KEY_CONSTANT, false, "1.0"},
    {"mlp_beta_factor", NULL, KEY_CONSTANT, false, "1.0"},
    GGUF_END};

const struct gguf_map gguf_minimax = {
    .arch = "minimax-01", .model_type = "minimax", .layers = "model.layers.%d",
    .names = {names}, .keys = {keys},
    .types_key = "layer_types", .types = {"linear_attention", "full_attention"},
    .attends = ".attn_k.weight",
    .derived = "slope_rate query_decay key_decay diagonal_decay",
    .ignored = "hidden_act block_size router_jitter_noise shared_moe_mode attn_type_list "
               "sliding_window shared_intermediate_size postnorm output_router_logits "
               "router_aux_loss_coef rope_theta"};
