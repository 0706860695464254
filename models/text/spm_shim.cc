/* The only C++ of the program. Every body is one try block: see spm_shim.h. */
#include "models/text/spm_shim.h"

#include <sentencepiece_processor.h>

#include <cstdlib>
#include <cstring>
#include <vector>

struct spm_shim {
    sentencepiece::SentencePieceProcessor processor;
};

struct spm_shim *spm_shim_open(const void *model, size_t n)
{
    spm_shim *s = nullptr;
    try {
        s = new spm_shim;
        if (s->processor.LoadFromSerializedProto({static_cast<const char *>(model), n}).ok())
            return s;
    } catch (...) {
    }
    spm_shim_close(s);
    return nullptr;
}

void spm_shim_close(struct spm_shim *s)
{
    try {
        delete s;
    } catch (...) {
    }
}

int spm_shim_size(const struct spm_shim *s)
{
    try {
        return s->processor.GetPieceSize();
    } catch (...) {
        return -1;
    }
}

int spm_shim_encode(const struct spm_shim *s, const char *text, size_t n, int32_t **ids,
                    size_t *count)
{
    *ids = nullptr;
    *count = 0;
    try {
        std::vector<int> found;
        if (!s->processor.Encode({text, n}, &found).ok())
            return -1;
        *ids = static_cast<int32_t *>(std::malloc((found.size() + 1) * sizeof **ids));
        if (!*ids)
            return -1;
        for (size_t i = 0; i < found.size(); i++)
            (*ids)[i] = found[i];
        *count = found.size();
        return 0;
    } catch (...) {
        std::free(*ids);
        *ids = nullptr;
        return -1;
    }
}
