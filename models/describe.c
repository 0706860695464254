/* Facts about a model and a device, one "name: value" a line. Thread: main. */
#include "models/describe.h"

#include "kernels/numerics.h"
#include "models/text/chat/chat.h"
#include "models/text/tokenizer.h"

static double mib(int64_t bytes) { return (double)bytes / (1024.0 * 1024.0); }

static void state(const struct plan *p, const struct capacity *c, FILE *f)
{
    int64_t fixed = p->slot_floats * (int64_t)sizeof(float);
    int64_t growing = p->page_token_floats * (int64_t)sizeof(float);
    int64_t half = 0;
    for (int32_t i = 0; i < p->n_sections; i++)
        half += p->sections[i].dtype == DTYPE_F16 ? p->sections[i].elems * 2 : 0;
    fprintf(f, "session bytes, fixed: %lld (%.2f MiB%s", (long long)fixed, mib(fixed),
            half ? "" : ")\n");
    if (half)
        fprintf(f, "; %.2f in float16)\n", mib(half));
    fprintf(f, "session bytes, per token: %lld%s\n", (long long)growing,
            growing ? "" : " (it does not grow)");
    fprintf(f, "state memory: %.1f MiB for %d slots, %.1f MiB of pages\n",
            mib(fixed * c->slots), c->slots, mib(growing * PAGE_TOKENS * c->pages));
}

/* Matrices by format, and their bytes. */
static void weight_formats(const struct plan *p, FILE *f)
{
    int64_t n[DTYPES] = {0}, bytes[DTYPES] = {0};
    for (int32_t i = 0; i < p->n_weights; i++) {
        const struct weight *w = &p->weights[i];
        if (w->role == WEIGHT_MATRIX) {
            n[w->dtype]++;
            bytes[w->dtype] += w->rows * (int64_t)format_bytes(w->dtype, w->cols);
        }
    }
    fputs("matrices:", f);
    const char *between = "";
    for (int t = 0; t < DTYPES; t++)
        if (n[t]) {
            fprintf(f, "%s %lld %s (%.1f MiB)", between, (long long)n[t],
                    dtype_name((enum dtype)t), mib(bytes[t]));
            between = ",";
        }
    fputs("\n", f);
}

void describe(const struct model *m, const struct device *d, const struct capacity *c, FILE *f)
{
    const struct plan *p = &m->plan;
    int64_t kinds[OP_KINDS] = {0};
    char numerics[NUMERICS_TEXT];
    for (int32_t i = 0; i < p->n_ops; i++)
        kinds[p->ops[i].kind]++;
    fprintf(f, "model: %s\narchitecture: %s\nparameters: %lld (%.1f M)\n", m->name, m->arch,
            (long long)m->parameters, (double)m->parameters / 1e6);
    fprintf(f, "weights: %.1f MiB on the device\n", mib(m->weight_bytes));
    weight_formats(p, f);
    fprintf(f, "hidden size: %d\nvocabulary: %d\n", p->hidden, p->vocab);
    if (m->context_max > 0)
        fprintf(f, "context: %lld\n", (long long)m->context_max);
    else
        fputs("context: no limit\n", f);
    if (m->n_left_aside)
        fprintf(f, "left aside: %d keys and tensors (%s)\n", m->n_left_aside, m->left_aside);
    fprintf(f, "tokenizer: %s\n", m->tok ? "yes" : "none; requests carry token ids");
    fprintf(f, "chat format: %s\n", m->chat ? chat_name(m->chat) : "none");
    state(p, c, f);
    fprintf(f, "plan: %d ops,", p->n_ops);
    for (int k = 0; k < OP_KINDS; k++)
        if (kinds[k])
            fprintf(f, " %s %lld", op_name((enum op_kind)k), (long long)kinds[k]);
    fprintf(f, "\ndevice: %s\nkernels: %s\n", d->backend->name, d->description);
    if (d->backend->numerics_of) {
        d->backend->numerics_of(d, p, numerics);
        fprintf(f, "arithmetic: %s%s\n", numerics, numerics_inputs(numerics));
    }
}
