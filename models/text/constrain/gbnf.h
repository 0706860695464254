/* GBNF (the grammar notation of llama.cpp, which vLLM's and XGrammar's EBNF resembles) -> rules.
 *
 *   root  ::= "yes" | "no" [0-9]{1,3} ws   # the text is what root matches
 *   ws    ::= [ \t\n]*
 *
 * Literals and classes know \n \t \r \\ \" \[ \] \^ \- \xHH \uHHHH \UHHHHHHHH; `.` is any one.
 * A rule may go on over lines: it ends where the next `name ::=` begins. Refused by name: rules
 * that are missing, twice there, or begin with themselves, and tokens (<…>). */
#ifndef RECURD_GBNF_H
#define RECURD_GBNF_H

#include "models/text/constrain/expr.h"

/* The number of the rule `root`; 0 with the fault in a->err. */
int32_t gbnf_parse(struct automaton *a, const char *text, size_t n);

#endif
