/* A SentencePiece model file, read by our own code before the library sees it: its vocabulary,
 * its settings, and checks of what the library trusts. Thread: any. */
#ifndef RECURD_SPM_PROTO_H
#define RECURD_SPM_PROTO_H

#include "base/err.h"

enum spm_type { /* as the format numbers them */
    SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE,
};

enum { SPM_UNIGRAM = 1, SPM_BPE = 2 };

struct spm_piece {
    const char *text; /* not terminated; into the file's bytes */
    size_t n;
    float score;
    enum spm_type type;
    size_t type_at; /* offset of the one byte that holds the type; 0 = the default, NORMAL */
};

struct spm_proto {
    struct spm_piece *pieces;
    size_t n, cap;
    int64_t bos, eos, unk;  /* -1 = none */
    int64_t algorithm;      /* SPM_UNIGRAM, SPM_BPE; others are for words */
    bool dummy_prefix;      /* a space goes before the text */
    bool escape_whitespace; /* spaces are written U+2581 inside pieces */
    bool keeps_text;        /* the normaliser changes nothing else: no table, no white space lost */
    bool space_leads;       /* no piece has a space behind another character */
    bool newline_alone;     /* no piece has a newline beside another character */
};

/* name stands in messages for the file. bytes must outlive p. */
int spm_proto_read(struct spm_proto *p, const unsigned char *bytes, size_t n, const char *name,
                   struct err *e) MUST_USE;
void spm_proto_free(struct spm_proto *p);

#endif
