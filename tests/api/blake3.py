"""BLAKE3 by its paper, in plain Python: for tests that must not trust the program's own."""
import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB,
      0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
LANES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
START, END, PARENT, ROOT = 1, 2, 4, 8
MASK = 0xFFFFFFFF


def compress(cv, block, counter, length, flags):
    """-> the first eight words."""
    m = list(struct.unpack("<16I", block))
    v = list(cv) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(LANES):
            for x, r, s in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                v[a] = (v[a] + v[b] + x) & MASK
                t = v[d] ^ v[a]
                v[d] = (t >> r | t << (32 - r)) & MASK
                v[c] = (v[c] + v[d]) & MASK
                t = v[b] ^ v[c]
                v[b] = (t >> s | t << (32 - s)) & MASK
        m = [m[k] for k in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def chunk(data, number, root):
    cv, blocks = IV, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, b in enumerate(blocks):
        last = i == len(blocks) - 1
        flags = (START if i == 0 else 0) | (END | (ROOT if root else 0) if last else 0)
        cv = compress(cv, b.ljust(64, b"\0"), number, len(b), flags)
    return cv


def tree(data, number, root):
    n = (len(data) + 1023) // 1024
    if n <= 1:
        return chunk(data, number, root)
    left = 1 << (n - 1).bit_length() - 1  # chunks: the largest power of two that leaves some
    words = tree(data[:left * 1024], number, False) + tree(data[left * 1024:], number + left, False)
    return compress(IV, struct.pack("<16I", *words), 0, 64, PARENT | (ROOT if root else 0))


def blake3(data):
    return struct.pack("<8I", *tree(data, 0, True))
