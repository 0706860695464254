/* Formats of weights: what formats.def says, as a table, and the definition of their values.
 *
 * A row of a matrix is stored as whole blocks, one after the other; rows follow one another. Only
 * FP8 may end in a block that is partly padding: the others are used when their block divides
 * the columns. Pure functions, any thread. Bytes need no alignment. */
#ifndef RECURD_FORMATS_H
#define RECURD_FORMATS_H

#include "base/base.h"

enum dtype {
#define FORMAT(ID, ...) DTYPE_##ID,
#include "kernels/formats.def"
#undef FORMAT
    DTYPES
};

enum format_head { HEAD_NONE, HEAD_F16, HEAD_F16_MIN, HEAD_E8M0, HEAD_F32 };
enum format_sub { SUB_NONE, SUB_SIGNED, SUB_PAIR, SUB_NIBBLES };
enum format_map { MAP_F32, MAP_F16, MAP_BF16, MAP_LINEAR, MAP_IQ4, MAP_FP4, MAP_E4M3 };

#define FORMAT_BLOCK_MAX 256 /* every block divides it */
#define FORMAT_SUB_MAX 16    /* bytes of sub-scales of a block */

struct weight_format {
    const char *name;
    int32_t block, bytes;
    const char *safetensors; /* NULL: not in such files */
    int32_t gguf;            /* -1: not in such files */
    int32_t bits, run;
    enum format_head head;
    enum format_sub sub;
    enum format_map map;
    int32_t center;
};

/* A block taken apart. sub: the scales of the runs, then (PAIR) their minima. */
struct format_parts {
    uint8_t head[4];
    uint8_t sub[FORMAT_SUB_MAX];
    uint8_t q[FORMAT_BLOCK_MAX];
};

extern const struct weight_format formats[DTYPES];
/* What 4-bit values of MAP_IQ4 and MAP_FP4 stand for. */
extern const int8_t format_iq4[16], format_fp4[16];

/* Formats of one element a block, that activations and sums know too. */
static inline bool format_plain(enum dtype t) { return t <= DTYPE_BF16; }
const char *dtype_name(enum dtype t);
/* The format of a file's dtype or type number, or -1. */
int format_of_safetensors(const char *name);
int format_of_gguf(int64_t type);
/* Bytes of n consecutive elements of a row in files: whole blocks. */
size_t format_bytes(enum dtype t, int64_t n);
/* Whether a matrix of so many columns can be stored so. */
bool format_fits(enum dtype t, int64_t cols);

/* The definition: n elements of a row, from the start of a block, to float32. */
void format_decode(enum dtype t, const void *src, int64_t n, float *dst);
/* Whether n elements, from the start of a block, are finite numbers; false also of a format whose
 * blocks do not tell without being decoded. */
bool format_finite(enum dtype t, const void *src, int64_t n);
/* A block's bytes to its parts and back from them to values; not for plain formats. */
void format_split(enum dtype t, const uint8_t *block, struct format_parts *p);
float format_value(enum dtype t, const struct format_parts *p, int i);
void format_values(enum dtype t, const struct format_parts *p, int n, float *out);
/* What these values are made of: the number that q stands for (exact in bf16), and what scales run
 * j of the block and is added to it (0 without a minimum). */
float format_number(enum dtype t, uint8_t q);
void format_scale(enum dtype t, const struct format_parts *p, int j, float *scale, float *add);
/* Bytes of the head and of the sub-scales of a block. */
int format_head_bytes(enum dtype t);
int format_sub_bytes(enum dtype t);

/* encode.c: n elements to whole blocks, the last one filled up with zeros; the nearest values this
 * project knows how to find. Only where format_encodes. The inputs must be finite. */
bool format_encodes(enum dtype t);
void format_encode(enum dtype t, const float *src, int64_t n, void *dst);

/* FP8 rows of safetensors: bytes [cols] of a row, and the scale of each 128 columns, to blocks. */
void format_join_fp8(const uint8_t *row, const float *scales, int64_t cols, void *dst);

#define F16_LARGEST 65504.0f
float f32_of_f16(uint16_t h);
uint16_t f16_of_f32(float f);  /* nearest even; overflow is infinity */
/* What a state in float16 keeps of a number: the nearest, at most the largest finite one (65504) in
 * magnitude; a NaN stays one. */
uint16_t f16_kept(float f);
uint16_t bf16_of_f32(float f); /* nearest even; a NaN stays one */
static inline float f32_of_bf16(uint16_t h)
{
    union { uint32_t u; float f; } x = {(uint32_t)h << 16};
    return x.f;
}

#endif
