/* What follows the bare sums of wgmma.c, in place: bias, activation, residual. Work-item: one
 * output of a row. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS)
{
    int o = (int)get_global_id(0), row = (int)get_global_id(1);
    if (o < outputs)
        EPILOGUE(ROW(out, row)[o], o, row);
}
