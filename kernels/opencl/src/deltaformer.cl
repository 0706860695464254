/* DELTAFORMER: rows of a sequence in order, because each u needs all earlier ones. A work-item is
 * one head of one sequence; u of this batch is read from the output it was written to. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(u), VIEW(u1), VIEW(u2),
                   VIEW(u3), KEPT_ARGS, const float scale)
{
    int head = (int)get_global_id(0), sequence = (int)get_global_id(1);
    int m = head / (HEADS / KV_HEADS);
    for (int row = cu[sequence]; row < cu[sequence + 1]; row++) {
        KEPT_LOCALS(row);
        global const float *in = ROW(q, row), *v = in + HEADS * DK + head * DV;
        float beta = in[HEADS * (DK + DV) + head], query[DK], o[DV], top = -FLT_MAX, sum = 0.0f;
        global float *write = ROW(out, row) + head * DV;
        for (int i = 0; i < DK; i++)
            query[i] = in[head * DK + i];
        for (int i = 0; i < DV; i++)
            o[i] = 0.0f;
        for (long p = 0; p < at; p++)
            soft_add(&top, &sum, o, dot_of(query, PART(k, 0, p) + m * DK, DK) * scale,
                     PART(u, AT_2, p) + head * DV, DV);
        for (int i = 0; i < DV; i++)
            write[HEADS * DV + i] = at ? v[i] - beta * (o[i] / sum) : v[i];
        soft_add(&top, &sum, o, dot_of(query, ROW(k, row) + m * DK, DK) * scale,
                 write + HEADS * DV, DV);
        for (int i = 0; i < DV; i++)
            write[i] = o[i] / sum;
    }
}
