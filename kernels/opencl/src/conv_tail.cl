/* The last SIZE-1 inputs of each sequence, after the old ones were read: by conv_rows.cl,
 * shift_rows.cl or nvidia/ew_packed.cl. */
kernel void KERNEL(global float *arena, VIEW(x), global float *slots, const ulong slot_floats,
                   const ulong section, global const int *cu, global const int *slot,
                   const int width)
{
    int c = (int)get_global_id(0), q = (int)get_global_id(1), n = cu[q + 1] - cu[q];
    if (c >= width)
        return;
    global float *tail = slots + (ulong)slot[q] * slot_floats + section + c;
    for (int i = 0; i < SIZE - 1; i++) { /* ascending: only later entries are read */
        int ago = SIZE - 2 - i;
        tail[(ulong)i * (ulong)width] =
            ago < n ? ROW(x, cu[q + 1] - 1 - ago)[c] : tail[(ulong)(i + n) * (ulong)width];
    }
}
