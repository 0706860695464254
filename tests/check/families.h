/* Rigs of the ops that single families need: K7 to K9 and attention's relatives. */
#ifndef RECURD_CHECK_FAMILIES_H
#define RECURD_CHECK_FAMILIES_H

#include "tests/check/ops.h"

extern const struct shape state_shapes[4];  /* layout heads K V: fenwick, mesa, trapezoid */
extern const struct shape rotate_shapes[3]; /* layout heads head angles parts */
extern const struct shape kept_shapes[5];   /* layout heads kv_heads dk dv extra */
extern const struct shape nsa_shapes[4];    /* layout heads kv_heads dk dv window block count */
extern const struct shape moba_shapes[4];   /* layout heads kv_heads dk dv block count */
extern const struct shape indexer_shapes[5];  /* layout heads dk block count weights */
extern const struct shape indexed_shapes[6];  /* as moba_shapes, key_is_value */
extern const struct shape pool_shapes[5];     /* layout width block gate: 2 with a bias */
extern const struct shape sinkhorn_shapes[4]; /* layout matrices n iters */

void build_fenwick(struct rig *r, const int *p);
void build_mesa(struct rig *r, const int *p);
void build_trapezoid(struct rig *r, const int *p);
void build_rotate(struct rig *r, const int *p);
void build_path(struct rig *r, const int *p);     /* extra: with gates */
void build_wall(struct rig *r, const int *p);     /* extra: with a bias a head */
void build_parallax(struct rig *r, const int *p); /* extra: the window */
void build_deltaformer(struct rig *r, const int *p);
void build_nsa(struct rig *r, const int *p);
void build_moba(struct rig *r, const int *p);
void build_indexer(struct rig *r, const int *p);
void build_indexed(struct rig *r, const int *p);
void build_pool(struct rig *r, const int *p);
void build_sinkhorn(struct rig *r, const int *p);

#endif
