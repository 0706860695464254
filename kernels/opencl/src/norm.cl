/* Norms per group of N columns. Group of ITEMS work-items: one group of one row. Items read what
 * they write before the last barrier or only their own elements, so out may be x or the gate. Few
 * columns an item are read at once and stay in registers. */
#define PER ((N + ITEMS - 1) / ITEMS)
#if PER <= 16
#define EACH_COLUMN                                                                                \
    _Pragma("unroll") for (int j = 0; j < PER; j++) if (N % ITEMS == 0 || id + j * ITEMS < N)
#else
#define EACH_COLUMN for (int j = 0; id + j * ITEMS < N; j++)
#endif
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(gate), global const float *w,
                   global const float *b, const int w_step, const int b_step, const float eps,
                   const float scale, local float *part)
{
    int id = (int)get_local_id(0), group = (int)get_group_id(0), row = (int)get_group_id(1);
    global const float *in = ROW(x, row) + group * N;
    global const float *g = ROW(gate, row) + group * N;
#if GATE == 2 /* before the norm */
#define READ(i) (in[i] * activate(ACT, g[i]))
#else
#define READ(i) in[i]
#endif
#if PER <= 16
    float v[PER];
    _Pragma("unroll") for (int j = 0; j < PER; j++) v[j] =
        N % ITEMS == 0 || id + j * ITEMS < N ? READ(id + j * ITEMS) : 0.0f;
#define ELEMENT v[j]
#else
#define ELEMENT READ(id + j * ITEMS)
#endif
    float mean = 0.0f, inv;
#if KIND == NORM_LAYER || KIND == NORM_SUM
    float sum = 0.0f;
    EACH_COLUMN sum += ELEMENT;
    sum = group_sum(part, sum);
#endif
#if KIND == NORM_LAYER
    mean = sum / (float)N;
#endif
#if KIND == NORM_SUM
    inv = 1.0f / (sum + eps);
#else
    float sq = 0.0f;
    EACH_COLUMN
    {
        float d = ELEMENT - mean;
        sq = fma(d, d, sq);
    }
    sq = group_sum(part, sq);
    inv = NORM_FACTOR(sq, N);
#endif
#if PER <= 16
    EACH_COLUMN
    {
        int i = id + j * ITEMS;
        float y = (v[j] - mean) * inv;
        NORM_END(y, i, g[i]);
        v[j] = y;
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    EACH_COLUMN ROW(out, row)[group * N + id + j * ITEMS] = v[j];
#else
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    EACH_COLUMN
    {
        int i = id + j * ITEMS;
        float y = (ELEMENT - mean) * inv;
        NORM_END(y, i, g[i]);
        ROW(out, row)[group * N + i] = y;
    }
#endif
#undef ELEMENT
#undef READ
}
#undef PER
#undef EACH_COLUMN
