/* The arithmetic limit of this CPU: independent fused multiply-adds and nothing else. */
#ifndef RECURD_CHECK_PEAK_H
#define RECURD_CHECK_PEAK_H

/* n rounds of PEAK_FMAS float multiply-adds. */
#define PEAK_FMAS (16 * 12)
typedef void peak_fn(long n);
peak_fn peak_avx2, peak_avx512, peak_neon;
/* … of PEAK_FMAS pairs of multiply-adds of 16 bits. */
peak_fn peak_int16_avx2, peak_int16_avx512, peak_int16_vnni, peak_int16_neon;

#endif
