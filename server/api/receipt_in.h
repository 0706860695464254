/* Receipts of answers (scheduler/receipt.h) as replies have them, read back: for who verifies one.
 * The text may be anybody's: everything is bounded and checked. Thread: any. */
#ifndef RECURD_RECEIPT_IN_H
#define RECURD_RECEIPT_IN_H

#include <jansson.h>

#include "scheduler/receipt.h"

#define RECEIPT_FILE_BYTES MIB(64)

/* The receipts in a text: a receipt alone, or a reply with one (`receipt`) or one in each of its
 * `choices`. list: at least one, at most LIMIT_CHOICES, inside *root, which is the caller's.
 * E_FORMAT, E_RANGE; E_NOENT: a reply without. */
int receipt_find(const char *text, size_t n, json_t **root, const json_t *list[LIMIT_CHOICES],
                 int *n_list, struct err *e) MUST_USE;

/* The caller's, as receipt_free has it. tokens NULL: they were not told. Ids are in the receipt's
 * own vocabulary, numbers in the bounds of the API. E_UNSUPPORTED: of another version. */
int receipt_read(struct receipt **out, const json_t *o, struct err *e) MUST_USE;

/* An array of n ids of 0 to vocab - 1 into out. what: its name in an error. */
int receipt_ids(const json_t *a, const char *what, int64_t n, int32_t vocab, int32_t *out,
                struct err *e) MUST_USE;

/* What sampling_put wrote; p->bias becomes the caller's. E_FORMAT, E_RANGE. */
int sampling_read(const json_t *o, int32_t vocab, struct sampling *p, struct err *e) MUST_USE;

#endif
