/* RWKV-7 as GGUF has it. The six mixing vectors are one tensor. In layer 0 the tensors of the value
 * residual are copies of others: there is nothing to mix with. recurd.l2_in_root is ours: where the
 * key's norm has its epsilon; without it, as in the original. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embeddings.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"token_embd_norm.weight", "model.layers.0.pre_norm.weight", 0},
    {"token_embd_norm.bias", "model.layers.0.pre_norm.bias", 0},
    {"output_norm.weight", "model.norm.weight", 0},
    {"output_norm.bias", "model.norm.bias", 0},
    {".attn_norm.weight", ".attn_norm.weight", 0},
    {".attn_norm.bias", ".attn_norm.bias", 0},
    {".attn_norm_2.weight", ".ffn_norm.weight", 0},
    {".attn_norm_2.bias", ".ffn_norm.bias", 0},
    {".time_mix_ln.weight", ".attn.g_norm.weight", 0},
    {".time_mix_ln.bias", ".attn.g_norm.bias", 0},
    {".time_mix_lerp_fused.weight", ".attn.x_x", FORM_FLOAT},
    {".time_mix_lerp_fused.weight", ".attn.x_{rwkvag}", FORM_STACK | FORM_FLOAT},
    {".time_mix_w1.weight", ".attn.w_lora.lora.0.weight", 0},
    {".time_mix_w2.weight", ".attn.w_lora.lora.2.weight", 0},
    {".time_mix_w0.weight", ".attn.w_lora.lora.2.bias", 0},
    {".time_mix_a1.weight", ".attn.a_lora.lora.0.weight", 0},
    {".time_mix_a2.weight", ".attn.a_lora.lora.2.weight", 0},
    {".time_mix_a0.weight", ".attn.a_lora.lora.2.bias", 0},
    {".time_mix_v1.weight", ".attn.v_lora.lora.0.weight", FORM_TWIN},
    {".time_mix_v2.weight", ".attn.v_lora.lora.2.weight", FORM_TWIN},
    {".time_mix_v0.weight", ".attn.v_lora.lora.2.bias", FORM_TWIN},
    {".time_mix_g1.weight", ".attn.g_lora.lora.0.weight", 0},
    {".time_mix_g2.weight", ".attn.g_lora.lora.2.weight", 0},
    {".time_mix_v1.weight", ".attn.a_lora.lora.0.weight", FORM_FIRST},
    {".time_mix_v2.weight", ".attn.a_lora.lora.2.weight", FORM_FIRST},
    {".time_mix_v0.weight", ".attn.a_lora.lora.2.bias", FORM_FIRST},
    {".time_mix_k_k.weight", ".attn.k_k", 0},
    {".time_mix_k_a.weight", ".attn.k_a", 0},
    {".time_mix_r_k.weight", ".attn.r_k", FORM_ROW},
    {".time_mix_key.weight", ".attn.k_proj.weight", 0},
    {".time_mix_value.weight", ".attn.v_proj.weight", 0},
    {".time_mix_receptance.weight", ".attn.r_proj.weight", 0},
    {".time_mix_output.weight", ".attn.o_proj.weight", 0},
    {".channel_mix_lerp_k.weight", ".ffn.x_k", FORM_FLOAT},
    {".channel_mix_key.weight", ".ffn.key.weight", 0},
    {".channel_mix_value.weight", ".ffn.value.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"norm_eps", "attention.layer_norm_epsilon", KEY_NUM, true, NULL},
    {"head_dim", "wkv.head_size", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_ROWS, true, "model.layers.0.ffn.key.weight"},
    {"decay_low_rank_dim",
     "attention.decay_lora_rank", KEY_ROWS, true, "model.layers.0.attn.w_lora.lora.0.weight"},
    {"a_low_rank_dim",
     "attention.iclr_lora_rank", KEY_ROWS, true, "model.layers.0.attn.a_lora.lora.0.weight"},
    {"v_low_rank_dim",
     "attention.value_residual_mix_lora_rank", KEY_ROWS, true,
     "model.layers.1.attn.v_lora.lora.0.weight"},
    {"gate_low_rank_dim",
     "attention.gate_lora_rank", KEY_ROWS, true, "model.layers.0.attn.g_lora.lora.0.weight"},
    {"fuse_norm", "recurd.l2_in_root", KEY_BOOL, false, NULL},
    {"fuse_norm", NULL, KEY_CONSTANT, false, "false"},
    {"norm_bias", NULL, KEY_CONSTANT, false, "true"},
    {"norm_first", NULL, KEY_CONSTANT, false, "true"},
    GGUF_END};

const struct gguf_map gguf_rwkv7 = {
    .arch = "rwkv7", .model_type = "rwkv7", .layers = "model.layers.%d",
    .names = {names}, .keys = {keys},
    .ignored = "hidden_act hidden_ratio num_heads value_dim attn attnres_block_size"};

/* Written also from the RWKV project's own names, whose low-rank matrices are stored turned. */
static const struct gguf_name own[] = {
    {".time_mix_ln.weight", ".att.ln_x.weight", 0},
    {".time_mix_ln.bias", ".att.ln_x.bias", 0},
    {".time_mix_lerp_fused.weight", ".att.x_{rwkvag}", FORM_STACK | FORM_FLOAT},
    {".time_mix_w1.weight", ".att.w1", FORM_TURNED},
    {".time_mix_w2.weight", ".att.w2", FORM_TURNED},
    {".time_mix_w0.weight", ".att.w0", 0},
    {".time_mix_a1.weight", ".att.a1", FORM_TURNED},
    {".time_mix_a2.weight", ".att.a2", FORM_TURNED},
    {".time_mix_a0.weight", ".att.a0", 0},
    {".time_mix_v1.weight", ".att.v1", FORM_TURNED | FORM_TWIN},
    {".time_mix_v2.weight", ".att.v2", FORM_TURNED | FORM_TWIN},
    {".time_mix_v0.weight", ".att.v0", FORM_TWIN},
    {".time_mix_g1.weight", ".att.g1", FORM_TURNED},
    {".time_mix_g2.weight", ".att.g2", FORM_TURNED},
    {".time_mix_v1.weight", ".att.a1", FORM_TURNED | FORM_FIRST},
    {".time_mix_v2.weight", ".att.a2", FORM_TURNED | FORM_FIRST},
    {".time_mix_v0.weight", ".att.a0", FORM_FIRST},
    {".time_mix_k_k.weight", ".att.k_k", 0},
    {".time_mix_k_a.weight", ".att.k_a", 0},
    {".time_mix_r_k.weight", ".att.r_k", FORM_ROW},
    {".time_mix_key.weight", ".att.key.weight", 0},
    {".time_mix_value.weight", ".att.value.weight", 0},
    {".time_mix_receptance.weight", ".att.receptance.weight", 0},
    {".time_mix_output.weight", ".att.output.weight", 0},
    {".channel_mix_lerp_k.weight", ".ffn.x_k", FORM_FLOAT},
    {".channel_mix_key.weight", ".ffn.key.weight", 0},
    {".channel_mix_value.weight", ".ffn.value.weight", 0},
    GGUF_END};

static const struct gguf_key own_keys[] = {
    {"norm_eps", "attention.layer_norm_epsilon", KEY_NUM, true, NULL},
    {"head_dim", "wkv.head_size", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_ROWS, true, "blocks.0.ffn.key.weight"},
    {"decay_low_rank_dim", "attention.decay_lora_rank", KEY_ROWS, true, "blocks.0.att.w2"},
    {"a_low_rank_dim", "attention.iclr_lora_rank", KEY_ROWS, true, "blocks.0.att.a2"},
    {"v_low_rank_dim",
     "attention.value_residual_mix_lora_rank", KEY_ROWS, true, "blocks.1.att.v2"},
    {"gate_low_rank_dim", "attention.gate_lora_rank", KEY_ROWS, true, "blocks.0.att.g2"},
    GGUF_END};

const struct gguf_map gguf_rwkv7_own = {
    .arch = "rwkv7", .model_type = "rwkv7", .layers = "blocks.%d",
    .names = {gguf_names_rwkv, own}, .keys = {own_keys},
    .ignored = "hidden_act hidden_ratio num_heads value_dim attn norm_bias norm_first"};
