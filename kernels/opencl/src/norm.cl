/* Norms per group of columns. Group of work-items: one group of one row. Items read what they
 * write before the last barrier or only their own elements, so out may be x or the gate. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(gate), global const float *w,
                   global const float *b, const int n, const int w_step, const int b_step,
                   const float eps, const float scale, local float *part)
{
    int id = (int)get_local_id(0), size = (int)get_local_size(0);
    int group = (int)get_group_id(0), row = (int)get_group_id(1);
    global const float *in = ROW(x, row) + group * n;
    global const float *g = ROW(gate, row) + group * n;
#if GATE == 2 /* before the norm */
#define ELEMENT(i) (in[i] * activate(ACT, g[i]))
#else
#define ELEMENT(i) in[i]
#endif
    float mean = 0.0f, inv;
#if KIND == NORM_LAYER || KIND == NORM_SUM
    float sum = 0.0f;
    for (int i = id; i < n; i += size)
        sum += ELEMENT(i);
    sum = group_sum(part, sum);
#endif
#if KIND == NORM_LAYER
    mean = sum / (float)n;
#endif
#if KIND == NORM_SUM
    inv = 1.0f / (sum + eps);
#else
    float sq = 0.0f;
    for (int i = id; i < n; i += size) {
        float d = ELEMENT(i) - mean;
        sq = fma(d, d, sq);
    }
    sq = group_sum(part, sq);
    inv = NORM_FACTOR(sq, n);
#endif
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    for (int i = id; i < n; i += size) {
        float y = (ELEMENT(i) - mean) * inv;
        NORM_END(y, i, g[i]);
        ROW(out, row)[group * n + i] = y;
    }
#undef ELEMENT
}
