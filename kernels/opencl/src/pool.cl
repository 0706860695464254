/* A weighted mean of every block's rows, at its last row; 0 on the others. Work-item: one column of
 * a sequence. BLOCK rows a block; the state is the maximum, the sum of weights, the weighted sum,
 * or without GATED the sum alone. */
kernel void KERNEL(global float *arena, VIEW(out), VIEW(x), VIEW(gate), global float *slots,
                   const ulong slot_floats, const ulong section, global const float *bias,
                   global const int *cu, global const int *slot, global const long *pos,
                   const int width)
{
    int c = (int)get_global_id(0), q = (int)get_global_id(1);
    if (c >= width)
        return;
    global float *state = slots + (ulong)slot[q] * slot_floats + section + c;
    float top = state[0], total = GATED ? state[width] : 0.0f;
    float sum = GATED ? state[2 * width] : state[0];
    for (int t = cu[q]; t < cu[q + 1]; t++) {
        int i = (int)(pos[t] % BLOCK);
        float in = ROW(x, t)[c];
        if (GATED) {
            float g = ROW(gate, t)[c] + (HAS_BIAS ? bias[(ulong)i * (ulong)width + c] : 0.0f);
            float higher = fmax(i ? top : -FLT_MAX, g), e = exp(g - higher);
            float keep = i ? exp(top - higher) : 0.0f;
            sum = fma(e, in, i ? sum * keep : 0.0f);
            total = i ? fma(total, keep, e) : e;
            top = higher;
        } else {
            sum = i ? sum + in : in;
        }
        ROW(out, t)[c] = i < BLOCK - 1 ? 0.0f : GATED ? sum / total : sum / BLOCK;
    }
    state[0] = GATED ? top : sum;
    if (GATED) {
        state[width] = total;
        state[2 * width] = sum;
    }
}
