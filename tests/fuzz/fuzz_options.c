/* recurd.conf: any bytes end in settings inside their limits, or in one sentence. */
#include "server/process/options.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct options o;
    struct err e = {0};
    options_defaults(&o);
    int rc = options_parse_file(&o, (const char *)data, n, "f", &e);
    HOLDS(rc == e.code && (rc == 0 || e.text[0]));
    HOLDS(o.slots == OPTIONS_AUTO || (o.slots >= 1 && o.slots <= 4096));
    HOLDS(o.http_threads >= 2 && o.body_limit >= 1024);
    HOLDS(o.listen && o.listen[0] && o.device && o.device[0]);
    options_fini(&o);
    return 0;
}
