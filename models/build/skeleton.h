/* The frame around the mixers of most families (embedding; norm, mixer, norm, feed-forward per
 * layer; final norm, logits; softmax layers listed in `attn`; attention residuals), and the pieces
 * that several mixers share. Part of build.h. Thread: loading. */
#ifndef RECURD_BUILD_SKELETON_H
#define RECURD_BUILD_SKELETON_H

/* Called with the prefix of its layer's tensors set, e.g. "model.layers.3.attn.". */
typedef val block_fn(struct build *b, val x, int layer, void *family);

/* A zero member means the usual thing, given in brackets. */
struct skeleton {
    block_fn *mixer;
    block_fn *ffn;       /* [SwiGLU; config: hidden_act, hidden_ratio, intermediate_size] */
    void *family;        /* handed to both */
    int layers;          /* if the config has no num_hidden_layers [24] */
    double eps;          /* if the config has no norm_eps [1e-6] */
    double hidden_ratio; /* if the config has no hidden_ratio [4] */
    bool layer_norm;     /* LayerNorm; config: norm_bias, and norm_first: one before layer 0 */
    bool no_ffn;         /* one sub-layer per layer */
    const char *root;    /* prefix of the model's tensors ["model."] */
    const char *mixer_norm, *mixer_name; /* ["attn_norm", "attn"] */
    const char *ffn_norm, *ffn_name;     /* ["mlp_norm", "mlp"] */
    const char *last_norm;               /* ["norm"] */
};
/* From the embedding to the logits. */
void b_skeleton(struct build *b, const struct skeleton *s);

/* RWKV models under the project's own names (emb, blocks.0.att.key …, ln_out, head), which say
 * themselves how many blocks there are; width and inner width are the file's, too. time_mix and
 * channel_mix are called with the prefixes "blocks.<i>.att." and "blocks.<i>.ffn.". */
struct rwkv_own {
    block_fn *time_mix, *channel_mix;
    void *family;
    int D;
    float eps;
    int halve; /* after as many layers each time the stream is halved, as the weights expect; 0: no */
};
bool b_rwkv_is_own(struct build *b);
int b_rwkv_width(struct build *b, int dflt);
int b_rwkv_inner(struct build *b);
void b_rwkv_own(struct build *b, const struct rwkv_own *r);

/* Tensors whose name starts with prefix + name are in published files but compute nothing. */
void b_unused(struct build *b, const char *name);

/* ---- inputs of a mixer ---- */

/* Widths of keys and values per head: hidden * expand_k / H, hidden * expand_v / H (config; the
 * given numbers if absent). False, with an error, if the heads do not divide. */
struct head_split { int H, Hkv, K, V; };
bool b_head_split(struct build *b, int hidden, double expand_k, double expand_v,
                  struct head_split *s);

/* act(conv(W x)) of "<name>_proj" and "<name>_conv1d"; size 0: act(W x). */
val b_conv_proj(struct build *b, val x, const char *name, int width, int size,
                enum activation act);
/* Size of the short convolutions: conv_size if use_short_conv, else 0. */
int b_conv_size(struct build *b, bool dflt);
/* A convolution that sees only the rows whose mask (one column) is not 0, as if the others were
 * not there; their output is 0. */
val b_conv_where(struct build *b, val x, val mask, int weight, int size, enum activation act);
/* "<name>.0" then "<name>.1" (+ bias of the second); the inner width is the tensor's (dummy
 * models: rank). */
val b_low_rank(struct build *b, val x, const char *name, int rank, int width, bool bias);
/* exp(-exp(A_log) softplus(z + dt_bias)): A per range of z, dt_bias per column. */
val b_decay_gate(struct build *b, val z, const char *A_log, int heads, const char *dt_bias);
/* exp(bound sigmoid(exp(A_log) (z + dt_bias))). */
val b_bounded_gate(struct build *b, val z, const char *A_log, int heads, const char *dt_bias,
                   double bound);
/* Each of `from` heads to / from times, next to each other. */
val b_repeat_heads(struct build *b, val x, int from, int to);
val b_elu1(struct build *b, val x); /* elu(x) + 1 */
/* A feature map of config by name: an activation or "logsigmoid"; NULL = none. */
val b_feature(struct build *b, val x, const char *name);
/* Per head of d columns F products: out[f] = scale[f] x[left[f]] x[right[f]]; index d means 1. */
struct products { int d, F; const int *left, *right; const float *scale; };
val b_products(struct build *b, val x, const struct products *p);
/* Matrix and bias "<name>.weight" [rows, d] on every head of d columns. */
val b_per_head(struct build *b, val x, const char *name, int d, int rows, bool bias);
/* W x + bias for weights made by w_matrix, w_derived_matrix and w_vec; bias -1 = none. */
val b_linear_weight(struct build *b, val x, int weight, int bias);

/* ---- the middle ---- */

/* K2 of the gated families: S := alpha S; S += k (beta (v - S^T p))^T; o = K^-1/2 S^T q. alpha has
 * one value per value head or per channel of it. p is k unless `predict` is given (width > 0). */
struct gated_delta { val q, k, v, alpha, beta, predict; int H, Hv, K, V; };
val b_gated_delta(struct build *b, const struct gated_delta *a);
/* o = sum_j (q k_j)^2 v_j / (sum_j (q k_j)^2 + eps), heads of d and V columns. */
struct square_args { val q, k, v; int H, Hkv, d, V; float eps; };
val b_square(struct build *b, const struct square_args *a);
/* K5: z = scale S1^T q with S1 := S1 diag(f) + k s^T; S2 := diag(f) S2 + s v^T;
 * o = S2^T softmax(z). */
struct slots_args { val q, k, v, s, f; int H, Hkv, K, V, M; float scale; };
val b_slots(struct build *b, const struct slots_args *a);

/* ---- outputs ---- */

/* rms per head of V with the vector `weight`, times act(gate) unless gate is VIEW_NONE. */
val b_head_norm(struct build *b, val o, int V, const char *weight, val gate, enum activation act,
                float eps);

#endif
