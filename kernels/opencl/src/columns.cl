/* Columns in another order. Work-item: one element. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global const float *order,
                   const int width)
{
    int c = (int)get_global_id(0), row = (int)get_global_id(1);
    if (c < width)
        ROW(out, row)[c] = ROW(x, row)[(int)order[c]];
}
