/* Who we are at the bucket: from the environment, or from a file that may change meanwhile.
 * Thread: one. */
#ifndef RECURD_SHARED_S3_LOGIN_H
#define RECURD_SHARED_S3_LOGIN_H

#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "statecache/shared/s3_sign.h"

struct s3_login {
    char *file;          /* NULL = the environment */
    struct timespec mtime; /* of what was read; with size and inode, what tells a change */
    off_t size;
    ino_t inode;
    struct s3_keys keys;
};

/* file NULL: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. E_NOENT, E_DENIED
 * (others may read the file), E_FORMAT, E_RANGE, E_IO, E_NOMEM. No sentence has a secret. */
int s3_login_open(struct s3_login *l, const char *file, struct err *e) MUST_USE;
void s3_login_close(struct s3_login *l);
/* Reads the file again if it is another one by now. What fails leaves the keys as they were. */
int s3_login_renew(struct s3_login *l, struct err *e) MUST_USE;

/* text[0, n) as in ~/.aws/credentials: aws_access_key_id = …, aws_secret_access_key = …, and
 * aws_session_token = … where there is one, of the section [default] or before any. */
int s3_credentials_parse(const char *text, size_t n, struct s3_keys *out,
                         struct err *e) MUST_USE;

#endif
