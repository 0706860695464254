/* y = W x for few rows of x. Group: 32 outputs times the slices of the inputs; TN rows of x.
 *
 * Order of a sum, here and in linear_many.cl: the inputs are cut into slices of slice_len, each
 * slice is one chain of fma from 0, and the slices are added in order. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const void *w,
                   global const float *bias, global const int *counts, const int outputs,
                   const int inputs, const ulong cols_p, const int slice_len, const int has_bias,
                   const int has_res, const int act, const int is_logits, local float *part)
{
    int lane = (int)get_local_id(0), slice = (int)get_local_id(1);
    int slices = (inputs + slice_len - 1) / slice_len, panel = (int)get_group_id(0);
    int rows = counts[is_logits ? 2 : 1], row0 = (int)get_group_id(1) * TN;
    int from = slice * slice_len, to = min(inputs, from + slice_len);
    ulong base = (ulong)panel * 32u * cols_p;
    global const float *in[TN];
    float acc[TN];
    for (int n = 0; n < TN; n++) {
        in[n] = ROW(x, min(row0 + n, rows - 1));
        acc[n] = 0.0f;
    }
#if defined(Q_BITS)
    global const uchar *rows16 = FN(q_panel)(w, (ulong)(panel * 32 + lane), cols_p);
    for (int k0 = from; k0 < to; k0 += Q_STEP) {
        float2 scale = FN(q_scale)(rows16, lane % 16, k0, cols_p);
        for (int k = k0; k < min(to, k0 + Q_STEP); k++) {
            float a = FN(q_value)(FN(q_bits)(rows16, lane % 16, k), scale);
            for (int n = 0; n < TN; n++)
                acc[n] = fma(a, in[n][k], acc[n]);
        }
    }
#elif DTYPE == DTYPE_F32
    global const float *wp = (global const float *)w + base + lane;
#pragma unroll 4
    for (int k = from; k < to; k++) {
        float a = wp[(ulong)k * 32u];
        for (int n = 0; n < TN; n++)
            acc[n] = fma(a, in[n][k], acc[n]);
    }
#else
    global const uint *wp = (global const uint *)w + base / 2 + lane;
    int pairs = to - (to - from) % 2;
#pragma unroll 4
    for (int k = from; k < pairs; k += 2) {
        uint a = wp[(ulong)(k / 2) * 32u];
        float a0 = from16(a & 0xffffu, DTYPE), a1 = from16(a >> 16, DTYPE);
        for (int n = 0; n < TN; n++) {
            acc[n] = fma(a0, in[n][k], acc[n]);
            acc[n] = fma(a1, in[n][k + 1], acc[n]);
        }
    }
    if (pairs < to) {
        float a0 = from16(wp[(ulong)(pairs / 2) * 32u] & 0xffffu, DTYPE);
        for (int n = 0; n < TN; n++)
            acc[n] = fma(a0, in[n][pairs], acc[n]);
    }
#endif
    for (int n = 0; n < TN; n++)
        part[(slice * TN + n) * 32 + lane] = acc[n];
    barrier(CLK_LOCAL_MEM_FENCE);
    int o = panel * 32 + lane;
    if (o >= outputs)
        return;
    for (int n = slice; n < TN && row0 + n < rows; n += (int)get_local_size(1)) {
        float y = part[n * 32 + lane];
        for (int s = 1; s < slices; s++)
            y += part[(s * TN + n) * 32 + lane];
        if (has_bias)
            y += bias[o];
        y = activate(act, y);
        if (has_res)
            y += ROW(res, row0 + n)[o];
        ROW(out, row0 + n)[o] = y;
    }
}
