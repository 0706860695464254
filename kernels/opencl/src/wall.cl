/* WALL: every channel of the score decays on its own. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(decay), VIEW(c),
                   VIEW(unused), KEPT_ARGS, const float scale)
{
    int head = (int)get_global_id(0), row = (int)get_global_id(1), m = head / (HEADS / KV_HEADS);
    KEPT_LOCALS(row);
    global const float *query = ROW(q, row) + head * DK, *now = ROW(decay, row) + head * DK;
    float o[DV], top = -FLT_MAX, sum = 0.0f;
    for (int i = 0; i < DV; i++)
        o[i] = 0.0f;
    for (long p = 0; p <= at; p++) {
        global const float *key = PART(k, 0, p) + m * DK, *then = PART(decay, AT_3, p) + head * DK;
        float score = 0.0f;
        for (int i = 0; i < DK; i++)
            score = fma(query[i] * key[i], exp(now[i] - then[i]), score);
        score *= scale;
#if HAS_4
        score += ROW(c, row)[head] - PART(c, AT_4, p)[head];
#endif
        soft_add(&top, &sum, o, score, PART(v, AT_2, p) + m * DV, DV);
    }
    for (int i = 0; i < DV; i++)
        ROW(out, row)[head * DV + i] = o[i] / sum;
}
