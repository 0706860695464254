/* Zamba2 (Zyphra, 2024): Mamba-2 with a few transformer blocks that many depths share.
 *
 *   Mamba-2 layer: h += mamba(rms(h))
 *   hybrid layer:  t = linear(block(h, e)), e the embedding;  h += mamba(rms(h + t))
 *   block: x = rms([h | e]);  attention over x, 2D wide, scores (d/2)^-1/2;  then rms, then
 *     W_d (gelu(gate) (.) up) — without residuals; the j-th use adds its own low-rank adapters to
 *     the projections of q, k, v and of gate and up
 *
 * The tensors of a block stand under the first layer that uses it; in files with embeddings of
 * their own for the logits, every such layer has its block, with the adapters of all uses. */
#include "models/build/build.h"

#define USES_MAX 256 /* hybrid layers; published: 13 */

struct dims {
    int D, inner, blocks, n_uses, uses[USES_MAX];
    bool bias, adapters, turn, apart;
    enum activation act;
    struct gqa_args attn;
    struct rope rope;
    struct mamba2_args mamba;
};

/* The prefix of the block that use j has, in whichever layer the file keeps `name`. */
static void block_of(struct build *b, const struct dims *d, int j, const char *part,
                     const char *name)
{
    b_prefix(b, "model.layers.%d.shared_transformer.%s", d->uses[j], part);
    if (!b_has(b, name, j < d->blocks))
        b_prefix(b, "model.layers.%d.shared_transformer.%s", d->uses[j % d->blocks], part);
}

/* W x + A_2 A_1 x with the adapter of use j. */
static val adapted(struct build *b, val x, const struct dims *d, int j, const char *part,
                   const char *name, const char *adapter, int rows)
{
    char down[64], up[64], weight[96];
    snprintf(weight, sizeof weight, "%s.weight", name);
    block_of(b, d, j, part, weight);
    val y = b_project(b, x, name, rows, d->bias);
    if (!adapter)
        return y;
    snprintf(down, sizeof down, "%s_adapter_list.%d.0", adapter, j);
    snprintf(up, sizeof up, "%s_adapter_list.%d.1", adapter, j);
    snprintf(weight, sizeof weight, "%s.weight", down);
    block_of(b, d, j, part, weight);
    int rank = (int)b_rows(b, weight, b_width(b, "adapter_rank", 128));
    return e_add(b, y, b_linear(b, b_linear(b, x, down, rank), up, rows));
}

static val attention(struct build *b, val x, const struct dims *d, int j)
{
    struct dims plain = *d;
    plain.bias = false;
    const char *const adapter[3] = {"linear_q", "linear_k", "linear_v"};
    const char *const names[3] = {"q_proj", "k_proj", "v_proj"};
    val p[3];
    for (int i = 0; i < 3; i++)
        p[i] = adapted(b, x, &plain, j, "self_attn.", names[i], d->adapters ? adapter[i] : NULL,
                       (i ? d->attn.kv : d->attn.H) * d->attn.d);
    block_of(b, d, j, "self_attn.", "o_proj.weight");
    return b_linear(b, b_gqa_core(b, p[0], p[1], p[2], &d->attn), "o_proj", d->D);
}

static val block(struct build *b, const struct hybrid *f, val h, val embedding,
                 const struct dims *d, int j)
{
    static const char *const lists[] = {"self_attn.linear_q_adapter", "self_attn.linear_k_adapter",
                                        "self_attn.linear_v_adapter",
                                        "feed_forward.gate_up_proj_adapter"};
    block_of(b, d, j, "", "input_layernorm.weight");
    for (size_t i = 0; d->apart && i < ARRAY_LEN(lists); i++)
        b_unused(b, lists[i]); /* those of the other uses */
    val x = b_hybrid_norm(b, f, e_cat(b, 2, (val[]){h, embedding}), "input_layernorm");
    x = attention(b, x, d, j);
    block_of(b, d, j, "", "pre_ff_layernorm.weight");
    x = b_hybrid_norm(b, f, x, "pre_ff_layernorm");
    val u = adapted(b, x, d, j, "feed_forward.", "gate_up_proj", "gate_up_proj", 2 * d->inner);
    val y = e_mul(b, e_act(b, d->act, b_slice(u, 0, d->inner)), b_slice(u, d->inner, d->inner));
    block_of(b, d, j, "feed_forward.", "down_proj.weight");
    return b_project(b, y, "down_proj", d->D, d->bias);
}

static void run(struct build *b, const struct hybrid *f, const struct dims *d)
{
    val h = b_hybrid_open(b, f), embedding = h;
    for (int i = 0, j = 0; i < f->layers && !b_failed(b); i++) {
        bool hybrid = j < d->n_uses && d->uses[j] == i;
        val in = h;
        b_hybrid_layer(b, f, i);
        if (hybrid) {
            val t = block(b, f, h, embedding, d, j++);
            b_hybrid_layer(b, f, i);
            in = e_add(b, h, b_linear(b, t, "linear", d->D));
            b_into(b, "mamba_decoder.");
        }
        val y = b_hybrid_norm(b, f, in, "input_layernorm");
        b_into(b, "mamba.");
        h = e_add(b, h, b_mamba2(b, y, &d->mamba));
    }
    b_hybrid_close(b, f, h);
}

static const struct mamba2_keys mamba_keys = {
    .heads = "n_mamba_heads", .H = 8, .head = "mamba_headdim", .state = "mamba_d_state", .N = 64,
    .groups = "mamba_ngroups", .G = 1, .conv = "mamba_d_conv", .expand = "mamba_expand",
    .bias = "add_bias_linear"};

static void read_attention(struct build *b, struct dims *d)
{
    int H = b_count(b, "num_attention_heads", 32);
    d->attn =
        (struct gqa_args){.D = d->D,
                          .H = H,
                          .kv = b_count(b, "num_key_value_heads", H),
                          .d = b_count(b, "attention_head_dim", H > 0 ? 2 * d->D / H : 0)};
    if (!b_require(b, H > 0 && d->attn.kv > 0 && H % d->attn.kv == 0 && d->attn.d > 0,
                   "%d heads of %d with %d key heads", H, d->attn.d, d->attn.kv))
        return;
    d->attn.scale = (float)(1 / sqrt(d->attn.d / 2.0));
    if (cfg_bool(b, "use_mem_rope", false)) {
        b_rope_read(b, &d->rope, d->attn.d, 10000, 1);
        d->attn.rope = &d->rope;
    }
    cfg_irrelevant(b,
                   "attention_hidden_size kv_channels num_query_groups rope_theta rope_parameters "
                   "rope_scaling");
    cfg_refuse(b, "use_long_context");
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 54, 1e-5);
    struct dims d = {.D = f.D, .inner = b_width(b, "intermediate_size", 4 * (int64_t)f.D),
                     .blocks = b_count(b, "num_mem_blocks", 1),
                     .bias = cfg_bool(b, "add_bias_linear", false),
                     .adapters = cfg_bool(b, "use_shared_attention_adapter", false),
                     .apart = !cfg_bool(b, "tie_word_embeddings", true)};
    const char *act = cfg_str(b, "hidden_act", "gelu");
    d.act = activation_parse(act);
    d.mamba = b_mamba2_read(b, d.D, &mamba_keys); /* its eps is 1e-5, not rms_norm_eps */
    read_attention(b, &d);
    b_check_layer_types(b, f.layers);
    for (int i = 0; i < f.layers && d.n_uses < USES_MAX; i++) {
        bool listed = b_listed(b, "hybrid_layer_ids", i);
        if (b_layer_type(b, i, listed ? LAYER_HYBRID : LAYER_LINEAR) == LAYER_HYBRID)
            d.uses[d.n_uses++] = i;
    }
    b_check_listed(b, "hybrid_layer_ids", d.uses, d.n_uses); /* the order counts adapters */
    cfg_refuse(b, "sliding_window");
    cfg_irrelevant(b,
                   "hybrid_layer_ids adapter_rank use_shared_mlp_adapter ffn_hidden_size lora_rank "
                   "state_size conv_dimension use_conv_bias expansion_factor gated_linear_unit");
    f.last_norm = "final_layernorm";
    f.tied = true;
    if (b_require(b, d.blocks > 0 && activation_known(act), "num_mem_blocks %d, hidden_act \"%s\"",
                  d.blocks, act))
        run(b, &f, &d);
}

const struct arch arch_zamba2 = {"zamba2", build};
