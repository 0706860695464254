/* Keys and values of the sequences served, a block of KEYS positions after the other, as
 * attention.cl wants them in local memory: once for all tiles. A group is a block of one key
 * head. */
kernel void KERNEL(global float *arena, VIEW(k), VIEW(v), KEPT_ARGS, SERVED_ARGS,
                   global uint4 *packed)
{
    local int odd;
    int id = (int)get_local_id(0), hk = (int)get_group_id(0), seq = 0;
    int block = (int)get_group_id(1);
    global uint4 *to = packed + ((ulong)block * KV_HEADS + (ulong)hk) * BLOCK_WORDS;
    for (;; seq++) {
        int rows = cu[seq + 1] - cu[seq];
        if (!SERVED(rows))
            continue;
        int n = BLOCKS_OF(pos[cu[seq]], rows);
        if (block < n)
            break;
        block -= n;
    }
    int row0 = cu[seq];
    long first = pos[row0], newest = pos[cu[seq + 1] - 1], oldest = OLDEST(first);
    long base = (oldest / KEYS + block) * KEYS;
    global const float *old = OLD_ROWS(base);
    if (id == 0)
        odd = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int u = id; u < KEYS * K_WORDS; u += LANES)
        to[u] = eight_bf16(KEY(PLACE(u / K_WORDS)), u % K_WORDS * 8, DK, ALIGNED);
    to += KEYS * K_WORDS;
    for (int u = id; u < KEYS / 2 * V_WORDS; u += LANES) {
        int c = u % V_WORDS * 4, pair = u / V_WORDS;
        float4 x = four(VALUE(PLACE(pair * 2)), c, DV, ALIGNED);
        float4 y = four(VALUE(PLACE(pair * 2 + 1)), c, DV, ALIGNED);
        to[u] = pair_values(x, y, &odd);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (id == 0)
        to[KEYS / 2 * V_WORDS] = (uint4)((uint)odd, 0u, 0u, 0u);
}
