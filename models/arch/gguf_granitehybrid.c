/* Granite 4 hybrids as GGUF has them: q and k in the order of interleaved rotation. */
#include "models/files/gguf_map.h"

static const struct gguf_name names[] = {
    {"token_embd.weight", "model.embed_tokens.weight", 0},
    {"output.weight", "lm_head.weight", 0},
    {"output_norm.weight", "model.norm.weight", 0},
    {".attn_norm.weight", ".input_layernorm.weight", 0},
    {".ffn_norm.weight", ".post_attention_layernorm.weight", 0},
    {".attn_q.weight", ".self_attn.q_proj.weight", FORM_ROPE_Q},
    {".attn_k.weight", ".self_attn.k_proj.weight", FORM_ROPE_K},
    {".attn_v.weight", ".self_attn.v_proj.weight", 0},
    {".attn_output.weight", ".self_attn.o_proj.weight", 0},
    {".ffn_gate.weight", ".shared_mlp.gate_proj.weight", 0},
    {".ffn_up.weight", ".shared_mlp.up_proj.weight", 0},
    {".ffn_down.weight", ".shared_mlp.output_linear.weight", FORM_DENSE},
    {".ffn_gate.weight", ".shared_mlp.input_linear.weight", FORM_GATE | FORM_DENSE},
    {".ffn_up.weight", ".shared_mlp.input_linear.weight", FORM_UP | FORM_DENSE},
    {".ffn_gate_shexp.weight", ".shared_mlp.gate_proj.weight", 0},
    {".ffn_up_shexp.weight", ".shared_mlp.up_proj.weight", 0},
    {".ffn_down_shexp.weight", ".shared_mlp.output_linear.weight", FORM_SPARSE},
    {".ffn_gate_shexp.weight", ".shared_mlp.input_linear.weight", FORM_GATE | FORM_SPARSE},
    {".ffn_up_shexp.weight", ".shared_mlp.input_linear.weight", FORM_UP | FORM_SPARSE},
    {".ffn_gate_inp.weight", ".block_sparse_moe.router.layer.weight", 0},
    {".ffn_gate_exps.weight", ".block_sparse_moe.experts.%d.gate_proj.weight", FORM_EXPERTS},
    {".ffn_up_exps.weight", ".block_sparse_moe.experts.%d.up_proj.weight", FORM_EXPERTS},
    {".ffn_down_exps.weight", ".block_sparse_moe.experts.%d.down_proj.weight", FORM_EXPERTS},
    {".ffn_gate_exps.weight", ".block_sparse_moe.input_linear.weight", FORM_GATE},
    {".ffn_up_exps.weight", ".block_sparse_moe.input_linear.weight", FORM_UP},
    {".ffn_down_exps.weight", ".block_sparse_moe.output_linear.weight", FORM_PACKED},
    GGUF_END};

static const struct gguf_key keys[] = {
    {"mamba_expand", "ssm.inner_size", KEY_RATIO, true, "embedding_length"},
    {"shared_intermediate_size", "expert_shared_feed_forward_length", KEY_INT, true, NULL},
    {"intermediate_size", "feed_forward_length", KEY_MOST, false, NULL},
    {"num_local_experts", "expert_count", KEY_INT, false, NULL},
    {"num_local_experts", NULL, KEY_CONSTANT, false, "0"},
    {"num_experts_per_tok", "expert_used_count", KEY_INT, false, NULL},
    {"embedding_multiplier", "embedding_scale", KEY_NUM, false, NULL},
    {"residual_multiplier", "residual_scale", KEY_NUM, false, NULL},
    {"attention_multiplier", "attention.scale", KEY_NUM, false, NULL},
    {"logits_scaling", "logit_scale", KEY_NUM, false, NULL},
    {"position_embedding_type", "rope.scaling.finetuned", KEY_EITHER, false, "rope nope"},
    {"rope_parameters.rope_theta", "rope.freq_base", KEY_NUM, false, NULL},
    GGUF_END};

const struct gguf_map gguf_granitehybrid = {
    .arch = "granitehybrid", .model_type = "granitemoehybrid", .layers = "model.layers.%d",
    .names = {names, gguf_names_mamba2}, .keys = {keys, gguf_keys_mamba2, gguf_keys_attention},
    .types_key = "layer_types", .types = {"mamba", "attention"},
    .ignored = "hidden_act output_router_logits router_aux_loss_coef num_logits_to_keep "
               "pretraining_tp init_method rope_theta rope_scaling normalization_function "
               "time_step_limit time_step_min time_step_max time_step_floor mamba_chunk_size "
               "chunk_size embd_pdrop resid_pdrop hidden_dropout z_loss_coefficient head_dim"};
