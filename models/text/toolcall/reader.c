/* What the reader of whole calls and that of calls in the writing do alike. */
#include "models/text/toolcall/toolcall_int.h"

void toolcall_emit(struct toolcall *t, enum toolcall_kind kind, const char *p, size_t n,
                   const char *id)
{
    struct toolcall_event ev = {kind, p, id ? id : "", n};
    if (n || (kind != TOOLCALL_TEXT && kind != TOOLCALL_REASONING && kind != TOOLCALL_ARGUMENTS))
        t->o.emit(t->o.arg, &ev);
}

void toolcall_pass(struct toolcall *t, enum toolcall_kind kind, size_t n)
{
    toolcall_emit(t, kind, t->held.p, n, NULL);
    buf_drop_front(&t->held, n);
}

void toolcall_leave(struct toolcall *t, enum place next)
{
    t->place = next;
    t->early = (struct early){0};
    t->looked = t->scanned = 0;
    t->closes = t->depth = 0;
    t->quoted = false;
}
