/* Tile and group sizes for a device, from the embedded table etc/tuning/opencl.tune. */
#ifndef RECURD_OCL_TUNE_H
#define RECURD_OCL_TUNE_H

#include "base/err.h"

struct ocl_info;

/* Every number is a choice of speed only, except those that fix the order of sums (`moves_bits` in
 * tune.c): states and logits made under other values of these differ in the last bits. */
struct ocl_tune {
    int32_t slices;      /* a product sums its inputs in this many slices, then these in order */
    int32_t slice_min;   /* no slice is shorter than this many inputs */
    int32_t few_rows;    /* up to here the row-times-matrix kernel, above it the tiled one */
    int32_t group;       /* work-items of a group that sums over a row */
    int32_t state_cols;  /* columns of a state head one group holds */
    int32_t state_split; /* most state rows one work-item holds */
    int32_t unroll;      /* groups of 32 inputs in flight in a tensor-core matrix-vector product */
    int32_t wide_rows;   /* from here on the larger tiles of tensor-core products */
    int32_t sample;      /* work-items that sample from one row; with PoCL 1 (src/sample.cl) */
    int32_t key_split;   /* positions whose softmax is summed alone, on tensor cores */
    int32_t mma;         /* 1: tensor cores for bf16 weights (inline PTX) */
    int32_t movers;      /* threads that carry states between device and host, on at most half of
                            the processors */
    int32_t many_rows;   /* from here on kernels for many rows (inline PTX); 0 = there are none */
    int32_t packs;       /* 1: rows that only products of many rows on tensor cores read are written
                            as these want them by whoever makes them (packed.h) */
    int32_t wgmma;       /* 1: many rows of them by Hopper's instruction (wgmma.h); the same bits */
    int32_t wgmma_rows;  /* from here on */
    int32_t split;       /* 1: their slices may be made apart, where there are few tiles; 2: are,
                            wherever they may */
    int32_t tile;        /* not 0: of the shapes of wgmma.h only the one with so many rows */
    int32_t bundle;      /* 1: launches of a phase are merged (bundle.h) */
    int32_t persistent;  /* work-items of a group of a kernel that makes a whole step
                            (persistent.h); 0 = there is none */
    int32_t persistent_rows; /* up to here */
    int32_t bank_kib;    /* slots and pages lie in buffers of at most so much; 0 = what it allows */
};

/* Starts from the row "*" and applies every row whose name is part of the vendor's, platform's
 * or device's, or its architecture's (sm_90), in file order; then limits the result to what the
 * device can run. */
void ocl_tune_choose(struct ocl_tune *t, const struct ocl_info *d);

/* Applies "key=value ..." to t: E_FORMAT names the word that is wrong. */
int ocl_tune_parse(struct ocl_tune *t, const char *words, struct err *e) MUST_USE;

/* Slices of a product's inputs: their number, and how long all but the last are. A multiple of 32
 * inputs: the tiled kernels' depth divides them. */
struct ocl_slices { int32_t n, len; };
struct ocl_slices ocl_slices(const struct ocl_tune *t, int32_t inputs);

/* " key=number" of every number that moves bits: a part of the backend's numerics. */
void ocl_tune_numerics(const struct ocl_tune *t, char *out, size_t size);

#endif
