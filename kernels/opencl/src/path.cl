/* PATH: keys downwards from the query, which is carried through the reflections on its way. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(w), VIEW(beta),
                   VIEW(g), KEPT_ARGS, const float scale)
{
    int head = (int)get_global_id(0), row = (int)get_global_id(1), m = head / (HEADS / KV_HEADS);
    KEPT_LOCALS(row);
    float x[DK], o[DV], top = -FLT_MAX, sum = 0.0f;
    for (int i = 0; i < DK; i++)
        x[i] = ROW(q, row)[head * DK + i];
    for (int i = 0; i < DV; i++)
        o[i] = 0.0f;
    for (long p = at; p >= 0; p--) {
        float score = dot_of(x, PART(k, 0, p) + m * DK, DK);
#if HAS_5
        score += ROW(g, row)[head] - PART(g, AT_5, p)[head];
#endif
        soft_add(&top, &sum, o, score * scale, PART(v, AT_2, p) + m * DV, DV);
        global const float *wp = PART(w, AT_3, p) + m * DK;
        float turn = PART(beta, AT_4, p)[m] * dot_of(x, wp, DK);
        for (int i = 0; i < DK; i++)
            x[i] = fma(-turn, wp[i], x[i]);
    }
    for (int i = 0; i < DV; i++)
        ROW(out, row)[head * DV + i] = o[i] / sum;
}
