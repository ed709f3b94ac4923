/* SPDX-License-Identifier: MIT */
/* Lines with bands, and steps; ranges over an axis. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/release/svg_parts.h"

enum { HEIGHT = 250, MARKS_UP_TO = 24, LABEL_HEIGHT = 14, SAMPLE = 20 };

struct drawing {
    struct html *h;
    const struct svg_lines *p;
    struct svg_box box;
    struct scale x, y;
    size_t n_series;
};

/* ---- words ---- */

static void name_number(struct html *h, double v)
{
    char text[NUMBER_TEXT];
    html_text(h, number_short(text, v, 3));
}

/* What of y has a place. */
static int is_seen(const struct svg_axis *a, double v)
{
    return isfinite(v) && !(a->log && v < 0);
}

static void describe(const struct drawing *d)
{
    const struct svg_lines *p = d->p;
    html_textf(d->h, "%s over %s.", p->y.title, p->x.title);
    for (size_t s = 0; s < d->n_series; s++) {
        const double *y = p->series[s].y;
        size_t least = p->n, most = p->n;
        for (size_t i = 0; i < p->n; i++) {
            if (!is_seen(&p->y, y[i]))
                continue;
            least = least == p->n || y[i] < y[least] ? i : least;
            most = most == p->n || y[i] > y[most] ? i : most;
        }
        html_textf(d->h, " %s: ", p->series[s].name);
        if (most == p->n) {
            html_text(d->h, "nothing measured.");
            continue;
        }
        html_text(d->h, "least ");
        name_number(d->h, y[least]);
        html_text(d->h, " at ");
        name_number(d->h, p->at[least]);
        html_text(d->h, ", most ");
        name_number(d->h, y[most]);
        html_text(d->h, " at ");
        name_number(d->h, p->at[most]);
        html_text(d->h, ".");
    }
}

/* ---- the frame ---- */

static double label_room(const struct svg_lines *p, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t k = svg_length(p->series[i].name);
        most = k > most ? k : most;
    }
    most = most < SVG_LABEL_CHARS ? most : SVG_LABEL_CHARS;
    return 10 + (p->steps ? SAMPLE : 0) + SVG_BOLD * (double)most;
}

static void cover(struct drawing *d)
{
    const struct svg_lines *p = d->p;
    svg_scale(&d->x, &p->x, d->box.left, d->box.right);
    svg_scale(&d->y, &p->y, d->box.bottom, d->box.top);
    for (size_t i = 0; i < p->n + (size_t)(p->steps != 0); i++)
        scale_cover(&d->x, p->at[i]);
    for (size_t s = 0; s < d->n_series; s++)
        for (size_t i = 0; i < p->n; i++) {
            scale_cover(&d->y, p->series[s].y[i]);
            if (p->series[s].low) {
                scale_cover(&d->y, p->series[s].low[i]);
                scale_cover(&d->y, p->series[s].high[i]);
            }
        }
    /* Logarithmic axes of steps end with their data, too. */
    if (!p->steps || !p->x.log || d->x.low >= d->x.high)
        scale_settle(&d->x);
    scale_settle(&d->y);
}

/* 0, and what lies below a logarithmic axis, is drawn on its lower edge. */
static double place_y(const struct drawing *d, double v)
{
    if (!is_seen(&d->p->y, v))
        return (double)NAN;
    if (d->y.log && v < d->y.low)
        return d->box.bottom;
    return scale_place(&d->y, v);
}

/* ---- one series ---- */

static void draw_band(const struct drawing *d, const struct svg_series *s)
{
    const struct svg_lines *p = d->p;
    struct html *h = d->h;
    html_open(h, "path");
    html_attrf(h, "class", "band c%d", s->colour);
    html_attr_begin(h, "d");
    for (size_t from = 0; from < p->n;) {
        size_t end = from;
        while (end < p->n && is_seen(&p->y, s->low[end]) && is_seen(&p->y, s->high[end]))
            end++;
        struct svg_pen pen = {0};
        for (size_t i = from; i < end; i++)
            svg_draw_to(h, &pen, scale_place(&d->x, p->at[i]), place_y(d, s->high[i]));
        for (size_t i = end; i > from; i--)
            svg_draw_to(h, &pen, scale_place(&d->x, p->at[i - 1]), place_y(d, s->low[i - 1]));
        if (pen.down)
            html_text(h, "z");
        from = end > from ? end : from + 1;
    }
    html_attr_end(h);
    html_close(h);
}

static void draw_line(const struct drawing *d, const struct svg_series *s)
{
    const struct svg_lines *p = d->p;
    struct svg_pen pen = {0};
    html_open(d->h, "path");
    html_attrf(d->h, "class", "line c%d d%d", s->colour, s->dashes);
    html_attr_begin(d->h, "d");
    for (size_t i = 0; i < p->n; i++) {
        const double y = place_y(d, s->y[i]);
        svg_draw_to(d->h, &pen, scale_place(&d->x, p->at[i]), y);
        if (p->steps)
            svg_draw_to(d->h, &pen, scale_place(&d->x, p->at[i + 1]), y);
    }
    html_attr_end(d->h);
    html_close(d->h);
}

/* No line reaches it. */
static int is_alone(const struct drawing *d, const double *y, size_t i)
{
    return (i == 0 || !is_seen(&d->p->y, y[i - 1])) &&
           (i + 1 == d->p->n || !is_seen(&d->p->y, y[i + 1]));
}

static void draw_marks(const struct drawing *d, const struct svg_series *s)
{
    const struct svg_lines *p = d->p;
    for (size_t i = 0; i < p->n; i++) {
        char words[512], x[NUMBER_TEXT], y[NUMBER_TEXT];
        const double at = place_y(d, s->y[i]);
        if (isnan(at) || (p->n > MARKS_UP_TO && !is_alone(d, s->y, i)))
            continue;
        snprintf(words, sizeof words, "%.300s, %.60s %s: %s", s->name, p->x.title,
                 number_short(x, p->at[i], 4), number_short(y, s->y[i], 3));
        svg_mark(d->h, s->colour, d->y.log && s->y[i] < d->y.low, scale_place(&d->x, p->at[i]), at,
                 words);
    }
}

/* ---- labels at the ends ---- */

struct label {
    double y, wanted;
    const struct svg_series *series;
};

static void sort_labels(struct label *l, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && l[k].wanted < l[k - 1].wanted; k--) {
            const struct label t = l[k];
            l[k] = l[k - 1];
            l[k - 1] = t;
        }
}

/* None on another, none outside: pushed down in order, then up from the lower edge. */
static void part_labels(struct label *l, size_t n, const struct svg_box *b)
{
    double least = b->top;
    for (size_t i = 0; i < n; i++) {
        l[i].y = l[i].wanted > least ? l[i].wanted : least;
        least = l[i].y + LABEL_HEIGHT;
    }
    double most = b->bottom;
    for (size_t i = n; i > 0 && l[i - 1].y > most; i--) {
        l[i - 1].y = most;
        most -= LABEL_HEIGHT;
    }
}

static void draw_labels(const struct drawing *d)
{
    const struct svg_lines *p = d->p;
    struct label labels[SVG_MAX_SERIES];
    size_t n = 0;
    for (size_t s = 0; s < d->n_series; s++) {
        const double *y = p->series[s].y;
        size_t last = p->n;
        for (size_t i = p->n; i > 0 && last == p->n; i--)
            last = is_seen(&p->y, y[i - 1]) ? i - 1 : last;
        /* Steps all end at the bottom: their labels are a key from the top. */
        if (last < p->n)
            labels[n++] = (struct label){.wanted = p->steps ? d->box.top : place_y(d, y[last]),
                                         .series = &p->series[s]};
    }
    sort_labels(labels, n);
    part_labels(labels, n, &d->box);
    for (size_t i = 0; i < n; i++) {
        char class_name[32], name[NUMBER_TEXT * 4];
        const struct svg_series *s = labels[i].series;
        double x = d->box.right + 8;
        if (p->steps) {
            snprintf(class_name, sizeof class_name, "line c%d d%d", s->colour, s->dashes);
            svg_line(d->h, class_name, x, labels[i].y, x + SAMPLE - 5, labels[i].y);
            x += SAMPLE;
        }
        snprintf(class_name, sizeof class_name, "label c%d", s->colour);
        svg_text(d->h, class_name, "start", x, labels[i].y + 4,
                 svg_short_name(name, s->name, SVG_LABEL_CHARS));
    }
}

void svg_lines(struct html *h, const struct svg_lines *p)
{
    struct drawing d = {.h = h, .p = p};
    d.n_series = p->n_series < SVG_MAX_SERIES ? p->n_series : SVG_MAX_SERIES;
    d.box = (struct svg_box){SVG_LEFT, SVG_TOP, SVG_WIDTH - label_room(p, d.n_series),
                             HEIGHT - SVG_BELOW};
    cover(&d);
    svg_begin(h, p->id, p->title, HEIGHT);
    describe(&d);
    svg_words_end(h);
    svg_axis_y(h, &d.box, &d.y, p->y.title);
    svg_axis_x(h, &d.box, &d.x, p->x.title);
    for (size_t s = 0; s < d.n_series; s++)
        if (p->series[s].low)
            draw_band(&d, &p->series[s]);
    for (size_t s = 0; s < d.n_series; s++) {
        draw_line(&d, &p->series[s]);
        if (!p->steps)
            draw_marks(&d, &p->series[s]);
    }
    draw_labels(&d);
    svg_end(h);
}

/* ---- ranges ---- */

static void describe_ranges(struct html *h, const struct svg_ranges *p)
{
    html_textf(h, "%s over %s.", p->y.title, p->x.title);
    size_t worst = p->n;
    for (size_t i = 0; i < p->n; i++)
        if (isfinite(p->ranges[i].most) &&
            (worst == p->n || p->ranges[i].most > p->ranges[worst].most))
            worst = i;
    if (worst == p->n)
        return;
    html_text(h, " Largest ");
    name_number(h, p->ranges[worst].most);
    html_text(h, " at ");
    name_number(h, p->at[worst]);
    html_text(h, ", where half lie between ");
    name_number(h, p->ranges[worst].low);
    html_text(h, " and ");
    name_number(h, p->ranges[worst].high);
    html_text(h, ".");
}

static void draw_range(struct html *h, const struct svg_ranges *p, size_t i, const struct scale *sx,
                       const struct scale *sy)
{
    const struct svg_range *r = &p->ranges[i];
    const double x = scale_place(sx, p->at[i]);
    const double room = p->n > 1 ? fabs(sx->to - sx->from) / (double)p->n : 30;
    const double half = room > 18 ? 4 : room / 4;
    char words[256], at[NUMBER_TEXT], a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT];
    if (!isfinite(r->least) || !isfinite(r->most))
        return;
    html_open(h, "g");
    html_attrf(h, "class", "range c%d", p->colour);
    svg_line(h, "thin", x, scale_place(sy, r->least), x, scale_place(sy, r->most));
    html_open(h, "rect");
    svg_place(h, "x", x - half);
    svg_place(h, "y", scale_place(sy, r->high));
    svg_place(h, "width", 2 * half);
    svg_place(h, "height", fmax(1, scale_place(sy, r->low) - scale_place(sy, r->high)));
    html_close(h);
    svg_line(h, "middle", x - 1.6 * half, scale_place(sy, r->middle), x + 1.6 * half,
             scale_place(sy, r->middle));
    snprintf(words, sizeof words, "%.60s %s: %s to %s, middle %s", p->x.title,
             number_short(at, p->at[i], 4), number_short(a, r->least, 3),
             number_short(b, r->most, 3), number_short(c, r->middle, 3));
    html_leaf(h, "title", words);
    html_close(h);
}

void svg_ranges(struct html *h, const struct svg_ranges *p)
{
    const struct svg_box box = {SVG_LEFT, SVG_TOP, SVG_WIDTH - 14, HEIGHT - SVG_BELOW};
    struct scale x, y;
    svg_scale(&x, &p->x, box.left + 12, box.right - 12);
    svg_scale(&y, &p->y, box.bottom, box.top);
    for (size_t i = 0; i < p->n; i++) {
        scale_cover(&x, p->at[i]);
        scale_cover(&y, p->ranges[i].least);
        scale_cover(&y, p->ranges[i].most);
    }
    scale_settle(&x);
    scale_settle(&y);
    svg_begin(h, p->id, p->title, HEIGHT);
    describe_ranges(h, p);
    svg_words_end(h);
    svg_axis_y(h, &box, &y, p->y.title);
    svg_axis_x(h, &box, &x, p->x.title);
    for (size_t i = 0; i < p->n; i++)
        draw_range(h, p, i, &x, &y);
    svg_end(h);
}
