/* Multi-head latent attention (DeepSeek-V2, 2024): only a normed latent and one rotated key are
 * cached per token; the up-projection is absorbed into the query and the output.
 *
 *   k_h = [W_uk,h c | k_rope], v_h = W_uv,h c  =>  <q_h,k_h> = <W_uk,h^T q_nope, c>
 *     + <q_rope,k_rope>
 *   o_h = W_uv,h (sum p c) */
#include "models/build/build.h"

struct dims { int D, H, rq, rkv, dn, dr, dv; double theta; };

static val query(struct build *b, val x, const struct dims *d)
{
    int rows = d->H * (d->dn + d->dr);
    if (d->rq == 0)
        return b_linear(b, x, "q_proj", rows);
    val latent = b_linear(b, x, "q_proj.0", d->rq);
    latent = b_norm(b, latent, NORM_RMS, d->rq, w_vec(b, "q_proj.1.weight", d->rq), -1, 1e-5f, 1);
    return b_linear(b, latent, "q_proj.2", rows);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = query(b, x, d), kr = b_linear(b, x, "k_rope", d->dr);
    val c = b_linear(b, x, "kv_proj.0", d->rkv);
    c = b_norm(b, c, NORM_RMS, d->rkv, w_vec(b, "kv_proj.1.weight", d->rkv), -1, 1e-5f, 1);
    val o = b_latent_attention(
        b, &(struct latent_args){.q = q,
                                 .latent = c,
                                 .rope = b_rope(b, kr, d->dr, d->dr, d->theta, false),
                                 .theta = d->theta,
                                 .up = "kv_proj.2.weight",
                                 .H = d->H,
                                 .rank = d->rkv,
                                 .dn = d->dn,
                                 .dr = d->dr,
                                 .dv = d->dv,
                                 .scale = (float)(1 / sqrt(d->dn + d->dr))});
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int dn = (int)cfg_int(b, "qk_nope_head_dim", 128), dr = (int)cfg_int(b, "qk_rope_head_dim", 64);
    struct dims d = {.D = (int)cfg_int(b, "hidden_size", 2048),
                     .H = (int)cfg_int(b, "num_heads", 16),
                     .rq = (int)cfg_int(b, "q_lora_rank", 0),
                     .rkv = (int)cfg_int(b, "kv_lora_rank", 512),
                     .dn = dn,
                     .dr = dr,
                     .dv = (int)cfg_int(b, "v_head_dim", 128),
                     .theta = cfg_num(b, "rope_theta", 10000)};
    b_require(b, cfg_int(b, "qk_head_dim", dn + dr) == dn + dr && cfg_int(b, "window_size", 0) == 0,
              "qk_head_dim is not qk_nope_head_dim + qk_rope_head_dim = %d, or there is a window",
              dn + dr);
    cfg_irrelevant(b, "elementwise_affine rope_scaling rope_parameters");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_mla = {"mla", build};
