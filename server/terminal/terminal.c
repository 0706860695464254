/* recurd run: the loop of questions, answers and commands. */
#include "server/terminal/terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/jsonread.h"
#include "base/limits.h"
#include "base/mem.h"
#include "server/process/options.h"
#include "server/terminal/dialogue.h"
#include "server/terminal/own.h"

#define LINE_BYTES MIB(1)
#define REPLY_BYTES MIB(16)
#define USAGE_EXIT 2

static volatile sig_atomic_t stop;

struct terminal {
    struct options o;
    struct own own;
    struct talk talk;
    struct dialogue d;
    char model[300];
    struct buf input;  /* read and not yet used */
    struct buf answer; /* of the current turn */
    bool thinking, colour;
    char error[384];   /* an error event of the stream */
};

static void on_sigint(int sig)
{
    (void)sig;
    stop = 1;
}

/* A model must not steer the terminal: control characters but line ends and tabs are left out. */
static void show(const json_t *text)
{
    const char *s = json_string_value(text), *end = s ? s + json_string_length(text) : s;
    for (; s < end; s++) {
        unsigned char c = (unsigned char)s[0], next = (unsigned char)s[1];
        if (c == 0xC2 && next >= 0x80 && next < 0xA0)
            s++; /* those of ISO 8859 */
        else if ((c >= 0x20 && c != 0x7F) || c == '\n' || c == '\t')
            putchar(c);
    }
}

static void complain(const char *text)
{
    fflush(stdout);
    fputs("recurd: ", stderr);
    fprintf(stderr, "%s\n", text);
}

/* ---- answers ---- */

static void show_part(struct terminal *t, const json_t *text, bool thought)
{
    if (json_string_length(text) == 0)
        return;
    if (thought != t->thinking) {
        const char *begin = t->colour ? "\033[2m" : "(thinking) ";
        fputs(thought ? begin : t->colour ? "\033[0m\n" : "\n", stdout);
        t->thinking = thought;
    }
    show(text);
    fflush(stdout);
}

static const char *error_of(const json_t *root)
{
    return json_string_value(json_object_get(json_object_get(root, "error"), "message"));
}

static int on_event(void *arg, const char *data, size_t n)
{
    struct terminal *t = arg;
    if (strcmp(data, "[DONE]") == 0)
        return 0;
    json_t *root = jsonread(data, n, JSON_ALLOW_NUL, NULL);
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *text = json_object_get(delta, "content");
    int rc = root ? 0 : E_FORMAT;
    if (error_of(root))
        snprintf(t->error, sizeof t->error, "%s", error_of(root));
    show_part(t, json_object_get(delta, "reasoning_content"), true);
    show_part(t, text, false);
    if (json_is_string(text))
        rc = buf_add(&t->answer, json_string_value(text), json_string_length(text));
    json_decref(root);
    return rc;
}

/* A reply that is not a success, as a sentence. */
static void refused(int status, const struct buf *out, struct err *e)
{
    json_t *root = jsonread(out->p ? out->p : "", out->len, 0, NULL);
    const char *why = error_of(root);
    err_set(e, E_DENIED, "status %d: %s", status, why ? why : "no reason given");
    json_decref(root);
}

/* Asks for the answer to the last message and shows it as it comes. */
static int answer(struct terminal *t, struct err *e)
{
    struct buf out;
    json_t *body = json_pack("{s:s, s:b, s:O}", "model", t->model, "stream", 1, "messages",
                             dialogue_messages(&t->d));
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    buf_init(&out, REPLY_BYTES);
    buf_clear(&t->answer);
    t->error[0] = '\0';
    t->thinking = false;
    int rc = text ? talk_ask(&t->talk, "POST", "/v1/chat/completions", text, on_event, t, &out, e)
                  : err_set(e, E_NOMEM, "no memory for the request");
    if (rc >= 300)
        refused(rc, &out, e);
    else if (rc > 0 && t->error[0])
        err_set(e, E_IO, "%s", t->error);
    else if (rc < 0 && !e->code)
        err_set(e, rc, "the answer could not be read");
    if (t->thinking && t->colour)
        fputs("\033[0m", stdout);
    free(text);
    json_decref(body);
    buf_free(&out);
    return e->code;
}

/* One question. What was answered until Ctrl-C stays; a question without answer does not. */
static int turn(struct terminal *t, const char *text, struct err *e)
{
    struct err why = {0};
    if (dialogue_add(&t->d, "user", text, strlen(text), e))
        return e->code;
    int rc = answer(t, &why);
    putchar('\n');
    if (rc == E_CLOSED)
        puts("(stopped)");
    else if (rc)
        err_set(e, rc, "%s", why.text);
    struct err kept = {0};
    rc = t->answer.len ? dialogue_add(&t->d, "assistant", t->answer.p, t->answer.len, &kept)
                       : dialogue_rewind(&t->d, 1, &kept);
    if (rc && !e->code)
        err_set(e, rc, "%s", kept.text);
    return e->code;
}

/* ---- commands ---- */

static int help(struct terminal *t, const char *arg, struct err *e);

static int fork_here(struct terminal *t, const char *arg, struct err *e)
{
    (void)arg;
    size_t from = t->d.now + 1;
    int n = dialogue_fork(&t->d, e);
    if (n > 0)
        printf("(branch %d, a copy of %zu; /switch %zu goes back)\n", n, from, from);
    return n < 0 ? n : 0;
}

static bool number(const char *arg, long dflt, long *out)
{
    char *end;
    if (!*arg && dflt) {
        *out = dflt;
        return true;
    }
    errno = 0;
    *out = strtol(arg, &end, 10);
    return *arg && !*end && !errno;
}

static int go_to(struct terminal *t, const char *arg, struct err *e)
{
    long n;
    if (!number(arg, 0, &n))
        return err_set(e, E_FORMAT, "/switch: \"%.60s\" is not the number of a branch", arg);
    int rc = dialogue_switch(&t->d, n, e);
    if (!rc)
        printf("(branch %ld, %zu messages)\n", n, json_array_size(dialogue_messages(&t->d)));
    return rc;
}

static int take_back(struct terminal *t, const char *arg, struct err *e)
{
    long n;
    if (!number(arg, 1, &n))
        return err_set(e, E_FORMAT, "/rewind: \"%.60s\" is not a number of turns", arg);
    int rc = dialogue_rewind(&t->d, n, e);
    if (!rc)
        printf("(%zu messages are left)\n", json_array_size(dialogue_messages(&t->d)));
    return rc;
}

static int save(struct terminal *t, const char *arg, struct err *e)
{
    if (!*arg)
        return err_set(e, E_FORMAT, "/save: the name of a file is missing");
    int rc = dialogue_save(&t->d, t->model, arg, e);
    if (!rc)
        printf("(saved to %s)\n", arg);
    return rc;
}

static int history(struct terminal *t, const char *arg, struct err *e)
{
    (void)arg;
    (void)e;
    size_t i;
    json_t *m;
    json_array_foreach(dialogue_messages(&t->d), i, m) {
        printf("%s: ", json_string_value(json_object_get(m, "role")));
        show(json_object_get(m, "content"));
        putchar('\n');
    }
    return 0;
}

static const struct command {
    const char *name, *arg, *help;
    int (*run)(struct terminal *t, const char *arg, struct err *e);
} commands[] = {
    {"/fork", "", "goes on in a copy of the conversation", fork_here},
    {"/switch", "N", "goes to branch N", go_to},
    {"/rewind", "[N]", "takes back the last N questions and answers", take_back},
    {"/history", "", "shows what was said", history},
    {"/save", "FILE", "writes model and messages as JSON", save},
    {"/help", "", "this list", help},
    {"/exit", "", "ends, as Ctrl-D does", NULL},
};

static int help(struct terminal *t, const char *arg, struct err *e)
{
    (void)t;
    (void)arg;
    (void)e;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-9s%-6s%s\n", commands[i].name, commands[i].arg, commands[i].help);
    puts("  Ctrl-C         stops an answer; what there is of it stays");
    return 0;
}

/* Whether to go on. */
static bool handle(struct terminal *t, char *line)
{
    struct err e = {0};
    size_t n = strcspn(line, " ");
    const char *arg = line + n + strspn(line + n, " ");
    size_t i = 0;
    while (i < ARRAY_LEN(commands) && (strlen(commands[i].name) != n ||
                                       memcmp(commands[i].name, line, n) != 0))
        i++;
    if (line[0] != '/')
        (void)turn(t, line, &e); /* e tells */
    else if (i == ARRAY_LEN(commands))
        err_set(&e, E_NOENT, "there is no command %.60s; /help lists them", line);
    else if (!commands[i].run)
        return false;
    else
        (void)commands[i].run(t, arg, &e);
    if (e.code)
        complain(e.text);
    return true;
}

/* ---- the loop ---- */

/* The next line, without its end; out is cleared first. 0 at the end of the input; E_CLOSED:
 * Ctrl-C; else 1. */
static int next_line(struct terminal *t, struct buf *out, struct err *e)
{
    char piece[4096];
    buf_clear(out);
    for (;;) {
        const char *end = t->input.len ? memchr(t->input.p, '\n', t->input.len) : NULL;
        size_t n = end ? (size_t)(end - t->input.p) : 0;
        if (end) {
            int rc = buf_add(out, t->input.p, n);
            buf_drop_front(&t->input, n + 1);
            return rc ? err_set(e, rc, "no memory for a line of %zu bytes", n) : 1;
        }
        int rc = talk_wait(&t->talk, STDIN_FILENO, e);
        if (rc)
            return rc;
        ssize_t got = read(STDIN_FILENO, piece, sizeof piece);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0) /* a last line without its end counts */
            return t->input.len && !buf_ch(&t->input, '\n') ? next_line(t, out, e) : 0;
        if (buf_add(&t->input, piece, (size_t)got))
            return err_set(e, E_RANGE, "a line is longer than %d MiB", 1);
    }
}

static int loop(struct terminal *t, struct err *e)
{
    struct buf line;
    bool on = true;
    buf_init(&line, LINE_BYTES);
    while (on) {
        struct err why = {0};
        stop = 0;
        fputs("> ", stdout);
        fflush(stdout);
        int rc = next_line(t, &line, &why);
        if (rc == E_CLOSED) {
            puts("\n(/exit or Ctrl-D ends)");
            buf_clear(&t->input);
        } else if (rc < 0) {
            err_set(e, rc, "%s", why.text);
            on = false;
        } else if (rc == 0) {
            putchar('\n');
            on = false;
        } else if (line.len && memchr(line.p, '\0', line.len)) {
            complain("a line with a zero byte is no text");
        } else if (line.len) {
            on = handle(t, line.p);
        }
    }
    buf_free(&line);
    return e->code;
}

/* ---- start ---- */

/* The model's name; also whether a daemon answers at all. */
static int ask_name(struct terminal *t, struct err *e)
{
    struct buf out;
    buf_init(&out, REPLY_BYTES);
    int status = talk_ask(&t->talk, "GET", "/v1/models", NULL, NULL, NULL, &out, e);
    if (status > 0 && status != 200) {
        refused(status, &out, e);
    } else if (status == 200) {
        json_t *root = jsonread(out.p ? out.p : "", out.len, 0, NULL);
        const char *id = json_string_value(
            json_object_get(json_array_get(json_object_get(root, "data"), 0), "id"));
        if (!id || strlen(id) >= sizeof t->model)
            err_set(e, E_FORMAT, "the daemon does not say which model it serves");
        else
            memcpy(t->model, id, strlen(id) + 1);
        json_decref(root);
    }
    buf_free(&out);
    return e->code;
}

/* The running one if no model was named and one answers; else one of its own. */
static int connect_daemon(struct terminal *t, char *const *flags, struct err *e)
{
    struct err none = {0};
    if (!t->o.model && !talk_open(&t->talk, t->o.listen, &none) &&
        ask_name(t, &none) != E_IO) {
        if (none.code)
            err_set(e, none.code, "%s: %s", t->o.listen, none.text);
        return e->code;
    }
    if (own_start(&t->own, &t->talk, flags, e))
        return e->code;
    return ask_name(t, e);
}

/* "run MODEL FLAGS" as flags of the daemon; NULL-terminated, freed by the caller. */
static char **flags_of(int argc, char **argv)
{
    static char name[] = "recurd", model[] = "--model";
    char **flags = mem_array((size_t)argc + 3, sizeof *flags);
    int n = 0, i = 0;
    if (!flags)
        return NULL;
    flags[n++] = name;
    if (argc > 0 && argv[0][0] != '-') {
        flags[n++] = model;
        flags[n++] = argv[i++];
    }
    while (i < argc)
        flags[n++] = argv[i++];
    flags[n] = NULL;
    return flags;
}

static int chat(struct terminal *t, char *const *flags, struct err *e)
{
    struct sigaction on = {.sa_handler = on_sigint};
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, NULL);
    sigaction(SIGINT, &on, NULL);
    t->talk.stop = &stop;
    t->colour = isatty(STDOUT_FILENO) == 1;
    const char *key = getenv("RECURD_API_KEY");
    t->talk.key = key && *key && !strpbrk(key, "\r\n") ? key : NULL;
    if (dialogue_open(&t->d, e) || connect_daemon(t, flags, e))
        return e->code;
    printf("%s; /help lists the commands\n", t->model);
    return loop(t, e);
}

int terminal_main(int argc, char **argv)
{
    struct terminal t = {0};
    struct err e = {0};
    char **flags = flags_of(argc, argv);
    int n = 0, code = 0;
    while (flags && flags[n])
        n++;
    buf_init(&t.input, LINE_BYTES);
    buf_init(&t.answer, REPLY_BYTES);
    if (!flags || options_parse(&t.o, n, flags, &e)) {
        complain(flags ? e.text : "no memory for the flags");
        code = USAGE_EXIT;
    } else if (t.o.action != OPTIONS_SERVE) {
        complain("run: this flag is one of recurd alone");
        code = USAGE_EXIT;
    } else if (chat(&t, flags + 1, &e)) {
        complain(e.text);
        code = t.own.exit_code ? t.own.exit_code : 1;
    }
    own_stop(&t.own);
    dialogue_close(&t.d);
    buf_free(&t.input);
    buf_free(&t.answer);
    options_fini(&t.o);
    mem_free(flags);
    return code;
}
