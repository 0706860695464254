/* ../ew_rows.cl for outputs that only products read: as the tensor cores want them (pair_at of
 * mma.clh), zeros past the end. Work-item: 8 columns of a row, in two words; warp: 32 of 8 rows,
 * whose packed numbers are whole lines. EW_BEGIN, EW_LOADS, EW_BODY, EW_STORES and EW_END come from
 * the generator; half_ is the word's number. Where it reads shifted rows it may read what they are
 * made of instead: the row before, or the state, which gets x of a sequence's only row by the
 * work-item that has read it. */
kernel void KERNEL(global float *arena, const int width, global const int *counts,
                   const int is_logits EW_PARAMS)
{
    int lane = (int)get_local_id(0), row = (int)get_group_id(1) * 8 + lane / 4;
    int warp = (int)get_group_id(0) * (int)get_local_size(1) + (int)get_local_id(1);
    int first = warp * 32 + lane % 4 * 8;
    if (first / 32 * 32 >= width || row >= counts[is_logits ? 2 : 1])
        return;
    EW_BEGIN
    _Pragma("unroll") for (int half_ = 0; half_ < 2; half_++)
    {
        int c = first + half_ * 4;
        if (c >= width)
            continue;
        EW_LOADS
        EW_BODY
        EW_STORES
    }
    EW_END
}
