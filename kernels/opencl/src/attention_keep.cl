/* Stores the batch's operands 1 to 5, one after the other, where later steps read them. Work-item:
 * one element. */
kernel void KERNEL(global float *arena, VIEW(a), VIEW(b), VIEW(c), VIEW(d), VIEW(e),
                   global float *kept, const ulong slot_floats, const ulong section,
                   const ulong page_floats, global const int *pages, const int pages_per_seq,
                   global const int *cu, global const int *slot, global const long *pos,
                   global const int *row_seq, const int a_end, const int b_end, const int c_end,
                   const int d_end, const int width, const int window)
{
    int i = (int)get_global_id(0), row = (int)get_global_id(1), seq = row_seq[row];
    if (i >= width || (window && row < cu[seq + 1] - window))
        return; /* a later row of this batch takes the same place in the ring */
    float x = i < a_end   ? ROW(a, row)[i]
              : i < b_end ? ROW(b, row)[i - a_end]
              : i < c_end ? ROW(c, row)[i - b_end]
              : i < d_end ? ROW(d, row)[i - c_end]
                          : ROW(e, row)[i - d_end];
    long at = pos[row];
    if (window) {
        ulong ring = (ulong)slot[seq] * slot_floats + section;
        kept[ring + (ulong)(at % window) * (ulong)width + i] = x;
    } else {
        ulong page = (ulong)pages[(ulong)seq * (ulong)pages_per_seq + (ulong)(at / PAGE_TOKENS)];
        kept[page * page_floats + section + (ulong)(at % PAGE_TOKENS) * (ulong)width + i] = x;
    }
}
