/* Charts as inline SVG: lines or dots over two axes, readable from a phone to a desk.
 * Thread: any. */
#ifndef RECURD_LOAD_CHART_H
#define RECURD_LOAD_CHART_H

#include "base/buf.h"

#define CHART_SERIES 6
#define CHART_TICKS 8

enum chart_scale { CHART_LINEAR, CHART_LOG2, CHART_LOG10, CHART_PERCENTILE };

struct chart_series {
    const char *name;
    const double *x, *y; /* NAN in y: a gap */
    size_t n;
    bool dots;
};

/* CHART_PERCENTILE: x is a share of 0 … 1, drawn so that 90, 99, 99.9 % are equally far apart. */
struct chart {
    const char *title, *x_label, *y_label;
    enum chart_scale x_scale;
    bool y_log;
    struct chart_series s[CHART_SERIES];
    int n;
};

/* Appends a <figure>; a chart without points says so. E_NOMEM. */
int chart_svg(struct buf *out, const struct chart *c);

/* Appends text with the characters of markup escaped. */
void chart_text(struct buf *out, const char *s);

#endif
