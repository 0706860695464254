/* Vocabulary every file may use: attributes, assertions, checked size arithmetic. */
#ifndef RECURD_BASE_H
#define RECURD_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Kept in release builds: a broken invariant of ours stops the process before it corrupts a
 * state. What the world sends (files, network, devices) is never asserted, only checked. */
#define ASSERT(x) ((x) ? (void)0 : base_assert_failed(#x, __FILE__, __LINE__))
NORETURN void base_assert_failed(const char *what, const char *file, int line);

/* true = overflow; *out is then undefined. */
#define add_overflows(a, b, out) __builtin_add_overflow(a, b, out)
#define mul_overflows(a, b, out) __builtin_mul_overflow(a, b, out)

static inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

#endif
