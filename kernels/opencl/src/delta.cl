/* K2, the generalised delta rule, token by token. Group: VT columns of one state head of one
 * sequence; work-item (c, part): column c, KR = K / KS rows of the state in registers. A sum over
 * K is a chain over the rows of an item, then the KS parts in order, for any number of tokens. */
#define DECAY_NONE 0
#define DECAY_CONST 1
#define DECAY_SCALAR 2
#define DECAY_KEY 3
#define DECAY_VALUE 4
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(w), VIEW(a),
                   VIEW(b), global float *slots, const ulong slot_floats, const ulong section,
                   global const int *cu, global const int *slot, const float scale)
{
    local float lk[K], la[K], lb[K], lw[K], lq[K], part[2][KS][VT];
    int lane = (int)get_local_id(0), split = (int)get_local_id(1), id = split * VT + lane;
    int c = (int)get_group_id(0) * VT + lane, head = (int)get_group_id(1);
    int seq = (int)get_group_id(2), i0 = split * KR;
    int key_head = head * KEY_HEADS / HEADS;
#if DECAY != DECAY_NONE
    int decay_head = head * DECAY_HEADS / HEADS;
#endif
    bool mine = c < V;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (K * V) + (ulong)(i0 * V + (mine ? c : 0));
    float S[KR];
#pragma unroll
    for (int i = 0; i < KR; i++)
        S[i] = state[i * V];
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        for (int step = 0; step < STEPS; step++) {
            int key = (step * KEY_HEADS + key_head) * K;
            float w1 = 1.0f;
#if DECAY == DECAY_SCALAR
            w1 = step == 0 ? ROW(w, t)[decay_head] : 1.0f;
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = id; i < K; i += VT * KS) {
                float ki = ROW(k, t)[key + i], wi = w1;
#if DECAY == DECAY_KEY
                wi = step == 0 ? ROW(w, t)[decay_head * K + i] : 1.0f;
                lw[i] = wi;
#endif
#if HAS_A
                float ai = ROW(a, t)[key + i];
#else
                float ai = ki;
#endif
                lk[i] = ki;
                la[i] = DECAY_FIRST ? wi * ai : ai;
#if DPLR
                lb[i] = ROW(b, t)[key + i];
#endif
                if (step == STEPS - 1)
                    lq[i] = ROW(q, t)[key_head * K + i];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            float u = 0.0f, vc = mine ? ROW(v, t)[(step * HEADS + head) * V + c] : 0.0f;
#pragma unroll
            for (int i = 0; i < KR; i++)
                u = fma(la[i0 + i], S[i], u);
#if KS > 1
            part[0][split][lane] = u;
            barrier(CLK_LOCAL_MEM_FENCE);
            u = part[0][0][lane];
            for (int s = 1; s < KS; s++)
                u += part[0][s][lane];
#endif
#if DPLR
            float d = vc;
#elif HAS_B
            float d = ROW(b, t)[step * HEADS + head] * (vc - u);
#else
            float d = vc - u;
#endif
#pragma unroll
            for (int i = 0; i < KR; i++) {
#if DECAY == DECAY_KEY
                float x = S[i] * lw[i0 + i];
#else
                float x = S[i] * w1;
#endif
#if DPLR
                x = fma(lb[i0 + i], u, x);
#endif
                S[i] = fma(lk[i0 + i], d, x);
            }
        }
        float o = 0.0f;
#pragma unroll
        for (int i = 0; i < KR; i++)
            o = fma(lq[i0 + i], S[i], o);
#if KS > 1
        part[1][split][lane] = o;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (split == 0) {
            for (int s = 1; s < KS; s++)
                o += part[1][s][lane];
        }
#endif
        if (mine && split == 0)
            ROW(out, t)[head * V + c] = o * scale;
    }
    if (mine) {
#pragma unroll
        for (int i = 0; i < KR; i++)
            state[i * V] = S[i];
    }
}
