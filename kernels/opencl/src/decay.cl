/* K1, decayed rank-1 state, token by token. Shape of the work and order of sums as delta.cl. PER
 * query heads read one state head, or fewer query heads serve several. */
#define QUERY(h, j) (QUERY_HEADS > HEADS ? (h) * PER + (j) : (h) * QUERY_HEADS / HEADS)
__attribute__((reqd_work_group_size(VT, KS, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(d),
                   global float *slots, const ulong slot_floats, const ulong section,
                   global const float *bonus, global const float *factors, global const int *cu,
                   global const int *slot, const float scale)
{
    LOCAL_1(float, lk, K);
    LOCAL_1(float, lu, K);
    LOCAL_1(float, ld, K);
    LOCAL_2(float, lq, PER, K);
    LOCAL_2(float, part, KS, VT);
    int lane = (int)get_local_id(0), split = (int)get_local_id(1), id = split * VT + lane;
    int c = (int)get_group_id(0) * VT + lane, head = (int)get_group_id(1);
    int seq = (int)get_group_id(2), i0 = split * KR;
    int kh = head * KEY_HEADS / HEADS, vh = head * VALUE_HEADS / HEADS;
#if DECAY > DECAY_CONST
    int dh = head * DECAY_HEADS / HEADS;
#endif
    bool mine = c < V;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (K * V) + (ulong)(i0 * V + (mine ? c : 0));
    float S[KR];
#pragma unroll
    for (int i = 0; i < KR; i++)
        S[i] = state[i * V];
    for (int t = cu[seq]; t < cu[seq + 1]; t++) {
        float d1 = 1.0f;
#if DECAY == DECAY_CONST
        d1 = factors[head];
#elif DECAY == DECAY_SCALAR
        d1 = ROW(d, t)[dh];
#elif DECAY == DECAY_VALUE
        d1 = mine ? ROW(d, t)[dh * V + c] : 1.0f;
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = id; i < K; i += VT * KS) {
            lk[i] = ROW(k, t)[kh * K + i];
#if HAS_BONUS
            lu[i] = bonus[head * K + i] * lk[i];
#endif
#if DECAY == DECAY_KEY
            ld[i] = ROW(d, t)[dh * K + i];
#endif
            for (int j = 0; j < PER; j++)
                lq[j][i] = ROW(q, t)[QUERY(head, j) * K + i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float vc = mine ? ROW(v, t)[vh * V + c] : 0.0f, o[PER];
        for (int j = 0; j < PER; j++)
            o[j] = 0.0f;
#pragma unroll
        for (int i = 0; i < KR; i++) {
#if HAS_BONUS
            float seen = fma(lu[i0 + i], vc, S[i]);
#endif
#if DECAY == DECAY_KEY
            S[i] = fma(lk[i0 + i], vc, S[i] * ld[i0 + i]);
#else
            S[i] = fma(lk[i0 + i], vc, S[i] * d1);
#endif
#if !HAS_BONUS
            float seen = S[i];
#endif
            for (int j = 0; j < PER; j++)
                o[j] = fma(lq[j][i0 + i], seen, o[j]);
        }
        for (int j = 0; j < PER; j++) {
#if KS > 1
            barrier(CLK_LOCAL_MEM_FENCE);
            part[split][lane] = o[j];
            barrier(CLK_LOCAL_MEM_FENCE);
            if (split == 0) {
                for (int s = 1; s < KS; s++)
                    o[j] += part[s][lane];
            }
#endif
            if (mine && split == 0)
                ROW(out, t)[(head * PER + j) * V + c] = o[j] * scale;
        }
    }
    if (mine) {
#pragma unroll
        for (int i = 0; i < KR; i++)
            state[i * V] = S[i];
    }
}
