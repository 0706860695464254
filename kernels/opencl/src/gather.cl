/* The token rows that need logits. Work-item: one element. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global const int *logit_rows,
                   const int width)
{
    int c = (int)get_global_id(0), i = (int)get_global_id(1);
    if (c < width)
        ROW(out, i)[c] = ROW(x, logit_rows[i])[c];
}
