/* How the files of one GGUF architecture read as a model of one of our families: data, one file
 * beside each family (models/arch/gguf_*.c). Read by gguf_view.c and gguf_config.c, and the other
 * way round by the converter, so that both directions say the same thing once. */
#ifndef RECURD_GGUF_MAP_H
#define RECURD_GGUF_MAP_H

#include "base/base.h"

/* What the format's usual writers do to a tensor of a checkpoint. */
enum gguf_form {
    FORM_EXP = 1 << 27,      /* stored as exp(x) */
    FORM_ADD_5TH = 1 << 28,  /* stored as x + 1/5 */
    FORM_ADD_11TH = 1 << 29, /* stored as x + 5^-3/2 */
    FORM_NEG_EXP = 1,  /* stored as -exp(x) */
    FORM_ADD_ONE = 2,  /* stored as 1 + x */
    FORM_ROPE_Q = 4,   /* rows of each query head: halves stored as neighbours */
    FORM_ROPE_K = 8,   /* … of each key head */
    FORM_V_ROWS = 16,  /* value heads: stored j-th of every key head first; all rows */
    FORM_V_TAIL = 32,  /* … the rows behind those of queries and keys */
    FORM_V_COLS = 64,  /* … the columns */
    FORM_EXPERTS = 128,/* one tensor [experts][rows][columns]; ours, one each, has a second %d */
    FORM_ROW = 256,    /* a vector; ours is a matrix of one row */
    FORM_FLOAT = 512,  /* written as F32, as vectors are */
    FORM_COLUMN = 1024,/* written with shape [n][1] */
    FORM_GROUPS = 2048,/* written with shape [ssm groups][n / groups] */
    FORM_TURNED = 1 << 25, /* a matrix, or a stack of them, of which ours are the transposed */
    FORM_FIFTHS = 1 << 26, /* … in five parts, of which the first and the fourth are exchanged */
    /* Rows that only the converter reads; ours is another spelling of the same tensor. */
    FORM_GATE = 4096,  /* written from the first half of ours (of each expert's) */
    FORM_UP = 8192,    /* … the second half */
    FORM_STACK = 1 << 14, /* written from several vectors; one letter each in ours: x_{rwkvag} */
    FORM_QKV = 1 << 15,   /* written from a matrix of [q k v z] per key head: its q, k and v */
    FORM_Z = 1 << 16,     /* … its z */
    FORM_PACKED = 1 << 17,/* ours is the same tensor under another name */
    FORM_FIRST = 1 << 21, /* … of layer 0 only: the copy that FORM_TWIN speaks of */
    FORM_K_UP = 1 << 22,  /* written from [head][key, value rows][rank]: [head][rank][keys] of it */
    FORM_V_UP = 1 << 23,  /* … [head][values][rank] of it */
    FORM_WRITE = FORM_GATE | FORM_UP | FORM_STACK | FORM_QKV | FORM_Z | FORM_PACKED | FORM_FIRST |
                 FORM_K_UP | FORM_V_UP,
    FORM_DENSE = 1 << 18, /* written only for models without experts */
    FORM_SPARSE = 1 << 19,/* … with */
    FORM_ATTENDS = 1 << 30,/* only of layers that attend, as the map's `attends` tells */
    FORM_WHOLE = 1 << 24, /* written with all dimensions, though some be 1 */
    FORM_TWIN = 1 << 20,  /* of layer 0 a copy of another tensor that means nothing: not read */
};

/* A name that begins with a dot belongs to a layer: it follows "blk.%d", and in ours the map's
 * own prefix. */
struct gguf_name {
    const char *gguf, *name;
    unsigned form;
};

enum gguf_key_kind {
    KEY_INT, KEY_NUM, KEY_BOOL,
    KEY_MOST,     /* an integer, or a list with one for each layer: the largest */
    KEY_QUOTIENT, /* ours = value / value of `by`, an integer */
    KEY_RATIO,    /* the same, any number */
    KEY_LESS,     /* ours = value - value of `by` */
    KEY_DIVISOR,  /* ours = value of `by` / value, an integer */
    KEY_SAME,     /* an integer, or a list; writing: ours must be what ours of key `by` is */
    KEY_WORD,     /* an integer; ours is that word of `by`, counted from 0 */
    KEY_ROWS,     /* an integer; written from the rows of tensor `by` (of each in a stack) */
    KEY_CONSTANT, /* ours is always the JSON text `by`: the format cannot say anything else */
    KEY_MUST,     /* the same, but only when writing: ours need not say it */
    KEY_EITHER,   /* a flag; ours is the first word of `by` for true, the second for false */
    KEY_ALIAS,    /* a number, written only; where ours has it, key `by` of ours must be 1 */
    KEY_FIXED,    /* an integer that ours need not say, written only: `by` */
    KEY_ABSENT,   /* a file where it is not 0 is refused; nothing to write */
    KEY_TENSOR,   /* ours is whether the file has tensor `gguf`; nothing to write */
};
struct gguf_key {
    const char *key;  /* of config.json; "a.b" lies inside the object a */
    const char *gguf; /* behind "<architecture>." */
    enum gguf_key_kind kind;
    bool need;        /* a file without it is refused */
    const char *by;
};

struct gguf_map {
    const char *arch;       /* general.architecture */
    const char *model_type; /* of config.json */
    const char *layers;     /* what ours has for "blk.%d" */
    const struct gguf_name *names[6]; /* lists, one after the other; each ends in GGUF_END */
    const struct gguf_key *keys[5];
    /* The list of layers' kinds: its key, and the words for recurrent, attention, feed-forward and
     * expert layers (the last two only where those are layers of their own). */
    const char *types_key, *types[4];
    const char *attends; /* where the file has no list: layers with this tensor attend, ".name" */
    const char *derived; /* last parts of names of tensors that need not be written; "a b c" */
    const char *ignored; /* keys of config.json that need not be written; "a b c" */
};

#define GGUF_END {0}

/* Rows that several maps share (arch/gguf_rows.c). */
extern const struct gguf_name gguf_names_attention[], gguf_names_mamba2[], gguf_names_rwkv[];
extern const struct gguf_key gguf_keys_attention[], gguf_keys_mamba2[], gguf_keys_latent[];

/* Every row of all lists of a map, in order. */
#define GGUF_EACH_NAME(map, row) \
    for (int row##_list = 0; (map)->names[row##_list]; row##_list++) \
        for (const struct gguf_name *row = (map)->names[row##_list]; row->gguf; row++)
#define GGUF_EACH_KEY(map, row) \
    for (int row##_list = 0; (map)->keys[row##_list]; row##_list++) \
        for (const struct gguf_key *row = (map)->keys[row##_list]; row->key; row++)

#endif
