/* K2, the generalised delta rule, token by token. Group: VT columns of one state head of one
 * sequence; work-item (c, part): column c, KR rows of the state in registers. The order of a sum
 * over K is that of state_sum in common.clh, for any number of tokens.
 *
 * The vectors of a micro-step lie in local memory; those of the next one are fetched while this
 * one is computed. */
#define ITEMS (VT * KS)
#define LOCAL_BYTES                                                                                \
    (4 * (2 * KP * (2 + HAS_A + DPLR + (DECAY == DECAY_KEY)) + (KS > 1 ? 2 * KS * VT : 0)))
#define SHARE ((K + ITEMS - 1) / ITEMS) /* elements of a vector that an item fetches */

#if DECAY == DECAY_KEY
#define STORE_W lw[(s + 1) % 2][i] = fw[j];
#define PAD_W lw[x][i] = 0.0f;
#define FACTOR(i) lw[now][i]
#else
#define STORE_W
#define PAD_W
#define FACTOR(i) w1
#endif
#if HAS_A
#define STORE_A la[(s + 1) % 2][i] = fa[j];
#define PAD_A la[x][i] = 0.0f;
#define A la
#else
#define STORE_A
#define PAD_A
#define A lk
#endif
#if DPLR
#define STORE_B lb[(s + 1) % 2][i] = fb[j];
#define PAD_B lb[x][i] = 0.0f;
#else
#define STORE_B
#define PAD_B
#endif
__attribute__((reqd_work_group_size(VT, KS, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(w), VIEW(a),
                   VIEW(b), global float *slots, const ulong slot_floats, const ulong section,
                   global const int *cu, global const int *slot, const float scale)
{
    LOCAL_2(float, lk, 2, KP);
    LOCAL_2(float, lq, 2, KP);
#if HAS_A
    LOCAL_2(float, la, 2, KP);
#endif
#if DPLR
    LOCAL_2(float, lb, 2, KP);
#endif
#if DECAY == DECAY_KEY
    LOCAL_2(float, lw, 2, KP);
#endif
#if KS > 1
    LOCAL_3(float, part, 2, KS, VT);
#endif
    int lane = (int)get_local_id(0), split = (int)get_local_id(1), id = split * VT + lane;
    int c = (int)get_group_id(0) * VT + lane, head = (int)get_group_id(1);
    int seq = (int)get_group_id(2);
    int key_head = head * KEY_HEADS / HEADS;
#if DECAY != DECAY_NONE
    int decay_head = head * DECAY_HEADS / HEADS;
#endif
    bool mine = c < V;
    global float *state = slots + (ulong)slot[seq] * slot_floats + section +
                          (ulong)head * (K * V) + (ulong)(mine ? c : 0);
    float S[KR], fk[SHARE], fa[SHARE], fb[SHARE], fw[SHARE], fq[SHARE];
    float vc, beta, w1, vc_next = 0.0f, beta_next = 1.0f, w1_next = 1.0f;
#pragma unroll
    for (int i = 0; i < KR; i++)
        S[i] = state_row(i, KS, split) < K ? state[state_row(i, KS, split) * V] : 0.0f;
    for (int i = K + id; i < KP; i += ITEMS) { /* rows past the last */
        for (int x = 0; x < 2; x++) {
            lk[x][i] = lq[x][i] = 0.0f;
            PAD_W PAD_A PAD_B
        }
    }
    int first = cu[seq], n = (cu[seq + 1] - first) * STEPS;

/* Micro-step s into the registers f*, *_next. */
#define FETCH(s)                                                                                   \
    do {                                                                                           \
        int t_ = first + (s) / STEPS, step_ = (s) % STEPS;                                         \
        int key_ = (step_ * KEY_HEADS + key_head) * K;                                             \
        for (int j = 0; j < SHARE; j++) {                                                          \
            int i = min(id + j * ITEMS, K - 1);                                                    \
            fk[j] = ROW(k, t_)[key_ + i];                                                          \
            fq[j] = ROW(q, t_)[key_head * K + i];                                                  \
            FETCH_W FETCH_A FETCH_B                                                                \
        }                                                                                          \
        vc_next = mine ? ROW(v, t_)[(step_ * HEADS + head) * V + c] : 0.0f;                        \
        FETCH_SCALARS                                                                              \
    } while (0)
#if DECAY == DECAY_KEY
#define FETCH_W fw[j] = step_ == 0 ? ROW(w, t_)[decay_head * K + i] : 1.0f;
#define FETCH_DECAY
#elif DECAY == DECAY_SCALAR
#define FETCH_W
#define FETCH_DECAY w1_next = step_ == 0 ? ROW(w, t_)[decay_head] : 1.0f;
#else
#define FETCH_W
#define FETCH_DECAY
#endif
#if HAS_A
#define FETCH_A fa[j] = ROW(a, t_)[key_ + i];
#else
#define FETCH_A fa[j] = fk[j];
#endif
#if DPLR
#define FETCH_B fb[j] = ROW(b, t_)[key_ + i];
#define FETCH_SCALARS FETCH_DECAY
#elif HAS_B
#define FETCH_B
#define FETCH_SCALARS FETCH_DECAY beta_next = ROW(b, t_)[step_ * HEADS + head];
#else
#define FETCH_B
#define FETCH_SCALARS FETCH_DECAY
#endif

/* The registers into local memory. */
#define STORE(x)                                                                                   \
    do {                                                                                           \
        for (int j = 0; j < SHARE; j++) {                                                          \
            int i = id + j * ITEMS;                                                                \
            if (i < K) {                                                                           \
                lk[x][i] = fk[j];                                                                  \
                lq[x][i] = fq[j];                                                                  \
                STORE_W STORE_A STORE_B                                                            \
            }                                                                                      \
        }                                                                                          \
        vc = vc_next, beta = beta_next, w1 = w1_next;                                              \
    } while (0)
#define DECAYED                                                                                    \
    do {                                                                                           \
        _Pragma("unroll") for (int i = 0; i < KR; i++) S[i] *= FACTOR(state_row(i, KS, split));    \
    } while (0)
    int s = -1;
    if (n > 0) {
        FETCH(0);
        STORE((s + 1) % 2);
    }
    for (s = 0; s < n; s++) {
        int now = s % 2;
        barrier(CLK_LOCAL_MEM_FENCE); /* this step's vectors are there, the last one's are read */
        if (s + 1 < n)
            FETCH(s + 1);
#if DECAY != DECAY_NONE && DECAY_FIRST
        DECAYED;
#endif
        float u = state_sum(A[now], S, KR, KS, split);
#if KS > 1
        part[0][split][lane] = u;
        barrier(CLK_LOCAL_MEM_FENCE);
        u = state_parts(&part[0][0][lane], VT, KS);
#endif
        float d = DPLR ? vc : beta * (vc - u);
#if DECAY != DECAY_NONE && !DECAY_FIRST
        DECAYED;
#endif
#pragma unroll
        for (int i = 0; i < KR; i++) {
            S[i] = fma(lk[now][state_row(i, KS, split)], d, S[i]);
#if DPLR
            S[i] = fma(lb[now][state_row(i, KS, split)], u, S[i]);
#endif
        }
        if (s % STEPS == STEPS - 1) {
            float o = state_sum(lq[now], S, KR, KS, split);
#if KS > 1
            part[1][split][lane] = o;
            barrier(CLK_LOCAL_MEM_FENCE);
            o = state_parts(&part[1][0][lane], VT, KS);
#endif
            if (mine && split == 0)
                ROW(out, first + s / STEPS)[head * V + c] = o * scale;
        }
        STORE((s + 1) % 2);
    }
    if (mine) {
#pragma unroll
        for (int i = 0; i < KR; i++)
            if (state_row(i, KS, split) < K)
                state[state_row(i, KS, split) * V] = S[i];
    }
#undef FETCH_W
#undef FETCH_DECAY
#undef FETCH_A
#undef FETCH_B
#undef FETCH_SCALARS
#undef STORE_W
#undef STORE_A
#undef STORE_B
#undef PAD_W
#undef PAD_A
#undef PAD_B
#undef FACTOR
#undef A
}
#undef ITEMS
#undef SHARE
#undef LOCAL_BYTES
#undef FETCH
#undef STORE
#undef DECAYED
