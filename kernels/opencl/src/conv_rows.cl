/* Short causal convolution of many rows at once: work-item (c, t) makes RUN rows of a word
 * (common.clh) of channels, with the last SIZE-1 inputs in registers. The sums are those of
 * conv.cl; conv_tail.cl then moves the state on. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global const float *slots,
                   const ulong slot_floats, const ulong section, global const float *w,
                   global const float *bias, global const int *cu, global const int *slot,
                   global const int *row_seq, global const int *counts, const int width)
{
    int c = (int)get_global_id(0) * WORD, t = (int)get_global_id(1) * RUN;
    int end = min(t + RUN, counts[1]), before = -1;
    if (c >= width || t >= end)
        return;
    word taps[SIZE], past[SIZE], first = (word)(0.0f);
    for (int i = 0; i < SIZE; i++)
        taps[i] = load_apart(w + c * SIZE + i, SIZE);
#if HAS_BIAS
    first = CONST_WORD_AT(bias + c);
#endif
    for (; t < end; t++) {
        int q = row_seq[t], back = t - cu[q];
        if (q != before) { /* from the tail when before this step */
            global const float *tail = slots + (ulong)slot[q] * slot_floats + section + c;
            for (int i = 0; i < SIZE - 1; i++) {
                int ago = SIZE - 1 - i;
                past[i] = CONST_WORD_AT(ago <= back
                                            ? ROW(x, t - ago) + c
                                            : tail + (ulong)(i + back) * (ulong)width);
            }
            before = q;
        }
        past[SIZE - 1] = CONST_WORD_AT(ROW(x, t) + c);
        word acc = first;
        for (int i = 0; i < SIZE; i++)
            acc = fma(taps[i], past[i], acc);
        for (int i = 0; i < SIZE - 1; i++)
            past[i] = past[i + 1];
        WORD_AT(ROW(out, t) + c) = act_word(ACT, acc);
    }
}
