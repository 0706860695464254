/* K2 for segments of many tokens, by warps. Group: WARPS * 4 * CL columns of one state head of one
 * sequence. Lane (c, l) of a warp: CL columns, and of each the rows of lane l of the 8 that a sum
 * over K is made of (state_sum in common.clh, whose order this is). They meet by shuffles
 * (SHUFFLE), which is faster where many groups run, or in local memory.
 *
 * The vectors of TILE tokens are a stage of a ring in local memory: while one is computed, the next
 * ones are on their way. A token waits for the one before, so all that needs not wait is done while
 * its sums are on their way from lane to lane: the result of the token before, the next token's
 * vectors into registers (both AHEAD: with one column there are enough), and once a tile the
 * meeting of the group and the copies for a stage.
 *
 * Groups along dimension 2 are the batch's last sequences, from the end: those before have one row
 * each, and another launch. */
#define ITEMS (WARPS * 32)
#define VT (WARPS * 4 * CL) /* columns of the group */
#define KR (KP / 8)         /* rows of a lane */
#define TILE 8              /* tokens; one for each lane l when results are shared out */
#define COPIERS (ITEMS / TILE) /* items that copy a token */
/* A token in the ring: k, q, a, b, w, the group's part of v, then beta and the decay. */
#define AT_A (2 * KP)
#define AT_B (AT_A + HAS_A * KP)
#define AT_W (AT_B + DPLR * KP)
#define AT_V (AT_W + (DECAY == DECAY_KEY) * KP)
#define AT_BETA (AT_V + VT)
#define TOKEN (AT_BETA + 4)
/* What a warp has beside the ring: parts of two tokens' sums, of results of a tile's. */
#define AT_KEPT (SHUFFLE ? 0 : 2 * 32 * CL)
#define KEPT (32 * CL + 4) /* of a token; lanes l read from different banks */
#define MEET (AT_KEPT + TILE * KEPT)
#define AHEAD (CL == 1)
#define EVERY_ROW _Pragma("unroll") for (int i = 0; i < KR; i++)
#define EVERY_COL _Pragma("unroll") for (int x = 0; x < CL; x++)

/* A token's part of a lane in registers, but q. */
typedef struct {
    float k[KR], a[HAS_A ? KR : 1], b[DPLR ? KR : 1], w[DECAY == DECAY_KEY ? KR : 1];
    float v[CL], beta;
} FN(held);

/* A lane's share of a vector. */
inline void FN(load)(float *to, local const float *from, int l)
{
#pragma unroll
    for (int j = 0; j < KR / 4; j++) {
        float4 f = *(local const float4 *)(from + (j * 8 + l) * 4);
        to[4 * j] = f.x, to[4 * j + 1] = f.y, to[4 * j + 2] = f.z, to[4 * j + 3] = f.w;
    }
}

inline void FN(hold)(FN(held) *h, local const float *token, int l, int c)
{
    if (DECAY == DECAY_SCALAR)
        h->w[0] = token[AT_BETA + 1];
    h->beta = HAS_B && !DPLR ? token[AT_BETA] : 1.0f;
    if (DECAY == DECAY_KEY)
        FN(load)(h->w, token + AT_W, l);
    if (HAS_A)
        FN(load)(h->a, token + AT_A, l);
    FN(load)(h->k, token, l);
    EVERY_COL h->v[x] = token[AT_V + c + x];
    if (DPLR)
        FN(load)(h->b, token + AT_B, l);
}

inline float FN(part)(const float *a, const float *S)
{
    float even = 0.0f, odd = 0.0f;
#pragma unroll
    for (int i = 0; i < KR; i += 2) {
        even = fma(a[i], S[i], even);
        odd = fma(a[i + 1], S[i + 1], odd);
    }
    return even + odd;
}

/* A sum over the lanes l, as state_tree has it; the parts that they put side by side. */
inline float FN(tree)(const float4 *p)
{
    return ((p[0].x + p[0].y) + (p[0].z + p[0].w)) + ((p[1].x + p[1].y) + (p[1].z + p[1].w));
}
#define PARTS(to, from)                                                                            \
    do {                                                                                           \
        (to)[0] = *(local const float4 *)(from);                                                   \
        (to)[1] = *(local const float4 *)((from) + 4);                                             \
    } while (0)

/* The state decayed, and this lane's parts of the sums over it (u). */
inline void FN(before)(const FN(held) *h, float (*S)[KR], float (*D)[KR], float *u)
{
    EVERY_COL {
        EVERY_ROW D[x][i] = DECAY == DECAY_NONE ? S[x][i]
                                                : S[x][i] * h->w[DECAY == DECAY_KEY ? i : 0];
        u[x] = FN(part)(HAS_A ? h->a : h->k, DECAY_FIRST ? D[x] : S[x]);
    }
}

inline void FN(after)(const FN(held) *h, float (*S)[KR], float (*D)[KR], const float *u)
{
    EVERY_COL {
        if (DPLR) {
            EVERY_ROW S[x][i] = fma(h->b[i], u[x], fma(h->k[i], h->v[x], D[x][i]));
        } else {
            float d = h->beta * (h->v[x] - u[x]);
            EVERY_ROW S[x][i] = fma(h->k[i], d, D[x][i]);
        }
    }
}

__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(w), VIEW(a),
                   VIEW(b), global float *slots, const ulong slot_floats, const ulong section,
                   global const int *cu, global const int *slot, const float scale,
                   global const int *counts)
{
    LOCAL_1(float, ring, STAGES * TILE * TOKEN);
    LOCAL_1(float, meet, WARPS * MEET);
    int id = (int)get_local_id(0), l = id % 32 / 4, c = (id / 32 * 4 + id % 4) * CL;
    int c0 = (int)get_group_id(0) * VT, head = (int)get_group_id(1);
    int seq = counts[0] - 1 - (int)get_group_id(2);
    int key_head = head * KEY_HEADS / HEADS, decay_head = head * DECAY_HEADS / HEADS;
    int first = cu[seq], n = cu[seq + 1] - first;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (K * V) + (ulong)(c0 + c);
    float S[CL][KR], D[CL][KR], q_[KR], u[CL];
    FN(held) h[2];
    bool mine = c0 + c < V; /* with all of its columns: V and CL are even */
    EVERY_COL EVERY_ROW {
        int row = (i / 4 * 8 + l) * 4 + i % 4;
        S[x][i] = mine && row < K ? state[row * V + x] : 0.0f;
    }
    EVERY_ROW q_[i] = 0.0f;
#if KP > K || V % VT
    for (int x = id; x < STAGES * TILE * TOKEN; x += ITEMS)
        ring[x] = 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    /* What this item copies: of token `copier` of a tile every chunk of 4 floats that comes
     * COPIERS after the last. */
    int copier = id / COPIERS, chunk = id % COPIERS * 4, copied = first + copier;
    global const float *k_from = ROW(k, copied) + key_head * K + chunk;
    global const float *q_from = ROW(q, copied) + key_head * K + chunk;
    global const float *v_from = ROW(v, copied) + head * V + c0 + chunk;
#if HAS_A
    global const float *a_from = ROW(a, copied) + key_head * K + chunk;
#endif
#if DPLR
    global const float *b_from = ROW(b, copied) + key_head * K + chunk;
#endif
#if DECAY == DECAY_KEY
    global const float *w_from = ROW(w, copied) + decay_head * K + chunk;
#endif
#define HAS_BETA (HAS_B && !DPLR)
#define SCALARS (HAS_BETA || DECAY == DECAY_SCALAR)
#if SCALARS
    bool is_beta = HAS_BETA && chunk == 0;
    bool scalar = is_beta || (DECAY == DECAY_SCALAR && chunk == 4);
    global const float *s_from = is_beta ? ROW(b, copied) + head : ROW(w, copied) + decay_head;
    int s_step = TILE * (is_beta ? b_stride : w_stride);
#endif
    bool v_copier = chunk < VT && c0 + chunk < V;
    local float *copy_to = ring + copier * TOKEN + chunk;
    int uncopied = n - copier; /* > 0: this item's next token is one */
#define COPY(name, at)                                                                             \
    do {                                                                                           \
        _Pragma("unroll") for (int x = 0; x < K; x += 4 * COPIERS)                                 \
            copy_async_if(uncopied > 0 && (K % (4 * COPIERS) == 0 || chunk + x < K),               \
                          (local uint4 *)(to + (at) + x),                                          \
                          (global const uint4 *)(name##_from + x));                                \
        name##_from += TILE * name##_stride;                                                       \
    } while (0)
#define FETCH(stage)                                                                               \
    do {                                                                                           \
        local float *to = copy_to + (stage);                                                       \
        COPY(k, 0);                                                                                \
        COPY(q, KP);                                                                               \
        COPY_A COPY_B COPY_W                                                                       \
        copy_async_if(uncopied > 0 && v_copier, (local uint4 *)(to + AT_V),                        \
                      (global const uint4 *)v_from);                                               \
        v_from += TILE * v_stride;                                                                 \
        COPY_SCALARS                                                                               \
        uncopied -= TILE;                                                                          \
        COPY_COMMIT();                                                                             \
    } while (0)
#if HAS_A
#define COPY_A COPY(a, AT_A);
#else
#define COPY_A
#endif
#if DPLR
#define COPY_B COPY(b, AT_B);
#else
#define COPY_B
#endif
#if DECAY == DECAY_KEY
#define COPY_W COPY(w, AT_W);
#else
#define COPY_W
#endif
#if SCALARS
#define COPY_SCALARS                                                                               \
    copy_async_word_if(uncopied > 0 && scalar, to + AT_BETA - chunk + !is_beta, s_from);           \
    s_from += s_step;
#else
#define COPY_SCALARS
#endif
    local float *own = meet + id / 32 * MEET + id % 4 * CL * 8;
    local float *own_kept = own + AT_KEPT + l * KEPT;
/* A token's parts of sums, and after a meeting the sums. */
#if SHUFFLE
#define SEND(t)
#define RECEIVE(t)
#define ADD                                                                                        \
    UNROLLED for (int apart = 4; apart < 32; apart *= 2)                                           \
        EVERY_COL u[x] += warp_xor(warp_x, u[x], apart)
    WARP_LOCAL(ITEMS)
#else
#define SEND(t) EVERY_COL own[(t) % 2 * 32 * CL + x * 8 + l] = u[x]
#define RECEIVE(t) EVERY_COL PARTS(parts[x], own + (t) % 2 * 32 * CL + x * 8)
#define ADD EVERY_COL u[x] = FN(tree)(parts[x])
#endif
#define KEEP(t) EVERY_COL own[AT_KEPT + (t) * KEPT + x * 8 + l] = FN(part)(q_, S[x])
/* Results of `rows` tokens whose parts are kept: lane l has token l. */
#define RESULTS(rows)                                                                              \
    do {                                                                                           \
        float4 kept[CL][2];                                                                        \
        EVERY_COL PARTS(kept[x], own_kept + x * 8);                                                \
        warp_meet();                                                                               \
        EVERY_COL {                                                                                \
            float sum = FN(tree)(kept[x]);                                                         \
            if (mine && l < (rows))                                                                \
                to[x] = sum * scale;                                                               \
        }                                                                                          \
    } while (0)
    global float *to = ROW(out, first + l) + head * V + c0 + c;
    float4 parts[CL][2];
    for (int i = 0; i < STAGES; i++)
        FETCH(i * TILE * TOKEN);
    COPY_WAIT(STAGES - 1);
    barrier(CLK_LOCAL_MEM_FENCE);
    int at = 0, stage = 0;
    if (AHEAD)
        FN(hold)(&h[0], ring, l, c);
    for (; at + TILE <= n; at += TILE) {
        UNROLLED for (int t = 0; t < TILE; t++) {
            local const float *token = ring + stage + t * TOKEN;
            int now = AHEAD ? t % 2 : 0;
            if (!AHEAD)
                FN(hold)(&h[now], token, l, c);
            FN(before)(&h[now], S, D, u);
            SEND(t);
            warp_meet();
            RECEIVE(t);
            if (t == AHEAD && at > 0) {
                RESULTS(TILE);
                to += TILE * out_stride;
            }
            if (AHEAD)
                KEEP((t + TILE - 1) % TILE); /* of the token before */
            FN(load)(q_, token + KP, l);
            if (t == TILE - 1) {
                COPY_WAIT(STAGES - 2);
                barrier(CLK_LOCAL_MEM_FENCE); /* the next tile is there, this one is read */
                FETCH(stage);
                stage = stage == (STAGES - 1) * TILE * TOKEN ? 0 : stage + TILE * TOKEN;
                token = ring + stage - TOKEN;
            }
            if (AHEAD)
                FN(hold)(&h[!now], token + TOKEN, l, c);
            ADD;
            FN(after)(&h[now], S, D, u);
            if (!AHEAD)
                KEEP(t);
        }
    }
    if (at > 0) {
        if (AHEAD)
            KEEP(TILE - 1);
        warp_meet();
        RESULTS(TILE);
        to += TILE * out_stride;
    }
    for (int t = 0; t < n - at; t++) {
        local const float *token = ring + stage + t * TOKEN;
        FN(hold)(&h[0], token, l, c);
        FN(load)(q_, token + KP, l);
        FN(before)(&h[0], S, D, u);
        SEND(t);
        warp_meet();
        RECEIVE(t);
        ADD;
        FN(after)(&h[0], S, D, u);
        KEEP(t);
    }
    warp_meet();
    RESULTS(n - at);
    EVERY_COL EVERY_ROW {
        int row = (i / 4 * 8 + l) * 4 + i % 4;
        if (mine && row < K)
            state[row * V + x] = S[x][i];
    }
#undef COPY_A
#undef COPY_B
#undef COPY_W
#undef COPY_SCALARS
#undef PARTS
#undef SEND
#undef RECEIVE
#undef ADD
}
