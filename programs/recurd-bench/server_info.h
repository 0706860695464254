/* What can be learnt of the server and of this machine. Thread: one. */
#ifndef RECURD_LOAD_SERVER_INFO_H
#define RECURD_LOAD_SERVER_INFO_H

#include <jansson.h>

#include "programs/recurd-bench/conn.h"

struct server_info {
    char model[256];
    json_t *version; /* GET /version, or NULL */
    json_t *models;  /* GET /v1/models, or NULL */
};

/* Fails only when the server cannot be reached, or no model is named anywhere. */
int server_info_get(struct server_info *s, struct pool *p, struct err *e) MUST_USE;
void server_info_free(struct server_info *s);

/* {"name{labels}": value} of the Prometheus page, or NULL when there is none. */
json_t *server_metrics(struct pool *p);
/* {"name{labels}": {"before", "after"}} of those that changed. Borrowed NULLs give NULL. */
json_t *server_metrics_changed(const json_t *before, const json_t *after);

/* Processor, cores, memory, kernel of the client's machine; no names of hosts or users. */
json_t *machine_json(void);

#endif
