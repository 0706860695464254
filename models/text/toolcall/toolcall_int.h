/* What the files of models/text/toolcall share: not for others. */
#ifndef RECURD_TOOLCALL_INT_H
#define RECURD_TOOLCALL_INT_H

#include <jansson.h>

#include "models/text/toolcall/toolcall.h"

enum form_result {
    FORM_CALLS, /* appended, each an object {"name", "arguments": text, "id"?} */
    FORM_MORE,  /* the closing marker stood inside of a value: a later one may fit */
    FORM_BAD,   /* no call */
};

struct form_tags; /* how a form with tags spells them */

/* The text between the markers. Names are checked against s. */
typedef enum form_result form_reader(const char *p, size_t n, const struct form_tags *tags,
                                     const struct toolset *s, json_t *out);

struct form_tags {
    const char *call, *call_name_end, *call_end; /* <function= … > … </function> */
    const char *key, *key_end, *value_end;       /* <parameter= … > … </parameter> */
};

enum form_args {
    ARGS_CALL,   /* {"name": …, key: {…}}: the whole call is an object */
    ARGS_JSON,   /* an object behind the name */
    ARGS_TAGS,   /* each between the tags */
    ARGS_PYTHON, /* key=value, … */
};

/* What is written between open and close: begin, calls with `between` between them, finish. A call:
 * lead, name, name_end, arguments, tail; of ARGS_CALL the object. Markers in the texts are tokens
 * where the vocabulary has them; # is a number. */
struct form_write {
    enum form_args args;
    const char *begin, *lead, *name_end, *tail, *finish; /* NULL = nothing */
    const char *between; /* NULL = each call is opened and closed by itself */
    const char *key;     /* of ARGS_CALL: "arguments" or "parameters" */
    const char *pad;     /* of ARGS_TAGS: on both sides of a value */
    bool bare;           /* begin and finish may be missing */
};

struct toolcall_dialect {
    const char *name;
    const char *sign[2];      /* in the template, both; NULL = no more */
    const char *open, *close; /* open "": the whole text; close NULL: the text's end */
    const char *inner[3];     /* further markers */
    const char *starts;       /* the body's first bytes behind white space: one of these */
    form_reader *read;
    struct form_tags tags;
    struct form_write write;
};

/* A call that is read while it is written (early.c). All zero: at its body's beginning, or between
 * two. */
enum early_at {
    EARLY_HEAD,   /* before a call's name */
    EARLY_JSON,   /* in arguments that are an object */
    EARLY_KEY,    /* before an argument's name */
    EARLY_TEXT,   /* in an argument that is text, between tags */
    EARLY_STRING, /* … that is a string of Python */
    EARLY_VALUE,  /* … that is anything else, and leaves as a whole */
};
struct early {
    enum early_at at;
    int calls;               /* that have begun in this body */
    bool begun;              /* one has, and has not ended */
    bool any;                /* it has an argument */
    bool lead;               /* EARLY_TEXT: nothing was read of it */
    const json_t *arguments; /* of the function, as toolset_arguments */
    size_t seen;             /* EARLY_VALUE: held bytes before it were scanned, */
    int depth;               /* up to here in so many brackets, */
    char quote;              /* and in a string that this ends; 0 = in none */
    bool escaped;            /* behind its backslash */
};

enum place { LEAD, BETWEEN, TEXT, THINK, CALL, OVER };

struct toolcall {
    struct toolcall_options o;
    enum place place;
    struct buf held;
    size_t looked; /* in CALL: no closing marker begins before it */
    /* In CALL, where nothing closes calls and one is enough: held bytes before `scanned` were seen;
     * the place is in so many brackets, and in a string. */
    size_t scanned;
    int depth;
    bool quoted;
    int closes;    /* tried */
    struct early early;
    int code;
};

/* ---- reader.c ---- */
void toolcall_emit(struct toolcall *t, enum toolcall_kind kind, const char *p, size_t n,
                   const char *id);
/* The first n held bytes are that. */
void toolcall_pass(struct toolcall *t, enum toolcall_kind kind, size_t n);
/* Behind what was a call, or was none, in CALL: what follows is looked at as `next` has it. */
void toolcall_leave(struct toolcall *t, enum place next);
/* ---- early.c ---- */
/* In CALL, with options.early: one decision; false: more bytes are needed for the next. */
bool early_step(struct toolcall *t, bool end);
void early_finish(struct toolcall *t); /* the text has ended */

enum look { NO, YES, MAYBE };
/* Whether text begins at `at` <= n; MAYBE: it may when more is there, which `end` rules out. */
enum look form_look(const char *p, size_t n, size_t at, const char *text, bool end);
/* How many bytes at the end of p[n] begin text without completing it. */
size_t form_overlap(const char *p, size_t n, const char *text);

form_reader form_json, form_named_json, form_tagged, form_python, form_kimi;

/* One call; false: nobody offered it, its arguments are no JSON object, or no memory. */
bool form_add(json_t *out, const struct toolset *s, const char *name, size_t n_name,
              const char *arguments, size_t n, const char *id, size_t n_id);
/* Of an id of Kimi's, functions.name:0, the name. False: none. */
bool form_kimi_name(const char *id, size_t n, const char **name, size_t *n_name);
/* A value between tags: text, or JSON and otherwise text. NULL: no UTF-8, or no memory. */
json_t *form_tag_value(const char *p, size_t n, bool text);
/* Python: the length of a name; a string's next character (an escape is one), as JSON, its length
 * (0: cut); a value as JSON, false: it is none. */
size_t form_word(const char *p, size_t n);
size_t form_python_char(const char *p, size_t n, struct buf *out);
bool form_python_value(const char *p, size_t n, struct buf *out);

/* Whether a schema is of strings and nothing else. */
bool toolset_text_type(const json_t *schema);
json_t *toolset_function(const json_t *tool); /* NULL = it is none */
/* Whether that argument of that function is a string whatever it looks like. */
/* {argument: true where it is a string} of that function; NULL: nobody offered it. Borrowed. */
const json_t *toolset_arguments(const struct toolset *s, const char *name, size_t n_name);
bool toolset_is_text(const struct toolset *s, const char *name, size_t n_name, const char *key,
                     size_t n_key);

static inline bool form_is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
/* Where white space that begins at i ends. */
static inline size_t form_space(const char *p, size_t n, size_t i)
{
    while (i < n && form_is_space(p[i]))
        i++;
    return i;
}
/* p[i…] begins with text. */
bool form_at(const char *p, size_t n, size_t i, const char *text);
/* Where text is found at or behind i; n = nowhere. */
size_t form_find(const char *p, size_t n, size_t i, const char *text);
/* The end of the JSON value at i, judged by brackets and quotes alone; FORM_MORE: it ends within
 * a string. */
enum form_result form_value(const char *p, size_t n, size_t i, size_t *end);
/* Whether the text is one JSON value of limited depth; object: an object. */
bool form_is_json(const char *p, size_t n, bool object);

#endif
