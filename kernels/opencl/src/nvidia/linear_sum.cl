/* The chains of SLICES slices that wgmma.c left side by side, added in order, and what follows a
 * sum. Work-item: one output of a row. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(res), global const uint4 *w,
                   EPILOGUE_PARAMS, global const float *scratch, const ulong chains_at,
                   const int chains_stride, const ulong plane)
{
    int o = (int)get_global_id(0), row = (int)get_global_id(1);
    if (o >= outputs)
        return;
    float sum;
    ADD_SLICES(sum, scratch + chains_at + (ulong)row * (ulong)chains_stride + (ulong)o);
    EPILOGUE(sum, o, row);
}
