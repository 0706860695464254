/* K7: one state per set bit of the position. Work-item: one column of one head of one sequence. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(alpha),
                   VIEW(lambda), global float *slots, const ulong slot_floats, const ulong section,
                   global const int *cu, global const int *slot, global const long *pos,
                   const int width)
{
    int id = (int)get_global_id(0), seq = (int)get_global_id(1), head = id / V, c = id % V;
    if (id >= width)
        return;
    global float *levels = slots + (ulong)slot[seq] * slot_floats + section +
                           (ulong)head * (K * V) + (ulong)c;
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        long at = pos[t];
        int into = 1;
        while ((at >> (into - 1)) & 1)
            into++; /* levels below merge into this one after the token */
        global const float *query = ROW(q, t), *key = ROW(k, t),
                           *l = ROW(lambda, t) + head * LEVELS;
        float value = ROW(v, t)[head * V + c], a = ROW(alpha, t)[head], y = 0.0f;
        for (int i = 0; i < K; i++) {
            float now = key[i] * value, merged = now;
            y = fma(l[0] * query[i], now, y);
            for (int n = 1; n < LEVELS; n++) {
                if (!((at >> (n - 1)) & 1))
                    continue;
                global float *S = levels + (ulong)(n - 1) * ((ulong)HEADS * K * V) + (ulong)i * V;
                float s = *S * a;
                *S = s;
                y = fma(l[n] * query[i], s, y);
                if (n < into)
                    merged += s;
            }
            if (into < LEVELS)
                levels[(ulong)(into - 1) * ((ulong)HEADS * K * V) + (ulong)i * V] = merged;
        }
        ROW(out, t)[head * V + c] = y;
    }
}
