/* What each op computes: operands, parameters, formula, state. Part of plan.h, which includes
 * this file; ref/ is the executable form. Vectors of heads are concatenated, head-major. */
#ifndef RECURD_OP_PARAMS_H
#define RECURD_OP_PARAMS_H

#include "kernels/ew_program.h"

enum activation {
#define ACT(name) ACT_##name,
#include "kernels/enums.def"
};

enum norm_kind {
#define NORM(name) NORM_##name,
#include "kernels/enums.def"
};

enum decay_mode {
#define DECAY(name) DECAY_##name,
#include "kernels/enums.def"
};

union op_params {
    /* out[t] = w[0][token[t]] * scale. w[0] MATRIX [vocab, width]. */
    struct { float scale; } embed;

    /* out [heads*cols] = row j of w[0] [rows, cols] for every head j, as ngram.h chooses it; owned
     * by the plan. Section: the last size-1 tokens [heads][size-1], a copy for every head. */
    struct ngram *ngram;

    /* out (ROWS_LOGITS) = in[0] at batch.logit_rows. */

    /* out = act(w[0] in[0] + w[1]) + in[1]. w[0] MATRIX [out.width, in.width]; w[1] bias
     * VECTOR or none; in[1] residual (same width as out, may be the same view as out) or
     * none. Every output is the chain fma(w[k], x[k], acc) over k = 0 … cols-1, acc = 0. */
    struct { enum activation act; } linear;

    /* Groups of `group` columns of in[0], each normalised on its own; then times w[0] and
     * plus w[1] (length `group`, shared by groups, or the whole width), times scale.
     * in[1] gate (same width) with gate_act: gate_first multiplies before the norm,
     * otherwise after the weight. */
    struct {
        enum norm_kind kind;
        int32_t group;
        float eps, scale;
        enum activation gate_act;
        bool gate_first;
    } norm;

    struct ew_program *ew; /* owned by the plan */

    /* out[g] = scale * sum of group g of in[0], or the largest |x| of it; out.width = in.width /
     * group. */
    struct { int32_t group; float scale; bool absmax; } groupsum;
    /* out group = softmax(scale * in[0] group). */
    struct { int32_t group; float scale; } softmax;

    /* Rotates the first `rot` of every `head` columns of out in place (in[0] = out) by
     * angle (position - back) * w[0][i], w[0] VECTOR [rot/2] = inverse frequencies.
     * interleaved: pairs (2i, 2i+1); otherwise (i, i + rot/2). `scale` multiplies cos and
     * sin (yarn's attention factor; 1 normally). */
    struct { int32_t head, rot, back; bool interleaved; float scale; } rope;

    /* out_t[c] = act( sum_{i<size} w[0][c*size+i] * in_{t-size+1+i}[c] + w[1][c] ), zeros
     * before token 0. Section: the last size-1 inputs, oldest first, [size-1][width].
     * in[1] mask (width 1): a row whose mask is 0 is no token to this op: its output is 0 and
     * the section skips it. */
    struct { int32_t size; enum activation act; } conv;

    /* out_t = in_{t-1}; zeros before token 0. Section: the last input, [width]. */

    /* K1, per state head: S = diag(a) S diag(c) + k v^T, o = scale * S^T q; with bonus w[0]
     * [state_heads*K]: o = scale * (S_{t-1} + diag(u) k v^T)^T q, state as before.
     * in: 0 q [q_heads*K], 1 k [k_heads*K], 2 v [v_heads*V], 3 decay factors (not logs):
     * SCALAR [d_heads], KEY [d_heads*K], VALUE [d_heads*V]. w[1]: CONST factors.
     * state head s uses key head s*k_heads/state_heads (and v, d likewise); the larger of
     * q_heads and state_heads is a multiple of the other, and out [that many * V]: output head j
     * reads state head j*state_heads/that with query head j*q_heads/that.
     * Section: S [state_heads][K][V]; in F16 every element of S is rounded to float16 (f16_kept,
     * formats.h) after each token, before the state is read for o. */
    struct {
        int32_t q_heads, k_heads, v_heads, d_heads, state_heads, K, V;
        enum decay_mode decay;
        float scale;
    } decay;

    /* K2, per state head: u = S^T a';  S = diag(w) S + b u^T + k v'^T;  o = scale * S^T q.
     * in: 0 q, 1 k, 2 v, 3 w (decay factors, mode NONE, SCALAR or KEY), 4 a, 5 b or beta.
     * Delta form (dplr false): a' = w (.) a if decay_first else a (a absent = k);
     *   b u^T + k v'^T = k (beta (.) (v - u))^T with in[5] beta [state_heads], absent = 1.
     * DPLR form (dplr true): a' = a (times w if decay_first); b = in[5] [k_heads*K]; v' = v.
     * steps n > 1 (delta form only): per token n micro-steps; k, v, beta (a) are n times as
     * wide, step-major [n][heads][K]; the decay acts on the first, the read after the last.
     * q, k, a, b have k_heads heads, v and out state_heads, w either (d_heads).
     * Section: S [state_heads][K][V]; in F16 rounded as in K1, after every micro-step. */
    struct {
        int32_t k_heads, d_heads, state_heads, K, V, steps;
        enum decay_mode decay;
        bool dplr, decay_first;
        float scale;
    } delta;

    /* K6: in 0 q [heads*dk], 1 k [kv_heads*dk], 2 v [v_heads*dv]; out [heads*dv].
     * p_j = softmax over j in (t-window, t] of scale <q_t, k_j> + F_t - F_j (window 0 = all);
     * in[3] F [heads], absent = 0. in[2] absent: v_j is the first dv columns of k_j.
     * Query head h uses key head h / (heads/kv_heads) and value head h / (heads/v_heads).
     * Cached row of a token: in[1], in[2], in[3], in[4], in[5] one after the other, as far as
     * given. PAGED section, or with a window a FIXED ring of `window` rows, row = position %
     * window. Rows of this batch are read from the operands, older ones from the section;
     * ATTENTION_KEEP (operands 1 to 5 and section of every reader, after them all) then stores the
     * batch's rows: reading comes before a ring overwrites. Keys are visited in blocks of
     * PAGE_TOKENS positions counted from 0, ascending, with a running maximum. A key whose score
     * is -inf has no weight; if all are, the mean of nothing is NaN. */
    struct { int32_t heads, kv_heads, v_heads, dk, dv, window; float scale;
             int32_t block, count; } attention; /* block, count: the sparse ones below */

    /* Relatives of ATTENTION with its parameters, cached rows and ATTENTION_KEEP; one value head
     * per key head.
     * PATH: score_j = scale (q^T P_t … P_{j+1} k_j + G_t - G_j), P_s = I - beta_s w_s w_s^T;
     *   in 1 k, 2 v, 3 w [kv_heads*dk], 4 beta [kv_heads], 5 G [heads] or none. Visits keys
     *   downwards from t, carrying q along, so that cached rows never change.
     * WALL: score_j = scale sum_d q[d] k_j[d] exp(P_t[d] - P_j[d]) + c_t - c_j;
     *   in 1 k, 2 v, 3 P [heads*dk], 4 c [heads] or none.
     * PARALLAX: p_j = softmax(scale <q,k_j>), s_j = <r,k_j>, m = sum p_j s_j,
     *   out = sum p_j (1 + m - s_j) v_j; in 0 q then r, 1 k, 2 v.
     * DELTAFORMER: u_t = v_t - beta_t sum_{j<t} softmax_{j<t}(scale <q,k_j>) u_j (u_0 = v_0),
     *   o_t = sum_{j<=t} softmax(scale <q,k_j>) u_j; in 0 q [heads*dk] then v [heads*dv] then
     *   beta [heads], 1 k, 2 u: the second half of out [o | u], [heads*dv] each.
     * NSA: out [3][heads*dv]: attention over the means of complete blocks of `block` rows, over the
     *   rows of the `count` chosen blocks, over the last `window` rows; in 1 k, 2 v (PAGED).
     *   A block's score is the mean over the query heads of a key head of the first softmax; the
     *   first block, the current one and the one before it score 1.
     * MOBA: one softmax over the current block of `block` rows and the count - 1 earlier blocks
     *   with the largest <q, sum of keys>; in 1 k, 2 v.
     * INDEXER: which blocks a later INDEXED attends to. in 0 q [heads*dk], 1 k [dk], of which the
     *   rows that end a block of `block` positions are read (what POOL makes), 6 weights [heads],
     *   absent = 1. A block's score is sum_h weights[h] relu(scale <q_h, k>), over the complete
     *   blocks b < (t + 1) / block. out [count]: the `count` with the best scores, ties to the
     *   lower block, in ascending order as floats, then -1 where there are fewer. A score that is
     *   no finite number is never chosen. Blocks stay below LIMIT_BLOCKS. kv_heads, v_heads, dv 1.
     * INDEXED: one softmax over the rows of the blocks in in[6] [count], an INDEXER's (of this
     *   layer or an earlier one), in that order, and over the open block's rows, those from
     *   (t + 1) / block * block to t; in 1 k, 2 v, absent as in ATTENTION. A number that is none of
     *   the complete blocks counts nothing; over no row at all the result is 0. */

    /* K3: h = in[0] (.) h + in[1]; out = h. Section: h [width]. */

    /* Running logsumexp z_t = log(e^z_{t-1} + e^x_t), z_{-1} = -inf, x = in[0]:
     * out [2*width] = exp(x_t - z_t) then exp(z_{t-1} - z_t). Section: z [width] (not used at
     * position 0, so that zeroed memory is a fresh state). */

    /* WKV (RWKV-4): in 0 k, 1 v [width]; w 0 decay [width] (added to exponents each token,
     * negative), 1 bonus u [width]. Per column, with p, q the sums of e^(exponent - m) v and
     * e^(exponent - m):
     * M = max(m, u + k): out = (e^(m-M) p + e^(u+k-M) v) / (e^(m-M) q + e^(u+k-M));
     * M = max(m + decay, k): p = e^(m+decay-M) p + e^(k-M) v, q = e^(m+decay-M) q + e^(k-M), m = M.
     * Section: p, q, m, [3][width]; not used at position 0, where out = v. */

    /* K4: per channel c, states n < N: h[c,n] = exp(dt[c] A[c,n]) h[c,n] + dt[c] B[n] x[c];
     * out[c] = sum_n C[n] h[c,n] + D[c] x[c]. in: 0 x [width], 1 dt [width], 2 B [N], 3 C [N];
     * w: 0 A [width*N] (negative), 1 D [width] or none. Section: h [width][N]. */
    struct { int32_t N; } scan;

    /* Chooses the k best of in[0] [groups][n] by score + w[0] (w[0] [groups*n] or none), ties to
     * the lower index. n_groups > 1: only members of the topk_groups best of n_groups equal
     * ranges, a range's score being the sum of its two best. A NaN is never chosen; entry 0 stands
     * in for what is missing. The weight of a chosen one is its score (without w[0]); with norm
     * divided by (their sum + eps); then times scale.
     * The last `none` of the n say that nothing is chosen: index 0 with weight 0 stands for one of
     * them.
     * dense: out [groups][n], 0 where not chosen. Otherwise out [groups][2*k]: the indices in
     * order of choice, as floats, then their weights. */
    struct { int32_t n, k, n_groups, topk_groups, none; bool norm, dense; float eps, scale; } topk;

    /* Matrices of chosen experts: for slot j < k with expert e = in[1][j] (TOPK's indices):
     * out[j*rows ..] = W_e x_j, x_j = in[0] for all j, or with per_slot its j-th part.
     * w[0] MATRIX [experts*rows, cols], rows a multiple of 16 or experts 1. Sums as LINEAR. */
    struct { int32_t k, rows; bool per_slot; } experts;

    /* Block-diagonal matrix: out block h = W_h x_h + w[1]; x_h = block h of in[0] (in.width /
     * blocks wide). w[0] MATRIX [blocks*rows, cols]; shared: one matrix [rows, cols] and bias
     * for all blocks. rows a multiple of 16 unless shared. Sums as LINEAR. */
    struct { int32_t blocks; bool shared; } blocks;

    /* out[c] = in[0][w[0][c]]: w[0] VECTOR of column numbers. */

    /* out [1] = 1 at position 0, else 0. */

    /* K7: in 0 q [K], 1 k [K], 2 v [heads*V], 3 alpha [heads], 4 lambda [heads*levels]. At position
     * t the past falls into levels: l >= 1 exists iff bit l-1 of t is set and covers the 2^(l-1)
     * tokens just below t with its low l-1 bits cleared; level 0 is the token itself.
     * out_h = sum_l lambda[h][l] S_l^T q, S_l = sum over the level of decayed k v^T. Positions
     * stay below 2^(levels-1). Section: S_1 … S_{levels-1}, [levels-1][heads][K][V]. */
    struct { int32_t heads, K, V, levels; } fenwick;

    /* K8: in 0 q, 1 k [heads*K], 2 v [heads*V], 3 alpha, 4 beta [heads]; w[0] lambda [heads*K],
     * + bound > 0. A = alpha A + beta k k^T;  B = alpha B + beta k v^T;
     * (A + diag(lambda + bound)) x = q by Cholesky;
     * out = B^T x. Section: A [heads][K][K], then B [heads][K][V]. */
    struct { int32_t heads, K, V; float bound; } mesa;

    /* K9: in 0 q, 1 k [heads*K], 2 v [heads*V], 3 alpha, 4 now, 5 before [heads].
     * S = alpha S + before k_{t-1} v_{t-1}^T + now k_t v_t^T;  out = S^T q; k_{-1} = v_{-1} = 0.
     * Section: S [heads][K][V], then k_{t-1} [heads*K], then v_{t-1} [heads*V]. */
    struct { int32_t heads, K, V; } trapezoid;

    /* theta = (theta + in[1]) mod 2 pi [heads*angles]; then of every head (`head` columns) of
     * out = in[0] (`parts` runs of all heads) the pairs (2i, 2i+1), i < angles, are rotated:
     * (e, o) -> (e cos - o sin, e sin + o cos). Section: theta. */
    struct { int32_t heads, head, angles, parts; } rotate;

    /* in 0 q [heads*d], 1 k [kv_heads*d], 2 v [kv_heads*V]; out [heads*V] =
     * sum_j <q_t,k_j>^2 v_j / (sum_j <q_t,k_j>^2 + eps), j <= t, query head h with key head
     * h / (heads/kv_heads). Kept as sums over j of k[a] k[b] (v, 1), a <= b < d: squares cancel
     * when they are taken apart, so every sum has the precision of two floats.
     * Section: [kv_heads][d (d+1)/2][V + 1][2], high and low part. */
    struct { int32_t heads, kv_heads, d, V; float eps; } square;

    /* Blocks of `block` positions counted from 0: on a block's last row out[c] = sum_i p_i x_i[c],
     * p = softmax over its rows i of gate_i[c] + w[0][i * width + c] (in[1] and w[0] absent: the
     * mean); 0 on the other rows. Summed as the rows come. Section: the maximum, the sum of
     * weights and the weighted sum so far, [3][width], without a gate the sum alone, [width]; not
     * used at a block's first row. */
    struct { int32_t block; } pool;

    /* Every n x n columns of in[0], a matrix, row-major: A = softmax of each row + eps; then each
     * column divided by (its sum + eps); then `iters` - 1 times the rows so, then the columns. */
    struct { int32_t n, iters; float eps; } sinkhorn;
};

#endif
