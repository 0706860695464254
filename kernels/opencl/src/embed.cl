/* Rows of a matrix chosen by token id. Work-item: one element. */
kernel void KERNEL(global float *arena, VIEW(out), global const void *w, global const int *tokens,
                   const int width, const ulong cols_p, const float scale)
{
    int c = (int)get_global_id(0), t = (int)get_global_id(1);
    if (c >= width)
        return;
#ifdef Q_BITS
    ROW(out, t)[c] = FN(q_weight)(w, (ulong)tokens[t], c, cols_p) * scale;
#else
    ulong at = weight_at(LAYOUT, DTYPE, (ulong)tokens[t], (ulong)c, cols_p);
    float v = DTYPE == DTYPE_F32 ? ((global const float *)w)[at]
                                 : from16(((global const ushort *)w)[at], DTYPE);
    ROW(out, t)[c] = v * scale;
#endif
}
