/* A heap, preloaded into a program, of which any one allocation fails: ours and every library's,
 * but for C++'s operator new (sentencepiece and protobuf end the process where it throws).
 * TORTURE names a file of four counters that the program shares with whoever tests it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static struct {
    uint64_t count;   /* allocations so far */
    uint64_t fail_at; /* the one that fails; 0: none */
    uint64_t failed;  /* how many have */
    uint64_t many;    /* so many fail from there on; 0: one */
} nothing, *shared = &nothing;

static uintptr_t cxx_from, cxx_to; /* where libstdc++ is */

static int find_cxx(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + h->p_vaddr, at = (uintptr_t)arg;
        if (h->p_type == PT_LOAD && at >= from && at < from + h->p_memsz) {
            cxx_from = from;
            cxx_to = from + h->p_memsz;
        }
    }
    return 0;
}

__attribute__((constructor)) static void open_counters(void)
{
    void *operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
    if (operator_new)
        dl_iterate_phdr(find_cxx, operator_new);
    const char *path = getenv("TORTURE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED
                     : mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p != MAP_FAILED)
        shared = p;
}

static int fails(const void *caller)
{
    if ((uintptr_t)caller - cxx_from < cxx_to - cxx_from)
        return 0;
    uint64_t n = __atomic_add_fetch(&shared->count, 1, __ATOMIC_RELAXED);
    uint64_t at = __atomic_load_n(&shared->fail_at, __ATOMIC_RELAXED);
    if (!at || n < at || n > at + __atomic_load_n(&shared->many, __ATOMIC_RELAXED))
        return 0;
    __atomic_add_fetch(&shared->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

#define FAILS fails(__builtin_return_address(0))
void *malloc(size_t n) { return FAILS ? NULL : __libc_malloc(n); }
void *calloc(size_t count, size_t n) { return FAILS ? NULL : __libc_calloc(count, n); }
void *realloc(void *p, size_t n) { return FAILS ? NULL : __libc_realloc(p, n); }
void *memalign(size_t align, size_t n) { return FAILS ? NULL : __libc_memalign(align, n); }
void *aligned_alloc(size_t align, size_t n) { return FAILS ? NULL : __libc_memalign(align, n); }
int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = FAILS ? NULL : __libc_memalign(align, n);
    *out = p ? p : *out;
    return p ? 0 : ENOMEM;
}
