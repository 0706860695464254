/* Conversion that is interrupted: no half file ever has the name, the next run goes on with what
 * is good of it, and the bytes are those of a run that nothing interrupted. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "models/convert.h"
#include "models/files/checkpoint.h"
#include "models/files/part_file.h"
#include "tests/unit/test_folder.h"

#define MODEL "tests/golden/hf/hf_mamba"
#define LARGER "models/demo/rwkv7" /* several spans of the journal */
#define ROUNDS 5

static void quiet_dir(void)
{
    make_dir();
    log_set_level(LOG_ERROR);
}

TestSuite(convert, .init = quiet_dir, .fini = remove_dir);

/* As a power cut would: nothing is tidied up. */
static void die_half_way(void *arg, const char *tensor, uint64_t done, uint64_t total)
{
    (void)arg;
    (void)tensor;
    if (done > total / 2)
        _exit(9);
}

static void convert(const char *name)
{
    struct err e = {0};
    const struct convert_options o = {.dir = MODEL, .out = in_dir(name), .any = true};
    cr_assert_eq(convert_to_gguf(&o, &e), 0, "%s", e.text);
}

static struct buf read_all(const char *name)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, MIB(64));
    cr_assert_eq(file_read(in_dir(name), &b, &e), 0, "%s", e.text);
    return b;
}

Test(convert, an_interrupted_run_leaves_no_model_and_the_next_makes_it)
{
    struct err e = {0};
    int status;
    pid_t child = fork();
    if (child == 0) {
        const struct convert_options o = {.dir = MODEL, .out = in_dir("a.gguf"), .any = true,
                                          .progress = die_half_way};
        _exit(convert_to_gguf(&o, &e) < 0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    cr_assert(!file_exists(in_dir("a.gguf")) && file_exists(in_dir("a.gguf.part")));
    convert("a.gguf");
    cr_assert(!file_exists(in_dir("a.gguf.part")));
    convert("b.gguf");
    struct buf a = read_all("a.gguf"), b = read_all("b.gguf");
    cr_assert(a.len == b.len && memcmp(a.p, b.p, a.len) == 0);
    buf_free(&a);
    buf_free(&b);
}

Test(convert, what_stood_in_the_way_before_is_not_taken_over)
{
    FILE *f = fopen(in_dir("a.gguf.part"), "wb");
    cr_assert_not_null(f);
    for (int i = 0; i < 1 << 20; i++)
        fputc('x', f);
    fclose(f);
    convert("a.gguf");
    convert("b.gguf");
    struct buf a = read_all("a.gguf"), b = read_all("b.gguf");
    cr_assert(a.len == b.len && memcmp(a.p, b.p, a.len) == 0);
    buf_free(&a);
    buf_free(&b);
}

/* ---- going on --------------------------------------------------------------------------- */

static uint32_t seed = 1;

static uint64_t below(uint64_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (uint64_t)(seed >> 8) * n >> 24;
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* One way to convert: its source, its target, and the file that grows. */
struct way {
    int (*convert)(const struct convert_options *o, struct err *e);
    const char *from, *to, *grows;
};

static int go(const struct way *w, struct err *e)
{
    const struct convert_options o = {.dir = w->from, .out = w->to, .any = true};
    return w->convert(&o, e);
}

static void go_well(const struct way *w)
{
    struct err e = {0};
    cr_assert_eq(go(w, &e), 0, "%s", e.text);
}

/* In a process that may write no file of more bytes: the kernel ends it at the next. 0: it came to
 * its end before. */
static int run_limited(const struct way *w, rlim_t most)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {most, most}, no_core = {0, 0};
        struct err e = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        setrlimit(RLIMIT_FSIZE, &limit);
        signal(SIGXFSZ, SIG_DFL);
        _exit(go(w, &e) < 0 ? 2 : 0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGXFSZ : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* SIGKILL once so much is there; 0: it came to its end before. */
static int run_killed(const struct way *w, const char *part, off_t at)
{
    int status;
    pid_t child = fork(), done = 0;
    if (child == 0) {
        struct err e = {0};
        _exit(go(w, &e) < 0 ? 2 : 0);
    }
    while (size_of(part) < at && (done = waitpid(child, &status, WNOHANG)) == 0)
        usleep(300);
    if (done == 0) {
        kill(child, SIGKILL);
        cr_assert_eq(waitpid(child, &status, 0), child);
    }
    cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void same_file(const char *path, const struct buf *want)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, MIB(64));
    cr_assert_eq(file_read(path, &b, &e), 0, "%s", e.text);
    cr_assert(b.len == want->len && memcmp(b.p, want->p, b.len) == 0, "%s differs", path);
    buf_free(&b);
}

/* Stopped again and again at any places, then let go. */
static void stop_and_go(const struct way *w, const char *remove)
{
    char part[300], journal[300], command[300];
    struct buf want;
    struct err e = {0};
    int stopped = 0;
    snprintf(part, sizeof part, "%s.part", w->grows);
    snprintf(journal, sizeof journal, "%s.part.journal", w->grows);
    snprintf(command, sizeof command, "rm -r '%s'", remove);
    go_well(w);
    buf_init(&want, MIB(64));
    cr_assert_eq(file_read(w->grows, &want, &e), 0, "%s", e.text);
    for (int round = 0; round < ROUNDS; round++) {
        cr_assert_eq(system(command), 0);
        for (int i = 0; i < 3; i++) {
            uint64_t at = below(want.len);
            if (round % 2 ? run_killed(w, part, (off_t)at) : run_limited(w, at + 1))
                stopped++;
            else
                break;
            cr_assert(!file_exists(w->grows));
        }
        if (!file_exists(w->grows))
            go_well(w);
        same_file(w->grows, &want);
        cr_assert(!file_exists(part) && !file_exists(journal));
    }
    cr_assert_geq(stopped, ROUNDS / 2, "only %d runs were stopped", stopped);
    buf_free(&want);
}

Test(convert, stopped_anywhere_it_goes_on_to_the_same_bytes)
{
    char gguf[128], folder[128], weights[160];
    snprintf(gguf, sizeof gguf, "%s", in_dir("m.gguf"));
    snprintf(folder, sizeof folder, "%s", in_dir("m"));
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    stop_and_go(&(struct way){convert_to_gguf, LARGER, gguf, gguf}, gguf);
    stop_and_go(&(struct way){convert_from_gguf, gguf, folder, weights}, folder);
}

/* What the interrupted run left is damaged in many ways, or of another source: never taken over. */
Test(convert, what_is_not_good_is_not_gone_on_with)
{
    const struct way w = {convert_to_gguf, in_dir("src"), in_dir("d.gguf"), in_dir("d.gguf")};
    char command[300], part[300], journal[300];
    struct buf want;
    struct err e = {0};
    snprintf(command, sizeof command, "cp -r '%s' '%s'", LARGER, w.from);
    cr_assert_eq(system(command), 0);
    go_well(&w);
    buf_init(&want, MIB(64));
    cr_assert_eq(file_read(w.to, &want, &e), 0, "%s", e.text);
    snprintf(part, sizeof part, "%s.part", w.to);
    snprintf(journal, sizeof journal, "%s.part.journal", w.to);
    for (int kind = 0; kind < 6; kind++) {
        unlink(w.to);
        cr_assert(run_limited(&w, want.len * 3 / 4));
        cr_assert_gt(size_of(journal), 120);
        int fd = open(kind < 2 ? part : journal, O_RDWR);
        uint64_t n = (uint64_t)size_of(kind < 2 ? part : journal), at = n / 8 + below(n / 2);
        char byte = 0;
        cr_assert_geq(fd, 0);
        cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 0x10;
        if (kind == 0 || kind == 2)
            cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
        else if (kind == 1 || kind == 3)
            cr_assert_eq(ftruncate(fd, (off_t)at), 0);
        else if (kind == 4) /* a torn record, then nonsense */
            cr_assert_eq(pwrite(fd, want.p, 60, (off_t)n - 7), 60);
        else { /* the source was written again; one value is another */
            snprintf(command, sizeof command, "%s/model.safetensors", w.from);
            int source = open(command, O_RDWR);
            cr_assert_eq(pwrite(source, "\x01", 1, size_of(command) / 4 & ~1), 1);
            close(source);
        }
        close(fd);
        go_well(&w);
        if (kind < 5)
            same_file(w.to, &want);
    }
    const struct way clean = {convert_to_gguf, w.from, in_dir("e.gguf"), in_dir("e.gguf")};
    go_well(&clean);
    buf_clear(&want);
    cr_assert_eq(file_read(clean.to, &want, &e), 0, "%s", e.text);
    same_file(w.to, &want);
    buf_free(&want);
}

/* ---- the file itself -------------------------------------------------------------------- */

static const unsigned char source[PART_DIGEST] = {1};

static void put_units(struct part_file *p, int from, int to)
{
    static char unit[700000];
    for (int i = from; i < to; i++) {
        memset(unit, i, sizeof unit);
        part_put(p, unit, sizeof unit);
        part_unit(p);
    }
}

/* How many units a next run has, after one that wrote ten of them and died. */
static int kept_of(const unsigned char *mine, const char *head)
{
    int status, n = 0;
    struct err e = {0};
    char path[256];
    snprintf(path, sizeof path, "%s", in_dir("p"));
    pid_t child = fork();
    if (child == 0) {
        struct part_file *p = part_open(path, &e);
        part_begin(p, source, "head", 4);
        put_units(p, 0, 10);
        _exit(e.code != 0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct part_file *p = part_open(path, &e);
    part_begin(p, mine, head, 4);
    while (part_has(p, 700000))
        n++;
    put_units(p, n, 10);
    cr_assert_eq(part_finish(p), 0, "%s", e.text);
    part_close(p);
    cr_assert_eq(size_of(path), 4 + 10 * 700000);
    return n;
}

Test(convert, what_is_good_is_not_written_again)
{
    const unsigned char other[PART_DIGEST] = {2};
    cr_assert_eq(kept_of(source, "head"), 10); /* spans of two units: all were noted */
    cr_assert_eq(kept_of(other, "head"), 0);
    cr_assert_eq(kept_of(source, "tail"), 0);
    cr_assert_eq(kept_of(NULL, "head"), 0);
}

Test(convert, two_at_once_are_told)
{
    struct err e = {0}, second = {0};
    struct part_file *p = part_open(in_dir("a.gguf"), &e);
    const struct convert_options o = {.dir = MODEL, .out = in_dir("a.gguf"), .any = true};
    cr_assert_eq(e.code, 0);
    cr_assert_eq(convert_to_gguf(&o, &second), E_CONFLICT);
    cr_assert(strstr(second.text, "a.gguf.part: another process is writing it"), "%s",
              second.text);
    cr_assert(file_exists(in_dir("a.gguf.part")));
    part_close(p);
    cr_assert(!file_exists(in_dir("a.gguf.part")));
    convert("a.gguf");
}

/* ---- directories ------------------------------------------------------------------------ */

/* Stacks come apart under the names that the family's own checkpoints have. */
Test(convert, a_directory_has_the_names_of_checkpoints)
{
    struct err e = {0};
    struct checkpoint *own = NULL, *back = NULL;
    const struct way to = {convert_to_gguf, LARGER, in_dir("n.gguf"), ""};
    const struct way from = {convert_from_gguf, to.to, in_dir("n"), ""};
    go_well(&to);
    go_well(&from);
    cr_assert_eq(checkpoint_open(&own, LARGER, &e), 0, "%s", e.text);
    cr_assert_eq(checkpoint_open(&back, from.to, &e), 0, "%s", e.text);
    for (size_t i = 0; i < checkpoint_count(own); i++) {
        const struct tensor *t = checkpoint_at(own, i), *b = checkpoint_find(back, t->name);
        cr_assert(b && b->elems == t->elems, "%s", t->name);
    }
    cr_assert_eq(checkpoint_count(own), checkpoint_count(back));
    checkpoint_close(own);
    checkpoint_close(back);
    cr_assert_eq(go(&from, &e), E_CONFLICT);
    cr_assert(strstr(e.text, "holds a model already"), "%s", e.text);
    e = (struct err){0};
    const struct convert_options q = {.dir = to.to, .out = in_dir("q"), .matrix = DTYPE_Q8_0};
    cr_assert_eq(convert_from_gguf(&q, &e), E_UNSUPPORTED);
    cr_assert(strstr(e.text, "F32, F16 or BF16, not as"), "%s", e.text);
}
