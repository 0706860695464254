/* Attention over the rows of chosen blocks and of the open one. Group: one query head of one row;
 * WG keys at a time, one a work-item for the scores, then each work-item sums its own columns in
 * the order of the keys. That order depends on the choice and the position alone. */
#define COLUMNS ((DV + WG - 1) / WG)
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(u3), VIEW(u4),
                   VIEW(u5), VIEW(chosen), KEPT_ARGS, const float scale)
{
    local float query[DK], p[WG], part[WG];
    local int block[COUNT], found;
    int id = (int)get_local_id(0), head = (int)get_group_id(0), row = (int)get_group_id(1);
    int hk = head / (HEADS / KV_HEADS), hv = head / (HEADS / V_HEADS);
    KEPT_LOCALS(row);
    long complete = (at + 1) / BLOCK, open = complete * BLOCK;
    for (int i = id; i < DK; i += WG)
        query[i] = ROW(q, row)[head * DK + i];
    if (id == 0) {
        found = 0;
        for (int i = 0; i < COUNT; i++) {
            float b = ROW(chosen, row)[i];
            if (b >= 0.0f && b < (float)complete)
                block[found++] = (int)b;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    int keys = found * BLOCK + (int)(at + 1 - open);
    float top = -FLT_MAX, sum = 0.0f, o[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        o[i] = 0.0f;
/* Position of key i. */
#define AT(i) ((i) < found * BLOCK ? (long)block[(i) / BLOCK] * BLOCK + (i) % BLOCK \
                                   : open + (i) - found * BLOCK)
    for (int i0 = 0; i0 < keys; i0 += WG) {
        int n = min(keys - i0, WG);
        float score = -INFINITY;
        if (id < n) {
            global const float *key = PART(k, 0, AT(i0 + id)) + hk * DK;
            float s = 0.0f;
            for (int i = 0; i < DK; i++)
                s = fma(query[i], key[i], s);
            score = s * scale;
        }
        float higher = fmax(top, group_max(part, score));
        float keep = exp(top - higher), e = id < n ? exp(score - higher) : 0.0f;
        p[id] = e;
        sum = sum * keep + group_sum(part, e); /* its barriers publish p too */
        top = higher;
        for (int m = 0; m < COLUMNS; m++) {
            int c = m * WG + id;
            if (c >= DV)
                continue;
            float acc = o[m] * keep;
            for (int j = 0; j < n; j++)
                acc = fma(p[j], (HAS_V ? PART(v, AT_2, AT(i0 + j)) : PART(k, 0, AT(i0 + j)))
                                    [hv * DV + c], acc);
            o[m] = acc;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int m = 0; m < COLUMNS; m++) {
        int c = m * WG + id;
        if (c < DV)
            ROW(out, row)[head * DV + c] = keys ? o[m] / sum : 0.0f;
    }
#undef AT
}
