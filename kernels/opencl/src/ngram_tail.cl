/* The last SIZE - 1 tokens of each sequence, after ngram.cl has read the old ones. Work-item: one
 * head's copy. */
kernel void KERNEL(global float *slots, const ulong slot_floats, const ulong section,
                   global const int *tokens, global const int *cu, global const int *slot)
{
    int j = (int)get_global_id(0), q = (int)get_global_id(1), n = cu[q + 1] - cu[q];
    if (j >= HEADS)
        return;
    global float *kept = slots + (ulong)slot[q] * slot_floats + section + j * (SIZE - 1);
    for (int i = 0; i < SIZE - 1; i++) { /* ascending: only later entries are read */
        int ago = SIZE - 2 - i;
        kept[i] = ago < n ? (float)(tokens[cu[q + 1] - 1 - ago] + 1) : kept[i + n];
    }
}
