/* The previous token's row, many rows at once; conv_tail.cl then keeps the last ones. Work-item: a
 * word (common.clh) of RUN rows, so that a row is read once. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global const float *slots,
                   const ulong slot_floats, const ulong section, global const int *cu,
                   global const int *slot, global const int *row_seq, global const int *counts,
                   const int width)
{
    int c = (int)get_global_id(0) * WORD, t = (int)get_global_id(1) * RUN;
    int end = min(t + RUN, counts[1]);
    if (c >= width || t >= end)
        return;
    word before = t ? CONST_WORD_AT(ROW(x, t - 1) + c) : (word)(0.0f);
    for (; t < end; t++) {
        int q = row_seq[t];
        if (t == cu[q])
            before = CONST_WORD_AT(slots + (ulong)slot[q] * slot_floats + section + c);
        word now = CONST_WORD_AT(ROW(x, t) + c);
        WORD_AT(ROW(out, t) + c) = before;
        before = now;
    }
}
