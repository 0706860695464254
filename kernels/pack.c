/* Weights from row-major files into the panels of host.h, and single values back out of them.
 * Runs while loading, on any threads, each with rows of its own: no two rows share an element.
 * Afterwards packed weights are read-only. */
#include "kernels/host.h"

#include <string.h>

/* ---- panels of blocks ------------------------------------------------------------------- */

static int64_t blocks_of(enum dtype t, int64_t cols)
{
    return (cols + formats[t].block - 1) / formats[t].block;
}

size_t panel_scales_at(enum dtype t, int64_t cols)
{
    return (size_t)(blocks_of(t, cols) * formats[t].block * formats[t].bits / 8 * PANEL);
}

size_t panel_bytes(enum dtype t, int64_t cols)
{
    if (format_plain(t))
        return PANEL * (t == DTYPE_BF16 ? (size_t)(cols + cols % 2) * 2 : format_bytes(t, cols));
    size_t record = (size_t)(format_head_bytes(t) + format_sub_bytes(t)) * PANEL;
    return round_up(panel_scales_at(t, cols) + (size_t)blocks_of(t, cols) * record, 64);
}

/* Where value i of a block is: bits [shift, shift + bits) of line `line`, or, for the last values
 * of a group whose bits do not divide 32, in the two bits that its lines have left. */
struct place { int line, shift, spare, lines; };

static struct place place_of(int bits, int i)
{
    int group = panel_group(bits);
    int lines = group * bits / 32, per = 32 / bits, v = i % group;
    struct place p = {i / group * lines, 0, -1, lines};
    if (v < per * lines) {
        p.line += v / per;
        p.shift = v % per * bits;
    } else {
        p.spare = (v - per * lines) * bits; /* bit of the string of all left-over bits */
    }
    return p;
}

/* n values to the lane, a line at a time, where place_of says. With constant bits the compiler
 * makes straight code of it. */
static inline void put_lines(uint32_t *lane, int bits, int n, const uint8_t *q)
{
    int group = panel_group(bits), lines = group * bits / 32, per = 32 / bits;
    for (const uint8_t *end = q + n; q < end; q += group, lane += lines * PANEL) {
        uint32_t u[5] = {0};
        for (int l = 0; l < lines; l++)
            for (int k = 0; k < per; k++)
                u[l] |= (uint32_t)q[l * per + k] << k * bits;
        for (int s = 0; s < (group - per * lines) * bits; s++)
            u[s / 2] |= (uint32_t)(q[per * lines + s / bits] >> s % bits & 1) << (30 + s % 2);
        for (int l = 0; l < lines; l++)
            lane[l * PANEL] = u[l];
    }
}

static void put_values(uint32_t *lane, int bits, int n, const uint8_t *q)
{
    switch (bits) {
    case 2: put_lines(lane, 2, n, q); break;
    case 3: put_lines(lane, 3, n, q); break;
    case 4: put_lines(lane, 4, n, q); break;
    case 5: put_lines(lane, 5, n, q); break;
    case 6: put_lines(lane, 6, n, q); break;
    case 8: put_lines(lane, 8, n, q); break;
    default: ASSERT(false);
    }
}

static uint32_t get_value(const uint32_t *lane, int bits, int i)
{
    struct place p = place_of(bits, i);
    uint32_t q = 0;
    if (p.spare < 0)
        return lane[p.line * PANEL] >> p.shift & ((1u << bits) - 1);
    for (int b = 0; b < bits; b++)
        q |= (lane[(p.line + (p.spare + b) / 2) * PANEL] >> (30 + (p.spare + b) % 2) & 1) << b;
    return q;
}

/* Copies the lane's bytes of a record of scales in (put) or out: every number in 16 lanes. */
static void move_scales(enum dtype t, uint8_t *record, int lane, struct format_parts *p, bool put)
{
    int head = format_head_bytes(t), each = formats[t].head == HEAD_F16_MIN ? 2 : head;
    for (int i = 0; i < head; i += each) {
        uint8_t *at = record + i * PANEL + lane * each;
        memcpy(put ? at : p->head + i, put ? p->head + i : at, (size_t)each);
    }
    for (int i = 0; i < format_sub_bytes(t); i++) {
        uint8_t *at = record + (head + i) * PANEL + lane;
        memcpy(put ? at : p->sub + i, put ? p->sub + i : at, 1);
    }
}

static uint8_t *record_of(enum dtype t, char *panel, int64_t cols, int64_t block)
{
    int record = (format_head_bytes(t) + format_sub_bytes(t)) * PANEL;
    return (uint8_t *)panel + panel_scales_at(t, cols) + block * record;
}

static uint32_t *lines_of(enum dtype t, char *panel, int lane, int64_t block)
{
    return (uint32_t *)panel + block * (formats[t].block * formats[t].bits / 32) * PANEL + lane;
}

static void put_block(enum dtype t, char *panel, int64_t cols, int lane, int64_t block,
                      const uint8_t *src)
{
    struct format_parts p;
    uint32_t *lines = lines_of(t, panel, lane, block);
    format_split(t, src, &p);
    put_values(lines, formats[t].bits, formats[t].block, p.q);
    move_scales(t, record_of(t, panel, cols, block), lane, &p, true);
}

void panel_parts(const struct host_weight *w, int64_t row, int64_t block, struct format_parts *p)
{
    enum dtype t = w->dtype;
    char *panel = (char *)w->data + (size_t)(row / PANEL) * panel_bytes(t, w->cols);
    int lane = (int)(row % PANEL);
    const uint32_t *lines = lines_of(t, panel, lane, block);
    for (int i = 0; i < formats[t].block; i++)
        p->q[i] = (uint8_t)get_value(lines, formats[t].bits, i);
    move_scales(t, record_of(t, panel, w->cols, block), lane, p, false);
}

void panel_row(const struct host_weight *w, int64_t row, int64_t col, int64_t n, float *out)
{
    int block = formats[w->dtype].block;
    struct format_parts p;
    for (int64_t at = col; at < col + n; at += block, out += block) {
        panel_parts(w, row, at / block, &p);
        format_values(w->dtype, &p, (int)MIN(col + n - at, block), out);
    }
}

static float block_at(const struct host_weight *w, char *panel, int lane, int64_t col)
{
    enum dtype t = w->dtype;
    struct format_parts p;
    int64_t block = col / formats[t].block;
    int i = (int)(col % formats[t].block);
    p.q[i] = (uint8_t)get_value(lines_of(t, panel, lane, block), formats[t].bits, i);
    move_scales(t, record_of(t, panel, w->cols, block), lane, &p, false);
    return format_value(t, &p, i);
}

/* ---- panels of elements ----------------------------------------------------------------- */

/* Index of (row in panel, column) within a panel, in elements. */
static size_t panel_index(enum dtype t, int64_t lane, int64_t col)
{
    if (t == DTYPE_BF16)
        return (size_t)(col / 2 * 2 * PANEL + lane * 2 + col % 2);
    return (size_t)(col * PANEL + lane);
}

static void store_one(void *panel, enum dtype t, size_t at, float f)
{
    if (t == DTYPE_F32)
        ((float *)panel)[at] = f;
    else
        ((uint16_t *)panel)[at] = t == DTYPE_BF16 ? bf16_of_f32(f) : f16_of_f32(f);
}

/* The common case, at memory speed: bf16 in 16 rows that lie `stride` elements apart. */
static void pack_bf16_panel(uint16_t *panel, const uint16_t *src, int64_t stride, int64_t cols)
{
    for (int64_t c = 0; c + 1 < cols; c += 2)
        for (int r = 0; r < PANEL; r++)
            memcpy(panel + c * PANEL + 2 * r, src + r * stride + c, 4);
    if (cols % 2)
        for (int r = 0; r < PANEL; r++)
            panel[(cols - 1) * PANEL + 2 * r] = src[r * stride + cols - 1];
}

/* bf16_of_f32 without a branch, in a run of a constant length: the compiler makes vectors of it. */
static void bf16_of_run(const float f[FORMAT_BLOCK_MAX], uint16_t out[FORMAT_BLOCK_MAX])
{
    uint32_t u[FORMAT_BLOCK_MAX];
    memcpy(u, f, sizeof u);
    for (int i = 0; i < FORMAT_BLOCK_MAX; i++) {
        uint32_t nan = u[i] >> 16 | 0x40, rounded = (u[i] + 0x7fff + (u[i] >> 16 & 1)) >> 16;
        out[i] = (uint16_t)((u[i] & 0x7fffffff) > 0x7f800000 ? nan : rounded);
    }
}

/* 16 rows of any format to a whole panel of bf16 or float32, 256 columns at a time. */
static void pack_panel(struct host_weight *w, int64_t row, const char *src, enum dtype type)
{
    size_t row_bytes = format_bytes(type, w->cols);
    char *panel = (char *)w->data + (size_t)(row / PANEL) * panel_bytes(w->dtype, w->cols);
    float f[PANEL][FORMAT_BLOCK_MAX] = {{0}};
    uint16_t h[PANEL][FORMAT_BLOCK_MAX];
    for (int64_t c = 0; c < w->cols; c += FORMAT_BLOCK_MAX) {
        int n = (int)MIN(w->cols - c, FORMAT_BLOCK_MAX);
        for (int r = 0; r < PANEL; r++) {
            format_decode(type, src + (size_t)r * row_bytes + format_bytes(type, c), n, f[r]);
            if (w->dtype == DTYPE_BF16)
                bf16_of_run(f[r], h[r]);
        }
        if (w->dtype == DTYPE_BF16)
            pack_bf16_panel((uint16_t *)(void *)panel + c * PANEL, h[0], FORMAT_BLOCK_MAX, n);
        else
            for (int i = 0; i < n; i++)
                for (int r = 0; r < PANEL; r++)
                    ((float *)(void *)panel)[(c + i) * PANEL + r] = f[r][i];
    }
}

float panel_at(const struct host_weight *w, int64_t row, int64_t col)
{
    char *panel = (char *)w->data + (size_t)(row / PANEL) * panel_bytes(w->dtype, w->cols);
    size_t at = panel_index(w->dtype, row % PANEL, col);
    switch (w->dtype) {
    case DTYPE_F32: return ((const float *)panel)[at];
    case DTYPE_F16: return f32_of_f16(((const uint16_t *)panel)[at]);
    case DTYPE_BF16: return f32_of_bf16(((const uint16_t *)panel)[at]);
    default: return block_at(w, panel, (int)(row % PANEL), col);
    }
}

/* ---- packing ---------------------------------------------------------------------------- */

bool pack_bytes(const struct weight *w, size_t *bytes)
{
    size_t n;
    if (w->rows <= 0 || w->cols <= 0 || w->cols > INT64_MAX / 256)
        return false;
    if (w->role == WEIGHT_VECTOR) {
        if (mul_overflows((size_t)w->rows, (size_t)w->cols, &n))
            return false;
        return !mul_overflows(round_up(n, PANEL), sizeof(float), bytes);
    }
    n = ((size_t)w->rows + PANEL - 1) / PANEL;
    return !mul_overflows(n, panel_bytes(w->dtype, w->cols), bytes);
}

/* Columns [col, col + n) of a row, from a source of any format: as values to a vector or a panel of
 * elements, as blocks to a panel of blocks; blocks of the weight's own format as they are. */
static void pack_piece(struct host_weight *w, int64_t row, int64_t col, int n, const void *src,
                       enum dtype type)
{
    float f[FORMAT_BLOCK_MAX];
    uint8_t own[FORMAT_BLOCK_MAX * 4];
    const uint8_t *b = src;
    enum dtype t = w->dtype;
    char *panel = (char *)w->data + (size_t)(row / PANEL) * panel_bytes(t, w->cols);
    if (format_plain(t) || w->role == WEIGHT_VECTOR || type != t)
        format_decode(type, src, n, f);
    if (w->role == WEIGHT_VECTOR) {
        memcpy((float *)w->data + row * w->cols + col, f, (size_t)n * sizeof *f);
        return;
    }
    if (format_plain(t)) {
        for (int i = 0; i < n; i++)
            store_one(panel, t, panel_index(t, row % PANEL, col + i), f[i]);
        return;
    }
    if (type != t) {
        format_encode(t, f, n, own);
        b = own;
    }
    for (int i = 0; i < n; i += formats[t].block, b += formats[t].bytes)
        put_block(t, panel, w->cols, (int)(row % PANEL), (col + i) / formats[t].block, b);
}

void pack_rows(struct host_weight *w, int64_t row0, int64_t n, const void *src, enum dtype type)
{
    size_t row_bytes = format_bytes(type, w->cols);
    for (int64_t r = 0; r < n;) {
        int64_t row = row0 + r;
        const char *from = (const char *)src + (size_t)r * row_bytes;
        if (w->role == WEIGHT_MATRIX && (w->dtype == DTYPE_BF16 || w->dtype == DTYPE_F32) &&
            row % PANEL == 0 && n - r >= PANEL) {
            if (type == DTYPE_BF16 && w->dtype == DTYPE_BF16)
                pack_bf16_panel((uint16_t *)w->data + row * (w->cols + w->cols % 2),
                                (const uint16_t *)(const void *)from, w->cols, w->cols);
            else
                pack_panel(w, row, from, type);
            r += PANEL;
            continue;
        }
        for (int64_t c = 0; c < w->cols; c += FORMAT_BLOCK_MAX)
            pack_piece(w, row, c, (int)MIN(w->cols - c, FORMAT_BLOCK_MAX),
                       from + format_bytes(type, c), type);
        r++;
    }
}
