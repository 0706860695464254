/* Pieces of softmax-like mixers. Part of build.h. Thread: loading. */
#ifndef RECURD_BUILD_ATTENTION_H
#define RECURD_BUILD_ATTENTION_H

/* The usual keys: hidden_size, num_heads, num_kv_heads, head_dim, qkv_bias, qk_norm, rope_theta,
 * window_size (0 = all). */
struct softmax_dims { int D, H, kv, d, window; bool bias, qk_norm; double theta; float scale; };
struct softmax_dims b_softmax_dims(struct build *b, int heads);

/* name.weight [rows, width] (+ name.bias). */
val b_project(struct build *b, val x, const char *name, int rows, bool bias);
/* rms per head of d columns, eps 1e-5; the weight is one head or the whole width long. */
val b_qk_norm(struct build *b, val x, const char *name, int d, bool per_channel);
/* Sum of log-sigmoids along the sequence: F_t = F_{t-1} + logsigmoid(z_t). */
val b_log_forget(struct build *b, val z);

/* PATH, WALL, PARALLAX, DELTAFORMER, NSA, MOBA: operands as in op_params.h; stores their rows. */
struct special_args { enum op_kind kind; val in[6]; int heads, kv_heads, dk, dv, window, block,
                      count; float scale; };
val b_attention_special(struct build *b, const struct special_args *a);

/* Softmax attention over cached latents: `up` [H*(dn+dv), rank] (per head: keys' dn rows, then
 * values' dv) is absorbed into the query and the output. q [H*(dn+dr)] per head nope, rope; theta
 * 0: the rope part is not rotated. latent [rank] and rope [dr] are cached. */
struct latent_args { val q, latent, rope; double theta; const char *up; int H, rank, dn, dr, dv;
                     float scale; };
val b_latent_attention(struct build *b, const struct latent_args *a);

/* first then second, cut to size. */
void b_join(char *out, size_t size, const char *first, const char *second);
/* W x with a transformed matrix; weight: its full name under the prefix. */
val b_linear_as(struct build *b, val x, const char *weight, int rows, enum transform t);
val b_absmax(struct build *b, val x, int group); /* largest |x| of each group */

/* The mixer of Gated DeltaNet under the current prefix. */
struct gdn_args { int D, H, Hv, K, V, conv; bool gate, neg; float eps; };
val b_gdn(struct build *b, val x, const struct gdn_args *a);

#endif
