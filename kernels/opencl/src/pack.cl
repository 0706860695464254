/* Converts rows of a weight from the file's number format and puts them where the products
 * want them. Work-item: one element. */
kernel void KERNEL(global const void *src, global void *dst, const ulong row0, const int cols,
                   const ulong cols_p)
{
    ulong c = get_global_id(0), r = get_global_id(1);
    if (c >= (ulong)cols)
        return;
    ulong from = r * (ulong)cols + c;
    float v = SRC == DTYPE_F32 ? ((global const float *)src)[from]
                               : from16(((global const ushort *)src)[from], SRC);
    ulong to = weight_at(LAYOUT, DST, row0 + r, c, cols_p);
    if (DST == DTYPE_F32)
        ((global float *)dst)[to] = v;
    else if (DST == SRC) /* not through a float: NaN payloads and subnormals stay as they are */
        ((global ushort *)dst)[to] = ((global const ushort *)src)[from];
    else
        ((global ushort *)dst)[to] = (ushort)(DST == DTYPE_BF16 ? to_bf16(v) : to_f16(v));
}
