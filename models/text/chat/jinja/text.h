/* Strings that know where their bytes come from.
 *
 * A string is UTF-8 plus an origin for every byte: the template itself, or one of the sources the
 * client gave. Operations keep origins: a slice has its bytes' origins, a concatenation both
 * parts', an upper-cased character that of the character it was. Most strings have one origin and
 * no table of marks. Positions and lengths of the language are characters (code points). */
#ifndef RECURD_JINJA_TEXT_H
#define RECURD_JINJA_TEXT_H

#include "base/base.h"

struct run;

/* 0 = the template's own bytes; everything else is the client's. */
typedef uint16_t origin_t;

/* Bytes up to `end` that the mark before did not cover. */
struct mark {
    uint32_t end;
    origin_t origin;
};

struct text {
    const char *p;            /* not NUL-terminated */
    uint32_t n;               /* bytes */
    uint32_t chars;           /* code points */
    const struct mark *marks; /* NULL: every byte has `origin` */
    uint32_t n_marks;
    origin_t origin;
    bool safe;                /* Markup: adding to it escapes HTML */
};

/* Growing text in a run's arena. A failure is the run's. */
struct builder {
    struct run *r;
    char *p;
    size_t n, cap, max;
    struct mark *marks;
    size_t n_marks, cap_marks;
    bool safe;
};

void text_build(struct builder *b, struct run *r);
void put_bytes(struct builder *b, const char *p, size_t n, origin_t origin);
void put_cstr(struct builder *b, const char *s); /* of the template's origin */
void put_text(struct builder *b, const struct text *t);
/* Bytes from … to of t. */
void put_part(struct builder *b, const struct text *t, size_t from, size_t to);
void put_char(struct builder *b, uint32_t code, origin_t origin);
void put_fill(struct builder *b, char c, size_t n);
const struct text *text_built(struct builder *b); /* NULL = the run has failed */

/* A text of these bytes; they are not copied. NULL = failed, as everywhere here. */
const struct text *text_of(struct run *r, const char *p, size_t n, origin_t origin);
const struct text *text_copy(struct run *r, const char *p, size_t n, origin_t origin);
const struct text *text_str(struct run *r, const char *s); /* a literal */
const struct text *text_part(struct run *r, const struct text *t, size_t from, size_t to);
const struct text *text_join(struct run *r, const struct text *a, const struct text *b);

origin_t text_origin(const struct text *t, size_t byte);
size_t text_byte(const struct text *t, size_t character); /* its first byte; n at the end */
bool text_is(const struct text *t, const char *s);
bool text_same(const struct text *a, const struct text *b);
int text_compare(const struct text *a, const struct text *b);
/* First occurrence of x at or after byte `from`; SIZE_MAX = none. rfind: the last before `to`. */
size_t text_find(const struct text *t, const struct text *x, size_t from);
size_t text_rfind(const struct text *t, const struct text *x, size_t to);

/* Characters: *at moves behind the one that is read. */
uint32_t next_char(const char *p, size_t n, size_t *at);
size_t prev_char(const char *p, size_t at); /* first byte of the one before */
size_t count_chars(const char *p, size_t n);
bool is_blank(uint32_t c);  /* str.isspace */
bool is_line_end(uint32_t c); /* str.splitlines */
bool is_printable(uint32_t c);
enum char_class { CHAR_ALPHA = 1, CHAR_DECIMAL = 2, CHAR_DIGIT = 4, CHAR_UPPER = 8,
                  CHAR_LOWER = 16, CHAR_NUMERIC = 32, CHAR_TITLE = 64 };
unsigned char_class(uint32_t c);

enum letter_case { TO_LOWER, TO_UPPER, TO_TITLE, SWAP, FOLD };
void put_case(struct builder *b, uint32_t c, enum letter_case to, origin_t origin);

#endif
