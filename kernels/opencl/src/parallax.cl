/* PARALLAX: sum p (1 + m - s) v = (1 + m) sum p v - sum p s v, with m = sum p s. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(u1), VIEW(u2),
                   VIEW(u3), KEPT_ARGS, const float scale)
{
    int head = (int)get_global_id(0), row = (int)get_global_id(1), m = head / (HEADS / KV_HEADS);
    KEPT_LOCALS(row);
    global const float *query = ROW(q, row) + head * DK, *r = query + HEADS * DK;
    float o[DV], os[DV], top = -FLT_MAX, sum = 0.0f, mean = 0.0f;
    for (int i = 0; i < DV; i++)
        o[i] = os[i] = 0.0f;
    for (long p = WINDOW && at >= WINDOW ? at - WINDOW + 1 : 0; p <= at; p++) {
        global const float *key = PART(k, 0, p) + m * DK, *value = PART(v, AT_2, p) + m * DV;
        float a = 0.0f, s = 0.0f;
        for (int i = 0; i < DK; i++) {
            a = fma(query[i], key[i], a);
            s = fma(r[i], key[i], s);
        }
        float higher = fmax(top, a * scale), keep = exp(top - higher), e = exp(a * scale - higher);
        for (int i = 0; i < DV; i++) {
            o[i] = fma(e, value[i], o[i] * keep);
            os[i] = fma(e * s, value[i], os[i] * keep);
        }
        sum = fma(sum, keep, e);
        mean = fma(mean, keep, e * s);
        top = higher;
    }
    for (int i = 0; i < DV; i++)
        ROW(out, row)[head * DV + i] = ((1.0f + mean / sum) * o[i] - os[i]) / sum;
}
