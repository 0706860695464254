/* RWKV-6 as GGUF has it, under the RWKV project's own names; low-rank matrices are stored the other
 * way round, the five mixing vectors as one tensor or each by itself. Usual writers divide the
 * matrices that end each half of a layer by 2^(layer / rescale_every_n_layers), and readers halve
 * the stream after as many layers: kept so, since the norms' epsilon sees the halves. Of what was
 * not divided nothing is: the key is then left out, which means never. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {".time_mix_w1.weight", ".att.time_maa_w1", FORM_TURNED | FORM_FLOAT},
    {".time_mix_w2.weight", ".att.time_maa_w2", FORM_TURNED | FORM_FLOAT},
    {".time_mix_lerp_x.weight", ".att.time_maa_x", FORM_FLOAT},
    {".time_mix_lerp_fused.weight", ".att.time_maa_fused", FORM_FLOAT},
    {".time_mix_lerp_fused.weight", ".att.time_maa_{wkvrg}", FORM_STACK | FORM_FLOAT},
    {".time_mix_lerp_w.weight", ".att.time_maa_w", FORM_FLOAT},
    {".time_mix_lerp_k.weight", ".att.time_maa_k", FORM_FLOAT},
    {".time_mix_lerp_v.weight", ".att.time_maa_v", FORM_FLOAT},
    {".time_mix_lerp_r.weight", ".att.time_maa_r", FORM_FLOAT},
    {".time_mix_lerp_g.weight", ".att.time_maa_g", FORM_FLOAT},
    {".time_mix_first.weight", ".att.time_faaaa", FORM_FLOAT},
    {".time_mix_decay.weight", ".att.time_decay", FORM_FLOAT},
    {".time_mix_decay_w1.weight", ".att.time_decay_w1", FORM_TURNED | FORM_FLOAT},
    {".time_mix_decay_w2.weight", ".att.time_decay_w2", FORM_TURNED | FORM_FLOAT},
    {".time_mix_key.weight", ".att.key.weight", 0},
    {".time_mix_value.weight", ".att.value.weight", 0},
    {".time_mix_receptance.weight", ".att.receptance.weight", 0},
    {".time_mix_gate.weight", ".att.gate.weight", 0},
    {".time_mix_ln.weight", ".att.ln_x.weight", 0},
    {".time_mix_ln.bias", ".att.ln_x.bias", 0},
    {".time_mix_output.weight", ".att.output.weight", 0},
    {".channel_mix_lerp_k.weight", ".ffn.time_maa_k", FORM_FLOAT},
    {".channel_mix_lerp_r.weight", ".ffn.time_maa_r", FORM_FLOAT},
    {".channel_mix_key.weight", ".ffn.key.weight", 0},
    {".channel_mix_value.weight", ".ffn.value.weight", 0},
    {".channel_mix_receptance.weight", ".ffn.receptance.weight", 0},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"layer_norm_epsilon", "attention.layer_norm_epsilon", KEY_NUM, true, NULL},
    {"head_size", "wkv.head_size", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_ROWS, true, "blocks.0.ffn.key.weight"},
    {"time_mix_extra_dim", "time_mix_extra_dim", KEY_ROWS, true, "blocks.0.att.time_maa_w2"},
    {"time_decay_extra_dim",
     "time_decay_extra_dim", KEY_ROWS, true, "blocks.0.att.time_decay_w2"},
    {"rescaled_every", "rescale_every_n_layers", KEY_INT, false, NULL},
    GGUF_END};

const struct gguf_map gguf_rwkv6 = {
    .arch = "rwkv6", .model_type = "rwkv6", .layers = "blocks.%d",
    .names = {gguf_names_rwkv, names}, .keys = {keys},
    .ignored = "num_attention_heads attention_hidden_size rescale_every"};
