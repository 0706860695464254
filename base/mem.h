/* Heap front door: one place where tests make allocations fail. */
#ifndef RECURD_MEM_H
#define RECURD_MEM_H

#include "base/base.h"

/* NULL on failure or overflow. mem_zalloc/mem_array are zeroed. Free with mem_free. */
void *mem_zalloc(size_t n) MUST_USE;
void *mem_array(size_t count, size_t size) MUST_USE;
void *mem_realloc(void *p, size_t n) MUST_USE;
char *mem_strdup(const char *s) MUST_USE;
void mem_free(void *p);

/* Aligned to 64 bytes (cache line, zmm); large blocks ask for huge pages. Zeroed. n as given when
 * it is freed. */
void *mem_aligned(size_t n) MUST_USE;
/* The same with any contents: memory of a large one is mostly taken when a page is first written,
 * by the thread that writes it. */
void *mem_unfilled(size_t n) MUST_USE;
void mem_aligned_free(void *p, size_t n);
/* Zeroed pages of its own for a large block, aligned to 2 MiB: memory is taken when a page is first
 * written, by the thread that writes it. n as given when it is freed. */
void *mem_mapped(size_t n) MUST_USE;
void mem_mapped_free(void *p, size_t n);
/* Nobody needs what is in the block any more: its pages go back to the system until they are
 * written again. */
void mem_idle(void *p, size_t n);

/* Whether an allocation of this thread has failed since mem_lacked was last cleared: for work whose
 * result cannot be trusted then, because a library on the way does not tell (jansson's copies). */
bool mem_lacked(void);
void mem_clear_lacked(void);

/* Fault injection for tests: the n-th allocation from now fails (1 = the next); 0 = never. */
void mem_fail_at(uint64_t n);

#endif
