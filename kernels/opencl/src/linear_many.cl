/* y = W x for many rows of x: a group makes 64 outputs of 64 rows, 16 inputs at a time through
 * local memory; a work-item 4 x 4 of them. The order of a sum is that of linear_few.cl. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const void *w,
                   global const float *bias, global const int *counts, const int outputs,
                   const int inputs, const ulong cols_p, const int slice_len, const int has_bias,
                   const int has_res, const int act, const int is_logits)
{
    LOCAL_2(float, wt, 16, 64);
    LOCAL_2(float, xt, 16, 65);
    int lx = (int)get_local_id(0), ly = (int)get_local_id(1), id = ly * 16 + lx;
    int o0 = (int)get_group_id(0) * 64, row0 = (int)get_group_id(1) * 64;
    int rows = counts[is_logits ? 2 : 1], panels = (outputs + 31) / 32;
    float total[4][4], acc[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            total[i][j] = acc[i][j] = 0.0f;
    for (int k0 = 0; k0 < inputs; k0 += 16) {
        int depth = min(16, inputs - k0);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = id; i < 16 * 64; i += 256) {
            int k = i / 64, o = i % 64, panel = min((o0 + o) / 32, panels - 1);
            ulong base = (ulong)panel * 32u * cols_p;
            float v = 0.0f;
            if (k < depth) {
#if defined(Q_BITS)
                v = FN(q_weight)(w, (ulong)(panel * 32 + o % 32), k0 + k, cols_p);
#elif DTYPE == DTYPE_F32
                v = ((global const float *)w)[base + (ulong)(k0 + k) * 32u + (ulong)(o % 32)];
#else
                uint a = ((global const uint *)w)[base / 2 + (ulong)((k0 + k) / 2) * 32u +
                                                  (ulong)(o % 32)];
                v = from16(k % 2 ? a >> 16 : a & 0xffffu, DTYPE);
#endif
            }
            wt[k][o] = v;
        }
        for (int i = id; i < 16 * 64; i += 256) {
            int k = i % 16, n = i / 16;
            xt[k][n] = k < depth ? ROW(x, min(row0 + n, rows - 1))[k0 + k] : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < depth; k++) {
            float a[4], b[4];
            for (int i = 0; i < 4; i++) {
                a[i] = wt[k][lx + 16 * i];
                b[i] = xt[k][ly + 16 * i];
            }
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    acc[i][j] = fma(a[i], b[j], acc[i][j]);
        }
        int done = k0 + depth;
        if (done % slice_len == 0 || done == inputs) { /* slice_len is a multiple of 16 */
            bool first = done <= slice_len;
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) {
                    total[i][j] = first ? acc[i][j] : total[i][j] + acc[i][j];
                    acc[i][j] = 0.0f;
                }
        }
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int o = o0 + lx + 16 * i, t = row0 + ly + 16 * j;
            if (o >= outputs || t >= rows)
                continue;
            float y = total[i][j];
            if (has_bias)
                y += bias[o];
            y = activate(act, y);
            if (has_res)
                y += ROW(res, t)[o];
            ROW(out, t)[o] = y;
        }
}
