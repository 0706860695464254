/* Who a connection belongs to, for fair turns: a key, or without keys where it comes from.
 * Thread: HTTP worker. */
#ifndef RECURD_CLIENT_H
#define RECURD_CLIENT_H

#include "scheduler/fair.h"

struct MHD_Connection;

/* The key's name, if not NULL; else the IPv4 address, the /64 of an IPv6 one (that many belong to
 * everybody who has one), or on a Unix socket the user. */
struct fair_id client_of(struct MHD_Connection *c, const char *key_name);

#endif
