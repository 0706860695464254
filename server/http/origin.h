/* Which names the server answers to, and which web pages may use it.
 *
 * Without keys, on loopback, nothing but the browser's own rules stands between a web page and the
 * server, and those end where a name of the page's owner resolves to 127.0.0.1. So there the Host
 * of a request must be a name of loopback or one of a list, and an Origin the server's own or one
 * of a list. With keys both lists only say who gets CORS headers. Pure. Thread: any. */
#ifndef RECURD_ORIGIN_H
#define RECURD_ORIGIN_H

#include "base/base.h"

/* reg-name or address, and a port if any, as RFC 9110 has them; "" is well-formed, too. */
bool host_is_well_formed(const char *host);
/* localhost, what ends in .localhost, 127.0.0.0/8, [::1]; with any port. */
bool host_is_loopback(const char *host);
/* Without its port one of a list with commas (may be NULL). */
bool host_is_listed(const char *host, const char *list);
/* Exactly one of a list with commas (may be NULL), or the list is "*". */
bool origin_is_listed(const char *origin, const char *list);
/* http(s)://HOST, of the very request. */
bool origin_is_own(const char *origin, const char *host);

#endif
