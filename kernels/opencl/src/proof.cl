/* Memory that looks random, and what tells two of them apart (../proof.h). Work-item: every
 * get_global_size(0)-th word. */
inline uint mixed(uint x)
{
    x = (x ^ x >> 16) * 0x9e3779b1u;
    x = (x ^ x >> 15) * 0x85ebca6bu;
    return x ^ x >> 13;
}

kernel void fill(global float *to, const ulong at, const ulong n, const uint seed,
                 const float scale)
{
    for (ulong i = get_global_id(0); i < n; i += get_global_size(0))
        to[at + i] = ((float)(mixed((uint)i ^ mixed(seed)) >> 8) * (0x1p-24f * 0.9f) + 0.05f) *
                     scale;
}

/* Four sums, each of another function of every word and of its place behind `place` others. */
kernel void digest(global const uint *from, const ulong at, const ulong n, const uint place,
                   global uint *sums)
{
    uint a = 0, b = 0, c = 0, d = 0;
    for (ulong i = get_global_id(0); i < n; i += get_global_size(0)) {
        uint word = from[at + i], here = mixed((uint)i + place);
        a += mixed(word ^ here);
        b += mixed(word + here * 0x27d4eb2fu);
        c += mixed((word ^ 0x165667b1u) * (here | 1u));
        d += mixed(word * 0xc2b2ae3du ^ ~here);
    }
    atomic_add(&sums[0], a);
    atomic_add(&sums[1], b);
    atomic_add(&sums[2], c);
    atomic_add(&sums[3], d);
}
