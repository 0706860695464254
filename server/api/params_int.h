/* What params.c, params_input.c and params_chat.c share. */
#ifndef RECURD_PARAMS_INT_H
#define RECURD_PARAMS_INT_H

#include "server/api/jsonin.h"
#include "server/api/params.h"

/* prompt, messages or tokens into p. */
int params_input(struct params *p, const json_t *o, int32_t vocab, struct err *e) MUST_USE;

/* messages and what goes with them: tools, documents, variables of the template. */
int params_chat(struct params *p, const json_t *o, struct err *e) MUST_USE;
/* How tools may be called and whether reasoning is told apart; after params_constrain. */
int params_tools(struct params *p, const json_t *o, struct err *e) MUST_USE;
/* Without messages these mean nothing: E_UNSUPPORTED, the field named. */
int params_no_chat(const json_t *o, struct err *e) MUST_USE;

/* Temperature to DRY: the model's defaults, then what the request names. The failure is in e. */
void params_sampling(struct params *p, const json_t *o, const struct served *m, struct err *e);
/* samplers, behind the fields that it names (params_order.c). */
int params_order(struct sampling *s, const json_t *o, struct err *e) MUST_USE;
/* stop and stop_token_ids. */
int params_stops(struct params *p, const json_t *o, int32_t vocab, struct err *e) MUST_USE;

/* An array of token ids, each in the vocabulary, into the arena. key must be a literal. */
int params_ids(struct params *p, const json_t *v, const char *key, int32_t vocab,
               struct prompt_in *out, struct err *e) MUST_USE;

/* What constrains the answer's text, into p->constrain. */
int params_constrain(struct params *p, const json_t *o, struct err *e) MUST_USE;

#endif
