/* Cyclic flow attention (Chen, 2026): slots of relative time on a ring of P = M - 1 places, through
 * which a learned clock moves what is stored. Kept as Fourier modes, a move is a rotation.
 *
 *   q, k, v = conv(W x);  q, k := rms per head;  per head  b = sigmoid(W_b x),  dl = sigmoid(W_d x)
 *   l = l + dl;  R(l): pair p of M/2 turned by 2 pi p l / P;  e_p = sqrt((p ? 2 : 1) / P)
 *   a = exp(-exp(A_log) softplus(W_a x + dt_bias));  w = b R(-l) (e_0, 0, e_1, 0, ...)
 *   S1 = a S1 + k w^T;  S2 = a S2 + w v^T;  T = readout F, F [P, M] the modes at the P places
 *   z = T R(l) S1^T q K^-1/2;  o = P S2^T R(-l) T^T softmax(z)
 *   y = W_o (rms(o) (.) sigmoid(W_g2 W_g1 x + b_g)) */
#include "models/build/build.h"

#define SLOTS_MAX 512 /* published: 128 */
#define TURN 6.283185307179586

struct dims { int D, H, K, V, M, conv; float eps; };

/* Mode m of M at a place of the ring, F[place][m]. */
static double mode(int64_t place, int64_t m, int64_t M)
{
    int64_t P = M - 1, p = m / 2;
    double turned = TURN * (double)(place * p % P) / (double)P;
    return sqrt((p ? 2.0 : 1.0) / (double)P) * (m % 2 ? sin(turned) : cos(turned));
}

/* Row of the first product, [head][P padded][M]: readout F. */
static void slots_of_modes(const float *whole, int64_t elems, int64_t row, int64_t M, float *out)
{
    int64_t P = M - 1, each = b_padded((int)P), r = row % each;
    (void)elems;
    for (int64_t m = 0; m < M; m++) {
        double sum = 0;
        for (int64_t s = 0; s < P && r < P; s++)
            sum += whole[(row / each * P + r) * P + s] * mode(s, m, M);
        out[m] = (float)sum;
    }
}

/* Row of the second one, [head][M padded][P]: its transpose. */
static void modes_of_slots(const float *whole, int64_t elems, int64_t row, int64_t P, float *out)
{
    int64_t M = P + 1, each = b_padded((int)M), m = row % each;
    double at[SLOTS_MAX] = {0};
    (void)elems;
    for (int64_t s = 0; s < P && m < M; s++)
        at[s] = mode(s, m, M);
    for (int64_t r = 0; r < P; r++) {
        double sum = 0;
        for (int64_t s = 0; s < P && m < M; s++)
            sum += whole[(row / each * P + r) * P + s] * at[s];
        out[r] = (float)sum;
    }
}

/* x_h (n columns) to rows columns of every head. */
static val read(struct build *b, val x, const struct dims *d, int n, int rows, derive_fn *f)
{
    int P = d->M - 1, each = b_padded(rows);
    int w = w_derived_matrix(b, "readout", &(struct derived){
        .tensor_rows = (int64_t)d->H * P, .tensor_cols = P, .rows = (int64_t)d->H * each,
        .cols = n, .f = f, .exact = true});
    return b_cut(b, b_blocks(b, x, d->H, w, -1, each, false), d->H, rows);
}

/* The value of each head, n times, the i-th times table[i]. */
static val spread(struct build *b, val x, const struct dims *d, int n, const float *table)
{
    return e_mulw(b, b_repeat_heads(b, x, d->H, d->H * n), w_values(b, table, n));
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    int H = d->H, M = d->M, P = M - 1;
    float atom[SLOTS_MAX] = {0}, forth[SLOTS_MAX / 2], back[SLOTS_MAX / 2];
    (void)layer;
    for (int p = 0; p < M / 2; p++) {
        atom[2 * p] = (float)mode(0, 2 * p, M);
        forth[p] = (float)(TURN * p / P);
        back[p] = -forth[p];
    }
    val q = b_conv_proj(b, x, "q", H * d->K, d->conv, ACT_NONE);
    val k = b_conv_proj(b, x, "k", H * d->K, d->conv, ACT_NONE);
    val v = b_conv_proj(b, x, "v", H * d->V, d->conv, ACT_NONE);
    val a = b_linear(b, x, "a_proj", H), beta = b_linear_bias(b, x, "b_proj", H);
    val step = e_fn(b, EW_SIGMOID, b_linear_bias(b, x, "d_proj", H));
    val gate = b_low_rank(b, x, "g_proj", d->V, H * d->V, true);
    val alpha = b_decay_gate(b, a, "A_log", H, "dt_bias");
    val later = spread(b, step, d, M / 2, forth), earlier = spread(b, step, d, M / 2, back);
    val w = b_rotate(b, spread(b, e_fn(b, EW_SIGMOID, beta), d, M, atom), earlier, H, M, 1);
    q = b_norm(b, q, NORM_RMS, d->K, w_vec(b, "q_norm.weight", d->K), -1, d->eps, 1);
    k = b_norm(b, k, NORM_RMS, d->K, w_vec(b, "k_norm.weight", d->K), -1, d->eps, 1);
    struct decay_args keys = {.q = q, .k = k, .v = w, .d = alpha, .state_heads = H, .K = d->K,
                              .V = M, .decay = DECAY_SCALAR, .scale = (float)(1 / sqrt(d->K))};
    val z = b_rotate(b, b_decay(b, &keys), later, H, M, 1);
    z = b_softmax(b, read(b, z, d, M, P, slots_of_modes), P, 1);
    z = b_rotate(b, e_affine(b, read(b, z, d, P, M, modes_of_slots), (float)P, 0), earlier, H, M,
                 1);
    struct decay_args values = {.q = z, .k = w, .v = v, .d = alpha, .state_heads = H, .K = M,
                                .V = d->V, .decay = DECAY_SCALAR, .scale = 1};
    val o = b_head_norm(b, b_decay(b, &values), d->V, "o_norm.weight", gate, ACT_SIGMOID, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int head = b_width(b, "head_dim", 256);
    struct dims d = {.D = b_width(b, "hidden_size", 2048), .H = b_count(b, "num_heads", 8),
                     .K = b_times(b, head, "expand_k", 1), .V = b_times(b, head, "expand_v", 1),
                     .M = b_count(b, "num_slots", 128), .conv = b_conv_size(b, true),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    cfg_irrelevant(b, "checkpoint_level");
    if (b_require(b, d.H > 0 && d.K > 0 && d.V > 0, "%d heads of %d and %d", d.H, d.K, d.V) &&
        b_require(b, d.M >= 2 && d.M % 2 == 0 && d.M <= SLOTS_MAX,
                  "num_slots %d is not an even number from 2 to %d", d.M, SLOTS_MAX))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_cyclic_flow_attention = {"cyclic_flow_attention", build};
