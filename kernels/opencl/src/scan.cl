/* K4, selective scan. Work-item: one channel of one sequence with its N states in registers, in
 * token order. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(dt), VIEW(b), VIEW(c),
                   global float *slots, const ulong slot_floats, const ulong section,
                   global const float *a, global const float *d, global const int *cu,
                   global const int *slot, const int width)
{
    int ch = (int)get_global_id(0), q = (int)get_global_id(1);
    if (ch >= width)
        return;
    global float *state = slots + (ulong)slot[q] * slot_floats + section + (ulong)ch * N;
    float h[N], rate[N];
    for (int n = 0; n < N; n++) {
        h[n] = state[n];
        rate[n] = a[(ulong)ch * N + n];
    }
    for (int t = cu[q]; t < cu[q + 1]; t++) {
        float v = ROW(x, t)[ch], step = ROW(dt, t)[ch], y = HAS_D ? d[ch] * v : 0.0f;
        global const float *bt = ROW(b, t), *ct = ROW(c, t);
        for (int n = 0; n < N; n++) {
            h[n] = fma(exp(step * rate[n]), h[n], step * bt[n] * v);
            y = fma(ct[n], h[n], y);
        }
        ROW(out, t)[ch] = y;
    }
    for (int n = 0; n < N; n++)
        state[n] = h[n];
}
