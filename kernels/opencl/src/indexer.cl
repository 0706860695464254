/* Which blocks a row attends to: the COUNT best of sum_h w_h relu(scale <q_h, k_b>), ascending.
 * Group: one row; its work-items score WG blocks at a time, the first one keeps the best. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(u2), VIEW(u3), VIEW(u4),
                   VIEW(u5), VIEW(weights), KEPT_ARGS, const float scale)
{
    local float scores[WG], best[COUNT];
    local int chosen[COUNT], found;
    int id = (int)get_local_id(0), row = (int)get_group_id(1);
    KEPT_LOCALS(row);
    int complete = (int)((at + 1) / BLOCK);
    global const float *query = ROW(q, row);
    if (id == 0)
        found = 0;
    for (int b0 = 0; b0 < complete; b0 += WG) {
        int b = b0 + id;
        float score = 0.0f;
        if (b < complete) {
            global const float *key = PART(k, 0, (long)(b + 1) * BLOCK - 1);
            for (int h = 0; h < HEADS; h++) {
                float x = 0.0f;
                for (int i = 0; i < DK; i++)
                    x = fma(query[h * DK + i], key[i], x);
                x *= scale; /* equal terms of two signs cancel: products are rounded first */
                score += (x < 0.0f ? 0.0f : x) * (HAS_6 ? ROW(weights, row)[h] : 1.0f);
            }
        }
        scores[id] = score;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; id == 0 && i < WG && b0 + i < complete; i++) {
            float mine = scores[i];
            if (!isfinite(mine) || (found == COUNT && !(mine > best[COUNT - 1])))
                continue; /* ties to the lower block: it came first */
            int to = found < COUNT ? found++ : COUNT - 1;
            for (; to > 0 && mine > best[to - 1]; to--) {
                best[to] = best[to - 1];
                chosen[to] = chosen[to - 1];
            }
            best[to] = mine;
            chosen[to] = b0 + i;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = id; i < COUNT; i += WG) { /* each to its place among the others */
        int place = 0;
        for (int j = 0; j < found; j++)
            place += i < found ? chosen[j] < chosen[i] : 0;
        ROW(out, row)[i < found ? place : i] = i < found ? (float)chosen[i] : -1.0f;
    }
}
