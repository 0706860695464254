/* The heap: every allocation passes here, so that a test can make any of them fail. Any thread. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"

#define LINE_BYTES ((size_t)64) /* cache line, and the width of a zmm register */
#define HUGE_BYTES MIB(2)       /* a huge page on x86-64 and on arm64 with 4 KiB pages */
#define HUGE_FROM MIB(4)        /* below two huge pages the rounding costs more than it saves */

static _Atomic uint64_t fail_in; /* allocations until the one that fails; 0 = never */

static _Thread_local bool lacked;

bool mem_lacked(void) { return lacked; }
void mem_clear_lacked(void) { lacked = false; }

static void *noted(void *p)
{
    lacked |= !p;
    return p;
}

static bool injected_failure(void)
{
    uint64_t n = atomic_load_explicit(&fail_in, memory_order_relaxed);
    while (n && !atomic_compare_exchange_weak(&fail_in, &n, n - 1))
        ;
    return n == 1;
}

void mem_fail_at(uint64_t n)
{
    atomic_store(&fail_in, n);
}

/* A size of 0 is rounded up to 1 everywhere: NULL then always means failure. */

void *mem_zalloc(size_t n)
{
    return noted(injected_failure() ? NULL : calloc(1, n ? n : 1));
}

void *mem_array(size_t count, size_t size)
{
    size_t n;
    return mul_overflows(count, size, &n) ? noted(NULL) : mem_zalloc(n);
}

void *mem_realloc(void *p, size_t n)
{
    return noted(injected_failure() ? NULL : realloc(p, n ? n : 1));
}

char *mem_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = mem_zalloc(n);
    return copy ? memcpy(copy, s, n) : NULL;
}

void mem_free(void *p)
{
    free(p);
}

/* What aligned_alloc gave fits no later call of the same size once it is free (glibc before 2.38
 * looks for room to align in, and leaves what it cuts off): states that come and go made the heap
 * grow without end. So a block is a usual one with room to align in, which is taken again; its word
 * before the block says where it begins. A sanitizer wants to know the block's own ends. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_CHECKED 1
#elif defined(__has_feature)
#define IS_CHECKED __has_feature(address_sanitizer)
#else
#define IS_CHECKED 0
#endif

static void *line_aligned(size_t n)
{
    char *whole = malloc(n + LINE_BYTES + sizeof(void *));
    if (!whole)
        return NULL;
    void **p = (void **)round_up((uintptr_t)whole + sizeof(void *), LINE_BYTES);
    p[-1] = whole;
    return p;
}

/* The end that fills no huge page gets small ones: a state of 6.2 MiB takes that and not 8. A wish:
 * kernels without huge pages refuse it. */
static void wish_huge(void *p, size_t n)
{
    (void)madvise(p, n / HUGE_BYTES * HUGE_BYTES, MADV_HUGEPAGE);
}

void *mem_unfilled(size_t n)
{
    size_t align = n >= HUGE_FROM ? HUGE_BYTES : LINE_BYTES;
    void *p = NULL;
    if (n > SIZE_MAX - 2 * align || injected_failure())
        return noted(NULL);
    n = round_up(n ? n : 1, LINE_BYTES);
    if (align == LINE_BYTES && !IS_CHECKED)
        return noted(line_aligned(n));
    if (posix_memalign(&p, align, n))
        return noted(NULL);
    if (align == HUGE_BYTES)
        wish_huge(p, n);
    return p;
}

void *mem_aligned(size_t n)
{
    void *p = mem_unfilled(n);
    return p ? memset(p, 0, n) : NULL;
}

void mem_aligned_free(void *p, size_t n)
{
    free(p && n < HUGE_FROM && !IS_CHECKED ? ((void **)p)[-1] : p);
}

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* So long a mapping is: behind its last whole huge page there is no room for another one. */
static size_t whole_pages(size_t n) { return round_up(n ? n : 1, page_bytes()); }

void *mem_mapped(size_t n)
{
    size_t size;
    if (n > SIZE_MAX - 2 * HUGE_BYTES || injected_failure())
        return noted(NULL);
    n = whole_pages(n);
    size = n + HUGE_BYTES; /* to cut an aligned piece from */
    /* cppcheck-suppress invalidFunctionArg ; -1 is what an anonymous mapping has */
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return noted(NULL);
    size_t before = round_up((uintptr_t)p, HUGE_BYTES) - (uintptr_t)p;
    char *block = p + before;
    if (size - before > n)
        (void)munmap(block + n, size - before - n);
    if (before)
        (void)munmap(p, before);
    wish_huge(block, n);
    /* cppcheck-suppress deallocret ; what was cut off lies before and behind it */
    return block;
}

void mem_mapped_free(void *p, size_t n)
{
    if (p)
        (void)munmap(p, whole_pages(n));
}

void mem_idle(void *p, size_t n)
{
    uintptr_t page = page_bytes();
    uintptr_t from = round_up((uintptr_t)p, page), to = ((uintptr_t)p + n) / page * page;
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_DONTNEED); /* a wish */
}
