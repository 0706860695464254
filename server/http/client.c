/* Names of clients, hashed to one size. */
#define _GNU_SOURCE /* struct ucred */
#include "server/http/client.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <sodium.h>
#include <string.h>
#include <sys/socket.h>

static struct fair_id hashed(const char *kind, const void *p, size_t n)
{
    struct fair_id id;
    crypto_generichash_state s;
    crypto_generichash_init(&s, NULL, 0, sizeof id.b);
    crypto_generichash_update(&s, (const unsigned char *)kind, strlen(kind) + 1);
    crypto_generichash_update(&s, p, n);
    crypto_generichash_final(&s, id.b, sizeof id.b);
    return id;
}

static struct fair_id user_of(struct MHD_Connection *c)
{
    struct ucred who = {0};
    socklen_t n = sizeof who;
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    /* Not known: all of those are one client. */
    if (!fd || getsockopt(fd->connect_fd, SOL_SOCKET, SO_PEERCRED, &who, &n))
        who.uid = (uid_t)-1;
    return hashed("user", &who.uid, sizeof who.uid);
}

struct fair_id client_of(struct MHD_Connection *c, const char *key_name)
{
    if (key_name)
        return hashed("key", key_name, strlen(key_name));
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;
    if (a && a->sa_family == AF_INET)
        return hashed("4", &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
    if (a && a->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six))
            return hashed("4", six->s6_addr + 12, 4);
        return hashed("6", six->s6_addr, 8);
    }
    return user_of(c);
}
