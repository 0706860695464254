/* K2 for segments of many tokens, by warps. Group: WARPS * 4 * CL columns of one state head of one
 * sequence. Lane (c, l) of a warp: CL columns, and of each the rows of lane l of the 8 that a sum
 * over K is made of (state_sum in common.clh, whose order this is); the lanes meet by shuffles.
 *
 * The vectors of TILE tokens are a stage of a ring in local memory: while one is computed, the next
 * ones are on their way. The group meets once a tile. */
#define ITEMS (WARPS * 32)
#define VT (WARPS * 4 * CL) /* columns of the group */
#define KR (KP / 8)         /* rows of a lane */
#define TILE 8              /* tokens; one for each lane l when results are shared out */
/* A token in the ring: k, q, a, b, w, the group's part of v, then beta and the decay. */
#define AT_A (2 * KP)
#define AT_B (AT_A + HAS_A * KP)
#define AT_W (AT_B + DPLR * KP)
#define AT_V (AT_W + (DECAY == DECAY_KEY) * KP)
#define AT_BETA (AT_V + VT)
#define TOKEN (AT_BETA + 4)
#define EVERY_ROW _Pragma("unroll") for (int i = 0; i < KR; i++)
#define EVERY_COL _Pragma("unroll") for (int x = 0; x < CL; x++)

/* A lane's share of a vector. */
inline void FN(load)(float *to, local const float *from, int l)
{
#pragma unroll
    for (int j = 0; j < KR / 4; j++) {
        float4 f = *(local const float4 *)(from + (j * 8 + l) * 4);
        to[4 * j] = f.x, to[4 * j + 1] = f.y, to[4 * j + 2] = f.z, to[4 * j + 3] = f.w;
    }
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

/* One token: the state moves on; o: this lane's part of the results. */
inline void FN(token)(local const float *token, int l, int c, float (*S)[KR], float *o,
                      local float *meet)
{
    float k[KR], q[KR], u[CL];
    FN(load)(k, token, l);
#if DECAY == DECAY_KEY
    float w[KR];
    FN(load)(w, token + AT_W, l);
#define FACTOR(i) w[i]
#elif DECAY == DECAY_SCALAR
    float w = token[AT_BETA + 1];
#define FACTOR(i) w
#endif
#if HAS_A
    float a[KR];
    FN(load)(a, token + AT_A, l);
#else
#define a k
#endif
#if DECAY != DECAY_NONE && DECAY_FIRST
    EVERY_COL EVERY_ROW S[x][i] *= FACTOR(i);
#endif
    EVERY_COL u[x] = FN(part)(a, S[x]);
    FN(load)(q, token + KP, l);
    UNROLLED for (int apart = 4; apart < 32; apart *= 2)
        EVERY_COL u[x] += warp_xor(meet, u[x], apart);
#if DECAY != DECAY_NONE && !DECAY_FIRST
    EVERY_COL EVERY_ROW S[x][i] *= FACTOR(i);
#endif
#if DPLR
    float b[KR];
    FN(load)(b, token + AT_B, l);
    EVERY_COL EVERY_ROW S[x][i] = fma(b[i], u[x], fma(k[i], token[AT_V + c + x], S[x][i]));
#else
#if HAS_B
    float beta = token[AT_BETA];
#else
    float beta = 1.0f;
#endif
    EVERY_COL {
        float d = beta * (token[AT_V + c + x] - u[x]);
        EVERY_ROW S[x][i] = fma(k[i], d, S[x][i]);
    }
#endif
    EVERY_COL o[x] = FN(part)(q, S[x]);
#undef a
#undef FACTOR
}

/* The sums of 8 tokens over the lanes l: lane l gets token l's. */
inline float FN(share)(float *o, int l, local float *meet)
{
    UNROLLED for (int bit = 0; bit < 3; bit++)
        UNROLLED for (int i = 0; i < 4; i++) {
            bool upper = l >> bit & 1;
            if (i >= 4 >> bit)
                continue;
            float even = o[2 * i], odd = o[2 * i + 1]; /* named: registers have no address */
            o[i] = (upper ? odd : even) + warp_xor(meet, upper ? even : odd, 4 << bit);
        }
    return o[0];
}

/* Chunks of 4 floats of a vector of n4 for all tokens of a tile. */
#define COPY(view, column, n4, at, given)                                                          \
    do {                                                                                           \
        for (int x = id; x < TILE * (n4); x += ITEMS) {                                            \
            int t = x / (n4), i = x % (n4) * 4;                                                    \
            if (t0 + t < n && (given))                                                             \
                copy_async((local uint4 *)(to + t * TOKEN + (at) + i),                             \
                           (global const uint4 *)(ROW(view, first + t0 + t) + (column) + i));      \
        }                                                                                          \
    } while (0)

__attribute__((reqd_work_group_size(ITEMS, 1, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(w), VIEW(a),
                   VIEW(b), global float *slots, const ulong slot_floats, const ulong section,
                   global const int *cu, global const int *slot, const float scale)
{
    LOCAL_1(float, ring, STAGES * TILE * TOKEN);
    WARP_LOCAL(ITEMS)
    int id = (int)get_local_id(0), l = id % 32 / 4, c = (id / 32 * 4 + id % 4) * CL;
    int c0 = (int)get_group_id(0) * VT, head = (int)get_group_id(1), seq = (int)get_group_id(2);
    int key_head = head * KEY_HEADS / HEADS, decay_head = head * DECAY_HEADS / HEADS;
    int first = cu[seq], n = cu[seq + 1] - first;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (K * V) + (ulong)(c0 + c);
    float S[CL][KR];
    bool mine = c0 + c < V; /* with all of its columns: V and CL are even */
    EVERY_COL EVERY_ROW {
        int row = (i / 4 * 8 + l) * 4 + i % 4;
        S[x][i] = mine && row < K ? state[row * V + x] : 0.0f;
    }
#if KP > K || V % VT
    for (int x = id; x < STAGES * TILE * TOKEN; x += ITEMS)
        ring[x] = 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
#define FETCH(tile)                                                                                \
    do {                                                                                           \
        int t0 = (tile) * TILE;                                                                    \
        local float *to = ring + (tile) % STAGES * TILE * TOKEN;                                   \
        COPY(k, key_head * K, K / 4, 0, true);                                                     \
        COPY(q, key_head * K, K / 4, KP, true);                                                    \
        COPY_A COPY_B COPY_W                                                                       \
        COPY(v, head * V + c0, VT / 4, AT_V, c0 + i < V);                                          \
        if (id < TILE && t0 + id < n) {                                                            \
            local float *scalars = to + id * TOKEN + AT_BETA;                                      \
            COPY_BETA COPY_DECAY                                                                   \
        }                                                                                          \
        COPY_COMMIT();                                                                             \
    } while (0)
#if HAS_A
#define COPY_A COPY(a, key_head * K, K / 4, AT_A, true);
#else
#define COPY_A
#endif
#if DPLR
#define COPY_B COPY(b, key_head * K, K / 4, AT_B, true);
#define COPY_BETA
#elif HAS_B
#define COPY_B
#define COPY_BETA copy_async_word(scalars, ROW(b, first + t0 + id) + head);
#else
#define COPY_B
#define COPY_BETA
#endif
#if DECAY == DECAY_KEY
#define COPY_W COPY(w, decay_head * K, K / 4, AT_W, true);
#define COPY_DECAY
#elif DECAY == DECAY_SCALAR
#define COPY_W
#define COPY_DECAY copy_async_word(scalars + 1, ROW(w, first + t0 + id) + decay_head);
#else
#define COPY_W
#define COPY_DECAY
#endif
    for (int i = 0; i < STAGES - 1; i++)
        FETCH(i);
    for (int tile = 0; tile * TILE < n; tile++) {
        int at = tile * TILE, left = n - at;
        local const float *tokens = ring + tile % STAGES * TILE * TOKEN;
        COPY_WAIT(STAGES - 2);
        barrier(CLK_LOCAL_MEM_FENCE); /* this tile is there, the one before is read */
        FETCH(tile + STAGES - 1);
        if (left >= TILE) {
            float o[CL][TILE];
            UNROLLED for (int t = 0; t < TILE; t++) {
                float part[CL];
                FN(token)(tokens + t * TOKEN, l, c, S, part, warp_x);
                EVERY_COL o[x][t] = part[x];
            }
            EVERY_COL {
                float sum = FN(share)(o[x], l, warp_x);
                if (mine)
                    ROW(out, first + at + l)[head * V + c0 + c + x] = sum * scale;
            }
        } else {
            for (int t = 0; t < left; t++) {
                float o[CL];
                FN(token)(tokens + t * TOKEN, l, c, S, o, warp_x);
                for (int apart = 4; apart < 32; apart *= 2)
                    EVERY_COL o[x] += warp_xor(warp_x, o[x], apart);
                if (mine && l == 0)
                    EVERY_COL ROW(out, first + at + t)[head * V + c0 + c + x] = o[x] * scale;
            }
        }
    }
    EVERY_COL EVERY_ROW {
        int row = (i / 4 * 8 + l) * 4 + i % 4;
        if (mine && row < K)
            state[row * V + x] = S[x][i];
    }
#undef COPY_A
#undef COPY_B
#undef COPY_W
#undef COPY_BETA
#undef COPY_DECAY
}
