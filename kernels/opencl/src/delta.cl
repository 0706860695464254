/* K2, the generalised delta rule, token by token. Group: VT columns of one state head of one
 * sequence; work-item (c, part): column c, KR = K / KS rows of the state in registers. A sum over
 * K is a chain over the rows of an item, then the KS parts in order, for any number of tokens.
 *
 * The vectors of a micro-step lie in local memory; those of the next one are fetched while this
 * one is computed. */
#define ITEMS (VT * KS)
#define SHARE ((K + ITEMS - 1) / ITEMS) /* elements of a vector that an item fetches */
#define OWN_A (HAS_A || (DECAY_FIRST && DECAY == DECAY_KEY)) /* a' differs from k by more than w1 */
__attribute__((reqd_work_group_size(VT, KS, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(w), VIEW(a),
                   VIEW(b), global float *slots, const ulong slot_floats, const ulong section,
                   global const int *cu, global const int *slot, const float scale)
{
    LOCAL_2(float, lk, 2, K);
    LOCAL_2(float, lq, 2, K);
#if OWN_A
    LOCAL_2(float, la, 2, K);
#endif
#if DPLR
    LOCAL_2(float, lb, 2, K);
#endif
#if DECAY == DECAY_KEY
    LOCAL_2(float, lw, 2, K);
#endif
#if KS > 1
    LOCAL_3(float, part, 2, KS, VT);
#endif
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
    float S[KR], fk[SHARE], fa[SHARE], fb[SHARE], fw[SHARE], fq[SHARE];
    float vc, beta, w1, vc_next = 0.0f, beta_next = 1.0f, w1_next = 1.0f;
#pragma unroll
    for (int i = 0; i < KR; i++)
        S[i] = state[i * V];
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
#if DECAY == DECAY_KEY
#define STORE_W lw[(s + 1) % 2][i] = fw[j];
#define FACTOR(i) lw[now][i]
#else
#define STORE_W
#define FACTOR(i) w1
#endif
#if OWN_A && DECAY_FIRST && DECAY == DECAY_KEY
#define STORE_A la[(s + 1) % 2][i] = fw[j] * fa[j];
#define A(i) la[now][i]
#elif OWN_A && DECAY_FIRST
#define STORE_A la[(s + 1) % 2][i] = fa[j];
#define A(i) (w1 * la[now][i])
#elif OWN_A
#define STORE_A la[(s + 1) % 2][i] = fa[j];
#define A(i) la[now][i]
#elif DECAY_FIRST
#define STORE_A
#define A(i) (w1 * lk[now][i])
#else
#define STORE_A
#define A(i) lk[now][i]
#endif
#if DPLR
#define STORE_B lb[(s + 1) % 2][i] = fb[j];
#else
#define STORE_B
#endif
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
        float u = 0.0f;
#pragma unroll
        for (int i = 0; i < KR; i++)
            u = fma(A(i0 + i), S[i], u);
#if KS > 1
        part[0][split][lane] = u;
        barrier(CLK_LOCAL_MEM_FENCE);
        u = part[0][0][lane];
        for (int x = 1; x < KS; x++)
            u += part[0][x][lane];
#endif
        float d = DPLR ? vc : beta * (vc - u);
#pragma unroll
        for (int i = 0; i < KR; i++) {
            float x = S[i] * FACTOR(i0 + i);
#if DPLR
            x = fma(lb[now][i0 + i], u, x);
#endif
            S[i] = fma(lk[now][i0 + i], d, x);
        }
        if (s % STEPS == STEPS - 1) {
            float o = 0.0f;
#pragma unroll
            for (int i = 0; i < KR; i++)
                o = fma(lq[now][i0 + i], S[i], o);
#if KS > 1
            part[1][split][lane] = o;
            barrier(CLK_LOCAL_MEM_FENCE);
            if (split == 0) {
                for (int x = 1; x < KS; x++)
                    o += part[1][x][lane];
            }
#endif
            if (mine && split == 0)
                ROW(out, first + s / STEPS)[head * V + c] = o * scale;
        }
        STORE((s + 1) % 2);
    }
    if (mine) {
#pragma unroll
        for (int i = 0; i < KR; i++)
            state[i * V] = S[i];
    }
#undef FETCH_W
#undef FETCH_DECAY
#undef FETCH_A
#undef FETCH_B
#undef FETCH_SCALARS
#undef STORE_W
#undef STORE_A
#undef STORE_B
#undef FACTOR
#undef A
}
