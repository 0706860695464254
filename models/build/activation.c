/* Names of activations, as configurations spell them. */
#include <string.h>

#include "models/build/build_int.h"

static const struct { const char *name; enum activation act; } activations[] = {
    {"swish", ACT_SILU}, {"silu", ACT_SILU}, {"sigmoid", ACT_SIGMOID}, {"relu", ACT_RELU},
    {"sqrelu", ACT_SQRELU}, {"relu2", ACT_SQRELU}, {"tanh", ACT_TANH}, {"identity", ACT_NONE},
    {"gelu", ACT_GELU_ERF}, {"gelu_pytorch_tanh", ACT_GELU_TANH}, {"gelu_new", ACT_GELU_TANH},
};

bool activation_known(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(activations); i++)
        if (!strcmp(activations[i].name, name))
            return true;
    return false;
}

enum activation activation_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(activations); i++)
        if (!strcmp(activations[i].name, name))
            return activations[i].act;
    return ACT_NONE;
}
