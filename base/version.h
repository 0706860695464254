/* Which program this is. The commit is that of the checkout the binary was built from, or
 * "unknown" outside of one; only version.c is compiled again when it changes. */
#ifndef RECURD_VERSION_H
#define RECURD_VERSION_H

const char *version_number(void); /* "0.1.0" */
const char *version_commit(void); /* "486f466", with "+" where files had changed since */

#endif
