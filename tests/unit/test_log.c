/* The log: what reaches standard error, byte by byte. */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/utf8.h"

/* Standard error goes to an unlinked file from here on; each test has its own process. */
static int redirect(void)
{
    char path[] = "/tmp/test_log.XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    unlink(path);
    /* Appending: every write(2) lands at the end, as with a pipe or the journal. */
    cr_assert_eq(fcntl(fd, F_SETFL, O_APPEND), 0);
    cr_assert_geq(dup2(fd, STDERR_FILENO), 0);
    return fd;
}

static size_t contents(int fd, char *text, size_t size)
{
    ssize_t n = pread(fd, text, size - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = 0;
    return (size_t)n;
}

Test(log, lines_carry_time_and_level_on_a_terminal)
{
    unsetenv("JOURNAL_STREAM");
    int fd = redirect();
    log_error("%d of %d", 3, 4);
    char text[200];
    contents(fd, text, sizeof text);
    int h, m, s, used = 0;
    cr_assert_eq(sscanf(text, "%2d:%2d:%2d error 3 of 4\n%n", &h, &m, &s, &used), 3);
    cr_assert_eq((size_t)used, strlen(text), "got: %s", text);
    cr_assert_eq(text[8], ' ');
}

static void journal_is(int fd)
{
    struct stat st;
    char name[64];
    cr_assert_eq(fstat(fd, &st), 0);
    snprintf(name, sizeof name, "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
    setenv("JOURNAL_STREAM", name, 1);
}

Test(log, the_journal_gets_priorities_instead_of_time)
{
    int fd = redirect();
    journal_is(fd);
    log_set_level(LOG_DEBUG);
    log_error("a");
    log_warn("b");
    log_info("c");
    log_debug("d");
    char text[200];
    contents(fd, text, sizeof text);
    cr_assert_str_eq(text, "<3>a\n<4>b\n<6>c\n<7>d\n");
}

Test(log, an_inherited_journal_variable_of_another_stream_does_not_count)
{
    int fd = redirect();
    setenv("JOURNAL_STREAM", "1:2", 1);
    log_error("x");
    char text[200];
    contents(fd, text, sizeof text);
    cr_assert_neq(text[0], '<');
}

Test(log, a_level_hides_what_is_below_it)
{
    int fd = redirect();
    journal_is(fd);
    log_debug("hidden by default");
    log_set_level(LOG_WARN);
    log_info("hidden");
    log_warn("shown");
    log_set_level(LOG_ERROR);
    log_warn("hidden");
    char text[200];
    contents(fd, text, sizeof text);
    cr_assert_str_eq(text, "<4>shown\n");
}

Test(log, level_names_are_exact)
{
    cr_assert_eq(log_level_parse("error"), LOG_ERROR);
    cr_assert_eq(log_level_parse("warn"), LOG_WARN);
    cr_assert_eq(log_level_parse("info"), LOG_INFO);
    cr_assert_eq(log_level_parse("debug"), LOG_DEBUG);
    static const char *const wrong[] = {"", "err", "errors", "INFO", "0", "debug "};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        cr_assert_eq(log_level_parse(wrong[i]), -1, "%s", wrong[i]);
}

Test(log, a_message_cannot_forge_a_second_line)
{
    int fd = redirect();
    journal_is(fd);
    log_error("name %s", "x\n<3>forged\r\x1b[2J\x7f");
    char text[200];
    contents(fd, text, sizeof text);
    cr_assert_str_eq(text, "<3>name x?<3>forged??[2J?\n");
}

Test(log, long_messages_are_cut_between_characters)
{
    int fd = redirect();
    journal_is(fd);
    char name[5000] = "", text[9000];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(name, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof name; i += 3)
            memcpy(name + i, "\xE2\x82\xAC", 4);
        cr_assert_eq(ftruncate(fd, 0), 0);
        log_error("%s", name);
        size_t n = contents(fd, text, sizeof text);
        cr_assert_gt(n, 1000);
        cr_assert_leq(n, 1025);
        cr_assert(utf8_valid(text, n));
        cr_assert_eq(text[n - 1], '\n');
        cr_assert_eq(strchr(text, '\n'), text + n - 1);
    }
}

enum { THREADS = 4, LINES = 500 };

static void *write_lines(void *arg)
{
    int id = *(int *)arg;
    for (int i = 0; i < LINES; i++)
        log_error("%d:%0100d", id, i);
    return NULL;
}

Test(log, lines_of_threads_do_not_mix)
{
    int fd = redirect();
    journal_is(fd);
    pthread_t t[THREADS];
    int id[THREADS];
    for (int i = 0; i < THREADS; i++) {
        id[i] = i;
        cr_assert_eq(pthread_create(&t[i], NULL, write_lines, &id[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    FILE *f = fdopen(fd, "r");
    cr_assert_not_null(f);
    rewind(f);
    int next[THREADS] = {0}, lines = 0, from, i;
    char line[300], want[300];
    while (fgets(line, sizeof line, f)) {
        cr_assert_eq(sscanf(line, "<3>%d:%d\n", &from, &i), 2, "mixed: %s", line);
        cr_assert(from >= 0 && from < THREADS);
        cr_assert_eq(i, next[from]++);
        snprintf(want, sizeof want, "<3>%d:%0100d\n", from, i);
        cr_assert_str_eq(line, want);
        lines++;
    }
    cr_assert_eq(lines, THREADS * LINES);
    fclose(f);
}

Test(log, a_broken_invariant_is_logged_before_the_end)
{
    int fd = redirect();
    pid_t child = fork();
    if (child == 0)
        ASSERT(1 + 1 == 3);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    char text[400];
    contents(fd, text, sizeof text);
    cr_assert_not_null(strstr(text, "1 + 1 == 3"));
    cr_assert_not_null(strstr(text, "test_log.c:"));
}

static const struct log_field some_fields[] = {
    {"id", "a b\"c\n", 0, 0}, {"n", NULL, 3, 0}, {"ms", NULL, 1.25, 1}};

Test(log, fields_follow_the_message_and_forge_nothing)
{
    unsetenv("JOURNAL_STREAM");
    int fd = redirect();
    log_fields(LOG_INFO, "request", some_fields, 3);
    char text[400];
    size_t n = contents(fd, text, sizeof text);
    cr_assert_str_eq(text + 8, " info request id=\"a b?c?\" n=3 ms=1.2\n", "%s", text);
    cr_assert_eq(strchr(text, '\n'), text + n - 1);
}

Test(log, json_lines_are_json_whatever_they_quote)
{
    int fd = redirect();
    cr_assert_eq(log_set_format(LOG_JSON, NULL), 0);
    log_warn("a \"name\" \\ with\x01 and \xff");
    log_fields(LOG_INFO, "request", some_fields, 3);
    char text[800];
    contents(fd, text, sizeof text);
    cr_assert_not_null(strstr(text, "\"level\":\"warn\",\"message\":\"a \\\"name\\\" \\\\ "
                                    "with\\u0001 and ?\"}\n"), "%s", text);
    cr_assert_not_null(strstr(text, "\"message\":\"request\",\"id\":\"a b\\\"c\\u000a\",\"n\":3,"
                                    "\"ms\":1.2}\n"), "%s", text);
    cr_assert_eq(strncmp(text, "{\"time\":\"20", 10), 0);
}

Test(log, the_journal_gets_fields_of_their_own)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/test_log.%d", (int)getpid());
    cr_assert_eq(log_set_format(LOG_JOURNAL, a.sun_path), ENOENT);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    cr_assert_eq(log_set_format(LOG_JOURNAL, a.sun_path), 0);
    log_fields(LOG_WARN, "request", some_fields, 3);
    char text[800];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    unlink(a.sun_path);
    cr_assert_gt(n, 0);
    text[n] = 0;
    cr_assert_str_eq(text, "PRIORITY=4\nSYSLOG_IDENTIFIER=recurd\n"
                           "MESSAGE=request id=\"a b?c?\" n=3 ms=1.2\n"
                           "RECURD_ID=a b\"c?\nRECURD_N=3\nRECURD_MS=1.2\n");
}

Test(log, a_status_line_is_for_terminals_only)
{
    int fd = redirect();
    log_status_line("loading, 41 %");
    log_status_line(NULL);
    char text[100];
    cr_assert_eq(contents(fd, text, sizeof text), 0);
}
