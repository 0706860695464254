/* Where the shared store is, as --shared says it. Pure; any thread. */
#ifndef RECURD_SHARED_ADDRESS_H
#define RECURD_SHARED_ADDRESS_H

#include "base/err.h"

#define SHARED_HOST 256
#define SHARED_WORD 256
#define SHARED_PATH 108 /* sun_path's length */

struct shared_address {
    bool tls;
    char host[SHARED_HOST];     /* a name or an address, IPv6 without brackets; "" = path */
    int port;
    char path[SHARED_PATH];     /* of a Unix socket; "" = host */
    char user[SHARED_WORD];     /* "" = the default user */
    char password[SHARED_WORD]; /* "" = none is asked for */
    int db;
    char shown[SHARED_HOST + 32]; /* for people: without user and password */
};

/* redis://[[user]:password@]host[:port][/db], rediss://… (TLS), or
 * redis+unix://[[user]:password@]/path[?db=N]; %XX in user, password and path. E_FORMAT, E_RANGE:
 * no sentence has the password. */
int shared_address_parse(const char *url, struct shared_address *out, struct err *e) MUST_USE;

/* host[:port] of text[0, n), IPv6 in brackets; host comes without them. As above. */
int shared_host_parse(const char *text, size_t n, int default_port, char host[SHARED_HOST],
                      int *port, struct err *e) MUST_USE;

#endif
