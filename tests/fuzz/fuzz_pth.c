/* A PyTorch file: what is accepted lies inside the archive and can be read whole; and its pickle
 * alone, which is where the opcodes are. The first byte chooses. */
#include "base/mem.h"
#include "models/files/pickle.h"
#include "models/files/pth.h"
#include "tests/fuzz/fuzz.h"

static void read_archive(const char *path, size_t size)
{
    struct checkpoint *c = NULL;
    struct err e = {0};
    int rc = pth_open(&c, path, &e);
    HOLDS((rc == 0) == (c != NULL) && rc == e.code);
    for (size_t i = 0; c && i < checkpoint_count(c); i++) {
        const struct tensor *t = checkpoint_at(c, i);
        float last;
        HOLDS(t->elems > 0 && t->offset < size && checkpoint_find(c, t->name) == t);
        HOLDS(checkpoint_floats(c, t, t->elems - 1, 1, &last, &e) == 0);
    }
    checkpoint_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pickle_tensor *t;
    struct err e = {0};
    size_t count;
    char path[128];
    if (n == 0)
        return 0;
    if (data[0] & 1) {
        snprintf(path, sizeof path, "%s/x.pth", fuzz_dir("x.pth", data + 1, n - 1));
        read_archive(path, n - 1);
        return 0;
    }
    int rc = pickle_tensors(&t, &count, data + 1, n - 1, "f", &e);
    HOLDS((rc == 0) == (t != NULL) && rc == e.code);
    for (size_t i = 0; i < count; i++)
        HOLDS(t[i].elems > 0 && t[i].first >= 0 && t[i].first <= INT64_MAX - t[i].elems);
    mem_free(t);
    return 0;
}
