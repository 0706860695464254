/* Files: limits, things that are no files, and a file that shrinks while it is read. */
#include "base/file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *put(const char *name, const void *p, size_t n)
{
    const char *path = in_dir(name);
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(p, 1, n, f), n);
    cr_assert_eq(fclose(f), 0);
    return path;
}

static void make_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/test_file.XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_dir(void)
{
    static const char *const names[] = {"a", "big", "fifo", "link"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        (void)unlink(in_dir(names[i])); /* most tests make only one of them */
    rmdir(dir);
}

TestSuite(file, .init = make_dir, .fini = remove_dir);

Test(file, reads_all_bytes_up_to_exactly_the_maximum)
{
    size_t n = KIB(64) * 3 + 17; /* several chunks and a rest */
    unsigned char *bytes = mem_zalloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(i * 31 >> 3);
    const char *path = put("big", bytes, n);
    struct err e = {0};
    struct buf b;
    buf_init(&b, n);
    cr_assert_eq(buf_str(&b, "old"), 0);
    cr_assert_eq(file_read(path, &b, &e), 0, "%s", e.text);
    cr_assert_eq(b.len, n);
    cr_assert_arr_eq(b.p, bytes, n);
    buf_free(&b);

    buf_init(&b, n - 1);
    cr_assert_eq(file_read(path, &b, &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "196625 bytes, at most 196624"), "%s", e.text);
    cr_assert_eq(b.len, 0);
    cr_assert_eq(b.cap, 0, "nothing was allocated for a file that is refused");
    buf_free(&b);
    mem_free(bytes);
}

Test(file, an_empty_file_is_no_error)
{
    struct err e = {0};
    struct buf b;
    buf_init(&b, 0);
    cr_assert_eq(file_read(put("a", "", 0), &b, &e), 0);
    cr_assert_eq(b.len, 0);
    buf_free(&b);
}

Test(file, names_what_is_missing_or_no_file)
{
    struct buf b;
    buf_init(&b, 100);
    struct err e = {0};
    cr_assert_eq(file_read(in_dir("none"), &b, &e), E_NOENT);
    cr_assert_not_null(strstr(e.text, in_dir("none")));
    err_clear(&e);
    cr_assert_eq(file_read("", &b, &e), E_NOENT);
    err_clear(&e);
    const char *below_a_file = put("a", "x", 1);
    char path[200];
    snprintf(path, sizeof path, "%s/b", below_a_file);
    cr_assert_eq(file_read(path, &b, &e), E_NOENT);
    err_clear(&e);
    cr_assert_eq(file_read(dir, &b, &e), E_IO);
    cr_assert_not_null(strstr(e.text, "not a regular file"));
    buf_free(&b);
}

Test(file, a_pipe_without_a_writer_does_not_hang)
{
    const char *path = in_dir("fifo");
    cr_assert_eq(mkfifo(path, 0600), 0);
    struct err e = {0};
    uint64_t size;
    cr_assert_eq(file_open(path, &size, &e), E_IO);
    cr_assert_eq(file_open("/dev/zero", &size, NULL), E_IO);
}

Test(file, a_file_that_hides_its_size_still_meets_the_maximum)
{
    struct err e = {0};
    struct buf b;
    buf_init(&b, 8);
    cr_assert_eq(file_read("/proc/self/status", &b, &e), E_RANGE);
    cr_assert_eq(b.len, 0);
    buf_free(&b);
    err_clear(&e);
    buf_init(&b, MIB(1));
    cr_assert_eq(file_read("/proc/self/status", &b, &e), 0);
    cr_assert_gt(b.len, 8);
    buf_free(&b);
}

Test(file, reports_lost_memory)
{
    const char *path = put("a", "abc", 3);
    struct err e = {0};
    struct buf b;
    buf_init(&b, 10);
    mem_fail_at(1);
    cr_assert_eq(file_read(path, &b, &e), E_NOMEM);
    cr_assert_eq(e.code, E_NOMEM);
    cr_assert_eq(file_read(path, &b, &e), 0, "the buffer is usable again");
    buf_free(&b);
}

Test(file, reads_a_part_exactly)
{
    const char *path = put("a", "0123456789", 10);
    struct err e = {0};
    uint64_t size = 0;
    int fd = file_open(path, &size, &e);
    cr_assert_geq(fd, 0);
    cr_assert_eq(size, 10);
    char p[11] = "";
    cr_assert_eq(file_pread(fd, p, 4, 3, path, &e), 0);
    cr_assert_str_eq(p, "3456");
    cr_assert_eq(file_pread(fd, p, 10, 0, path, &e), 0);
    cr_assert_eq(file_pread(fd, p, 0, 10, path, &e), 0);
    cr_assert_eq(file_pread(fd, p, 4, 7, path, &e), E_IO);
    cr_assert_str_eq(strrchr(e.text, ':'), ": ends at byte 10, 1 more expected");
    close(fd);
}

Test(file, a_file_that_shrinks_is_an_error_and_no_signal)
{
    static char bytes[20000];
    const char *path = put("a", bytes, sizeof bytes);
    struct err e = {0};
    uint64_t size;
    int fd = file_open(path, &size, &e);
    cr_assert_geq(fd, 0);
    cr_assert_eq(truncate(path, 100), 0);
    cr_assert_eq(file_pread(fd, bytes, size, 0, path, &e), E_IO);
    cr_assert_not_null(strstr(e.text, "ends at byte 100, 19900 more"), "%s", e.text);
    close(fd);
}

Test(file, offsets_past_any_file_are_refused)
{
    const char *path = put("a", "x", 1);
    uint64_t size;
    int fd = file_open(path, &size, NULL);
    cr_assert_geq(fd, 0);
    static const uint64_t offsets[] = {UINT64_MAX, UINT64_MAX - 1, INT64_MAX,
                                       (uint64_t)INT64_MAX + 1};
    char p[2];
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        struct err e = {0};
        cr_assert_eq(file_pread(fd, p, 2, offsets[i], path, &e), E_IO);
        cr_assert_not_null(strstr(e.text, "out of any file"), "%s", e.text);
    }
    close(fd);
}

Test(file, a_broken_descriptor_is_reported)
{
    struct err e = {0};
    char p;
    cr_assert_eq(file_pread(-1, &p, 1, 0, "gone", &e), E_IO);
    cr_assert_not_null(strstr(e.text, "gone: "));
}

Test(file, exists_follows_links)
{
    cr_assert(file_exists(dir));
    cr_assert_not(file_exists(in_dir("a")));
    const char *link = in_dir("link");
    cr_assert_eq(symlink("a", link), 0);
    cr_assert_not(file_exists(in_dir("link")), "a dangling link leads nowhere");
    put("a", "", 0);
    cr_assert(file_exists(in_dir("link")));
}
