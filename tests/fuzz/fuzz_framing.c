/* The framing of requests: the same verdict however the bytes are cut, and inside them. */
#include "server/http/framing.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct framing whole, cut;
    const char *p = (const char *)data;
    framing_init(&whole);
    framing_init(&cut);
    size_t good = framing_feed(&whole, p, n), step = n ? data[0] % 7 + 1U : 1, at = 0;
    HOLDS(good <= n && (whole.fault || good == n));
    while (at < n && !cut.fault) {
        size_t k = n - at < step ? n - at : step;
        size_t part = framing_feed(&cut, p + at, k);
        HOLDS(part <= k && (cut.fault || part == k));
        at += k;
    }
    HOLDS(cut.fault == whole.fault && cut.why == whole.why);
    HOLDS(whole.fault || framing_idle(&cut) == framing_idle(&whole));
    /* What comes before a fault is whole messages. */
    framing_init(&cut);
    HOLDS(framing_feed(&cut, p, good) == good && !cut.fault);
    HOLDS(!whole.fault || framing_idle(&cut));
    return 0;
}
