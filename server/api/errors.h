/* The forms in which APIs tell failures: the column `errors` of routes.def. Thread: any. */
#ifndef RECURD_ERRORS_H
#define RECURD_ERRORS_H

#include "server/http/apierr.h"

/* {"error":{"message":…,"type":…,"param":…,"code":…}} */
extern const struct error_form errors_OPENAI;
/* {"type":"error","error":{"type":…,"message":…},"request_id":…}, and the header request-id */
extern const struct error_form errors_ANTHROPIC;
/* {"error":"…"} */
extern const struct error_form errors_OLLAMA;

#endif
