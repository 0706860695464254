/* Failures in the words of each API. */
#include "server/api/errors.h"

#include "server/api/jsonout.h"

static void openai(struct buf *out, const struct failure *f)
{
    buf_str(out, "{\"error\":{\"message\":");
    jsonout_str(out, f->message);
    buf_str(out, ",\"type\":");
    jsonout_str(out, apierr_type(f->what));
    buf_str(out, ",\"param\":");
    if (f->param)
        jsonout_str(out, f->param);
    else
        buf_str(out, "null");
    buf_str(out, ",\"code\":");
    jsonout_str(out, apierr_code(f->what));
    buf_str(out, "}}");
}

/* The API's types follow the status. */
static const char *anthropic_type(int status)
{
    static const struct { int status; const char *type; } rows[] = {
        {401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
        {413, "request_too_large"},    {429, "rate_limit_error"}, {503, "overloaded_error"},
        {504, "timeout_error"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].type;
    return status < 500 ? "invalid_request_error" : "api_error";
}

static void anthropic(struct buf *out, const struct failure *f)
{
    buf_fmt(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
            anthropic_type(apierr_status(f->what)));
    jsonout_str(out, f->message);
    buf_str(out, "},\"request_id\":");
    jsonout_str(out, f->id);
    buf_ch(out, '}');
}

static void ollama(struct buf *out, const struct failure *f)
{
    buf_str(out, "{\"error\":");
    jsonout_str(out, f->message);
    buf_ch(out, '}');
}

const struct error_form errors_OPENAI = {.write = openai};
const struct error_form errors_ANTHROPIC = {.write = anthropic, .id_header = "request-id"};
const struct error_form errors_OLLAMA = {.write = ollama};
