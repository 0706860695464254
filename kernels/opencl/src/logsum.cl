/* Running logsumexp of every column. Work-item: one column of one sequence, in token order. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), global float *slots,
                   const ulong slot_floats, const ulong section, global const int *cu,
                   global const int *slot, global const long *pos, const int width)
{
    int c = (int)get_global_id(0), q = (int)get_global_id(1);
    if (c >= width)
        return;
    global float *state = slots + (ulong)slot[q] * slot_floats + section + c;
    float z = pos[cu[q]] == 0 ? -INFINITY : *state; /* zeroed memory is a fresh state */
    for (int t = cu[q]; t < cu[q + 1]; t++) {
        float v = ROW(x, t)[c], top = fmax(z, v);
        float now = top + log(exp(z - top) + exp(v - top));
        ROW(out, t)[c] = exp(v - now);
        ROW(out, t)[width + c] = exp(z - now);
        z = now;
    }
    *state = z;
}
