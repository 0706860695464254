/* The reader's rate. */
#include "server/http/reader.h"

bool reader_look(struct reader *r, uint64_t taken, bool waits, uint64_t now, uint64_t patience_ns)
{
    /* After a frozen time the clock may be a moment behind what it said before. */
    uint64_t since = r->looked_ns && now > r->looked_ns ? now - r->looked_ns : 0;
    bool held = !waits && !r->waited && taken == r->taken;
    r->looked_ns = now;
    r->waited = waits;
    r->taken = taken;
    r->silent_ns = held ? r->silent_ns + since : 0;
    r->held_ns += held ? since : 0;
    return r->silent_ns <= patience_ns &&
           r->held_ns <= patience_ns * (1 + taken / READER_BYTES);
}
