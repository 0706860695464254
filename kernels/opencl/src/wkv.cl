/* RWKV-4's weighted mean. Work-item: one column of one sequence, in token order. Position 0 starts
 * from nothing: then a section of zeros, or of anything, is a fresh state. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(k), VIEW(v), global float *slots,
                   const ulong slot_floats, const ulong section, global const float *decay,
                   global const float *bonus, global const int *cu, global const int *slot,
                   global const long *pos, const int width)
{
    int c = (int)get_global_id(0), s = (int)get_global_id(1);
    if (c >= width)
        return;
    global float *state = slots + (ulong)slot[s] * slot_floats + section + c;
    bool fresh = pos[cu[s]] == 0;
    float p = fresh ? 0.0f : state[0], q = fresh ? 0.0f : state[width];
    float m = fresh ? -INFINITY : state[2 * width];
    for (int t = cu[s]; t < cu[s + 1]; t++) {
        float key = ROW(k, t)[c], value = ROW(v, t)[c], now = bonus[c] + key;
        float top = fmax(m, now), old = exp(m - top), own = exp(now - top);
        ROW(out, t)[c] = fma(own, value, old * p) / fma(old, q, own);
        m += decay[c];
        top = fmax(m, key);
        old = exp(m - top);
        own = exp(key - top);
        p = fma(own, value, old * p);
        q = fma(old, q, own);
        m = top;
    }
    state[0] = p;
    state[width] = q;
    state[2 * width] = m;
}
