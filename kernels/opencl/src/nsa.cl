/* NSA: over block means, over the chosen blocks, over the window. A work-item is one key head of
 * one row with all its query heads, since they choose together. Means are formed from the rows. */
#define PER (HEADS / KV_HEADS)
#define MEAN(name, off, d, b) \
    for (int i_ = 0; i_ < (d); i_++) \
        mean[i_] = 0.0f; \
    for (int j_ = 0; j_ < BLOCK; j_++) { \
        global const float *x_ = PART(name, off, (long)(b) * BLOCK + j_) + m * (d); \
        for (int i_ = 0; i_ < (d); i_++) \
            mean[i_] += x_[i_]; \
    } \
    for (int i_ = 0; i_ < (d); i_++) \
        mean[i_] *= 1.0f / BLOCK

kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(u1), VIEW(u2),
                   VIEW(u3), KEPT_ARGS, const float scale)
{
    int m = (int)get_global_id(0), row = (int)get_global_id(1);
    KEPT_LOCALS(row);
    int nb = (int)((at + 1) / BLOCK), cur = (int)(at / BLOCK), n = max(nb, cur + 1), chosen[COUNT];
    float mean[DK > DV ? DK : DV], best[COUNT], top[PER], sum[PER], o[DV];
    for (int h = 0; h < PER; h++) {
        top[h] = -FLT_MAX;
        sum[h] = 0.0f;
        global float *write = ROW(out, row) + (m * PER + h) * DV;
        global const float *query = ROW(q, row) + (m * PER + h) * DK;
        for (int i = 0; i < DV; i++)
            o[i] = 0.0f;
        for (int b = 0; b < nb; b++) {
            MEAN(k, 0, DK, b);
            float score = dot_of(mean, query, DK) * scale;
            float higher = fmax(top[h], score), keep = exp(top[h] - higher),
                  e = exp(score - higher);
            MEAN(v, AT_2, DV, b);
            for (int i = 0; i < DV; i++)
                o[i] = fma(e, mean[i], o[i] * keep);
            sum[h] = fma(sum[h], keep, e);
            top[h] = higher;
        }
        for (int i = 0; i < DV; i++)
            write[i] = nb ? o[i] / sum[h] : 0.0f;
    }
    int found = 0;
    for (int b = 0; b < n; b++) { /* the COUNT best, ties to the lower index */
        float score = 0.0f;
        if (b == 0 || b == cur || b == cur - 1) {
            score = 1.0f;
        } else {
            MEAN(k, 0, DK, b);
            for (int h = 0; h < PER; h++)
                score += exp(dot_of(mean, ROW(q, row) + (m * PER + h) * DK, DK) * scale - top[h]) /
                         sum[h] / PER;
        }
        if (!isfinite(score))
            continue; /* never one of the best */
        int to = found < COUNT ? found++ : COUNT;
        for (; to > 0 && best[to - 1] < score; to--)
            if (to < COUNT) {
                best[to] = best[to - 1];
                chosen[to] = chosen[to - 1];
            }
        if (to < COUNT) {
            best[to] = score;
            chosen[to] = b;
        }
    }
    for (int h = 0; h < PER; h++) {
        float query[DK], t = -FLT_MAX, s = 0.0f;
        global float *write = ROW(out, row) + (HEADS + m * PER + h) * DV;
        for (int i = 0; i < DK; i++)
            query[i] = ROW(q, row)[(m * PER + h) * DK + i];
        for (int i = 0; i < DV; i++)
            o[i] = 0.0f;
        for (int b = 0; b < n; b++) {
            bool in = false;
            for (int c = 0; c < found; c++)
                in |= chosen[c] == b;
            for (long p = (long)b * BLOCK; in && p <= min(at, (long)(b + 1) * BLOCK - 1); p++)
                soft_add(&t, &s, o, dot_of(query, PART(k, 0, p) + m * DK, DK) * scale,
                         PART(v, AT_2, p) + m * DV, DV);
        }
        for (int i = 0; i < DV; i++) {
            write[i] = o[i] / s;
            o[i] = 0.0f;
        }
        t = -FLT_MAX;
        s = 0.0f;
        for (long p = at >= WINDOW ? at - WINDOW + 1 : 0; WINDOW && p <= at; p++)
            soft_add(&t, &s, o, dot_of(query, PART(k, 0, p) + m * DK, DK) * scale,
                     PART(v, AT_2, p) + m * DV, DV);
        for (int i = 0; i < DV; i++)
            write[HEADS * DV + i] = WINDOW ? o[i] / s : 0.0f;
    }
}
#undef PER
#undef MEAN
