/* K9: a token writes together with the one before. A group is one head of one sequence; work-items
 * take columns. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(alpha),
                   VIEW(now), VIEW(before), global float *slots, const ulong slot_floats,
                   const ulong section, global const int *cu, global const int *slot)
{
    int id = (int)get_local_id(0), head = (int)get_group_id(0), seq = (int)get_group_id(1);
    global float *base = slots + (ulong)slot[seq] * slot_floats + section;
    global float *S = base + (ulong)head * (K * V);
    global float *k_before = base + (ulong)HEADS * (K * V) + (ulong)head * K;
    global float *v_before = base + (ulong)HEADS * (K * V + K) + (ulong)head * V;
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        bool begun = t > cu[seq];
        global const float *query = ROW(q, t) + head * K, *key = ROW(k, t) + head * K;
        global const float *kb = begun ? ROW(k, t - 1) + head * K : k_before;
        global const float *vb = begun ? ROW(v, t - 1) + head * V : v_before;
        float a = ROW(alpha, t)[head], n = ROW(now, t)[head], b = ROW(before, t)[head];
        for (int c = id; c < V; c += LANES) {
            float value = ROW(v, t)[head * V + c], past = vb[c], y = 0.0f;
            for (int i = 0; i < K; i++) {
                float x = fma(b * kb[i], past, a * S[i * V + c]);
                x = fma(n * key[i], value, x);
                S[i * V + c] = x;
                y = fma(query[i], x, y);
            }
            ROW(out, t)[head * V + c] = y;
        }
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    int last = cu[seq + 1] - 1;
    for (int i = id; i < K; i += LANES)
        k_before[i] = ROW(k, last)[head * K + i];
    for (int c = id; c < V; c += LANES)
        v_before[c] = ROW(v, last)[head * V + c];
}
