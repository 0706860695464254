/* Charts as inline SVG. Colours and fonts come from the page's style sheet, so that one chart
 * serves light and dark. Thread: any. */
#include "programs/recurd-bench/chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"

/* A drawing of phone width: text keeps its size there, and wide pages put several in a row. */
#define W 360.0
#define H 220.0
#define LEFT 44.0
#define RIGHT 350.0
#define TOP 10.0
#define BOTTOM 180.0

struct axis {
    double lo, hi;      /* in drawn units, after the scale */
    double ticks[CHART_TICKS + 2];
    char names[CHART_TICKS + 2][16];
    int n;
};

void chart_text(struct buf *out, const char *s)
{
    for (; *s; s++) {
        switch (*s) {
        case '<': buf_str(out, "&lt;"); break;
        case '>': buf_str(out, "&gt;"); break;
        case '&': buf_str(out, "&amp;"); break;
        case '"': buf_str(out, "&quot;"); break;
        default: buf_ch(out, *s);
        }
    }
}

static double scaled(enum chart_scale s, double x)
{
    switch (s) {
    case CHART_LINEAR: return x;
    case CHART_LOG2: return x > 0 ? log2(x) : NAN;
    case CHART_LOG10: return x > 0 ? log10(x) : NAN;
    case CHART_PERCENTILE: break;
    }
    /* The slowest sample has no one above it: drawn at 99.999 %. */
    return -log10(1 - fmin(x, 0.99999));
}

/* 1500 -> "1.5k": at most five characters, so that labels never touch. */
static void short_number(char out[16], double x)
{
    double a = fabs(x);
    if (a >= 1e6)
        snprintf(out, 16, "%.3gM", x / 1e6);
    else if (a >= 1e4)
        snprintf(out, 16, "%.3gk", x / 1e3);
    else
        snprintf(out, 16, "%.4g", x);
}

static void add_tick(struct axis *ax, double at, const char *name)
{
    if (ax->n >= CHART_TICKS + 2 || at < ax->lo - 1e-9 || at > ax->hi + 1e-9)
        return;
    ax->ticks[ax->n] = at;
    snprintf(ax->names[ax->n++], sizeof ax->names[0], "%s", name);
}

static void linear_axis(struct axis *ax, double step_min)
{
    double span = ax->hi - ax->lo, step = fmax(step_min, pow(10, floor(log10(span / 5))));
    while (span / step > 6)
        step *= span / step > 12 ? 5 : 2;
    ax->hi = ceil(ax->hi / step - 1e-9) * step;
    for (double t = ceil(ax->lo / step - 1e-9) * step; t <= ax->hi + step / 2; t += step) {
        char name[16];
        short_number(name, fabs(t) < step / 2 ? 0 : t);
        add_tick(ax, t, name);
    }
}

/* Cuts the axis at the marks next to the data. */
static void crop(struct axis *ax, double lo, double hi)
{
    double from = ax->lo, to = ax->hi;
    for (int i = 0; i < ax->n; i++) {
        if (ax->ticks[i] <= lo + 1e-9)
            from = fmax(from, ax->ticks[i]);
        if (ax->ticks[i] >= hi - 1e-9)
            to = fmin(to, ax->ticks[i]);
    }
    if (to <= from)
        return;
    int n = 0;
    for (int i = 0; i < ax->n; i++) {
        if (ax->ticks[i] < from - 1e-9 || ax->ticks[i] > to + 1e-9)
            continue;
        ax->ticks[n] = ax->ticks[i];
        memmove(ax->names[n++], ax->names[i], sizeof ax->names[0]);
    }
    ax->n = n;
    ax->lo = from;
    ax->hi = to;
}

static void log_axis(struct axis *ax, double base)
{
    double per = log10(base);
    int from = (int)floor(ax->lo), to = (int)ceil(ax->hi), skip = (to - from) / CHART_TICKS + 1;
    double lo = ax->lo, hi = ax->hi;
    ax->lo = from;
    ax->hi = to > from ? to : from + 1;
    for (int k = from; k <= (int)ax->hi; k += skip) {
        char name[16];
        short_number(name, pow(10, k * per));
        add_tick(ax, k, name);
        /* Few decades: 2 and 5 between them are worth a mark. */
        for (int m = 2; base == 10 && to - from <= 2 && m <= 5; m += 3) {
            short_number(name, pow(10, k) * m);
            add_tick(ax, k + log10(m), name);
        }
    }
    crop(ax, lo, hi);
}

static void percentile_axis(struct axis *ax)
{
    static const struct { double q; const char *name; } at[] = {
        {0, "0"}, {0.5, "p50"}, {0.9, "p90"}, {0.99, "p99"}, {0.999, "p99.9"}, {0.9999, "p99.99"},
    };
    ax->lo = 0;
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        add_tick(ax, scaled(CHART_PERCENTILE, at[i].q), at[i].name);
}

/* The range of all points and where the axis has marks; false when there is no point. */
static bool fit(const struct chart *c, struct axis *x, struct axis *y)
{
    enum chart_scale ys = c->y_log ? CHART_LOG10 : CHART_LINEAR;
    *x = *y = (struct axis){.lo = INFINITY, .hi = -INFINITY};
    for (int k = 0; k < c->n; k++) {
        for (size_t i = 0; i < c->s[k].n; i++) {
            double px = scaled(c->x_scale, c->s[k].x[i]), py = scaled(ys, c->s[k].y[i]);
            if (!isfinite(px) || !isfinite(py))
                continue;
            x->lo = fmin(x->lo, px);
            x->hi = fmax(x->hi, px);
            y->lo = fmin(y->lo, py);
            y->hi = fmax(y->hi, py);
        }
    }
    if (!(x->hi >= x->lo))
        return false;
    if (x->hi == x->lo)
        x->hi += 1;
    if (ys == CHART_LINEAR) {
        y->lo = fmin(y->lo, 0); /* from zero, so that heights compare */
        if (y->hi <= y->lo)
            y->hi = y->lo + 1;
        linear_axis(y, 0);
    } else {
        log_axis(y, 10);
    }
    double hi = x->hi;
    switch (c->x_scale) {
    case CHART_LINEAR: linear_axis(x, 1); break; /* seconds, turns, counts */
    case CHART_LOG2: log_axis(x, 2); break;
    case CHART_LOG10: log_axis(x, 10); break;
    case CHART_PERCENTILE: percentile_axis(x); break;
    }
    if (c->x_scale == CHART_LINEAR)
        x->hi = hi; /* lines run to the edge */
    return true;
}

static double place(const struct axis *ax, double v, double from, double to)
{
    return from + (v - ax->lo) / (ax->hi - ax->lo) * (to - from);
}

static void draw_axes(struct buf *out, const struct chart *c, const struct axis *x,
                      const struct axis *y)
{
    for (int i = 0; i < y->n; i++) {
        double at = place(y, y->ticks[i], BOTTOM, TOP);
        buf_fmt(out, "<line class=grid x1=%.0f x2=%.0f y1=%.1f y2=%.1f />"
                "<text class=r x=%.0f y=%.1f>%s</text>", LEFT, RIGHT, at, at, LEFT - 4, at + 3.5,
                y->names[i]);
    }
    for (int i = 0; i < x->n; i++) {
        double at = place(x, x->ticks[i], LEFT, RIGHT);
        if (at > RIGHT + 1)
            continue;
        buf_fmt(out, "<line class=grid x1=%.1f x2=%.1f y1=%.0f y2=%.0f />"
                "<text class=%s x=%.1f y=%.0f>%s</text>", at, at, BOTTOM, BOTTOM + 4,
                at > RIGHT - 14 ? "r" : "m", at > RIGHT - 14 ? RIGHT + 4 : at, BOTTOM + 15,
                x->names[i]);
    }
    buf_fmt(out, "<text class=m x=%.0f y=%.0f>", (LEFT + RIGHT) / 2, H - 8);
    chart_text(out, c->x_label);
    buf_str(out, "</text>");
}

static void draw_series(struct buf *out, const struct chart *c, int k, const struct axis *x,
                        const struct axis *y)
{
    enum chart_scale ys = c->y_log ? CHART_LOG10 : CHART_LINEAR;
    const struct chart_series *s = &c->s[k];
    bool pen = false;
    if (!s->dots)
        buf_fmt(out, "<path class=\"s%d\" d=\"", k);
    for (size_t i = 0; i < s->n; i++) {
        double px = scaled(c->x_scale, s->x[i]), py = scaled(ys, s->y[i]);
        if (!isfinite(px) || !isfinite(py)) {
            pen = false;
            continue;
        }
        px = place(x, px, LEFT, RIGHT);
        py = place(y, py, BOTTOM, TOP);
        if (s->dots)
            buf_fmt(out, "<circle class=\"d%d\" cx=%.1f cy=%.1f r=2 />", k, px, py);
        else
            buf_fmt(out, "%c%.1f %.1f", pen ? 'L' : 'M', px, py);
        pen = true;
    }
    if (!s->dots)
        buf_str(out, "\"/>");
}

int chart_svg(struct buf *out, const struct chart *c)
{
    struct axis x, y;
    buf_str(out, "<figure><figcaption>");
    chart_text(out, c->title);
    buf_str(out, " <small>");
    chart_text(out, c->y_label);
    buf_str(out, "</small></figcaption>");
    if (!fit(c, &x, &y)) {
        buf_str(out, "<p>nothing was measured</p></figure>");
        return out->failed ? E_NOMEM : 0;
    }
    buf_fmt(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=img aria-label=\"", W, H);
    chart_text(out, c->title);
    buf_str(out, "\">");
    draw_axes(out, c, &x, &y);
    for (int k = 0; k < c->n; k++)
        draw_series(out, c, k, &x, &y);
    buf_str(out, "</svg><p class=key>");
    for (int k = 0; c->n > 1 && k < c->n; k++) {
        buf_fmt(out, "<span class=k%d>&#9632;</span> ", k);
        chart_text(out, c->s[k].name);
        buf_ch(out, ' ');
    }
    buf_str(out, "</p></figure>");
    return out->failed ? E_NOMEM : 0;
}
