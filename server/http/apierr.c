/* Failures on the wire. Thread: any. */
#include "server/http/apierr.h"

#include <string.h>

static const struct row {
    int status;
    const char *type, *code;
    bool retry;
} rows[] = {
#define APIERR(name, status, type, code, retry) {status, type, code, retry},
#include "server/http/apierr.def"
#undef APIERR
};

int apierr_status(enum apierr a) { return rows[a].status; }
const char *apierr_type(enum apierr a) { return rows[a].type; }
const char *apierr_code(enum apierr a) { return rows[a].code; }
bool apierr_retry(enum apierr a) { return rows[a].retry; }

/* Sessions: what is gone, taken or not where the client thinks it is. */
static enum apierr of_session(const struct err *e)
{
    if (!e->param)
        return APIERR_NONE;
    if (strcmp(e->param, "session") == 0 && e->code == E_NOENT)
        return APIERR_NO_SESSION;
    if (strcmp(e->param, "session") == 0 && e->code == E_BUSY)
        return APIERR_SESSION_BUSY;
    if (strcmp(e->param, "session") == 0 && e->code == E_CONFLICT)
        return APIERR_SESSION_MOVED;
    if (strcmp(e->param, "session") == 0 && e->code == E_RANGE)
        return APIERR_CONTEXT;
    if (strcmp(e->param, "session") == 0 && e->code == E_TIMEOUT)
        return APIERR_STORE;
    if (strcmp(e->param, "session") == 0 && e->code == E_DENIED)
        return APIERR_SESSION_KEY;
    if (strcmp(e->param, "sessions") == 0 && e->code == E_BUSY)
        return APIERR_SESSIONS;
    return strncmp(e->param, "expected_", 9) == 0 && e->code == E_CONFLICT ? APIERR_PRECONDITION
                                                                           : APIERR_NONE;
}

enum apierr apierr_of(const struct err *e)
{
    enum apierr session = of_session(e);
    if (session != APIERR_NONE)
        return session;
    switch ((enum err_code)e->code) {
    case E_FORMAT: return APIERR_BAD_VALUE;
    case E_RANGE: return APIERR_BAD_VALUE;
    case E_CONFLICT: return APIERR_BAD_VALUE;
    case E_UNSUPPORTED: return APIERR_UNSUPPORTED;
    case E_NOENT: return APIERR_NO_MODEL;
    case E_DENIED: return APIERR_DENIED;
    case E_BUSY: return APIERR_BUSY;
    case E_NOMEM: return APIERR_OVERLOADED;
    case E_CLOSED: return APIERR_DRAINING;
    case E_DEVICE: return APIERR_DEVICE;
    case E_TIMEOUT: return APIERR_TIMEOUT;
    case E_IO: return APIERR_INTERNAL;
    }
    return APIERR_INTERNAL;
}

enum apierr apierr_of_run(const struct err *e)
{
    enum apierr a = apierr_of(e);
    /* A session's fate is its clients': another request may delete it while a turn runs. */
    return apierr_status(a) >= 500 || a == APIERR_BUSY || of_session(e) != APIERR_NONE
               ? a
               : APIERR_INTERNAL;
}
