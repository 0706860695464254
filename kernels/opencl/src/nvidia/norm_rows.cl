/* Norms of many rows, by warps. Warp: one group of columns of one row, PER elements a lane, read
 * once and kept in registers. The sums are those of norm.cl, bit for bit: a lane stands for SUMS of
 * its ITEMS work-items. PACKED: the result as the tensor cores want it (pair_at of mma.clh), of
 * whole groups of 32 columns; two lanes have a pair, and each writes every other one. */
#define PER ((N + 31) / 32)
#define SUMS (ITEMS / 32)
#define EVERY _Pragma("unroll") for (int i = 0; i < PER; i++)

/* group_sum of common.clh over v[element % ITEMS]. */
inline float FN(total)(float *v, local float *meet)
{
#pragma unroll
    for (int half_ = SUMS / 2; half_ > 0; half_ /= 2)
#pragma unroll
        for (int i = 0; i < half_; i++)
            v[i] += v[i + half_];
    float sum = v[0];
    UNROLLED for (int apart = 16; apart > 0; apart /= 2)
        sum += warp_xor(meet, sum, apart);
    return sum;
}

kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(gate), global const float *w,
                   global const float *b, const int w_step, const int b_step, const float eps,
                   const float scale, global const int *counts, const int is_logits,
                   const ulong packed, const ulong rows_p)
{
    WARP_LOCAL(WARPS * 32)
    int lane = (int)get_local_id(0), group = (int)get_global_id(1);
    int row = (int)get_global_id(2), last = counts[is_logits ? 2 : 1] - 1;
    bool mine = row <= last; /* otherwise the warp goes along */
    row = min(row, last);
    global const float *in = ROW(x, row) + group * N;
    float e[PER], sums[SUMS];
#define AT (lane + 32 * i)
#define THERE (32 * i + 32 <= N || AT < N)
    EVERY e[i] = THERE ? in[AT] : 0.0f;
    global const float *gates = ROW(gate, row) + group * N;
    float g[PER];
    EVERY g[i] = GATE && THERE ? gates[AT] : 0.0f;
#if GATE == 2 /* before the norm */
    EVERY e[i] *= activate(ACT, g[i]);
#endif
    float mean = 0.0f, inv;
#if KIND == NORM_LAYER || KIND == NORM_SUM
    for (int i = 0; i < SUMS; i++)
        sums[i] = 0.0f;
    EVERY if (THERE) sums[i % SUMS] += e[i];
    float sum = FN(total)(sums, warp_x);
#endif
#if KIND == NORM_LAYER
    mean = sum / (float)N;
#endif
#if KIND == NORM_SUM
    inv = 1.0f / (sum + eps);
#else
    for (int i = 0; i < SUMS; i++)
        sums[i] = 0.0f;
    EVERY if (THERE) sums[i % SUMS] = fma(e[i] - mean, e[i] - mean, sums[i % SUMS]);
    float sq = FN(total)(sums, warp_x);
    inv = NORM_FACTOR(sq, N);
#endif
#if PACKED
    global uint *to = (global uint *)arena + packed;
    int odd = lane % 2;
    EVERY {
        float y = (e[i] - mean) * inv;
        if (THERE)
            NORM_END(y, AT, g[i]);
        e[i] = THERE ? y : 0.0f;
    }
    UNROLLED for (int i = 0; i < PER; i += 2)
    {
        float a = e[i], b = i + 1 < PER ? e[i + 1] : 0.0f;
        float other = warp_xor(warp_x, odd ? a : b, 1);
        uint pair = odd ? pair_bf16(other, b) : pair_bf16(a, other);
        if (mine && i + odd < PER)
            to[pair_at(CORES, rows_p, row, group * N + (i + odd) * 32 + lane - odd)] = pair;
    }
#else
    EVERY {
        float y = (e[i] - mean) * inv;
        if (!mine || !THERE)
            continue;
        NORM_END(y, AT, g[i]);
        ROW(out, row)[group * N + AT] = y;
    }
#endif
#undef AT
#undef THERE
}
