/* The program cache: what it gives back, and what it refuses to believe. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "kernels/opencl/cache.h"

static char dir[] = "/tmp/ocl_cache_XXXXXX";
static const char key[] = "source, options, device, driver", payload[] = "a program";

static void make(void) { cr_assert(mkdtemp(dir)); }

/* The one file in the directory. */
static void path_of(char *out, size_t n)
{
    DIR *d = opendir(dir);
    for (struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.')
            snprintf(out, n, "%s/%s", dir, f->d_name);
    closedir(d);
}

static void sweep(void)
{
    char path[512] = "";
    path_of(path, sizeof path);
    unlink(path);
    rmdir(dir);
}

TestSuite(ocl_cache, .init = make, .fini = sweep);

static void put(void)
{
    struct err e = {0};
    cr_assert_eq(ocl_cache_put(dir, key, sizeof key, payload, sizeof payload, &e), 0, "%s", e.text);
}

static bool get(const char *k, size_t n)
{
    struct buf out;
    buf_init(&out, KIB(64));
    bool hit = ocl_cache_get(dir, k, n, &out);
    if (hit)
        cr_assert(out.len == sizeof payload && !memcmp(out.p, payload, out.len));
    buf_free(&out);
    return hit;
}

Test(ocl_cache, what_is_put_comes_back)
{
    cr_assert(!get(key, sizeof key));
    put();
    cr_assert(get(key, sizeof key));
}

Test(ocl_cache, another_driver_is_a_miss)
{
    put();
    cr_assert(!get("source, options, device, drives", sizeof key));
}

Test(ocl_cache, any_altered_byte_is_a_miss)
{
    char path[512], bytes[512];
    put();
    path_of(path, sizeof path);
    FILE *f = fopen(path, "r+b");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    for (size_t i = 0; i < n; i++) {
        char other = (char)(bytes[i] ^ 1);
        fseek(f, (long)i, SEEK_SET);
        fwrite(&other, 1, 1, f);
        fflush(f);
        cr_assert(!get(key, sizeof key), "byte %zu", i);
        fseek(f, (long)i, SEEK_SET);
        fwrite(&bytes[i], 1, 1, f);
        fflush(f);
    }
    fclose(f);
    cr_assert(get(key, sizeof key));
}

Test(ocl_cache, a_torn_file_is_a_miss)
{
    char path[512];
    put();
    path_of(path, sizeof path);
    for (long n = 0; n < 80; n += 7) {
        put();
        cr_assert_eq(truncate(path, n), 0);
        cr_assert(!get(key, sizeof key), "%ld bytes", n);
    }
}

Test(ocl_cache, a_directory_that_cannot_be_written_is_an_error)
{
    struct err e = {0};
    cr_assert_eq(ocl_cache_put("/proc/nowhere", key, sizeof key, payload, sizeof payload, &e),
                 E_IO);
    cr_assert(strstr(e.text, "/proc/nowhere"));
}
