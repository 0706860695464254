/* 1 at position 0 of a sequence, else 0. Work-item: one row. */
kernel void KERNEL(global float *arena, VIEW(out), global const long *pos)
{
    int row = (int)get_global_id(1);
    ROW(out, row)[0] = pos[row] == 0 ? 1.0f : 0.0f;
}
