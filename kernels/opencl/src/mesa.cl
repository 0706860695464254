/* K8: two decayed states and a Cholesky solve per token. A group is one head of one sequence; the
 * factor L lives in scratch memory, one K x K matrix and a vector per group. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(alpha),
                   VIEW(beta), global float *slots, const ulong slot_floats, const ulong section,
                   global const float *lambda, global float *scratch, global const int *cu,
                   global const int *slot, const float bound)
{
    LOCAL_1(float, x, K);
    int id = (int)get_local_id(0), head = (int)get_group_id(0), seq = (int)get_group_id(1);
    global float *A = slots + (ulong)slot[seq] * slot_floats + section + (ulong)head * (K * K);
    global float *B = slots + (ulong)slot[seq] * slot_floats + section + (ulong)HEADS * (K * K) +
                      (ulong)head * (K * V);
    global float *L = scratch + ((ulong)seq * HEADS + (ulong)head) * (K * K);
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        global const float *key = ROW(k, t) + head * K, *value = ROW(v, t) + head * V;
        float a = ROW(alpha, t)[head], b = ROW(beta, t)[head];
        for (int n = id; n < K * K; n += LANES)
            A[n] = fma(b * key[n / K], key[n % K], a * A[n]);
        for (int n = id; n < K * V; n += LANES)
            B[n] = fma(b * key[n / V], value[n % V], a * B[n]);
        for (int i = id; i < K; i += LANES)
            x[i] = ROW(q, t)[head * K + i];
        barrier(CLK_GLOBAL_MEM_FENCE | CLK_LOCAL_MEM_FENCE);
        for (int j = 0; j < K; j++) { /* column by column; rows of a column are independent */
            for (int i = j + id; i < K; i += LANES) {
                float s = A[i * K + j] + (i == j ? lambda[head * K + j] + bound : 0.0f);
                for (int n = 0; n < j; n++)
                    s = fma(-L[i * K + n], L[j * K + n], s);
                L[i * K + j] = s; /* not yet divided by the diagonal's root */
            }
            barrier(CLK_GLOBAL_MEM_FENCE);
            float root = sqrt(L[j * K + j]);
            barrier(CLK_GLOBAL_MEM_FENCE);
            for (int i = j + id; i < K; i += LANES)
                L[i * K + j] = i == j ? root : L[i * K + j] / root;
            barrier(CLK_GLOBAL_MEM_FENCE);
        }
        for (int j = 0; j < K; j++) {
            if (id == 0)
                x[j] /= L[j * K + j];
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = j + 1 + id; i < K; i += LANES)
                x[i] = fma(-L[i * K + j], x[j], x[i]);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        for (int j = K - 1; j >= 0; j--) {
            if (id == 0)
                x[j] /= L[j * K + j];
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = id; i < j; i += LANES)
                x[i] = fma(-L[j * K + i], x[j], x[i]);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        for (int c = id; c < V; c += LANES) {
            float y = 0.0f;
            for (int i = 0; i < K; i++)
                y = fma(x[i], B[i * V + c], y);
            ROW(out, t)[head * V + c] = y;
        }
        barrier(CLK_GLOBAL_MEM_FENCE | CLK_LOCAL_MEM_FENCE);
    }
}
