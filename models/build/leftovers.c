/* What a directory holds beyond what its family reads. A key or a tensor that changes nothing at
 * inference is left aside, and named in one warning; one that may change the result is refused by
 * name. One list for every family. Thread: loading. */
#include <fnmatch.h>
#include <stdio.h>

#include "base/log.h"
#include "models/build/build_int.h"

/* Understood in silence: what every published config carries. */
static const char *const common_keys =
    "architectures auto_map model_type torch_dtype dtype transformers_version use_cache "
    "_name_or_path initializer_range bos_token_id eos_token_id pad_token_id unk_token_id "
    "max_position_embeddings vocab_size hidden_size num_hidden_layers fuse_norm fuse_swiglu "
    "fuse_cross_entropy fuse_linear_cross_entropy use_l2warp attn_mode return_dict "
    "output_attentions output_hidden_states tie_word_embeddings chunk_size_feed_forward id2label "
    "label2id problem_type is_encoder_decoder add_cross_attention attention_dropout "
    "hidden_dropout dropout safe_gate rescale_prenorm_residual init_std initializer_cfg "
    "a_init_range conv_init use_gk use_gv";

/* Names (patterns) that no family computes with. */
static const char *const harmless_keys[] = {
    /* exporters and tools */
    "_*", "unsloth_*", "axolotl_*", "transformers.js_config", "onnx_*", "model_name", "hub_*",
    "attn_implementation", "tokenizer_class", "tokenizer_*", "processor_class", "auto_class",
    "finetuning_task", "task_specific_params", "torchscript", "pruned_heads", "prefix", "license",
    "use_bfloat16", "tf_legacy_loss", "tie_encoder_decoder", "is_decoder", "library_*",
    /* what generation_config.json is for */
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty",
    "length_penalty", "diversity_penalty", "max_length", "min_length", "max_new_tokens",
    "num_beams", "num_beam_groups", "num_return_sequences", "early_stopping",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "exponential_decay_length_penalty", "remove_invalid_values", "output_scores",
    "return_dict_in_generate", "decoder_start_token_id", "*_token_id", "*_token_index",
    /* training */
    "*_dropout", "*_dropout_prob", "*_pdrop", "*dropout_rate", "*_init_scheme", "init_*",
    "initializer_*", "*_initializer_range", "gradient_checkpointing*", "label_smoothing",
    "*aux_loss*", "z_loss*", "*_loss_coef", "*_loss_coefficient", "*_loss_weight", "seq_aux",
    "router_jitter_noise", "mtp_*", "num_mtp_*", "num_nextn_predict_layers", "training_*",
    "dt_init*", "dt_scale", "time_step_scale", "residual_in_fp32", "ep_size", "pretraining_tp",
    /* how other programs compute the same */
    "fuse_*", "fused_*", "use_mamba_kernels", "use_mambapy", "use_mem_eff_path",
    "use_associative_scan", "mamba_ssm_dtype", "mamba_ssm_cache_dtype", "output_router_logits",
    "num_logits_to_keep", "logits_to_keep", "keys_to_ignore_at_inference", "chunk_size",
    "pad_vocab_size_multiple", "seq_length", "max_seq_len*", "model_max_length", "context_length",
};

/* Around a text_config stand other modalities and copies; what looks like arithmetic is not one. */
static const char *const outer_arithmetic[] = {"*quant*", "*compress*", "*rope*", "*scal*"};

/* Tensors that no family computes with. */
static const char *const harmless_tensors[] = {
    "*rotary_emb.inv_freq", "*rotary_emb.cos_cached", "*rotary_emb.sin_cached",
    "*rotary_emb.original_inv_freq", "*rotary_pos_emb.inv_freq", "*.rope.freqs",
    "*.attn.masked_bias", "*.attention.masked_bias",                   /* buffers */
    "mtp.*", "model.mtp.*", "language_model.mtp.*", "model.language_model.mtp.*",
    "mtp_*", "model.mtp_*", "nextn.*",                                 /* heads that draft */
    "visual.*", "model.visual.*", "vision_tower.*", "model.vision_tower.*", "vision_model.*",
    "model.vision_model.*", "audio_tower.*", "model.audio_tower.*", "multi_modal_projector.*",
    "model.multi_modal_projector.*",                                   /* other modalities */
};

static bool listed(const char *const *patterns, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!fnmatch(patterns[i], name, 0))
            return true;
    return false;
}
#define LISTED(patterns, name) listed(patterns, ARRAY_LEN(patterns), name)

/* Adds a name to the list of what is left aside. */
static void leave(struct build *b, const char *where, const char *name)
{
    struct model *m = b->m;
    size_t n = strlen(m->left_aside);
    if (m->n_left_aside++ == 0 || n + strlen(where) + strlen(name) + 4 < sizeof m->left_aside)
        snprintf(m->left_aside + n, sizeof m->left_aside - n, "%s%s%s", n ? ", " : "", where, name);
}

/* ---- keys ---- */

/* Values outside what any model can have, before anything is computed with them. */
static void check_sizes(struct build *b)
{
    static const struct { const char *key; int most; } sizes[] = {
        {"num_hidden_layers", LIMIT_LAYERS}, {"n_layer", LIMIT_LAYERS},
        {"num_layers", LIMIT_LAYERS}, {"num_blocks", LIMIT_LAYERS}, {"hidden_size", LIMIT_HIDDEN},
        {"d_model", LIMIT_HIDDEN}, {"n_embd", LIMIT_HIDDEN}, {"embedding_dim", LIMIT_HIDDEN},
    };
    double x;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (config_peek(b->config, sizes[i].key, &x))
            b_require(b, x <= sizes[i].most, "%s is %.0f, at most %d", sizes[i].key, x,
                      sizes[i].most);
    for (const char *key = NULL; (key = config_next_key(b->config, key));)
        if ((!fnmatch("*_eps", key, 0) || !fnmatch("*_epsilon", key, 0)) &&
            config_peek(b->config, key, &x))
            b_require(b, x >= 0 && x <= 1, "%s is %g, from 0 to 1", key, x);
}

void build_common_keys(struct build *b)
{
    check_sizes(b);
    cfg_irrelevant(b, common_keys);
}

void b_leave_unread(struct build *b, const struct config *c, const char *where)
{
    for (const char *key = NULL; c && (key = config_next_unread(c, key));) {
        if (config_is_nothing(c, key) || LISTED(harmless_keys, key))
            leave(b, where, key);
        else
            b_fail(b, E_UNSUPPORTED, "config.json: key \"%s%s\" is not understood for model_type "
                   "%s", where, key, b->m->arch);
        (void)config_has(c, key); /* said once */
    }
}

void b_leave_outer(struct build *b)
{
    for (const char *key = NULL; (key = config_next_unread(b->config, key));) {
        if (!config_is_nothing(b->config, key) && LISTED(outer_arithmetic, key))
            b_fail(b, E_UNSUPPORTED, "config.json: key \"%s\" is not understood beside text_config",
                   key);
        leave(b, "", key);
    }
}

/* ---- tensors ---- */

/* "….layers.<i>.…" with an i beyond the model's layers: heads for drafting stand there. */
static bool beyond_layers(const char *name, double layers)
{
    const char *at = strstr(name, "layers.");
    int i;
    return at && sscanf(at, "layers.%d.", &i) == 1 && i >= layers;
}

static void check_tensors(struct build *b)
{
    double heads = 0, layers = 0;
    bool drafts = (config_peek(b->config, "num_nextn_predict_layers", &heads) ||
                   config_peek(b->config, "num_mtp_layers", &heads)) &&
                  heads > 0 && config_peek(b->config, "num_hidden_layers", &layers);
    for (size_t i = 0; b->ck && i < checkpoint_count(b->ck); i++) {
        const struct tensor *t = checkpoint_at(b->ck, i);
        if (t->used)
            continue;
        if (LISTED(harmless_tensors, t->name) || (drafts && beyond_layers(t->name, layers)))
            leave(b, "", t->name);
        else
            b_fail(b, E_UNSUPPORTED,
                   "tensor %s: in the checkpoint, but model_type %s has no use for it", t->name,
                   b->m->arch);
    }
}

void build_leftovers(struct build *b)
{
    b_leave_unread(b, b->config, "");
    check_tensors(b);
}
