/* K6 on tensor cores: causal softmax attention, q, k, v and weights as bf16, sums as float32.
 *
 * A tile is 16 * WARPS_R queries of one sequence, those of the PER query heads of a key head next
 * to each other, so that they share its keys. A warp has 16 of them and the columns of 1 / WARPS_C
 * of the values. Keys come in blocks of KEYS positions counted from 0; the maximum, the sum and
 * the output of a query advance block by block. At multiples of SPLIT positions they begin anew:
 * what a split gave is added to the sum of the splits before (JOIN). With PARTIAL a group has one
 * split, and attention_join.cl adds; else it walks through all and `out` holds the sum so far. So
 * a query's bits are a function of its keys' positions and values alone: a key that it does not
 * see adds an exact 0, and a block without one that it sees leaves all as it was.
 *
 * PACKED, four warps of queries: attention_pack.cl made the blocks; they travel to local memory
 * while the block before is computed, keys during its second half and values during the next one's
 * first. Otherwise four warps have the same 16 queries: each makes the scores of a quarter of the
 * keys, and the sums of a quarter of the columns; keys and values come from where they are kept. */
#define QUERIES (16 * WARPS_R)
#define LANES (32 * WARPS_R * WARPS_C)
#define TILES(rows) (((rows) * PER + QUERIES - 1) / QUERIES)
#define KG (K_WORDS / 4) /* groups of 32 columns */
#define VG (V_WORDS / 8)
#define OWN ((VG + WARPS_C - 1) / WARPS_C) /* of a warp */
/* Lines in local memory; the padding keeps lanes that read together in other banks. */
#define K_LINE (K_WORDS + (KG + 1) % 2 * 4)
#define V_LINE (V_WORDS + 2)
#define S_LINE (KEYS / 2 + 4)               /* float2 of a query */
#define EACH(i, n) UNROLLED for (int i = 0; i < n; i++)
#define LOG2_E 1.4426950408889634f /* exp(x) is computed as 2^(x log2 e) */

#define SCORES (PACKED ? KEYS / 8 : KEYS / 8 / WARPS_C) /* of 8 keys, made by this warp */
#define COLUMN(i, j, n) ((wc * OWN + (i)) * 32 + t * 8 + (n) % 2 * 4 + (j))

/* The form: where queries are, how a block comes. */
#if PACKED
#define QUERY(i) a[i]
#define PART_OF_QUERY(i) 1
#define NEXT_BLOCK (block + KV_HEADS * BLOCK_WORDS)
#define FETCH_KEYS(from)                                                                           \
    do {                                                                                           \
        EACH(c, (KEYS * K_WORDS + LANES - 1) / LANES)                                              \
        {                                                                                          \
            int u = c * LANES + id;                                                                \
            if (KEYS * K_WORDS % LANES == 0 || u < KEYS * K_WORDS)                                 \
                copy_async(keys + u / K_WORDS * K_LINE + u % K_WORDS, (from) + u);                 \
        }                                                                                          \
    } while (0)
#define FETCH_VALUES(from)                                                                         \
    do {                                                                                           \
        EACH(c, (KEYS / 2 * V_WORDS + LANES - 1) / LANES)                                          \
        {                                                                                          \
            int u = c * LANES + id;                                                                \
            if (KEYS / 2 * V_WORDS % LANES == 0 || u < KEYS / 2 * V_WORDS)                         \
                copy_async(values + u / V_WORDS * V_LINE + u % V_WORDS,                            \
                           (from) + KEYS * K_WORDS + u);                                           \
        }                                                                                          \
    } while (0)
#else
#define QUERY(i) queries[(i) * 32 + lane]
#define PART_OF_QUERY(i) ((i) % WARPS_C == wc)
/* Where the rows of the block at `base` are; one that nobody sees is the nearest that somebody
 * does. */
#define FIND_LINES(base)                                                                           \
    do {                                                                                           \
        if (id < 2 * KEYS && (base) <= newest) {                                                   \
            global const float *old = OLD_ROWS(base);                                              \
            long p = min(max((base) + id % KEYS, oldest), newest);                                 \
            lines[id] = id < KEYS ? KEY(p) : VALUE(p);                                             \
        }                                                                                          \
    } while (0)
#define LOAD_BLOCK()                                                                               \
    do {                                                                                           \
        UNROLL_4                                                                        \
        for (int u = id; u < KEYS * K_WORDS; u += LANES)                                           \
            keys[u / K_WORDS * K_LINE + u % K_WORDS] =                                             \
                eight_bf16(lines[u / K_WORDS], u % K_WORDS * 8, DK, ALIGNED);                      \
        UNROLL_4                                                                        \
        for (int u = id; u < KEYS / 2 * V_WORDS; u += LANES) {                                     \
            int c = u % V_WORDS * 4, pair = u / V_WORDS;                                           \
            float4 x = four(lines[KEYS + pair * 2], c, DV, ALIGNED);                               \
            float4 y = four(lines[KEYS + pair * 2 + 1], c, DV, ALIGNED);                           \
            values[pair * V_LINE + u % V_WORDS] = pair_values(x, y, &odd[turn]);                   \
        }                                                                                          \
    } while (0)
#endif

/* Values that are no finite numbers, for the queries that see them. */
#define ADD_ODD()                                                                                  \
    do {                                                                                           \
        for (int key = 0; key < KEYS; key++) {                                                     \
            global const float *x = VALUE(PLACE(key));                                             \
            EACH(i, OWN) EACH(j, 4) EACH(n, 4)                                                     \
            {                                                                                      \
                float v1 = COLUMN(i, j, n) < DV ? x[COLUMN(i, j, n)] : 0.0f;                       \
                if (NOT_FINITE(to_bf16(v1)) && key >= low[n / 2] && key <= high[n / 2])            \
                    o[i][j][n] += v1;                                                              \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* What one split gave: for attention_join.cl, or added to the splits before. */
#define STORE_SPLIT()                                                                              \
    do {                                                                                           \
        EACH(i, 2) if (given[i])                                                                   \
        {                                                                                          \
            ulong query = (ulong)(rows_before + row[i]) * HEADS + (ulong)head[i];                  \
            global float *to =                                                                     \
                scratch + (query * (ulong)splits + (ulong)(split % splits)) * PART_FLOATS;         \
            if (wc == 0 && t == 0) {                                                               \
                to[DV] = top[i];                                                                   \
                to[DV + 1] = sum[i];                                                               \
            }                                                                                      \
            EACH(x, OWN) EACH(y, 8)                                                                \
                if (COLUMN(x, y % 4, y / 4) < DV)                                                  \
                    to[COLUMN(x, y % 4, y / 4)] = o[x][y % 4][i * 2 + y / 4];                      \
        }                                                                                          \
    } while (0)
#define ADD_SPLIT(last)                                                                            \
    do {                                                                                           \
        EACH(i, 2)                                                                                 \
        {                                                                                          \
            JOIN_WEIGHTS(all_top[i], all_sum[i], top[i], sum[i]);                                  \
            global float *to = ROW(out, row0 + row[i]) + head[i] * DV;                             \
            float mean = 1.0f / all_sum[i];                                                        \
            if (given[i])                                                                          \
                EACH(x, OWN) EACH(y, 8) if (COLUMN(x, y % 4, y / 4) < DV)                          \
                {                                                                                  \
                    global float *z = to + COLUMN(x, y % 4, y / 4);                                \
                    float so_far = JOIN(joined ? *z : 0.0f, o[x][y % 4][i * 2 + y / 4]);           \
                    *z = last ? MEAN(so_far, mean) : so_far;                                       \
                }                                                                                  \
        }                                                                                          \
    } while (0)

__attribute__((reqd_work_group_size(LANES, 1, 1)))
kernel void KERNEL(global float *arena, VIEW(out), VIEW(q), VIEW(k), VIEW(v), VIEW(f), KEPT_ARGS,
                   SERVED_ARGS, const float scale, global float *scratch, const int splits)
{
    local uint4 keys[KEYS * K_LINE] __attribute__((aligned(128)));
    local uint4 values[KEYS / 2 * V_LINE] __attribute__((aligned(128)));
    local int odd[2]; /* whether values of this block, or the next, are not finite */
#if !PACKED
    local uint4 queries[2 * KG * 32] __attribute__((aligned(128)));
    local float2 scores[16 * S_LINE] __attribute__((aligned(128)));
    global const float *local lines[2 * KEYS]; /* the block's keys, then its values */
#endif
    MMA_LOCAL(WARPS_R * WARPS_C)
    int id = (int)get_local_id(0), lane = id % 32, g = lane / 4, t = lane % 4;
    int wr = id / 32 / WARPS_C, wc = id / 32 % WARPS_C, hk = (int)get_group_id(0);
    int seq = 0, tile = (int)get_group_id(1), rows_before = 0, blocks_before = 0;
#if !PARTIAL
    tile = (int)get_num_groups(1) - 1 - tile; /* the longest first */
#endif
    if (counts[0] == counts[1]) { /* one row a sequence */
        seq = rows_before = tile / TILES(1);
        tile %= TILES(1);
    } else {
        for (;; seq++) {
            int rows = cu[seq + 1] - cu[seq];
            if (!SERVED(rows))
                continue;
            if (tile < TILES(rows))
                break;
            tile -= TILES(rows);
            rows_before += rows;
#if PACKED
            blocks_before += BLOCKS_OF(pos[cu[seq]], rows);
#endif
        }
    }
    int row0 = cu[seq], end = (cu[seq + 1] - row0) * PER; /* queries of the sequence */
    long first = pos[row0]; /* positions from here on are in this batch */
    long newest = first + (min(tile * QUERIES + QUERIES, end) - 1) / PER;
    long oldest = OLDEST(first + tile * QUERIES / PER);
    long split = oldest / SPLIT + (PARTIAL ? (long)get_group_id(2) : 0);
    if (split > newest / SPLIT)
        return;

    /* This lane's part of its two queries. */
    int row[2], head[2], given[2];
    long at[2];
    EACH(i, 2)
    {
        int n = tile * QUERIES + wr * 16 + g + 8 * i;
        given[i] = n < end;
        n = min(n, end - 1);
        row[i] = n / PER;
        head[i] = hk * PER + n % PER;
        at[i] = given[i] ? first + n / PER : -1;
    }
#if PACKED
    uint4 a[2 * KG];
#endif
    EACH(i, KG) if (PART_OF_QUERY(i))
    {
        uint4 x = eight_bf16(ROW(q, row0 + row[0]) + head[0] * DK, i * 32 + t * 8, DK, ALIGNED);
        uint4 y = eight_bf16(ROW(q, row0 + row[1]) + head[1] * DK, i * 32 + t * 8, DK, ALIGNED);
        QUERY(2 * i) = (uint4)(x.x, y.x, x.y, y.y);
        QUERY(2 * i + 1) = (uint4)(x.z, y.z, x.w, y.w);
    }
    float all_top[2] = {-FLT_MAX, -FLT_MAX}, all_sum[2] = {0.0f, 0.0f};
    int turn = 0;
    if (id < 2)
        odd[id] = 0;
    long base = max(split * SPLIT, oldest / KEYS * KEYS);
#if PACKED
    ulong number = (ulong)blocks_before + (ulong)(base / KEYS - OLDEST(first) / KEYS);
    global const uint4 *block =
        (global const uint4 *)scratch + (number * KV_HEADS + (ulong)hk) * BLOCK_WORDS;
    FETCH_KEYS(block);
    COPY_COMMIT();
    FETCH_VALUES(block);
    COPY_COMMIT();
#else
    FIND_LINES(base);
#endif

    for (int joined = 0;; split++, joined++) {
        float top[2] = {-FLT_MAX, -FLT_MAX}, sum[2] = {0.0f, 0.0f}, o[OWN][4][4];
        EACH(i, OWN) EACH(j, 4) EACH(n, 4) o[i][j][n] = 0.0f;
        long stop = min(newest, split * SPLIT + SPLIT - 1);
        for (; base <= stop; base += KEYS) {
            global const float *old = OLD_ROWS(base);
#if PACKED
            int is_odd = (int)((global const uint *)(block + BLOCK_WORDS - 1))[0];
            COPY_WAIT(1);
            barrier(CLK_LOCAL_MEM_FENCE);
#else
            barrier(CLK_LOCAL_MEM_FENCE);
            LOAD_BLOCK();
            barrier(CLK_LOCAL_MEM_FENCE);
            int is_odd = odd[turn];
#endif
            float s[KEYS / 8][4];
            EACH(j, SCORES) EACH(n, 4) s[j][n] = 0.0f;
            EACH(i, KG) EACH(j, SCORES)
            {
                uint4 b = keys[((wc * SCORES + j) * 8 + g) * K_LINE + i * 4 + t];
                uint2 parts[2] = {b.xy, b.zw};
                EACH(n, 2) MMA4(s[j], QUERY(2 * i + n), parts[n]);
            }
#if PACKED
            barrier(CLK_LOCAL_MEM_FENCE);
            if (base + KEYS <= newest)
                FETCH_KEYS(NEXT_BLOCK);
            COPY_COMMIT();
#else
            FIND_LINES(base + KEYS);
            EACH(j, SCORES) EACH(n, 2)
                scores[(g + 8 * n) * S_LINE + (wc * SCORES + j) * 4 + t] =
                    (float2)(s[j][2 * n], s[j][2 * n + 1]);
            barrier(CLK_LOCAL_MEM_FENCE);
            EACH(j, KEYS / 8) EACH(n, 2)
            {
                float2 x = scores[(g + 8 * n) * S_LINE + j * 4 + t];
                s[j][2 * n] = x.x;
                s[j][2 * n + 1] = x.y;
            }
#endif
            int low[2], high[2]; /* the keys of the block that a query sees */
            float keep[2];
            EACH(i, 2)
            {
                high[i] = (int)min(max(at[i] - base, -1L), (long)KEYS - 1);
                low[i] = WINDOW ? (int)min(max(at[i] - (WINDOW - 1) - base, 0L), (long)KEYS) : 0;
                float higher = top[i];
                EACH(j, KEYS / 8) EACH(n, 2)
                {
                    int key = j * 8 + t * 2 + n;
                    float x = s[j][i * 2 + n] * (scale * LOG2_E);
#if HAS_F
                    long p = PLACE(key);
                    x += (ROW(f, row0 + row[i])[head[i]] -
                          (p >= first ? ROW(f, IN_BATCH(p)) : OLD_ROW(p) + F_AT)[head[i]]) * LOG2_E;
#endif
                    x = key >= low[i] && key <= high[i] ? x : -INFINITY;
                    s[j][i * 2 + n] = x;
                    higher = fmax(higher, x);
                }
                EACH(n, 2) higher = fmax(higher, LANE_XOR(higher, 1 + n));
                keep[i] = power2(top[i] - higher);
                top[i] = higher;
            }
            if (WARP_ANY(keep[0] != 1.0f || keep[1] != 1.0f))
                EACH(i, OWN) EACH(j, 4) EACH(n, 4)
                    o[i][j][n] = keep[n / 2] == 1.0f ? o[i][j][n] : o[i][j][n] * keep[n / 2];
            uint w[KEYS / 8][2]; /* weights as they are in the products, and summed so */
            EACH(i, 2)
            {
                float all = 0.0f;
                EACH(j, KEYS / 8)
                {
                    w[j][i] = pair_bf16(power2(s[j][i * 2] - top[i]),
                                        power2(s[j][i * 2 + 1] - top[i]));
                    all += from_bf16(w[j][i]) + from_bf16(w[j][i] >> 16);
                }
                sum[i] = fma(sum[i], keep[i], all);
            }
#if PACKED
            COPY_WAIT(1);
            barrier(CLK_LOCAL_MEM_FENCE);
#endif
            EACH(j, KEYS / 16) EACH(i, OWN)
            {
                int x = (j * 8 + t) * V_LINE + min(wc * OWN + i, VG - 1) * 8 + g;
                uint4 b0 = values[x], b1 = values[x + 4 * V_LINE];
                uint2 b[4] = {(uint2)(b0.x, b1.x), (uint2)(b0.y, b1.y), (uint2)(b0.z, b1.z),
                              (uint2)(b0.w, b1.w)};
                EACH(n, 4) MMA(o[i][n], w[2 * j][0], w[2 * j][1], w[2 * j + 1][0],
                               w[2 * j + 1][1], b[n].x, b[n].y);
            }
#if PACKED
            barrier(CLK_LOCAL_MEM_FENCE);
            if (base + KEYS <= newest)
                FETCH_VALUES(NEXT_BLOCK);
            COPY_COMMIT();
            block = NEXT_BLOCK;
#endif
            if (is_odd)
                ADD_ODD();
            if (id == 0)
                odd[1 - turn] = 0;
            turn = 1 - turn;
        }
        EACH(i, 2) EACH(n, 2) sum[i] += LANE_XOR(sum[i], 1 + n);
#if PARTIAL
        STORE_SPLIT();
        return;
#else
        int last = split == newest / SPLIT;
        ADD_SPLIT(last);
        if (last)
            return;
#endif
    }
}
#undef COLUMN
#undef QUERY
#undef PART_OF_QUERY
#undef FIND_LINES
#undef SCORES
#undef NEXT_BLOCK
#undef FETCH_KEYS
#undef FETCH_VALUES
