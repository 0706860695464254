/* RWKV's time mixing in Qwen2's layers as GGUF has it: QRWKV6 and ARWKV. Low-rank matrices are
 * stored the other way round. The five parts of QRWKV6's first low-rank pair are r, k, v, w, g in
 * its checkpoints, w, k, v, r, g in the file. */
#include "models/files/gguf_map.h"

static const struct gguf_name frame[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.norm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm.weight", ".post_attention_layernorm.weight", 0},
    {".ffn_gate.weight", ".mlp.gate_proj.weight", 0},
    {".ffn_up.weight", ".mlp.up_proj.weight", 0},
    {".ffn_down.weight", ".mlp.down_proj.weight", 0},
    GGUF_END};

#define LOW (FORM_TURNED | FORM_FLOAT)

static const struct gguf_name names_6[] = {
    {".time_mix_w1.weight", ".self_attn.time_maa_w1", LOW | FORM_FIFTHS},
    {".time_mix_w2.weight", ".self_attn.time_maa_w2", LOW | FORM_FIFTHS},
    {".time_mix_lerp_x.weight", ".self_attn.time_maa_x", FORM_FLOAT},
    {".time_mix_lerp_fused.weight", ".self_attn.time_maa_fused", FORM_FLOAT},
    {".time_mix_lerp_fused.weight", ".self_attn.time_maa_{wkvrg}", FORM_STACK | FORM_FLOAT},
    {".time_mix_decay.weight", ".self_attn.time_decay", FORM_FLOAT},
    {".time_mix_decay_w1.weight", ".self_attn.time_decay_w1", LOW},
    {".time_mix_decay_w2.weight", ".self_attn.time_decay_w2", LOW},
    {".time_mix_key.weight", ".self_attn.k_proj.weight", 0},
    {".time_mix_key.bias", ".self_attn.k_proj.bias", 0},
    {".time_mix_value.weight", ".self_attn.v_proj.weight", 0},
    {".time_mix_value.bias", ".self_attn.v_proj.bias", 0},
    {".time_mix_receptance.weight", ".self_attn.q_proj.weight", 0},
    {".time_mix_receptance.bias", ".self_attn.q_proj.bias", 0},
    {".time_mix_gate.weight", ".self_attn.gate.weight", 0},
    {".time_mix_output.weight", ".self_attn.o_proj.weight", 0},
    GGUF_END};

static const struct gguf_name names_7[] = {
    {".time_mix_lerp_fused.weight", ".self_attn.time_mixer.x_x", FORM_FLOAT},
    {".time_mix_lerp_fused.weight", ".self_attn.time_mixer.x_{rwkvag}", FORM_STACK | FORM_FLOAT},
    {".time_mix_w1.weight", ".self_attn.time_mixer.w1", LOW},
    {".time_mix_w2.weight", ".self_attn.time_mixer.w2", LOW},
    {".time_mix_w0.weight", ".self_attn.time_mixer.w0", FORM_FLOAT},
    {".time_mix_a1.weight", ".self_attn.time_mixer.a1", LOW},
    {".time_mix_a2.weight", ".self_attn.time_mixer.a2", LOW},
    {".time_mix_a0.weight", ".self_attn.time_mixer.a0", FORM_FLOAT},
    {".time_mix_v1.weight", ".self_attn.time_mixer.v1", LOW | FORM_TWIN},
    {".time_mix_v2.weight", ".self_attn.time_mixer.v2", LOW | FORM_TWIN},
    {".time_mix_v0.weight", ".self_attn.time_mixer.v0", FORM_FLOAT | FORM_TWIN},
    {".time_mix_v1.weight", ".self_attn.time_mixer.a1", LOW | FORM_FIRST},
    {".time_mix_v2.weight", ".self_attn.time_mixer.a2", LOW | FORM_FIRST},
    {".time_mix_v0.weight", ".self_attn.time_mixer.a0", FORM_FLOAT | FORM_FIRST},
    {".time_mix_g1.weight", ".self_attn.time_mixer.g1", LOW},
    {".time_mix_g2.weight", ".self_attn.time_mixer.g2", LOW},
    {".time_mix_k_k.weight", ".self_attn.time_mixer.k_k", FORM_FLOAT},
    {".time_mix_k_a.weight", ".self_attn.time_mixer.k_a", FORM_FLOAT},
    {".time_mix_r_k.weight", ".self_attn.time_mixer.r_k", FORM_ROW},
    {".time_mix_key.weight", ".self_attn.time_mixer.key.weight", 0},
    {".time_mix_value.weight", ".self_attn.time_mixer.value.weight", 0},
    {".time_mix_receptance.weight", ".self_attn.time_mixer.receptance.weight", 0},
    {".time_mix_ln.weight", ".self_attn.time_mixer.ln_x.weight", 0},
    {".time_mix_ln.bias", ".self_attn.time_mixer.ln_x.bias", 0},
    {".time_mix_output.weight", ".self_attn.time_mixer.output.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", KEY_NUM, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_INT, true, NULL},
    {"token_shift_count", "token_shift_count", KEY_FIXED, false, "1"},
    GGUF_END};

static const struct gguf_key keys_6[] = {
    {"num_attention_heads", "wkv.head_size", KEY_DIVISOR, true, "embedding_length"},
    {"num_key_value_heads", "attention.head_count_kv", KEY_MOST, false, NULL},
    {"lora_rank_tokenshift",
     "time_mix_extra_dim", KEY_ROWS, true, "model.layers.0.self_attn.time_maa_w2"},
    {"lora_rank_decay",
     "time_decay_extra_dim", KEY_ROWS, true, "model.layers.0.self_attn.time_decay_w2"},
    {"attention_bias", "blk.0.time_mix_key.bias", KEY_TENSOR, false, NULL},
    GGUF_END};

static const struct gguf_key keys_7[] = {
    {"head_size", "wkv.head_size", KEY_INT, true, NULL},
    {"head_size_divisor", NULL, KEY_CONSTANT, false, "8"},
    {"wkv_version", NULL, KEY_CONSTANT, false, "7"},
    {"wkv_has_gate", "blk.0.time_mix_g1.weight", KEY_TENSOR, false, NULL},
    {"wkv_has_group_norm", "blk.0.time_mix_ln.weight", KEY_TENSOR, false, NULL},
    {"lora_rank_decay",
     "attention.decay_lora_rank", KEY_ROWS, true, "model.layers.0.self_attn.time_mixer.w2"},
    {"lora_rank_iclr",
     "attention.iclr_lora_rank", KEY_ROWS, true, "model.layers.0.self_attn.time_mixer.a2"},
    {"lora_rank_value_residual_mix",
     "attention.value_residual_mix_lora_rank", KEY_ROWS, true,
     "model.layers.1.self_attn.time_mixer.v2"},
    {"lora_rank_gate",
     "attention.gate_lora_rank", KEY_ROWS, false, "model.layers.0.self_attn.time_mixer.g2"},
    GGUF_END};

const struct gguf_map gguf_rwkv6qwen2 = {
    .arch = "rwkv6qwen2", .model_type = "rwkv6qwen2", .layers = "model.layers.%d",
    .names = {frame, names_6}, .keys = {keys, keys_6},
    .ignored = "hidden_act max_window_layers rope_theta rope_scaling rope_parameters "
               "sliding_window use_sliding_window lora_rank_gate gate_rank_type balance_state "
               "use_tokenshift use_rope groupnorm_att attention_output_bias"};

const struct gguf_map gguf_arwkv7 = {
    .arch = "arwkv7", .model_type = "rwkv_hybrid", .layers = "model.layers.%d",
    .names = {frame, names_7}, .keys = {keys, keys_7},
    .ignored = "hidden_act max_window_layers rope_theta rope_scaling rope_parameters "
               "sliding_window use_sliding_window num_attention_heads num_key_value_heads "
               "num_wkv_heads"};
