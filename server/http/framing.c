/* One function a state; each looks at one byte. */
#include "server/http/framing.h"

#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "server/http/origin.h"

enum state {
    START, START_LF, METHOD, TARGET, VERSION, LINE_LF, /* the request line */
    FIELD, NAME, VALUE, VALUE_LF, END_LF,              /* headers, or a trailer */
    BODY,
    CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_LF, CHUNK, CHUNK_CR, CHUNK_END_LF,
};

void framing_init(struct framing *f) { *f = (struct framing){.state = START}; }

bool framing_idle(const struct framing *f) { return f->state == START && !f->n_head; }

static void fault(struct framing *f, enum apierr why, const char *sentence)
{
    f->fault = sentence;
    f->why = why;
}

static void bad(struct framing *f, const char *sentence)
{
    fault(f, APIERR_BAD_REQUEST, sentence);
}

static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_control(unsigned char c) { return c < 0x20 || c == 0x7f; }

/* ---- the request line: method SP target SP version CR LF ---- */

static void part_ends(struct framing *f, enum state next)
{
    f->n_part = 0;
    f->state = (uint8_t)next;
}

static void on_method(struct framing *f, unsigned char c)
{
    if (c == ' ' && f->n_part)
        part_ends(f, TARGET);
    else if (!is_token(c) || ++f->n_part > LIMIT_METHOD_BYTES)
        bad(f, "the request line is malformed");
}

static void on_target(struct framing *f, unsigned char c)
{
    if (c == ' ' && f->n_part) {
        part_ends(f, VERSION);
        return;
    }
    if (c == ' ' || is_control(c))
        bad(f, f->n_part ? "the path has a control byte" : "the request line is malformed");
    else if (f->n_part == 0 ? c != '/' && c != '*' : f->is_star)
        bad(f, "the request line does not name a path");
    else if (++f->n_part > LIMIT_TARGET_BYTES)
        fault(f, APIERR_TARGET, "the path is longer than this server reads");
    f->is_star |= f->n_part == 1 && c == '*';
}

static void on_version(struct framing *f, unsigned char c)
{
    static const char start[] = "HTTP/1.";
    if (f->n_part < 7 ? c == (unsigned char)start[f->n_part]
                      : f->n_part == 7 && (c == '0' || c == '1')) {
        f->http11 = c == '1';
        f->n_part++;
    } else if (f->n_part == 8 && c == '\r') {
        part_ends(f, LINE_LF);
    } else {
        bad(f, "the request line does not end in HTTP/1.1 or HTTP/1.0 and CR LF");
    }
}

/* ---- headers and trailers: name ":" value CR LF … CR LF ---- */

static void name_ends(struct framing *f)
{
    /* Only names that fit can be one of those below. */
    f->name[MIN(f->n_name, FRAMING_NAME_BYTES - 1)] = '\0';
    if (f->n_name >= FRAMING_NAME_BYTES)
        f->name[0] = '\0';
    f->n_value = 0;
    f->state = VALUE;
}

static void on_name(struct framing *f, unsigned char c)
{
    if (c == ':') {
        name_ends(f);
        return;
    }
    if (!is_token(c)) {
        bad(f, "a header name has a byte that names may not have, or no colon");
        return;
    }
    if (f->n_name < FRAMING_NAME_BYTES)
        f->name[f->n_name++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* Content-Length: digits only. */
static void length_ends(struct framing *f, const char *value, size_t n)
{
    if (++f->lengths > 1)
        bad(f, "two Content-Length headers");
    else if (n == 0 || strspn(value, "0123456789") != n)
        bad(f, "Content-Length is not a number");
    else if (n > 18)
        fault(f, APIERR_TOO_LARGE, "Content-Length is larger than any body that is read");
    f->length = 0;
    for (size_t i = 0; !f->fault && i < n; i++)
        f->length = f->length * 10 + (uint64_t)(value[i] - '0');
}

static void value_ends(struct framing *f)
{
    bool length = strcmp(f->name, "content-length") == 0;
    bool encoding = strcmp(f->name, "transfer-encoding") == 0;
    bool host = strcmp(f->name, "host") == 0;
    f->state = VALUE_LF;
    if (!length && !encoding && !host)
        return;
    if (f->trailer) {
        bad(f, "a trailer has a header that says how a message is read");
        return;
    }
    if (f->n_value >= FRAMING_VALUE_BYTES) {
        bad(f, "Host, Content-Length or Transfer-Encoding is too long");
        return;
    }
    f->value[f->n_value] = '\0';
    const char *value = f->value + strspn(f->value, " \t");
    if (length)
        length_ends(f, value, strlen(value));
    else if (host && ++f->hosts > 1)
        bad(f, "two Host headers");
    else if (host && !host_is_well_formed(value))
        bad(f, "Host is not a name or address, and a port");
    else if (encoding && ++f->encodings > 1)
        bad(f, "two Transfer-Encoding headers");
    else if (encoding && (strlen(value) != 7 || strncasecmp(value, "chunked", 7) != 0))
        bad(f, "Transfer-Encoding is not exactly \"chunked\"");
}

static void on_value(struct framing *f, unsigned char c)
{
    if (c == '\r')
        value_ends(f);
    else if (is_control(c) && c != '\t')
        bad(f, c == '\n' ? "a header line ends in a bare LF" : "a header value has a control byte");
    else if (f->n_value < FRAMING_VALUE_BYTES)
        f->value[f->n_value++] = (char)c;
}

static void on_field(struct framing *f, unsigned char c)
{
    if (c == '\r') {
        f->state = END_LF;
    } else if (c == '\n') {
        bad(f, "a header line ends in a bare LF");
    } else if (c == ' ' || c == '\t') {
        bad(f, "a header line is folded");
    } else if (++f->n_headers > LIMIT_HEADERS) {
        fault(f, APIERR_HEADERS, "there are more headers than this server reads");
    } else if (c == ':') {
        bad(f, "a header has no name");
    } else {
        f->n_name = 0;
        f->state = NAME;
        on_name(f, c);
    }
}

static void message_ends(struct framing *f)
{
    *f = (struct framing){.state = START, .messages = f->messages + 1};
}

/* The head, or the trailer, has ended. */
static void on_end(struct framing *f)
{
    if (f->trailer) {
        message_ends(f);
        return;
    }
    if (f->lengths && f->encodings)
        bad(f, "both Content-Length and Transfer-Encoding");
    else if (f->encodings && !f->http11)
        bad(f, "Transfer-Encoding in HTTP/1.0");
    else if (f->http11 && f->hosts == 0)
        bad(f, "HTTP/1.1 without a Host header");
    if (f->fault)
        return;
    f->left = f->length;
    f->n_digits = 0;
    if (f->encodings)
        f->state = CHUNK_SIZE;
    else if (f->left)
        f->state = BODY;
    else
        message_ends(f);
}

/* ---- chunks: size [; extension] CR LF data CR LF … 0 CR LF trailer CR LF ---- */

static int hex(unsigned char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void on_size(struct framing *f, unsigned char c)
{
    int digit = hex(c);
    if (digit >= 0) {
        f->left = f->n_digits ? f->left * 16 + (uint64_t)digit : (uint64_t)digit;
        if (++f->n_digits > 8)
            fault(f, APIERR_TOO_LARGE, "a chunk is larger than any body that is read");
    } else if (f->n_digits && (c == '\r' || c == ';')) {
        f->n_extension = 0;
        f->state = c == ';' ? CHUNK_EXTENSION : CHUNK_LF;
    } else {
        bad(f, "the size of a chunk is not a hexadecimal number and CR LF");
    }
}

static void on_extension(struct framing *f, unsigned char c)
{
    if (c == '\r')
        f->state = CHUNK_LF;
    else if ((is_control(c) && c != '\t') || ++f->n_extension > LIMIT_CHUNK_EXTENSION)
        bad(f, "the extension of a chunk is malformed or too long");
}

static void on_chunk_lf(struct framing *f)
{
    f->state = CHUNK;
    f->n_digits = 0;
    if (f->left)
        return;
    f->state = FIELD;
    f->trailer = true;
    f->n_head = f->n_headers = 0;
}

static void expect(struct framing *f, unsigned char c, char want, enum state next)
{
    f->state = (uint8_t)next;
    if (c != (unsigned char)want)
        bad(f, want == '\n' ? "a CR without LF" : "the data of a chunk is longer than its size");
}

/* Lines that are empty before a request are read over, as RFC 9112 2.2 has it. */
static void on_start(struct framing *f, unsigned char c)
{
    if (c == '\r') {
        f->state = START_LF;
        return;
    }
    f->state = METHOD;
    on_method(f, c);
}

static void on_byte(struct framing *f, unsigned char c)
{
    if (f->state < BODY && ++f->n_head > LIMIT_HEADER_BYTES) {
        fault(f, APIERR_HEADERS, "the headers are longer than this server reads");
        return;
    }
    switch ((enum state)f->state) {
    case START: on_start(f, c); break;
    case START_LF: expect(f, c, '\n', START); break;
    case METHOD: on_method(f, c); break;
    case TARGET: on_target(f, c); break;
    case VERSION: on_version(f, c); break;
    case LINE_LF: expect(f, c, '\n', FIELD); break;
    case FIELD: on_field(f, c); break;
    case NAME: on_name(f, c); break;
    case VALUE: on_value(f, c); break;
    case VALUE_LF: expect(f, c, '\n', FIELD); break;
    case END_LF:
        expect(f, c, '\n', START);
        if (!f->fault)
            on_end(f);
        break;
    case CHUNK_SIZE: on_size(f, c); break;
    case CHUNK_EXTENSION: on_extension(f, c); break;
    case CHUNK_LF:
        expect(f, c, '\n', CHUNK);
        if (!f->fault)
            on_chunk_lf(f);
        break;
    case CHUNK_CR: expect(f, c, '\r', CHUNK_END_LF); break;
    case CHUNK_END_LF: expect(f, c, '\n', CHUNK_SIZE); break;
    case BODY:
    case CHUNK: break; /* taken in runs */
    }
}

/* How many of n bytes are data. */
static size_t data(struct framing *f, size_t n)
{
    size_t k = (size_t)MIN((uint64_t)n, f->left);
    f->left -= k;
    if (f->left == 0 && f->state == CHUNK)
        f->state = CHUNK_CR;
    else if (f->left == 0)
        message_ends(f);
    return k;
}

size_t framing_feed(struct framing *f, const char *p, size_t n)
{
    size_t begin = 0;
    for (size_t i = 0; i < n;) {
        if (framing_idle(f))
            begin = i;
        if (f->state == BODY || f->state == CHUNK)
            i += data(f, n - i);
        else
            on_byte(f, (unsigned char)p[i++]);
        if (f->fault)
            return begin;
    }
    return n;
}
