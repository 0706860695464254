/* The members of a ZIP archive that are stored as they are (no compression), as PyTorch writes
 * them: where their bytes lie, every offset and size checked against the file. Zip64 included.
 * Thread: one at a time. */
#ifndef RECURD_ZIP_H
#define RECURD_ZIP_H

#include "base/err.h"
#include "base/limits.h"

#define ZIP_NAME 256

struct zip_member {
    char name[ZIP_NAME];
    uint64_t header, offset, size; /* of its local header, its bytes */
};

struct zip {
    char *path;
    int fd;
    uint64_t size;
    struct zip_member *members; /* sorted by name */
    size_t n;
};

/* Opens the archive; E_FORMAT where it is none, E_UNSUPPORTED where a member is compressed. */
int zip_open(struct zip *z, const char *path, struct err *e) MUST_USE;
void zip_close(struct zip *z); /* also after a failed zip_open */
const struct zip_member *zip_find(const struct zip *z, const char *name); /* NULL = absent */

#endif
