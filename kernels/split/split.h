/* Several devices as one: the layers of a model split over them.
 *
 * A step passes the devices in order; what crosses from layer to layer goes through the host. A
 * step of many rows passes them in pieces, so that all devices work at once, each on another
 * piece. States and pages lie where their layers are; whoever reads or writes one sees it whole,
 * as on a single device. All devices compute with one arithmetic, so the bits, and what is stored,
 * are those of any one of them. */
#ifndef RECURD_SPLIT_H
#define RECURD_SPLIT_H

#include "kernels/backend.h"

#define SPLIT_MAX 16        /* devices */
#define SPLIT_PIECE_ROWS 256 /* of a step; the products of a device fill it with fewer, too */

/* o->spec: "DEVICE+DEVICE[+…][+rows=N]", each as open_one (device_open) takes it; N: rows of a
 * piece. */
typedef int device_opener(struct device **out, const struct device_options *o, struct err *e);
int split_open(struct device **out, const struct device_options *o, device_opener *open_one,
               struct err *e) MUST_USE;

#endif
