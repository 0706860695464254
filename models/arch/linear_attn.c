/* Linear attention (Katharopoulos et al., 2020) with every feature map of the published library,
 * and the layers Based (Arora et al., 2024) and ReBased (Aksenov et al., 2024), whose feature maps
 * are second-order polynomials.
 *
 *   q, k := phi(W x) of F features per head;  q *= F^-1/2;  S += k v^T;  o = S^T q
 *   normalised: o /= q^T (sum of k) + eps;  y = W_o rms(o) (Based, ReBased: without rms)
 *   ReBased: o = sum (q k)^2 v / (sum (q k)^2 + eps K), q and k after a layer norm per head
 *
 * phi per head of K columns: elementwise_product (L1 x) (.) (L2 x); hedgehog softmax(2Lx, -2Lx);
 * t2r relu(Lx); dpfp c (.) roll(c, j), c = (relu x, relu -x), j = 1..4; elu + 1; relu; identity. */
#include "models/build/build.h"

enum kind { LINEAR, BASED, REBASED };
struct dims {
    enum kind kind;
    int D, H, Hkv, K, V, F;
    bool tied, norm_q, norm_k, norm_o;
    float eps;
    const char *map;
};

#define DPFP_NU 4
#define POLY_MAX 64 /* feature_dim; the published 16 gives 153 features */

static val dpfp(struct build *b, val x, int K)
{
    enum { MAX_K = 1024 };
    int left[2 * DPFP_NU * MAX_K], right[2 * DPFP_NU * MAX_K];
    float scale[2 * DPFP_NU * MAX_K];
    if (!b_require(b, K <= MAX_K, "dpfp of %d columns, %d at most", K, MAX_K))
        return x;
    for (int f = 0; f < 2 * K; f++) {
        left[f] = f % K;
        right[f] = K;
        scale[f] = f < K ? 1 : -1;
    }
    x = e_fn(b, EW_RELU, b_products(b, x, &(struct products){K, 2 * K, left, right, scale}));
    for (int f = 0; f < 2 * DPFP_NU * K; f++) {
        left[f] = f % (2 * K);
        right[f] = (left[f] - f / (2 * K) - 1 + 2 * K) % (2 * K);
        scale[f] = 1;
    }
    return b_products(b, x,
                      &(struct products){2 * K, 2 * DPFP_NU * K, left, right, scale});
}

static val hedgehog(struct build *b, val x, const char *layer, int K)
{
    enum { MAX_K = 4096 };
    int left[2 * MAX_K], right[2 * MAX_K];
    float scale[2 * MAX_K];
    if (!b_require(b, K <= MAX_K, "hedgehog of %d columns, %d at most", K, MAX_K))
        return x;
    for (int f = 0; f < 2 * K; f++) {
        left[f] = f % K;
        right[f] = K;
        scale[f] = f < K ? 2 : -2;
    }
    val y = b_per_head(b, x, layer, K, K, true);
    y = b_products(b, y, &(struct products){K, 2 * K, left, right, scale});
    return b_softmax(b, y, 2 * K, 1);
}

/* 1, x_i and all x_i x_j with factors such that phi(q) phi(k) = 1 + s + s^2/2, s = q k / K^1/2. All
 * factors are on the query's side: one rounding less. */
static val polynomial(struct build *b, val x, char side, int K)
{
    enum { MAX_F = 1 + POLY_MAX + POLY_MAX * (POLY_MAX + 1) / 2 };
    int left[MAX_F], right[MAX_F], n = 0;
    float scale[MAX_F];
    for (int i = -1; i < K; i++, n++) {
        left[n] = i < 0 ? K : i;
        right[n] = K;
        scale[n] = (float)(i < 0 ? 1 : 1 / sqrt(K));
    }
    for (int i = 0; i < K; i++)
        for (int j = i; j < K; j++, n++) {
            left[n] = i;
            right[n] = j;
            scale[n] = (float)(i == j ? 0.5 / K : 1.0 / K);
        }
    for (int f = 0; f < n && side == 'k'; f++)
        scale[f] = 1;
    return b_products(b, x, &(struct products){K, n, left, right, scale});
}

/* Maps published as modules have weights, "feature_map_q.layer1" and so on. */
static val feature(struct build *b, val x, char side, const struct dims *d)
{
    char layer[32], one[40], two[40];
    snprintf(layer, sizeof layer, "feature_map_%c.layer", side);
    if (d->tied) { /* the file has one name or both for the same numbers */
        bool k = b_has(b, "feature_map_k.layer.weight", true) ||
                 b_has(b, "feature_map_k.layer1.weight", true);
        layer[12] = k ? 'k' : 'q';
        b_unused(b, k ? "feature_map_q." : "feature_map_k.");
    }
    snprintf(one, sizeof one, "%s1", layer);
    snprintf(two, sizeof two, "%s2", layer);
    if (!strcmp(d->map, "elementwise_product"))
        return e_mul(b, b_per_head(b, x, one, d->K, d->K, true),
                     b_per_head(b, x, two, d->K, d->K, true));
    if (!strcmp(d->map, "hedgehog"))
        return hedgehog(b, x, layer, d->K);
    if (!strcmp(d->map, "t2r"))
        return e_fn(b, EW_RELU, b_per_head(b, x, layer, d->K, d->K, false));
    if (!strcmp(d->map, "dpfp"))
        return dpfp(b, x, d->K);
    return !strcmp(d->map, "elu") ? b_elu1(b, x) : b_feature(b, x, d->map);
}

static val attend(struct build *b, val q, val k, val v, const struct dims *d)
{
    struct decay_args a = {
        .q = q, .k = k, .v = v, .q_heads = d->H, .state_heads = d->Hkv, .K = d->F, .V = d->V,
        .decay = DECAY_NONE, .scale = d->kind == LINEAR ? (float)(1 / sqrt(d->F)) : 1};
    val o = b_decay(b, &a);
    if (!d->norm_o)
        return o;
    a.v = e_affine(b, b_slice(v, 0, 1), 0, 1); /* one column of ones: the state is the sum of k */
    a.v_heads = a.V = 1;
    return e_div(b, o, e_affine(b, b_decay(b, &a), 1, d->eps));
}

/* (q k)^2 / K may be next to nothing in a sum of large products, and is then divided by: SQUARE, a
 * kernel of its own, keeps those products and their sums in more than float32. */
static val rebased(struct build *b, val q, val k, val v, const struct dims *d)
{
    int gamma = w_vec(b, "feature_map.gamma", d->K), beta = w_vec(b, "feature_map.beta", d->K);
    q = b_norm(b, q, NORM_LAYER, d->K, gamma, beta, 1e-5f, 1);
    k = b_norm(b, k, NORM_LAYER, d->K, gamma, beta, 1e-5f, 1);
    return b_square(b, &(struct square_args){.q = q, .k = k, .v = v, .H = d->H, .Hkv = d->Hkv,
                                             .d = d->K, .V = d->V, .eps = d->eps * (float)d->K});
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_linear(b, x, "q_proj", d->H * d->K), k = b_linear(b, x, "k_proj", d->Hkv * d->K);
    val v = b_linear(b, x, "v_proj", d->Hkv * d->V);
    if (d->kind == REBASED)
        return b_linear(b, rebased(b, q, k, v, d), "o_proj", d->D);
    q = d->kind == BASED ? polynomial(b, q, 'q', d->K) : feature(b, q, 'q', d);
    k = d->kind == BASED ? polynomial(b, k, 'k', d->K) : feature(b, k, 'k', d);
    struct dims full = *d;
    full.F = k.width / MAX(d->Hkv, 1);
    if (d->norm_q)
        q = b_norm(b, q, NORM_SUM, full.F, -1, -1, 1e-4f, 1);
    if (d->norm_k)
        k = b_norm(b, k, NORM_SUM, full.F, -1, -1, 1e-4f, 1);
    val o = attend(b, q, k, v, &full);
    if (d->kind == LINEAR)
        o = b_head_norm(b, o, d->V, "norm.weight", VIEW_NONE, ACT_NONE,
                        (float)cfg_num(b, "norm_eps", 1e-6));
    return b_linear(b, o, "o_proj", d->D);
}

static void build_linear(struct build *b)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_heads", 4);
    struct head_split s = {.H = H, .Hkv = (int)cfg_int(b, "num_kv_heads", H)};
    struct dims d = {
        .kind = LINEAR, .D = D, .H = H, .Hkv = s.Hkv,
        .tied = cfg_bool(b, "tie_feature_map_qk", false), .norm_q = cfg_bool(b, "norm_q", false),
        .norm_k = cfg_bool(b, "norm_k", false), .norm_o = cfg_bool(b, "norm_feature_map", false),
        .eps = 1e-10f, .map = cfg_str(b, "feature_map", "elementwise_product")};
    if (!b_head_split(b, D, 1, 1, &s))
        return;
    d.K = s.K;
    d.V = s.V;
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

static void build_poly(struct build *b, bool based)
{
    int D = (int)cfg_int(b, "hidden_size", 2048), H = (int)cfg_int(b, "num_key_value_heads", 12);
    struct dims d = {
        .kind = based ? BASED : REBASED, .D = D, .H = (int)cfg_int(b, "num_heads", H), .Hkv = H,
        .K = (int)cfg_int(b, "feature_dim", 16), .norm_o = true, .eps = based ? 1e-12f : 1e-5f};
    if (b_require(b, H > 0 && d.H % H == 0 && D % d.H == 0, "%d heads on %d in a width of %d", d.H,
                  H, D) &&
        b_require(b, d.K > 0 && d.K <= POLY_MAX, "feature_dim %d, 1 to %d", d.K, POLY_MAX)) {
        d.V = D / d.H;
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
    }
}

static void build_based(struct build *b) { build_poly(b, true); }
static void build_rebased(struct build *b) { build_poly(b, false); }

const struct arch arch_linear_attn = {"linear_attn", build_linear};
const struct arch arch_based = {"based", build_based};
const struct arch arch_rebased = {"rebased", build_rebased};
