/* From phases to stages: sorted by phase, then by place in the chain. */
#include "kernels/cpu/stages.h"

#include "base/mem.h"
#include "kernels/phases.h"

/* at[i] = stage of op i; returns how many there are. of: room for as many numbers as ops. */
static int32_t number(const struct phases *x, int32_t *at, int32_t *of)
{
    int32_t n = 0;
    for (int32_t i = 0; i < x->n_ops; i++)
        of[i] = 0;
    for (int32_t i = 0; i < x->n_ops; i++)
        at[i] = of[x->ops[i].chain]++; /* place in its chain */
    for (int32_t k = 0; k < x->n_phases; k++)
        of[k] = 0;
    for (int32_t i = 0; i < x->n_ops; i++)
        of[x->ops[i].phase] = MAX(of[x->ops[i].phase], at[i] + 1);
    for (int32_t k = 0; k < x->n_phases; k++) {
        int32_t longest = of[k];
        of[k] = n;
        n += longest;
    }
    for (int32_t i = 0; i < x->n_ops; i++)
        at[i] += of[x->ops[i].phase];
    return n;
}

static void sort(struct stages *s, const int32_t *at, int32_t n_ops)
{
    for (int32_t k = 0; k <= s->n; k++)
        s->first[k] = 0;
    for (int32_t i = 0; i < n_ops; i++)
        s->first[at[i] + 1]++;
    for (int32_t k = 0; k < s->n; k++)
        s->first[k + 1] += s->first[k];
    for (int32_t i = 0; i < n_ops; i++)
        s->ops[s->first[at[i]]++] = i;
    for (int32_t k = s->n; k > 0; k--) /* each has moved on to the next one's */
        s->first[k] = s->first[k - 1];
    s->first[0] = 0;
    for (int32_t i = 0; i < n_ops; i++)
        s->next[s->ops[i]] = s->ops[(i + 1) % n_ops];
}

int stages_find(struct stages *out, const struct plan *p, const struct capacity *c, struct err *e)
{
    size_t n = (size_t)p->n_ops + 1;
    struct phases x;
    *out = (struct stages){0};
    int rc = phases_find(&x, p, c, e);
    if (rc)
        return rc;
    int32_t *at = mem_array(n, sizeof *at), *room = mem_array(n, sizeof *room);
    out->ops = mem_array(n, sizeof *out->ops);
    out->first = mem_array(n, sizeof *out->first);
    out->next = mem_array(n, sizeof *out->next);
    if (at && room && out->ops && out->first && out->next) {
        out->n = number(&x, at, room);
        sort(out, at, p->n_ops);
    } else {
        rc = err_set(e, E_NOMEM, "no memory for the stages of %d ops", p->n_ops);
        stages_free(out);
    }
    mem_free(at);
    mem_free(room);
    phases_free(&x);
    return rc;
}

void stages_free(struct stages *x)
{
    mem_free(x->ops);
    mem_free(x->first);
    mem_free(x->next);
    *x = (struct stages){0};
}
