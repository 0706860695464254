/* Manifold-constrained hyper-connections (Xie et al. 2026): n residual streams h_s, side by side in
 * a row. Part of build.h. Thread: loading.
 *
 *   u = (W rms(h)) (.) a + b, its n + n + n * n columns with one factor a each
 *   pre = sg(u_pre) + floor, post = 2 sg(u_post), C = Sinkhorn(u_comb), n x n
 *   a sub-layer reads x = sum_s pre_s h_s;  h_s := post_s y + sum_r C_rs h_r */
#ifndef RECURD_BUILD_HYPER_H
#define RECURD_BUILD_HYPER_H

/* D columns a stream; eps of the norm; iters steps of the mixing matrix, kept off 0 by floor. */
struct hyper_args { int D, n, iters; float eps, floor; };
/* Between the two ends of a sub-layer: x is what it reads. */
struct hyper { struct hyper_args args; val x, post, comb; };

val b_hyper_open(struct build *b, val x, const struct hyper_args *a); /* x in every stream */
/* Tensors hc_<layer>_fn [n * (n + 2), n * D], hc_<layer>_scale [3], hc_<layer>_base. */
struct hyper b_hyper_collapse(struct build *b, val h, const char *layer,
                              const struct hyper_args *a);
val b_hyper_expand(struct build *b, val h, val y, const struct hyper *m); /* y: its output */
val b_hyper_mean(struct build *b, val h, const struct hyper_args *a);

#endif
