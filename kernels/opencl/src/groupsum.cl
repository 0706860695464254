/* Sums, or largest magnitudes, of groups of columns. Work-item: one group of one row; groups are
 * short (steps, heads). */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), const int width, const int n,
                   const float scale)
{
    int g = (int)get_global_id(0), row = (int)get_global_id(1);
    if (g >= width)
        return;
    global const float *in = ROW(x, row) + g * n;
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        sum = ABSMAX ? fmax(sum, fabs(in[i])) : sum + in[i];
    ROW(out, row)[g] = sum * scale;
}
