/* State-space mixers. Part of build.h. Thread: loading. */
#ifndef RECURD_BUILD_SSM_H
#define RECURD_BUILD_SSM_H

/* Mamba-1 under the current prefix. part_eps > 0: rms of dt, B and C,
 * named_norms: with their own weights. */
struct mamba1_args { int width, inner, N, rank, conv; bool bias, conv_bias, named_norms;
                     float part_eps; };
val b_mamba1(struct build *b, val x, const struct mamba1_args *a);
/* extra: columns of in_proj behind dt. factors: of z, X, B, C, dt, or NULL. bias: of in_proj, and of out_proj unless
 * split_bias: then out_bias says. */
struct mamba2_args {
    int width, H, P, N, G, conv, extra;
    bool bias, split_bias, out_bias, conv_bias, norm, norm_before_gate, D_per_dim;
    float dt_min, dt_max, eps;
    const float *factors;
};
struct mamba2_parts { val z, X, B, C, dt, alpha, extra; };
val b_mamba2(struct build *b, val x, const struct mamba2_args *a);
/* Its two halves, for other states between them. */
struct mamba2_parts b_mamba2_in(struct build *b, val x, const struct mamba2_args *a);
val b_mamba2_out(struct build *b, val y, const struct mamba2_parts *p, const struct mamba2_args *a);
/* What a config calls the sizes of a mixer of width D, and what is meant where it says nothing;
 * H or P 0: what the width leaves. NULL: no such key (expand: nothing to agree with; bias: none;
 * conv_bias: always; limit: time_step_min, no upper limit). The norm, of each group on its own
 * with eps 1e-5, is the caller's to change. */
struct mamba2_keys {
    const char *heads, *head, *state, *groups, *conv, *expand, *inner, *bias, *conv_bias, *limit;
    int H, P, N, G;
};
struct mamba2_args b_mamba2_read(struct build *b, int D, const struct mamba2_keys *k);
extern const struct mamba2_keys mamba2_plain, mamba2_hybrid; /* state_size …, mamba_d_state … */
float b_limit(struct build *b, const char *key, int i, float dflt); /* element of a number list */

#endif
