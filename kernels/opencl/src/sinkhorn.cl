/* Square matrices of N rows made doubly stochastic in ITERS steps. Work-item: one matrix. */
#define SHARE_OUT(at, apart) \
    sum = eps; \
    for (int j = 0; j < N; j++) \
        sum += a[(at) + j * (apart)]; \
    for (int j = 0; j < N; j++) \
        a[(at) + j * (apart)] /= sum

kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), const int width, const float eps)
{
    int first = (int)get_global_id(0) * N * N, row = (int)get_global_id(1);
    if (first >= width)
        return;
    global const float *in = ROW(x, row) + first;
    float a[N * N], sum;
    for (int i = 0; i < N; i++) {
        float top = -INFINITY;
        for (int j = 0; j < N; j++)
            top = fmax(top, in[i * N + j]);
        sum = 0.0f;
        for (int j = 0; j < N; j++)
            sum += a[i * N + j] = exp(in[i * N + j] - top);
        for (int j = 0; j < N; j++)
            a[i * N + j] = a[i * N + j] / sum + eps;
    }
    for (int k = 0; k < ITERS; k++) {
        for (int i = 0; k > 0 && i < N; i++) {
            SHARE_OUT(i * N, 1);
        }
        for (int i = 0; i < N; i++) {
            SHARE_OUT(i, N);
        }
    }
    for (int i = 0; i < N * N; i++)
        ROW(out, row)[first + i] = a[i];
}
#undef SHARE_OUT
