/* MOBA: the current block and the COUNT - 1 earlier ones with the largest <q, sum of keys>. */
#define EARLIER (COUNT > 1 ? COUNT - 1 : 1)
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(u1), VIEW(u2),
                   VIEW(u3), KEPT_ARGS, const float scale)
{
    int head = (int)get_global_id(0), row = (int)get_global_id(1), m = head / (HEADS / KV_HEADS);
    KEPT_LOCALS(row);
    int cur = (int)(at / BLOCK), chosen[EARLIER], found = 0;
    float query[DK], total[DK], best[EARLIER], o[DV], top = -FLT_MAX, sum = 0.0f;
    for (int i = 0; i < DK; i++)
        query[i] = ROW(q, row)[head * DK + i];
    for (int i = 0; i < DV; i++)
        o[i] = 0.0f;
    for (int b = 0; COUNT > 1 && b < cur; b++) {
        for (int i = 0; i < DK; i++)
            total[i] = 0.0f;
        for (int j = 0; j < BLOCK; j++)
            for (int i = 0; i < DK; i++)
                total[i] += (PART(k, 0, (long)b * BLOCK + j) + m * DK)[i];
        float score = 0.0f;
        for (int i = 0; i < DK; i++)
            score = fma(query[i], total[i], score);
        if (!isfinite(score))
            continue; /* never one of the best */
        int to = found < EARLIER ? found++ : EARLIER;
        for (; to > 0 && best[to - 1] < score; to--)
            if (to < EARLIER) {
                best[to] = best[to - 1];
                chosen[to] = chosen[to - 1];
            }
        if (to < EARLIER) {
            best[to] = score;
            chosen[to] = b;
        }
    }
    for (int b = 0; b <= cur; b++) {
        bool in = b == cur;
        for (int c = 0; c < found; c++)
            in |= chosen[c] == b;
        for (long p = (long)b * BLOCK; in && p <= min(at, (long)(b + 1) * BLOCK - 1); p++)
            soft_add(&top, &sum, o, dot_of(query, PART(k, 0, p) + m * DK, DK) * scale,
                     PART(v, AT_2, p) + m * DV, DV);
    }
    for (int i = 0; i < DV; i++)
        ROW(out, row)[head * DV + i] = o[i] / sum;
}
