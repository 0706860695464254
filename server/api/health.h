/* Whether requests sent now would be served, judged in one place for probes over HTTP and for the
 * agent of a load balancer. Thread: any. */
#ifndef RECURD_HEALTH_H
#define RECURD_HEALTH_H

#include "server/http/http.h"

enum standing {
    STANDING_OK,
    STANDING_LOADING,
    STANDING_LOST,     /* the device is */
    STANDING_DRAINING, /* what runs may end, nothing new is taken */
    STANDING_STUCK,    /* the engine has work and has not moved for STUCK_S */
};

#define STUCK_S 30 /* a step of the largest model takes well under a second */
#define STUCK_TEXT "the engine has not moved for 30 s" /* that is STUCK_S */

enum standing health_standing(const struct http *h);

#endif
