/* Pieces of replies that several APIs write the same way. Thread: HTTP worker. */
#ifndef RECURD_REPLY_H
#define RECURD_REPLY_H

#include "server/api/gen.h"

/* A token as text, for logprobs: its bytes when they are whole characters, otherwise
 * "bytes:\xe2\x80"; "token_id:7" without a tokenizer. With the quotes of JSON. */
void reply_token(struct buf *out, const struct served *m, int32_t id);

/* "stop", "length" or null, as JSON. */
const char *reply_finish(enum finish f);

/* ,"receipt":{…} of a choice that has ended, where one was asked for; null where a repeated turn
 * was first answered without. */
void reply_receipt(struct buf *out, const struct choice *c);

#endif
