/* Rotary position embedding in place. Work-item: one pair of one row.
 *
 * The angle pos * inv is needed modulo a turn, and pos may be millions: the product with 1/2pi is
 * kept as a sum of two floats, its whole turns dropped before they cost precision. */
inline float FN(turns)(float pos, float inv)
{
    const float hi = 0.15915494f, lo = 6.4206383e-9f; /* hi + lo = 1 / (2 pi) */
    float f = inv * hi, f_low = fma(inv, hi, -f) + inv * lo;
    float p = pos * f, p_low = fma(pos, f, -p) + pos * f_low;
    return (p - rint(p)) + p_low;
}
kernel void KERNEL(global float *arena, VIEW(x), global const float *inv, global const long *pos,
                   const int pairs, const int head, const int half_, const int back,
                   const float scale)
{
    int i = (int)get_global_id(0), row = (int)get_global_id(1);
    if (i >= pairs)
        return;
    int h = i / half_ * head, j = i % half_;
    /* A float is exact up to 2^24: the rest of the position turns separately. */
    long at = pos[row] - back, whole = at & ~0xfffffL;
    float t = FN(turns)((float)(at - whole), inv[j]) + FN(turns)((float)whole, inv[j]);
    float s = sinpi(2.0f * t) * scale, c = cospi(2.0f * t) * scale;
    global float *a = ROW(x, row) + h + (INTERLEAVED ? 2 * j : j);
    global float *b = ROW(x, row) + h + (INTERLEAVED ? 2 * j + 1 : j + half_);
    float xa = *a, xb = *b;
    *a = xa * c - xb * s;
    *b = xb * c + xa * s;
}
