/* Products with many small matrices: experts a row chose (EXPERTS), or the blocks of a diagonal.
 * Group: 32 outputs of one row times the slices of the inputs; sums as in linear_few.cl. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(choice), global const void *w,
                   global const float *bias, const int outputs, const int rows, const int inputs,
                   const ulong cols_p, const int slice_len, const int matrices, local float *part)
{
    int lane = (int)get_local_id(0), slice = (int)get_local_id(1), row = (int)get_group_id(1);
    int c = min((int)get_group_id(0) * 32 + lane, outputs - 1), block = c / rows;
    int from = slice * slice_len, to = min(inputs, from + slice_len);
#if EXPERTS
    int expert = clamp((int)ROW(choice, row)[block], 0, matrices - 1);
    ulong at = (ulong)expert * (ulong)rows + (ulong)(c % rows);
    global const float *in = ROW(x, row) + (PER_SLOT ? block * inputs : 0);
#else
    ulong at = SHARED ? (ulong)(c % rows) : (ulong)c;
    global const float *in = ROW(x, row) + block * inputs;
#endif
    float acc = 0.0f;
#ifdef Q_BITS
    global const uchar *panel = FN(q_panel)(w, at, cols_p);
    int of16 = (int)(at % 16);
    for (int k0 = from; k0 < to; k0 += Q_STEP) {
        float2 scale = FN(q_scale)(panel, of16, k0, cols_p);
        for (int k = k0; k < min(to, k0 + Q_STEP); k++)
            acc = fma(FN(q_value)(FN(q_bits)(panel, of16, k), scale), in[k], acc);
    }
#else
    for (int k = from; k < to; k++) {
        ulong i = weight_at(LAYOUT_PANEL32, DTYPE, at, (ulong)k, cols_p);
        float a = DTYPE == DTYPE_F32 ? ((global const float *)w)[i]
                                     : from16(((global const ushort *)w)[i], DTYPE);
        acc = fma(a, in[k], acc);
    }
#endif
    part[slice * 32 + lane] = acc;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (slice || (int)get_group_id(0) * 32 + lane >= outputs)
        return;
    for (int s = 1; s < (int)get_local_size(1); s++)
        acc += part[s * 32 + lane];
#if HAS_BIAS
    acc += bias[at];
#endif
    ROW(out, row)[c] = acc;
}
