/* The Makefile gives both strings to this file alone. */
#include "base/version.h"

const char *version_number(void) { return RECURD_VERSION; }
const char *version_commit(void) { return RECURD_COMMIT; }
