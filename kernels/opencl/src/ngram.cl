/* Rows of a matrix chosen by hashes of the last tokens: kernels/ngram.h. Work-item: one element.
 * SIZE, HEADS, EOS; MULTIPLIERS, MODULI and FIRSTS are the hash's tables. */
constant ulong FN(multipliers)[SIZE] = {MULTIPLIERS};
constant ulong FN(moduli)[HEADS] = {MODULI};
constant ulong FN(firsts)[HEADS] = {FIRSTS};

inline int FN(id)(float kept)
{
    return kept >= 1.0f && kept <= (float)LIMIT_VOCAB ? (int)kept - 1 : -1;
}

kernel void KERNEL(global float *arena, VIEW(out), global const float *slots,
                   const ulong slot_floats, const ulong section, global const void *w,
                   global const int *tokens, global const int *cu, global const int *slot,
                   global const int *row_seq, const int width, const ulong cols_p)
{
    int c = (int)get_global_id(0), t = (int)get_global_id(1);
    if (c >= HEADS * width)
        return;
    int j = c / width, q = row_seq[t], back = t - cu[q], length = 2 + j / (HEADS / (SIZE - 1));
    global const float *kept = slots + (ulong)slot[q] * slot_floats + section + j * (SIZE - 1);
    ulong h = (ulong)tokens[t] * FN(multipliers)[0];
    bool parted = false;
    for (int s = 1; s < length; s++) {
        int id = s <= back ? tokens[t - s] : FN(id)(kept[SIZE - 1 - (s - back)]);
        parted = parted || id < 0 || id == EOS;
        h ^= (ulong)(parted ? EOS : id) * FN(multipliers)[s];
    }
    ulong row = FN(firsts)[j] + h % FN(moduli)[j];
    c -= j * width;
#ifdef Q_BITS
    ROW(out, t)[j * width + c] = FN(q_weight)(w, row, c, cols_p);
#else
    ulong at = weight_at(LAYOUT, DTYPE, row, (ulong)c, cols_p);
    ROW(out, t)[j * width + c] = DTYPE == DTYPE_F32
                                     ? ((global const float *)w)[at]
                                     : from16(((global const ushort *)w)[at], DTYPE);
#endif
}
