/* Softmax over groups of columns. Group of work-items: one group of one row. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), const int n, const float scale,
                   local float *part)
{
    int id = (int)get_local_id(0), size = (int)get_local_size(0);
    int at = (int)get_group_id(0) * n, row = (int)get_group_id(1);
    global const float *in = ROW(x, row) + at;
    float sign_ = scale < 0.0f ? -1.0f : 1.0f, top = -INFINITY, sum = 0.0f;
    for (int i = id; i < n; i += size)
        top = fmax(top, sign_ * in[i]);
    top = sign_ * group_max(part, top);
    for (int i = id; i < n; i += size) /* the difference first: it is exact near the top */
        sum += exp(scale * (in[i] - top));
    sum = group_sum(part, sum);
    for (int i = id; i < n; i += size)
        ROW(out, row)[at + i] = exp(scale * (in[i] - top)) / sum;
}
