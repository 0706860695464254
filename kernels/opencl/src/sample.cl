/* One token of one row of logits: kernels/sample.h is the definition, and every value here equals
 * the host's. A group takes a row. Weights are integers, so no sum depends on who adds when.
 *
 * A token's key is 52 bits: its logit's rank (0 = the largest) and its id. Keys differ, and
 * sorting them is the order of preference, ties included. What top_k and top_p keep is all keys up
 * to a cut. To find it: the best of every work-item are sorted; up to the k-th of those lie at
 * least k tokens, and seldom many more: they are gathered and sorted (near). If that fails, a
 * histogram over all keys, then ever narrower ones, until one bin can be gathered (narrow).
 *
 * With one work-item there are no barriers: PoCL copies what follows a barrier inside an if or a
 * loop, which is without end in a kernel like this, and a CPU is no faster with more.
 *
 * WG: work-items, a power of two up to BINS. LIST: keys that can be gathered, a multiple of WG.
 * POOL: ulongs for LIST keys or for the histogram. WIDE: rows are 16-byte aligned. */
#define BINS 1024
#define BINS_PER_NAT 32
#define BITS_BINS 10
#define FAR 30.0f     /* weights from here on are 0 */
#define NONE 0xfffffffffffffffful

#if WG == 1
#define SYNC(where)
#else
#define SYNC(where) barrier(where)
#endif

enum { OK_, NAN_, INFINITE_, NOTHING_ };

/* As kernels/opencl/sample.c writes them. */
struct row {
    int logits, n_top, draw, id, greedy;
    float scale, min_p;
    int top_k;
    uint top_p[2], uniform[2];
    float repeat, unrepeat;
    int n_bias, n_seen, n_banned;
    int masked;   /* a mask of n bits follows the edits */
    int edits_at; /* words from the start of the rows: bias, seen, banned; pairs of id and number */
    int edited;   /* row of scratch */
};
struct result {
    int status, id, raw;
    float max;
    uint logit, total[2];
    int n_top;
    uint top[2 * TOP_MAX];
};

/* What a pass over a row looks at. */
struct source {
    global const float *x;
    int n;
    float max, scale, least;
    int listing; /* every token weighs 1 */
};
/* Local memory of a group. */
struct shared {
    local ulong *part, *pool; /* [WG], [POOL] */
    local int *ints;          /* bad, listed, found, inside */
    local ulong *longs;       /* before, sums */
};

inline float FN(tame)(float x)
{
    return (as_uint(x) & 0x7fffffffu) < 0x0d800000u ? 0.0f : x;
}
inline uint FN(rank)(float x)
{
    uint u = as_uint(x);
    return ~(u ^ (u >> 31 ? 0xffffffffu : 0x80000000u));
}
inline float FN(logit)(uint rank)
{
    uint u = ~rank;
    return as_float(u ^ (u >> 31 ? 0x80000000u : 0xffffffffu));
}

/* exp(-d) for 0 <= d < FAR, operation by operation as in kernels/softmax.c. */
inline float FN(power)(float d)
{
    const float magic = 12582912.0f;
    float x = -d;
    float t = x * 1.44269504f + magic;
    float k = t - magic;
    float r = (x - k * 0.693145752f) - k * 1.42860677e-6f;
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * as_float((as_uint(t) - as_uint(magic) + 127u) << 23);
}

inline ulong FN(weight)(const struct source s, float v)
{
    float d = (s.max - v) * s.scale;
    if (s.listing)
        return 1;
    if (!(d < FAR)) /* also NaN */
        return 0;
    float w = FN(power)(d);
    if (w < s.least)
        return 0;
    float high = w * 4194304.0f; /* 2^22 */
    uint h = (uint)high;
    return ((ulong)h << 21) + (uint)((high - (float)h) * 2097152.0f);
}

inline ulong FN(key)(float v, int id)
{
    return (ulong)FN(rank)(v) << 20 | (ulong)id;
}

/* Elements 4q to 4q + 3. */
inline float4 FN(quad)(global const float *x, int q, int n)
{
    int i = 4 * q;
    float4 v = (float4)(-INFINITY);
    if (i + 4 <= n) {
#if WIDE
        v = *(global const float4 *)(x + i);
#else
        v = vload4((size_t)q, x);
#endif
    } else {
        if (i < n)
            v.x = x[i];
        if (i + 1 < n)
            v.y = x[i + 1];
        if (i + 2 < n)
            v.z = x[i + 2];
    }
    return (float4)(FN(tame)(v.x), FN(tame)(v.y), FN(tame)(v.z), FN(tame)(v.w));
}

/* EACH(row, n) block DONE runs the block for every element v with its id i; the loads of 16 are
 * under way at once. */
#define EACH(from_, n_)                                                                           \
    for (int base_ = (int)get_local_id(0); base_ < ((n_) + 3) / 4; base_ += 4 * WG) {             \
        float four_[16];                                                                          \
        for (int j_ = 0; j_ < 4; j_++) {                                                          \
            float4 q_ = FN(quad)(from_, base_ + j_ * WG, n_);                                     \
            four_[4 * j_] = q_.x;                                                                 \
            four_[4 * j_ + 1] = q_.y;                                                             \
            four_[4 * j_ + 2] = q_.z;                                                             \
            four_[4 * j_ + 3] = q_.w;                                                             \
        }                                                                                         \
        for (int j_ = 0; j_ < 16; j_++) {                                                         \
            int i = 4 * (base_ + j_ / 4 * WG) + j_ % 4;                                           \
            float v = four_[j_];                                                                  \
            if (i < (n_))
#define DONE                                                                                      \
        }                                                                                         \
    }

/* The sum of v over the work-items before this one; all of it is then in part[WG - 1]. */
inline ulong FN(before)(local ulong *part, ulong v)
{
    int lane = (int)get_local_id(0);
    SYNC(CLK_LOCAL_MEM_FENCE);
    part[lane] = v;
    SYNC(CLK_LOCAL_MEM_FENCE);
    for (int step = 1; step < WG; step *= 2) {
        ulong add = lane >= step ? part[lane - step] : 0;
        SYNC(CLK_LOCAL_MEM_FENCE);
        part[lane] += add;
        SYNC(CLK_LOCAL_MEM_FENCE);
    }
    return part[lane] - v;
}

/* Ascending; n: a power of two. */
inline void FN(sort)(local ulong *list, int n)
{
    for (int size = 2; size <= n; size *= 2)
        for (int half_ = size / 2; half_ > 0; half_ /= 2) {
            SYNC(CLK_LOCAL_MEM_FENCE);
            for (int p = (int)get_local_id(0); p < n / 2; p += WG) {
                int i = 2 * p - (p & (half_ - 1));
                ulong a = list[i], b = list[i + half_];
                if ((a > b) == ((i & size) == 0)) {
                    list[i] = b;
                    list[i + half_] = a;
                }
            }
        }
    SYNC(CLK_LOCAL_MEM_FENCE);
}

/* The first key of the row; *mine: of this work-item's elements. *status: what is wrong. */
inline ulong FN(first)(const struct shared g, global const float *x, int n, ulong *mine,
                       int *status)
{
    int lane = (int)get_local_id(0), bad = 0, at = 0;
    uint best = 0xffffffffu;
    SYNC(CLK_LOCAL_MEM_FENCE);
    if (lane == 0)
        g.ints[0] = 0;
    EACH(x, n) {
        bad |= v != v;
        uint r = FN(rank)(v);
        if (r < best) {
            best = r;
            at = i;
        }
    } DONE
    *mine = (ulong)best << 20 | (ulong)at;
    g.part[lane] = *mine;
    SYNC(CLK_LOCAL_MEM_FENCE);
    if (bad)
        atomic_or(&g.ints[0], 1);
    for (int half_ = WG / 2; half_ > 0; half_ /= 2) {
        if (lane < half_)
            g.part[lane] = min(g.part[lane], g.part[lane + half_]);
        SYNC(CLK_LOCAL_MEM_FENCE);
    }
    ulong key = g.part[0];
    float top = FN(logit)((uint)(key >> 20));
    *status = g.ints[0] ? NAN_ : top == INFINITY ? INFINITE_ : top == -INFINITY ? NOTHING_ : OK_;
    SYNC(CLK_LOCAL_MEM_FENCE);
    return key;
}

inline ulong FN(sum)(const struct shared g, const struct source s)
{
    ulong w = 0;
    EACH(s.x, s.n) {
        w += FN(weight)(s, v);
    } DONE
    (void)FN(before)(g.part, w);
    return g.part[WG - 1];
}

/* The k-th best of the work-items' bests. */
inline ulong FN(near)(const struct shared g, ulong mine, int k)
{
    SYNC(CLK_LOCAL_MEM_FENCE);
    g.part[get_local_id(0)] = mine;
    FN(sort)(g.part, WG);
    return g.part[k - 1];
}

/* Keys in [from, to] that weigh anything, sorted in the pool. Returns their number; if it is above
 * LIST, there is no list. */
inline int FN(gather)(const struct shared g, const struct source s, ulong from, ulong to)
{
    int lane = (int)get_local_id(0), size = 2;
    SYNC(CLK_LOCAL_MEM_FENCE);
    if (lane == 0)
        g.ints[1] = 0;
    SYNC(CLK_LOCAL_MEM_FENCE);
    EACH(s.x, s.n) {
        ulong key = FN(key)(v, i);
        if (key >= from && key <= to && FN(weight)(s, v)) {
            int at = atomic_inc(&g.ints[1]);
            if (at < LIST)
                g.pool[at] = key;
        }
    } DONE
    SYNC(CLK_LOCAL_MEM_FENCE);
    int n = g.ints[1];
    while (size < min(n, LIST))
        size *= 2;
    for (int i = n + lane; i < size; i += WG)
        g.pool[i] = NONE;
    FN(sort)(g.pool, size);
    return n;
}

/* Index of the first listed key at which the sum of weights reaches the goal, -1 if that of n keys
 * does not. *reached: the sum there, or of all. */
inline int FN(reach)(const struct shared g, const struct source s, int n, ulong goal,
                     ulong *reached)
{
    int lane = (int)get_local_id(0);
    ulong own = 0;
    SYNC(CLK_LOCAL_MEM_FENCE);
    if (lane == 0)
        g.ints[2] = -1;
    for (int i = lane * (LIST / WG); i < min(n, (lane + 1) * (LIST / WG)); i++)
        own += FN(weight)(s, FN(logit)((uint)(g.pool[i] >> 20)));
    ulong sum = FN(before)(g.part, own);
    if (lane == 0)
        g.longs[0] = g.part[WG - 1];
    SYNC(CLK_LOCAL_MEM_FENCE);
    if (sum < goal && goal <= sum + own) {
        int i = lane * (LIST / WG) - 1;
        while (sum < goal)
            sum += FN(weight)(s, FN(logit)((uint)(g.pool[++i] >> 20)));
        g.ints[2] = i;
        g.longs[0] = sum;
    }
    SYNC(CLK_LOCAL_MEM_FENCE);
    *reached = g.longs[0];
    return g.ints[2];
}

inline uint FN(bin)(const struct source s, float v)
{
    float d = (s.max - v) * s.scale;
    return d < (float)(BINS / BINS_PER_NAT) ? min((uint)(d * (float)BINS_PER_NAT), BINS - 1u)
                                            : BINS - 1u;
}

/* The first rank whose bin is at least b. */
inline ulong FN(bin_start)(const struct source s, uint b)
{
    uint low = FN(rank)(s.max), high = FN(rank)(-INFINITY);
    while (low < high) {
        uint middle = low + (high - low) / 2;
        if (FN(bin)(s, FN(tame)(FN(logit)(middle))) >= b)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Counts and sums of the keys in [from, to] by bin: of distance when shift < 0, of key. */
inline void FN(histogram)(const struct shared g, const struct source s, ulong from, ulong to,
                          int shift)
{
    volatile local uint *counts = (volatile local uint *)g.pool;
    SYNC(CLK_LOCAL_MEM_FENCE);
    for (int b = (int)get_local_id(0); b < 3 * BINS; b += WG)
        counts[b] = 0;
    SYNC(CLK_LOCAL_MEM_FENCE);
    EACH(s.x, s.n) {
        ulong key = FN(key)(v, i);
        ulong w = key >= from && key <= to ? FN(weight)(s, v) : 0;
        if (w) {
            uint b = shift < 0 ? FN(bin)(s, v) : (uint)((key - from) >> shift);
            uint low = (uint)w, high = (uint)(w >> 32);
            atomic_inc(&counts[b]);
            uint old = atomic_add(&counts[BINS + b], low);
            high += old + low < old; /* whoever makes it wrap carries */
            if (high)
                atomic_add(&counts[2 * BINS + b], high);
        }
    } DONE
    SYNC(CLK_LOCAL_MEM_FENCE);
}

/* The last key kept, when what is kept of the keys up to `to` is as many as, or weighs at least,
 * the goal > 0; NONE when all together are fewer. *kept: the weight of what is kept. */
inline ulong FN(narrow)(const struct shared g, const struct source s, ulong to, int by_count,
                        ulong goal, ulong *kept)
{
    volatile local uint *counts = (volatile local uint *)g.pool;
    int lane = (int)get_local_id(0), shift = -1, inside = LIST + 1, found = 0;
    ulong from = 0, need = goal, sums = 0;
    to = min(to, (1ul << 52) - 1);
    while (found >= 0 && inside > LIST) {
        FN(histogram)(g, s, from, to, shift);
        ulong n = 0, w = 0;
        for (int b = lane * (BINS / WG); b < (lane + 1) * (BINS / WG); b++) {
            n += counts[b];
            w += (ulong)counts[2 * BINS + b] << 32 | counts[BINS + b];
        }
        ulong n0 = FN(before)(g.part, n), w0 = FN(before)(g.part, w);
        ulong at = by_count ? n0 : w0, own = by_count ? n : w;
        if (lane == 0)
            g.ints[2] = -1;
        SYNC(CLK_LOCAL_MEM_FENCE);
        if (at < need && need <= at + own) {
            int b = lane * (BINS / WG);
            for (;; b++) {
                ulong bw = (ulong)counts[2 * BINS + b] << 32 | counts[BINS + b];
                ulong step = by_count ? counts[b] : bw;
                if (at + step >= need)
                    break;
                at += step;
                w0 += bw;
            }
            g.ints[2] = b;
            g.ints[3] = (int)counts[b];
            g.longs[0] = at;
            g.longs[1] = w0;
        }
        SYNC(CLK_LOCAL_MEM_FENCE);
        found = g.ints[2];
        if (found >= 0) {
            inside = g.ints[3];
            need -= g.longs[0];
            sums += g.longs[1];
            if (shift < 0) {
                if (found + 1 < BINS)
                    to = min(to, (FN(bin_start)(s, (uint)found + 1) << 20) - 1);
                from = FN(bin_start)(s, (uint)found) << 20;
            } else {
                from += (ulong)found << shift;
                to = min(to, from + (1ul << shift) - 1);
            }
            shift = max(0, 64 - (int)clz(to - from) - BITS_BINS);
        }
    }
    int n = FN(gather)(g, s, from, to), last = (int)need - 1;
    ulong reached;
    int at = FN(reach)(g, s, found < 0 ? 0 : by_count ? last + 1 : n, by_count ? NONE : need,
                       &reached);
    *kept = sums + reached;
    return found < 0 ? NONE : g.pool[by_count ? last : at];
}

/* The first id at which the running sum of what is kept exceeds its share `uniform`. */
inline int FN(pick)(const struct shared g, const struct source s, ulong last, ulong uniform)
{
    int lane = (int)get_local_id(0), from = 0, to = s.n;
    ulong goal = 0, passed = 0;
    for (int round = 0; round == 0 || (WG > 1 && to - from > 4); round++) {
        int chunk = ((to - from + WG - 1) / WG + 3) / 4 * 4, at = from + lane * chunk;
        ulong own = 0;
        for (int q = at / 4; q < (min(at + chunk, to) + 3) / 4; q++) {
            float4 v = FN(quad)(s.x, q, s.n);
            own += FN(key)(v.x, 4 * q) <= last ? FN(weight)(s, v.x) : 0;
            own += FN(key)(v.y, 4 * q + 1) <= last ? FN(weight)(s, v.y) : 0;
            own += FN(key)(v.z, 4 * q + 2) <= last ? FN(weight)(s, v.z) : 0;
            own += FN(key)(v.w, 4 * q + 3) <= last ? FN(weight)(s, v.w) : 0;
        }
        ulong sum = passed + FN(before)(g.part, own);
        if (round == 0)
            goal = mul_hi(uniform, g.part[WG - 1]);
        if (sum <= goal && goal < sum + own) {
            g.ints[2] = at;
            g.longs[0] = sum;
        }
        SYNC(CLK_LOCAL_MEM_FENCE);
        from = g.ints[2];
        to = min(from + chunk, to);
        passed = g.longs[0];
        SYNC(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = from; i < to; i++) {
        float v = FN(tame)(s.x[i]);
        passed += FN(key)(v, i) <= last ? FN(weight)(s, v) : 0;
        if (passed > goal)
            return i;
    }
    return from;
}

/* The last key that top_k (0 = off) and top_p (NONE = off) keep; mine: this work-item's best. */
inline ulong FN(cut)(const struct shared g, const struct source s, int top_k, ulong top_p,
                     ulong mine)
{
    ulong whole = 0, last = NONE, unused;
    int k = top_k > 0 ? top_k : WG / 2, by_p = top_p != NONE, n = 0, at = -1;
    if (!top_k)
        whole = FN(sum)(g, s);
    if (k > 0 && k <= WG / 2) {
        n = FN(gather)(g, s, 0, FN(near)(g, mine, k));
        n = n > LIST || n < k * (top_k > 0) ? 0 : n;
    }
    if (n > 0) {
        ulong sum;
        int m = top_k > 0 ? k : n;
        (void)FN(reach)(g, s, m, NONE, &sum);
        whole = top_k > 0 ? sum : whole;
        at = m - 1;
    }
    if (n > 0 && by_p)
        at = FN(reach)(g, s, at + 1, max(mul_hi(top_p, whole), 1ul), &unused);
    if (at >= 0)
        last = g.pool[at];
    for (int stage = 0; stage < 2; stage++) { /* by number, then by weight */
        if (at < 0 && (stage == 0 ? top_k > 0 : by_p))
            last = FN(narrow)(g, s, last, stage == 0,
                              stage == 0 ? (ulong)k : max(mul_hi(top_p, whole), 1ul), &whole);
        if (at < 0 && stage == 0 && top_k > 0 && last == NONE)
            whole = FN(sum)(g, s);
    }
    return last;
}

/* Copies the row and edits the copy, each list by all. */
inline void FN(edit)(const struct row r, global const uint *words, global const float *from,
                     global float *to, int n)
{
    int lane = (int)get_local_id(0);
    global const uint *e = words + r.edits_at;
    global const uint *mask = e + 2 * r.n_bias + 2 * r.n_seen + r.n_banned;
    for (int i = lane; i < n; i += WG) /* no edit brings back what is -infinity */
        to[i] = r.masked && !(mask[i / 32] >> (i % 32) & 1) ? -INFINITY : FN(tame)(from[i]);
    SYNC(CLK_GLOBAL_MEM_FENCE);
    for (int i = lane; i < r.n_bias; i += WG)
        to[e[2 * i]] = FN(tame)(to[e[2 * i]] + as_float(e[2 * i + 1]));
    e += 2 * r.n_bias;
    SYNC(CLK_GLOBAL_MEM_FENCE);
    for (int i = lane; i < r.n_seen; i += WG) {
        float v = to[e[2 * i]];
        v = FN(tame)(v * (v > 0.0f ? r.unrepeat : r.repeat));
        to[e[2 * i]] = FN(tame)(v - as_float(e[2 * i + 1]));
    }
    e += 2 * r.n_seen;
    SYNC(CLK_GLOBAL_MEM_FENCE);
    for (int i = lane; i < r.n_banned; i += WG)
        to[e[i]] = -INFINITY;
    SYNC(CLK_GLOBAL_MEM_FENCE);
}

kernel __attribute__((reqd_work_group_size(WG, 1, 1))) void
KERNEL(global const float *logits, const ulong logits_at, const int stride, const int n,
       global const uint *words, global float *scratch, const int scratch_stride,
       global struct result *results)
{
    local ulong part[WG], pool[POOL], longs[2];
    local int ints[4];
    const struct shared g = {part, pool, ints, longs};
    const struct row r = ((global const struct row *)words)[get_group_id(0)];
    global const float *raw = logits + logits_at + (ulong)r.logits * (ulong)stride;
    global float *copy = scratch + (ulong)max(r.edited, 0) * (ulong)scratch_stride;
    global struct result *out = results + get_group_id(0);
    struct source s = {raw, n, 0, 1.0f, 0.0f, 0};
    ulong mine = NONE, first = NONE, total = 0, last = NONE;
    int lane = (int)get_local_id(0), id = r.id, status = OK_, k = min(r.top_k, n);
    int raw_status = OK_, raw_top = 0;
    k = k == n ? 0 : k;
    for (int phase = 0; phase < 2; phase++) { /* logprobs of the row, then a draw */
        int listing = phase == 0, edited = phase == 1 && r.draw && r.edited >= 0;
        int wanted = listing ? r.n_top >= 0 : r.draw;
        ulong top_p = listing ? NONE : (ulong)r.top_p[1] << 32 | r.top_p[0];
        if (edited)
            FN(edit)(r, words, raw, copy, n);
        s.x = edited ? copy : raw;
        if (wanted && (first == NONE || edited))
            first = FN(first)(g, s.x, n, &mine, &status);
        s.max = FN(logit)((uint)(first >> 20));
        s.scale = listing ? 1.0f : r.scale;
        s.least = listing ? 0.0f : r.min_p;
        s.listing = 0;
        if (listing && wanted && status == OK_)
            total = FN(sum)(g, s);
        s.listing = listing;
        int chosen = wanted && status == OK_ && (listing ? r.n_top > 0 : !r.greedy);
        int some = listing ? (r.n_top < n ? r.n_top : 0) : k;
        last = NONE;
        if (chosen && (some > 0 || top_p != NONE))
            last = FN(cut)(g, s, some, top_p, mine);
        if (chosen && listing) {
            (void)FN(gather)(g, s, 0, last);
            for (int i = lane; i < r.n_top; i += WG) {
                uint token = (uint)g.pool[i] & 0xfffffu;
                out->top[2 * i] = token;
                out->top[2 * i + 1] = as_uint(raw[token]);
            }
        }
        if (!listing && wanted && status == OK_)
            id = (int)(first & 0xffffful);
        if (chosen && !listing)
            id = FN(pick)(g, s, last, (ulong)r.uniform[1] << 32 | r.uniform[0]);
        if (listing) {
            raw_status = status;
            raw_top = (int)as_uint(s.max);
        }
    }
    if (lane == 0) {
        out->status = r.draw ? status : OK_;
        out->id = id;
        out->raw = r.n_top >= 0 ? raw_status : OK_;
        out->max = as_float((uint)raw_top);
        out->logit = as_uint(raw[id]);
        out->total[0] = (uint)total;
        out->total[1] = (uint)(total >> 32);
        out->n_top = r.n_top >= 0 && raw_status == OK_ ? r.n_top : 0;
    }
}
