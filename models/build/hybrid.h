/* The frame of production hybrids (embedding; norm, mixer, norm, feed-forward per layer; final
 * norm, logits) and the pieces they share: rotary embeddings as configs describe them, grouped
 * softmax attention, mixtures of experts. Part of build.h. Thread: loading. */
#ifndef RECURD_BUILD_HYBRID_H
#define RECURD_BUILD_HYBRID_H

/* Appends to the prefix of tensor names. */
void b_into(struct build *b, const char *name);
/* Multimodal files nest the language model's config in text_config: from here on cfg_* read that.
 * Keys of the other modalities are left aside. */
void b_text_config(struct build *b);
/* Root of the language model's tensors: "model.language_model." where the file says so, else
 * "model."; leaves the tensors of vision and of multi-token prediction aside. */
const char *b_text_root(struct build *b);

/* What a layer does, from layers_block_type or layer_types; `other` if the config has neither. */
enum layer_type { LAYER_LINEAR, LAYER_ATTENTION, LAYER_WINDOW, LAYER_MLP, LAYER_MOE, LAYER_HYBRID };
enum layer_type b_layer_type(struct build *b, int layer, enum layer_type other);
/* Its length must be n; absent is fine. */
void b_check_layer_types(struct build *b, int n);
/* Whether layer has experts, from mlp_layer_types ("dense", "sparse"); usual without that list. */
bool b_sparse_layer(struct build *b, int layer, bool usual);
bool b_listed(struct build *b, const char *key, int layer); /* in a list of layer numbers */
/* Such a list, if there is one, must name these n layers, in this order. */
void b_check_listed(struct build *b, const char *key, const int *layers, int n);
bool b_same_act(struct build *b, const char *key, enum activation act); /* else refused */

/* ---- frame ---- */

/* A zero member means the usual thing, given in brackets. mixer and ffn are called with the prefix
 * of their layer, e.g. "model.layers.3.". */
struct hybrid {
    block_fn *mixer, *ffn; /* ffn NULL: one sub-layer per layer */
    void *family;
    const char *root;                   /* ["model."] */
    const char *embed;                  /* ["embed_tokens"] */
    const char *mixer_norm, *ffn_norm;  /* ["input_layernorm", "post_attention_layernorm"] */
    const char *last_norm;              /* ["norm"] */
    enum transform norm;                /* TENSOR_ADD_ONE: zero-centred norms */
    float eps;
    float embedding, residual, logits;  /* factors [1]; logits of the logits */
    float soft_cap;                     /* logits := cap tanh(logits / cap) [none] */
    bool tied;                          /* if the config has no tie_word_embeddings [false] */
    int D, layers;
};
/* hidden_size, num_hidden_layers, rms_norm_eps. */
struct hybrid b_hybrid_read(struct build *b, int layers, double eps);
void b_hybrid(struct build *b, const struct hybrid *f);
/* Its parts, for other residual streams. */
val b_hybrid_open(struct build *b, const struct hybrid *f);
void b_hybrid_layer(struct build *b, const struct hybrid *f, int i); /* prefix of layer i */
val b_hybrid_norm(struct build *b, const struct hybrid *f, val x, const char *name);
void b_hybrid_close(struct build *b, const struct hybrid *f, val h);
/* h: rows of logits, normed. */
void b_hybrid_logits(struct build *b, const struct hybrid *f, val h);

/* logits := cap tanh(logits / cap), if cap > 0. */
void b_logits_cap(struct build *b, float cap);

/* "auto" or a number up to LIMIT_WIDTH. */
int b_auto_int(struct build *b, const char *key, int otherwise);
/* Bounded so that the products that sizes are made of fit an int: heads, columns of a head, layers
 * or experts (up to COUNT_MAX), and widths (up to LIMIT_WIDTH). */
#define COUNT_MAX 8192
int b_count(struct build *b, const char *key, int64_t dflt);
int b_width(struct build *b, const char *key, int64_t dflt);
int b_times(struct build *b, int width, const char *key, double dflt); /* width x a number */

/* ---- softmax attention ---- */

#define ROPE_PAIRS 512
/* rope_parameters, or rope_theta, rope_scaling and partial_rotary_factor; theta and partial are
 * what a config that says nothing means. rot 0: nothing turns. back [0]: a row turns as the one so
 * many positions before it. */
struct rope { int head, rot, back; bool interleaved; float scale, inv[ROPE_PAIRS]; };
void b_rope_read(struct build *b, struct rope *r, int head, double theta, double partial);
/* The same from rope_parameters.<layers>, for families that turn kinds of layers differently; kind:
 * the rope_type of a config that says nothing. */
void b_rope_read_of(struct build *b, struct rope *r, const char *layers, int head, double theta,
                    double partial, const char *kind);
val b_rotary(struct build *b, val x, const struct rope *r);

/* q_norm, k_norm: names of rms weights or NULL; whole_norm: over all heads at once. gate: q_proj
 * holds [query, gate] per head, out (.) sigmoid(gate). chosen [all rows]: what an INDEXER of blocks
 * of `block` rows gave. */
struct gqa_args {
    val chosen;
    int block;
    int D, H, kv, d, window;
    bool bias, out_bias, gate, whole_norm;
    const char *q_norm, *k_norm, *out;
    enum transform norm;
    const struct rope *rope; /* NULL: positions are not marked */
    float scale, eps;
};
/* hidden_size, num_attention_heads, num_key_value_heads, head_dim, attention_bias. */
struct gqa_args b_gqa_read(struct build *b, int heads, int kv);
val b_gqa(struct build *b, val x, const struct gqa_args *a);
/* Softmax over what is there already: q, k, v with norms and rotation still to come. */
val b_gqa_core(struct build *b, val q, val k, val v, const struct gqa_args *a);

/* Columns of `name` with `each` rows per head, rows [first, first + d) of every head. */
void w_head_rows(struct build *b, int w, const char *name, int heads, int each, int first, int d,
                 int at);
val b_linear_heads(struct build *b, val x, const char *name, int heads, int each, int first,
                   int d);

/* ---- feed-forward ---- */

/* down down_proj(act(gate gate_proj(x)) (.) up_proj(x)); factors 0 mean 1, act NONE silu. */
struct mlp { int inner; bool bias; enum activation act; float gate, down; };
val b_mlp(struct build *b, val x, const struct mlp *m);

/* down(act(gate) (.) up), both halves in one tensor "<in>.weight" [2 inner, D]. */
val b_packed_glu(struct build *b, val x, const char *in, const char *out, int inner,
                 enum activation act);

/* sum_e p_e E_e(x) over the k experts with the best score of n; E(x) = down(act(gate x) (.) up x)
 * or, without gate, down(act(up x)). Scores: softmax or sigmoid of the router's logits; `bias`
 * is added for the choice alone; n_groups, topk_groups, norm, eps, scale as in op TOPK. limit > 0:
 * gate x is at most that, up x within it.
 * Names: "<experts>.<e>.<gate>.weight", or all experts in one tensor: packed_in [n, 2 inner, D]
 * (gate, then up) and packed_out [n, D, inner], taken when the file has them. */
struct moe_args {
    int n, k, inner, n_groups, topk_groups;
    bool sigmoid, norm;
    float eps, scale, limit;
    const char *router, *bias, *experts, *gate, *up, *down, *packed_in, *packed_out;
    enum activation act;
};
val b_moe(struct build *b, val x, const struct moe_args *a);
/* For a router of another kind: chosen holds k indices, then their weights. */
val b_moe_chosen(struct build *b, val x, val chosen, const struct moe_args *a);
/* For a router that reads something else than the experts do. */
val b_moe_routed(struct build *b, val x, val router_input, const struct moe_args *a);

#endif
