/* Conversion to GGUF that is interrupted: no half file ever has the name, what is left of it is
 * begun anew. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "models/convert.h"
#include "tests/unit/test_folder.h"

#define MODEL "tests/golden/hf/hf_mamba"

TestSuite(convert, .init = make_dir, .fini = remove_dir);

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

Test(convert, an_interrupted_run_leaves_no_model_and_the_next_begins_anew)
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
