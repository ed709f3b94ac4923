/* SPDX-License-Identifier: MIT */
#include "libprep/release/plot_scale.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/numeric/elementary.h"

#define MINUS "\xe2\x88\x92"   /* U+2212 */
#define EN_DASH "\xe2\x80\x93" /* U+2013 */

enum { TICKS_WANTED = 5 };

/* What an axis covers: far beyond any figure, and far from where doubles end. */
static const double LARGEST = 1e100;

/* ---- text ---- */

/*
 * printf rounds correctly and spells the decimal point as the locale does: everything that is no
 * digit, sign or exponent becomes a point.
 */
static void spell(char *buf, const char *printed)
{
    size_t n = 0;
    for (const char *s = printed; *s && n + 4 < NUMBER_TEXT; s++) {
        if (*s == '-') {
            memcpy(buf + n, MINUS, 3);
            n += 3;
        } else if ((*s >= '0' && *s <= '9') || *s == '+' || *s == 'e') {
            buf[n++] = *s;
        } else if (n && buf[n - 1] != '.') {
            buf[n++] = '.';
        }
    }
    buf[n] = 0;
}

static int is_zero(const char *printed)
{
    return printed[strcspn(printed, "123456789")] == 0;
}

const char *number_fixed(char buf[NUMBER_TEXT], double v, int digits, int sign)
{
    char text[400];
    if (!isfinite(v)) {
        memcpy(buf, EN_DASH, sizeof EN_DASH);
        return buf;
    }
    if (fabs(v) >= 1e15)
        return number_short(buf, v, 6);
    snprintf(text, sizeof text, sign ? "%+.*f" : "%.*f", digits, v);
    /* What is rounded to zero has no sign. */
    spell(buf, text + ((*text == '-' || *text == '+') && is_zero(text)));
    return buf;
}

/* The power of ten of the first digit of v rounded to so many digits. */
static int exponent_of(double v, int digits)
{
    char text[64];
    snprintf(text, sizeof text, "%.*e", digits - 1, v);
    return atoi(strchr(text, 'e') + 1);
}

const char *number_short(char buf[NUMBER_TEXT], double v, int digits)
{
    char text[64];
    if (!isfinite(v) || v == 0)
        return number_fixed(buf, v, 0, 0);
    const int e = exponent_of(v, digits);
    if (e >= -6 && e < 15)
        return number_fixed(buf, v, e >= digits - 1 ? 0 : digits - 1 - e, 0);
    snprintf(text, sizeof text, "%.*e", digits - 1, v);
    char *mark = strchr(text, 'e');
    *mark = 0;
    spell(buf, text);
    snprintf(buf + strlen(buf), NUMBER_TEXT - strlen(buf), "e%s%d", e < 0 ? MINUS : "", abs(e));
    return buf;
}

const char *number_count(char buf[NUMBER_TEXT], uint64_t v)
{
    char text[24];
    const int n = snprintf(text, sizeof text, "%" PRIu64, v);
    char *o = buf;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *o++ = ',';
        *o++ = text[i];
    }
    *o = 0;
    return buf;
}

const char *number_bytes(char buf[NUMBER_TEXT], uint64_t v)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double x = (double)v;
    size_t u = 0;
    for (; x >= 999.5 && u + 1 < sizeof units / sizeof *units; u++)
        x /= 1000;
    number_fixed(buf, x, u == 0 || x >= 99.95 ? 0 : x >= 9.995 ? 1 : 2, 0);
    snprintf(buf + strlen(buf), NUMBER_TEXT - strlen(buf), " %s", units[u]);
    return buf;
}

const char *number_place(char buf[NUMBER_TEXT], double v)
{
    const double hundredths = rint(v * 100);
    if (!(fabs(hundredths) < 1e9)) {
        memcpy(buf, "0", 2);
        return buf;
    }
    const long n = labs((long)hundredths);
    const char *sign = hundredths < 0 ? "-" : "";
    if (n % 100 == 0)
        snprintf(buf, NUMBER_TEXT, "%s%ld", sign, n / 100);
    else if (n % 10 == 0)
        snprintf(buf, NUMBER_TEXT, "%s%ld.%ld", sign, n / 100, n / 10 % 10);
    else
        snprintf(buf, NUMBER_TEXT, "%s%ld.%02ld", sign, n / 100, n % 100);
    return buf;
}

/* ---- scales ---- */

/* Exact up to 10^22. */
static double power_of_ten(int n)
{
    double p = 1;
    for (int i = 0; i < n; i++)
        p *= 10;
    return p;
}

/* m x 10^k, correctly rounded for the sizes of axes. */
static double times_power(double m, int k)
{
    return k >= 0 ? m * power_of_ten(k) : m / power_of_ten(-k);
}

struct step {
    int m, k; /* m x 10^k, m is 1, 2 or 5 */
};

static double step_size(const struct step *s)
{
    return times_power(s->m, s->k);
}

/* The smallest step of which `most` intervals reach over the range. */
static struct step step_for(double range, size_t most, int whole)
{
    const double least = range / (double)most;
    struct step s = {1, exponent_of(least, 17)};
    if (whole && s.k < 0)
        s = (struct step){1, 0};
    while (step_size(&s) < least * (1 - 1e-12)) {
        s.k += s.m == 5;
        s.m = s.m == 1 ? 2 : s.m == 2 ? 5 : 1;
    }
    return s;
}

void scale_init(struct scale *s, double from, double to)
{
    *s = (struct scale){.low = INFINITY, .high = -INFINITY, .from = from, .to = to};
}

void scale_cover(struct scale *s, double v)
{
    if (!(fabs(v) <= LARGEST) || (s->log && v < 1 / LARGEST))
        return;
    if (fabs(v) < 1 / LARGEST)
        v = 0;
    s->low = v < s->low ? v : s->low;
    s->high = v > s->high ? v : s->high;
}

static void settle_log(struct scale *s)
{
    if (s->low > s->high) {
        s->low = 0.1;
        s->high = 1;
    }
    static const int steps[] = {1, 2, 5};
    const int a = exponent_of(s->low, 17), b = exponent_of(s->high, 17);
    double low = times_power(1, a), high = times_power(10, b);
    for (int i = 0; i < 3; i++) {
        if (times_power(steps[i], a) <= s->low)
            low = times_power(steps[i], a);
        if (times_power(steps[2 - i], b) >= s->high)
            high = times_power(steps[2 - i], b);
    }
    if (low >= high)
        low = high / 10;
    s->low = low;
    s->high = high;
}

static void settle_linear(struct scale *s)
{
    if (s->low > s->high) {
        s->low = 0;
        s->high = 1;
    }
    /* Closer than doubles can tell apart in steps: as one value. */
    if (s->high - s->low <= 1e-9 * (fabs(s->low) + fabs(s->high))) {
        const double half =
            s->whole || s->low == 0 ? fmax(1, fabs(s->low) * 1e-6) : fabs(s->low) / 2;
        s->low -= half;
        s->high += half;
    }
    if (s->whole)
        return; /* whole axes begin and end with their data */
    const struct step step = step_for(s->high - s->low, TICKS_WANTED, 0);
    const double size = step_size(&step);
    s->low = times_power(floor(s->low / size + 1e-9) * step.m, step.k);
    s->high = times_power(ceil(s->high / size - 1e-9) * step.m, step.k);
}

void scale_settle(struct scale *s)
{
    if (s->log)
        settle_log(s);
    else
        settle_linear(s);
}

double scale_place(const struct scale *s, double v)
{
    double share;
    if (!isfinite(v) || (s->log && v <= 0))
        return (double)NAN;
    if (s->log)
        share = (prep_log(v) - prep_log(s->low)) / (prep_log(s->high) - prep_log(s->low));
    else
        share = (v - s->low) / (s->high - s->low);
    return s->from + share * (s->to - s->from);
}

/* ---- ticks ---- */

static void label_power(char *label, int k)
{
    static const char *const raised[] = {
        "\xe2\x81\xb0", "\xc2\xb9",     "\xc2\xb2",     "\xc2\xb3",     "\xe2\x81\xb4",
        "\xe2\x81\xb5", "\xe2\x81\xb6", "\xe2\x81\xb7", "\xe2\x81\xb8", "\xe2\x81\xb9"};
    char digits[16];
    snprintf(digits, sizeof digits, "%d", abs(k));
    snprintf(label, NUMBER_TEXT, "10%s", k < 0 ? "\xe2\x81\xbb" : "");
    for (const char *d = digits; *d; d++)
        snprintf(label + strlen(label), NUMBER_TEXT - strlen(label), "%s", raised[*d - '0']);
}

/* m x 10^k on a logarithmic axis. */
static void label_log(struct tick *t, int m, int k)
{
    if (m == 1 && (k < -4 || k > 4))
        label_power(t->label, k);
    else
        number_short(t->label, t->value, 1);
}

static size_t log_ticks(struct tick *ticks, const struct scale *s, size_t most)
{
    const int a = exponent_of(s->low, 17), b = exponent_of(s->high, 17);
    const int fine = s->high <= 100.5 * s->low;
    const int stride = (int)((size_t)(b - a) / most + 1);
    size_t n = 0;
    for (int k = a; k <= b; k += stride)
        for (int m = 1; m <= (fine ? 5 : 1); m += m == 1 ? 1 : 3) {
            const double v = times_power(m, k);
            if (v < s->low || v > s->high || n == most)
                continue;
            ticks[n].value = v;
            label_log(&ticks[n++], m, k);
        }
    return n;
}

/* 20000 is "20k", 3000000 "3M", where the whole axis is that large. */
static void label_linear(struct tick *t, const struct step *s)
{
    const int decimals = s->k < 0 ? -s->k : 0;
    if (t->value == 0) {
        memcpy(t->label, "0", 2);
    } else if (decimals > 7) {
        number_short(t->label, t->value, 2);
    } else if (s->k >= 3) {
        const int mega = s->k >= 6;
        number_fixed(t->label, t->value / (mega ? 1e6 : 1e3), 0, 0);
        snprintf(t->label + strlen(t->label), NUMBER_TEXT - strlen(t->label), "%s",
                 mega ? "M" : "k");
    } else {
        number_fixed(t->label, t->value, decimals, 0);
    }
}

static size_t linear_ticks(struct tick *ticks, const struct scale *s, size_t most)
{
    const struct step step = step_for(s->high - s->low, most > 2 ? most - 1 : 1, s->whole);
    const double size = step_size(&step);
    size_t n = 0;
    for (double i = ceil(s->low / size - 1e-9); n < most; i++) {
        const double v = times_power(i * step.m, step.k);
        if (v > s->high + size * 1e-9)
            break;
        ticks[n].value = v;
        label_linear(&ticks[n++], &step);
    }
    return n;
}

size_t scale_ticks(struct tick *ticks, const struct scale *s, size_t most)
{
    if (most > SCALE_MAX_TICKS)
        most = SCALE_MAX_TICKS;
    return s->log ? log_ticks(ticks, s, most) : linear_ticks(ticks, s, most);
}
