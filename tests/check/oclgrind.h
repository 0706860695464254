/* What oclgrind needs of the host to tell memory that was never written. */
#ifndef RECURD_CHECK_OCLGRIND_H
#define RECURD_CHECK_OCLGRIND_H

/* From now on every host write and fill covers its whole buffer: oclgrind 21.10 remembers of a
 * buffer only the range that the host wrote last and takes the rest for unwritten, kernels' own
 * results included. After a device was opened; one thread. */
void oclgrind_whole_writes(void);

#endif
