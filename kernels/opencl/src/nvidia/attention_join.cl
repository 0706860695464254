/* Adds what the splits of attention.cl gave, in their order. A group is one query of a sequence
 * served, a work-item some of its columns. */
kernel void KERNEL(global float *arena, VIEW(out), global const int *cu, global const long *pos,
                   global const int *counts, SERVED_ARGS, global const float *partial,
                   const int splits)
{
    int head = (int)get_group_id(0), place = (int)get_group_id(1), row = place;
    if (counts[0] != counts[1])
        for (int seq = 0, left = place;; seq++) {
            int rows = cu[seq + 1] - cu[seq];
            if (!SERVED(rows))
                continue;
            row = cu[seq] + left;
            if (left < rows)
                break;
            left -= rows;
        }
    int from = (int)(OLDEST(pos[row]) / SPLIT), to = (int)(pos[row] / SPLIT);
    global const float *part =
        partial + ((ulong)place * HEADS + (ulong)head) * (ulong)splits * PART_FLOATS;
    for (int c = (int)get_local_id(0); c < DV; c += (int)get_local_size(0)) {
        float all_top = -FLT_MAX, all_sum = 0.0f, all = 0.0f;
        for (int split = from; split <= to; split++) {
            global const float *x = part + (ulong)(split % splits) * PART_FLOATS;
            JOIN_WEIGHTS(all_top, all_sum, x[DV], x[DV + 1]);
            all = JOIN(all, x[c]);
        }
        float mean = 1.0f / all_sum;
        ROW(out, row)[head * DV + c] = MEAN(all, mean);
    }
}
