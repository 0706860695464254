/* Pieces of softmax-like mixers. Part of build.h. Thread: loading. */
#ifndef RECURD_BUILD_ATTENTION_H
#define RECURD_BUILD_ATTENTION_H

/* The usual keys: hidden_size, num_heads, num_kv_heads, head_dim, qkv_bias, qk_norm, rope_theta,
 * window_size (0 = all). A family then sets what it does not have: theta 0: positions are not
 * marked; wide_norm: weights of q's and k's norms for every head; v_heads [kv]. */
struct softmax_dims { int D, H, kv, v_heads, d, window; bool bias, qk_norm, wide_norm; double theta;
                      float scale; };
struct softmax_dims b_softmax_dims(struct build *b, int heads);
/* q_proj, k_proj and v_proj of x (+ biases), q and k turned: all that attention needs. */
struct attention_args b_softmax_open(struct build *b, val x, const struct softmax_dims *d);
/* rms per head (eps 1e-5) if qk_norm, rotation if theta. */
val b_softmax_turned(struct build *b, val x, const char *norm, const struct softmax_dims *d);
/* The whole mixer: open, attention, o_proj. */
val b_softmax_attention(struct build *b, val x, const struct softmax_dims *d);

/* name.weight [rows, width] (+ name.bias). */
val b_project(struct build *b, val x, const char *name, int rows, bool bias);
/* Sum of log-sigmoids along the sequence: F_t = F_{t-1} + logsigmoid(z_t). */
val b_log_forget(struct build *b, val z);

/* Softmax attention over cached latents: `up` [H*(dn+dv), rank] (per head: keys' dn rows, then
 * values' dv) is absorbed into the query and the output. q [H*(dn+dr)] per head nope, rope; the
 * rope part turns as `turn` says, else by theta unless that is 0. latent [rank] and rope [dr], turned
 * already, are cached; dr may be 0. chosen: what an INDEXER of blocks of `block` rows gave [all]. */
struct latent_args { val q, latent, rope, chosen; double theta; const struct rope *turn; const char *up;
                     int H, rank, dn, dr, dv, block; float scale; };
val b_latent_attention(struct build *b, const struct latent_args *a);

/* The mixer of Kimi delta attention under the current prefix: kimi_linear.c has the formulas.
 * bounded: alpha = exp(bound sg(exp(A_log) (...))); full_gate, full_decay: the output's gate, the
 * decay is one matrix. */
struct kda_args {
    int D, H, K, conv;
    bool bounded, full_gate, full_decay;
    double bound;
    float eps;
};
val b_kda(struct build *b, val x, const struct kda_args *a);

/* first then second, cut to size. */
void b_join(char *out, size_t size, const char *first, const char *second);
/* W x with a transformed matrix; weight: its full name under the prefix. */
val b_linear_as(struct build *b, val x, const char *weight, int rows, enum transform t);
val b_absmax(struct build *b, val x, int group); /* largest |x| of each group */

/* The mixer of Gated DeltaNet under the current prefix. */
struct gdn_args { int D, H, Hv, K, V, conv; bool gate, sigmoid, neg; float eps; };
val b_gdn(struct build *b, val x, const struct gdn_args *a);
/* hidden_size, num_heads, num_v_heads, head_dim, expand_v, conv_size, allow_neg_eigval, norm_eps;
 * the numbers are for configs that say nothing. gate and sigmoid, the gate's activation instead of
 * silu, are the caller's. */
struct gdn_args b_gdn_read(struct build *b, int heads, int head_dim, double expand_v);
/* q, k (steps a token), v of the delta rule's families: silu(conv(W x)), norms still to come. */
struct qkv { val q, k, v; };
struct qkv b_gdn_qkv(struct build *b, val x, const struct gdn_args *d, int steps);
/* sigmoid, twice that where eigenvalues may be negative. */
val b_write_gate(struct build *b, val z, bool neg);
/* rms(o) (.) act(gate) per value head, then o_proj. */
val b_gdn_out(struct build *b, val o, val gate, enum activation act, const struct gdn_args *d);

#endif
