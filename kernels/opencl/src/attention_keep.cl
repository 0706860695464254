/* Stores the batch's keys and values where later steps read them. Work-item: one element. */
kernel void KERNEL(global float *arena, VIEW(k), VIEW(v), global float *kept,
                   const ulong slot_floats, const ulong section, const ulong page_floats,
                   global const int *pages, const int pages_per_seq, global const int *cu,
                   global const int *slot, global const long *pos, global const int *row_seq,
                   const int key_width, const int width, const int window)
{
    int c = (int)get_global_id(0), row = (int)get_global_id(1), seq = row_seq[row];
    if (c >= width || (window && row < cu[seq + 1] - window))
        return; /* a later row of this batch takes the same place in the ring */
    float x = c < key_width ? ROW(k, row)[c] : ROW(v, row)[c - key_width];
    long at = pos[row];
    if (window) {
        kept[(ulong)slot[seq] * slot_floats + section + (ulong)(at % window) * (ulong)width + c] = x;
    } else {
        ulong page = (ulong)pages[(ulong)seq * (ulong)pages_per_seq + (ulong)(at / 64)];
        kept[page * page_floats + section + (ulong)(at % 64) * (ulong)width + c] = x;
    }
}
