/* The formats of strings, as regular expressions. What is written is a subset of what each RFC
 * allows: the forms that every reader knows. */
#include <string.h>

#include "models/text/constrain/regex.h"
#include "models/text/constrain/schema_int.h"

#define YEAR "(?:[1-9][0-9]{3})"
#define LEAP_YEAR                                                                                \
    "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)"
/* RFC 3339; days as the month has them. */
#define DATE                                                                                     \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"                              \
    "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" LEAP_YEAR "-02-29)"
#define TIME                                                                                     \
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"                               \
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
/* RFC 1035, 2.3.4: labels of at most 63, 253 in all: few long ones, or more short ones. */
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define SHORT "[A-Za-z0-9](?:[A-Za-z0-9-]{0,22}[A-Za-z0-9])?"
#define HOSTNAME "(?:" LABEL "(?:\\." LABEL "){0,2}|" SHORT "(?:\\." SHORT "){3,8})"
/* RFC 5321, 4.5.3.1.1: 64 before the @. */
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define LOCAL                                                                                    \
    "(?:" ATOM "{1,64}|" ATOM "{1,31}\\." ATOM "{1,31}|" ATOM "{1,12}(?:\\." ATOM "{1,12}){2,4})"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" BYTE "\\." BYTE "\\." BYTE "\\." BYTE ")"
#define URI_CHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"

static const struct { const char *name, *regex; } formats[] = {
    {"date-time", DATE "T" TIME},
    {"date", DATE},
    {"time", TIME},
    {"duration",
     "P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|"
     "[0-9]{1,4}D)(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|"
     "[0-9]{1,4}S))?|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|"
     "[0-9]{1,4}S))"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"email", LOCAL "@(?:" LABEL "(?:\\." LABEL "){1,2}|" SHORT "(?:\\." SHORT "){3,8})"},
    {"hostname", HOSTNAME},
    {"ipv4", BYTE "\\." BYTE "\\." BYTE "\\." BYTE},
    {"ipv6",
     "(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32
     "|(?:(?:" H16 ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32
     "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32
     "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32
     "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16 ")?::"},
    {"uri", "[A-Za-z][A-Za-z0-9+.-]{0,30}://(?:" URI_CHAR "{1,256})(?:\\?(?:" URI_CHAR "|\\?)*)?"
            "(?:#(?:" URI_CHAR "|\\?)*)?"},
    {"json-pointer", "(?:/(?:[^~/]|~[01])*)*"},
};
/* They say how a string is used, or are about numbers (OpenAPI): nothing to enforce. */
static const char *const annotations[] = {"password", "binary", "byte", "int32", "int64", "float",
                                          "double"};

const struct expr *schema_format(struct schema *x, const char *name, int flags)
{
    for (size_t i = 0; i < ARRAY_LEN(annotations); i++)
        if (strcmp(annotations[i], name) == 0)
            return NULL;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return regex_parse(x->a, formats[i].regex, strlen(formats[i].regex),
                               flags & REGEX_JSON);
    return schema_fault(x, E_UNSUPPORTED, "format: \"%.40s\" cannot be enforced", name);
}
