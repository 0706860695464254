/* Attention by squared scores, token by token. A group has one key head of one sequence; its
 * work-items take the columns of the values in turn, the ones being column V. Sums are pairs of
 * floats, high and low: numbers of about 48 bits without the need for double. */
inline float2 pair(float high, float low)
{
    float sum = high + low; /* infinity and NaN have no low part */
    return (float2)(sum, isfinite(sum) ? low - (sum - high) : 0.0f);
}

inline float2 pair_add(float2 x, float2 y)
{
    float s = x.x + y.x, t = s - x.x;
    return pair(s, isfinite(s) ? ((x.x - (s - t)) + (y.x - t)) + (x.y + y.y) : 0.0f);
}

inline float2 pair_mul(float2 x, float2 y)
{
    float p = x.x * y.x;
    return pair(p, isfinite(p) ? fma(x.x, y.x, -p) + fma(x.x, y.y, x.y * y.x) : 0.0f);
}

inline float2 product(float x, float y)
{
    float p = x * y;
    return (float2)(p, isfinite(p) ? fma(x, y, -p) : 0.0f);
}

kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), global float *slots,
                   const ulong slot_floats, const ulong section, global const int *cu,
                   global const int *slot, const float eps)
{
    LOCAL_2(float, lq, PER, D);
    LOCAL_1(float, lk, D);
    LOCAL_1(float, weight, PER);
    int id = (int)get_local_id(0), head = (int)get_group_id(1), seq = (int)get_group_id(2);
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (ulong)(D * (D + 1) * (V + 1));
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = id; i < D; i += ITEMS) {
            lk[i] = ROW(k, t)[head * D + i];
            for (int j = 0; j < PER; j++)
                lq[j][i] = ROW(q, t)[(head * PER + j) * D + i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int c = id; c <= V; c += ITEMS) {
            float u = c < V ? ROW(v, t)[head * V + c] : 1.0f;
            float2 sums[PER];
            global float *at = state + 2 * c;
            for (int j = 0; j < PER; j++)
                sums[j] = (float2)(0.0f, 0.0f);
            for (int a = 0; a < D; a++)
                for (int b = a; b < D; b++, at += 2 * (V + 1)) {
                    float2 write = pair_mul(product(lk[a], lk[b]), (float2)(u, 0.0f));
                    float2 S = pair_add((float2)(at[0], at[1]), write);
                    at[0] = S.x;
                    at[1] = S.y;
                    for (int j = 0; j < PER; j++) {
                        float2 both = product(a == b ? lq[j][a] : 2.0f * lq[j][a], lq[j][b]);
                        sums[j] = pair_add(sums[j], pair_mul(both, S));
                    }
                }
            for (int j = 0; j < PER; j++)
                if (c < V)
                    ROW(out, t)[(head * PER + j) * V + c] = sums[j].x;
                else
                    weight[j] = sums[j].x + eps;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int c = id; c < V; c += ITEMS)
            for (int j = 0; j < PER; j++)
                ROW(out, t)[(head * PER + j) * V + c] /= weight[j];
    }
}
