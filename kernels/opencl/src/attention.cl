/* K6: causal softmax attention of one query row and head. Keys in blocks of BLOCK positions
 * counted from 0; inside a block one key per work-item for the scores, then each work-item sums
 * its own output columns in key order. So a sum's order depends on the position alone. The maximum
 * starts at the lowest float: a score of -inf then has no weight wherever it comes. */
#define BLOCK PAGE_TOKENS
#define COLUMNS ((DV + BLOCK - 1) / BLOCK)
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(f),
                   global const float *kept, const ulong slot_floats, const ulong section,
                   const ulong page_floats, global const int *pages, const int pages_per_seq,
                   global const int *cu, global const int *slot, global const long *pos,
                   global const int *row_seq, const float scale)
{
    local float query[DK], p[BLOCK], part[BLOCK];
    int id = (int)get_local_id(0), head = (int)get_group_id(0), row = (int)get_group_id(1);
    int hk = head / (HEADS / KV_HEADS), hv = head / (HEADS / V_HEADS), seq = row_seq[row];
    long at = pos[row], first = pos[cu[seq]]; /* positions from `first` on are in this batch */
    long from = WINDOW && at >= WINDOW ? at - WINDOW + 1 : 0;
    for (int i = id; i < DK; i += BLOCK)
        query[i] = ROW(q, row)[head * DK + i];
    float top = -FLT_MAX, sum = 0.0f, o[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        o[i] = 0.0f;
    for (long block = from / BLOCK; block <= at / BLOCK; block++) {
        long base = block * BLOCK, mine = base + id;
        int j0 = (int)(max(from, base) - base), j1 = (int)(min(at, base + BLOCK - 1) - base);
#if WINDOW
        global const float *old = kept + (ulong)slot[seq] * slot_floats + section;
#define KEPT(j) (old + (ulong)((base + (j)) % WINDOW) * ROW_WIDTH)
#else
        /* A block that lies wholly in this batch may have its page unread: no older key. */
        ulong page = base < first ? pages[(ulong)seq * (ulong)pages_per_seq + (ulong)block] : 0;
        global const float *old = kept + page * page_floats + section;
#define KEPT(j) (old + (ulong)(j) * ROW_WIDTH)
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
        float score = -INFINITY;
        if (id >= j0 && id <= j1) {
            int in_batch = cu[seq] + (int)(mine - first);
            global const float *key = (mine >= first ? ROW(k, in_batch) : KEPT(id)) + hk * DK;
            float s = 0.0f;
            for (int i = 0; i < DK; i++)
                s = fma(query[i], key[i], s);
            score = s * scale;
#if HAS_F
            score += ROW(f, row)[head] - (mine >= first ? ROW(f, in_batch) : KEPT(id) + F_AT)[head];
#endif
        }
        float higher = fmax(top, group_max(part, score));
        float keep = exp(top - higher), e = id >= j0 && id <= j1 ? exp(score - higher) : 0.0f;
        p[id] = e;
        sum = sum * keep + group_sum(part, e); /* its barriers publish p too */
        top = higher;
        for (int n = 0; n < COLUMNS; n++) {
            int c = n * BLOCK + id;
            if (c >= DV)
                continue;
            float acc = o[n] * keep;
            for (int j = j0; j <= j1; j++) {
                global const float *value = base + j >= first
                                                ? ROW(v, cu[seq] + (int)(base + j - first))
                                                : KEPT(j) + V_AT;
                acc = fma(p[j], value[hv * DV + c], acc);
            }
            o[n] = acc;
        }
    }
    for (int n = 0; n < COLUMNS; n++) {
        int c = n * BLOCK + id;
        if (c < DV)
            ROW(out, row)[head * DV + c] = o[n] / sum;
    }
#undef KEPT
}
