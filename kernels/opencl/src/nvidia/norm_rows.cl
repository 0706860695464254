/* Norms of many rows, by warps. Warp: one group of columns of one row, or (BY is SUMS) what a warp
 * of norm.cl has of one, PER elements a lane, read once and kept in registers. The sums are those
 * of norm.cl, bit for bit: a lane stands for SUMS of its ITEMS work-items, or for one. PACKED: the
 * result as the tensor cores want it (pair_at of mma.clh), of whole groups of 32 columns; two lanes
 * have a pair, and each writes every other one. With SLICES (../../sumnorm.c) nobody made the row
 * yet, and linear_sum.cl's parameters are there, too: a lane makes its elements first. */
#define BLOCKS ((N + 31) / 32) /* of columns */
#define PER ((BLOCKS + BY - 1) / BY)
#define SUMS (ITEMS / 32)
#define LOCAL_BYTES (4 * ((BY > 1 ? 64 * BY : 0) + (EMULATED ? WARPS * 32 : 0)))
#define EVERY _Pragma("unroll") for (int i = 0; i < PER; i++)

/* group_sum of common.clh over v[element % ITEMS]; BY > 1: of which this lane has one, and all
 * meet in `parts`. */
inline float FN(total)(float *v, local float *meet, local float *parts, int warp GROUP_PARAMS)
{
#if BY > 1
    int lane = (int)get_local_id(0);
    parts[warp * 32 + lane] = v[0];
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int i = 0; i < SUMS; i++)
        v[i] = parts[i * 32 + lane];
#endif
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
    int lane = (int)get_local_id(0), row = (int)get_global_id(2);
#if BY > 1
    LOCAL_1(float, parts, 64 * BY);
    int group = (int)get_group_id(1), warp = (int)get_local_id(1);
#else
    local float *const parts = 0;
    int group = (int)get_global_id(1), warp = 0;
#endif
    int last = counts[is_logits ? 2 : 1] - 1;
    bool mine = row <= last; /* otherwise the warp goes along */
    row = min(row, last);
    float e[PER], sums[SUMS];
#define BLOCK(i) (warp + BY * (i))
#define AT (lane + 32 * BLOCK(i))
#define THERE ((BY * i + BY) * 32 <= N || AT < N)
#define SUM_OF(i) (BY > 1 ? 0 : (i) % SUMS)
#ifdef SLICES /* loads of all elements before any store: they wait once */
#define OURS (THERE && (BY > 1 || mine))
    global const float *chains = scratch + chains_at + (ulong)row * (ulong)chains_stride;
    EVERY {
        e[i] = 0.0f;
        if (OURS)
            ADD_SLICES(e[i], chains + AT);
    }
    EVERY {
        if (OURS)
            FINISH(e[i], AT, row);
    }
    EVERY {
        if (OURS)
            ROW(x, row)[AT] = e[i];
    }
#undef OURS
#else
    global const float *in = ROW(x, row) + group * N;
    EVERY e[i] = THERE ? in[AT] : 0.0f;
#endif
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
    EVERY if (THERE) sums[SUM_OF(i)] += e[i];
    float sum = FN(total)(sums, warp_x, parts, warp GROUP_ARGS);
#endif
#if KIND == NORM_LAYER
    mean = sum / (float)N;
#endif
#if KIND == NORM_SUM
    inv = 1.0f / (sum + eps);
#else
    for (int i = 0; i < SUMS; i++)
        sums[i] = 0.0f;
    EVERY if (THERE) sums[SUM_OF(i)] = fma(e[i] - mean, e[i] - mean, sums[SUM_OF(i)]);
    float sq = FN(total)(sums, warp_x, BY > 1 ? parts + 32 * BY : parts, warp GROUP_ARGS);
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
        int block = BLOCK(i + odd);
        if (mine && i + odd < PER && block < BLOCKS)
            to[pair_at(CORES, rows_p, row, group * N + block * 32 + lane - odd)] = pair;
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
#undef BLOCK
#undef AT
#undef THERE
#undef SUM_OF
}
