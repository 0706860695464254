/* Prompt rules: any file ends in rules inside their limits, or in one sentence that names it; and
 * whatever they are, messages that they were applied to are still text that chat_check takes. The
 * first zero byte parts the file from the text of a system message. */
#include <jansson.h>

#include "base/utf8.h"
#include "models/text/chat/chat.h"
#include "models/text/chat/rules.h"
#include "tests/fuzz/fuzz.h"

static void apply(struct chat_rules *r, const char *text, size_t n)
{
    struct err e = {0};
    if (!utf8_valid(text, n))
        return;
    json_t *messages = json_pack("[{s:s, s:o}, {s:s, s:o}]", "role", "system", "content",
                                 json_stringn(text, n), "role", "user", "content",
                                 json_stringn(text, n));
    if (!messages)
        return;
    uint32_t bits = chat_rules_apply(r, messages);
    HOLDS(chat_rules_count(r) == 32 || bits >> chat_rules_count(r) == 0);
    const json_t *system = json_object_get(json_array_get(messages, 0), "content");
    const json_t *user = json_object_get(json_array_get(messages, 1), "content");
    HOLDS(json_string_length(user) == n && memcmp(json_string_value(user), text, n) == 0);
    HOLDS(utf8_valid(json_string_value(system), json_string_length(system)));
    HOLDS(bits || json_equal(system, user));
    HOLDS(chat_check(messages, NULL, NULL, &e) == 0);
    json_decref(messages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct chat_rules *r;
    struct err e = {0};
    const char *file = (const char *)data, *end = n ? memchr(data, 0, n) : NULL;
    size_t size = end ? (size_t)(end - file) : n;
    int rc = chat_rules_parse(&r, file, size, "f", &e);
    HOLDS(rc == e.code && (rc == 0) == (r != NULL) && (rc == 0 || strstr(e.text, "f")));
    for (int i = 0; i < chat_rules_count(r); i++)
        HOLDS(chat_rules_name(r, i)[0] && chat_rules_applied(r, i) == 0);
    if (r && end)
        apply(r, end + 1, n - size - 1);
    chat_rules_close(r);
    return 0;
}
