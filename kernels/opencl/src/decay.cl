/* K1, decayed rank-1 state, token by token. Shape of the work and order of sums as delta.cl. PER
 * query heads read one state head, or fewer query heads serve several. */
#define LOCAL_BYTES (4 * ((3 + PER) * KP + KS * VT))
#define QUERY(h, j) (QUERY_HEADS > HEADS ? (h) * PER + (j) : (h) * QUERY_HEADS / HEADS)
#if DECAY == DECAY_KEY
#define FACTOR(i) ld[i]
#else
#define FACTOR(i) d1
#endif
__attribute__((reqd_work_group_size(VT, KS, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(d),
                   global float *slots, const ulong slot_floats, const ulong section,
                   global const float *bonus, global const float *factors, global const int *cu,
                   global const int *slot, const float scale)
{
    LOCAL_1(float, lk, KP);
    LOCAL_1(float, lu, KP);
    LOCAL_1(float, ld, KP);
    LOCAL_2(float, lq, PER, KP);
    LOCAL_2(float, part, KS, VT);
    int lane = (int)get_local_id(0), split = (int)get_local_id(1), id = split * VT + lane;
    int c = (int)get_group_id(0) * VT + lane, head = (int)get_group_id(1);
    int seq = (int)get_group_id(2);
    int kh = head * KEY_HEADS / HEADS, vh = head * VALUE_HEADS / HEADS;
#if DECAY > DECAY_CONST
    int dh = head * DECAY_HEADS / HEADS;
#endif
    bool mine = c < V;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (K * V) + (ulong)(mine ? c : 0);
    float S[KR];
#pragma unroll
    for (int i = 0; i < KR; i++)
        S[i] = state_row(i, KS, split) < K ? state[state_row(i, KS, split) * V] : 0.0f;
    for (int i = K + id; i < KP; i += VT * KS) { /* rows past the last */
        lk[i] = lu[i] = ld[i] = 0.0f;
        for (int j = 0; j < PER; j++)
            lq[j][i] = 0.0f;
    }
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
#if HAS_BONUS /* the query sees the state before this token, and u k v */
        float seen[KR];
#pragma unroll
        for (int i = 0; i < KR; i++)
            seen[i] = fma(lu[state_row(i, KS, split)], vc, S[i]);
#else
#define seen S
#endif
#pragma unroll
        for (int i = 0; i < KR; i++)
            S[i] = fma(lk[state_row(i, KS, split)], vc, S[i] * FACTOR(state_row(i, KS, split)));
        for (int j = 0; j < PER; j++)
            o[j] = state_sum(lq[j], seen, KR, KS, split);
        for (int j = 0; j < PER; j++) {
#if KS > 1
            barrier(CLK_LOCAL_MEM_FENCE);
            part[split][lane] = o[j];
            barrier(CLK_LOCAL_MEM_FENCE);
            o[j] = state_parts(&part[0][lane], VT, KS);
#endif
            if (mine && split == 0)
                ROW(out, t)[(head * PER + j) * V + c] = o[j] * scale;
        }
    }
    if (mine) {
#pragma unroll
        for (int i = 0; i < KR; i++)
            if (state_row(i, KS, split) < K)
                state[state_row(i, KS, split) * V] = S[i];
    }
}
#undef FACTOR
#undef QUERY
#undef seen
