/* The k best of each group of a row. Group: one group of one row. score + bias is kept exactly, as
 * its rounded sum and the rounding error, so that ties are those of the definition. */
inline bool FN(above)(float a, float a_low, float b, float b_low)
{
    return a > b || (a == b && a_low > b_low);
}

kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global const float *bias,
                   const float eps, const float scale, local float *high, local float *low)
{
    LOCAL_1(float, range, RANGES);
    LOCAL_1(int, best_at, WG);
    LOCAL_1(int, chosen, TOPK);
    int id = (int)get_local_id(0), group = (int)get_group_id(0), row = (int)get_group_id(1);
    global const float *in = ROW(x, row) + group * COUNT;
    global float *to = ROW(out, row) + group * (DENSE ? COUNT : 2 * TOPK);
    for (int i = id; i < COUNT; i += WG) {
        float s = in[i], b = HAS_BIAS ? bias[group * COUNT + i] : 0.0f, sum = s + b, t = sum - s;
        high[i] = sum;
        low[i] = (s - (sum - t)) + (b - t);
        if (!(fabs(sum) < INFINITY))
            low[i] = 0.0f; /* infinities order by themselves; a NaN is never above anything */
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#if RANGES > 1
    for (int g = id; g < RANGES; g += WG) {
        float first = -INFINITY, second = -INFINITY;
        for (int i = g * (COUNT / RANGES); i < (g + 1) * (COUNT / RANGES); i++) {
            second = high[i] > first ? first : fmax(second, high[i]);
            first = fmax(first, high[i]);
        }
        range[g] = COUNT / RANGES > 1 ? first + second : first;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = id; i < COUNT; i += WG) {
        int own = i / (COUNT / RANGES), better = 0;
        for (int g = 0; g < RANGES; g++)
            better += range[g] > range[own] || (range[g] == range[own] && g < own);
        if (better >= OPEN)
            high[i] = NAN; /* closed: never chosen */
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    int last = -1;
    for (int k = 0; k < TOPK; k++) {
        int at = -1;
        for (int i = id; i < COUNT; i += WG) {
            bool after = k == 0;
            if (last >= 0) /* k > 0 without a last one: there are no more numbers */
                after = FN(above)(high[last], low[last], high[i], low[i]) ||
                        (high[i] == high[last] && low[i] == low[last] && i > last);
            if (after && high[i] == high[i] &&
                (at < 0 || FN(above)(high[i], low[i], high[at], low[at])))
                at = i;
        }
        best_at[id] = at;
        barrier(CLK_LOCAL_MEM_FENCE);
        last = -1;
        for (int i = 0; i < WG; i++) {
            int c = best_at[i];
            if (c >= 0 && (last < 0 || FN(above)(high[c], low[c], high[last], low[last]) ||
                           (high[c] == high[last] && low[c] == low[last] && c < last)))
                last = c;
        }
        if (id == 0)
            chosen[k] = max(last, 0);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (DENSE)
        for (int i = id; i < COUNT; i += WG)
            to[i] = 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    if (id)
        return;
    float sum = 0.0f;
    for (int k = 0; k < TOPK; k++)
        sum += in[chosen[k]];
    float by = scale / (NORMED ? sum + eps : 1.0f);
    for (int k = 0; k < TOPK; k++) {
        bool some = chosen[k] < SOME;
        float weight = some ? in[chosen[k]] * by : 0.0f;
        if (DENSE) {
            to[chosen[k]] = weight;
        } else {
            to[k] = some ? (float)chosen[k] : 0.0f;
            to[TOPK + k] = weight;
        }
    }
}
