/* SPDX-License-Identifier: MIT */
#include "libprep/probe/arithmetic.h"

#include <inttypes.h>
#include <stdio.h>

#include "libprep/base/random.h"

enum kind { SUM, DIFFERENCE, PRODUCT, CHAIN, STORY, N_KINDS };

/* Uniform among the numbers of exactly `digits` digits; 0 counts as one of one digit. */
static int64_t draw(struct prep_random *r, int digits)
{
    int64_t low = 1;
    for (int i = 1; i < digits; i++)
        low *= 10;
    if (digits == 1)
        low = 0;
    return low + (int64_t)prep_random_below(r, (uint64_t)(digits == 1 ? 10 : 9 * low));
}

static void ask(struct arithmetic_problem *p, enum kind kind, int64_t a, int64_t b, int64_t c)
{
    static const char end[] = "? Answer with the number only.";
    char *q = p->question;
    const size_t n = sizeof p->question;
    switch (kind) {
    case SUM:
        p->result = a + b;
        snprintf(q, n, "What is %" PRId64 " + %" PRId64 "%s", a, b, end);
        return;
    case DIFFERENCE:
        p->result = a - b;
        snprintf(q, n, "What is %" PRId64 " - %" PRId64 "%s", a, b, end);
        return;
    case PRODUCT:
        p->result = a * b;
        snprintf(q, n, "What is %" PRId64 " * %" PRId64 "%s", a, b, end);
        return;
    case CHAIN:
        p->result = a * b + c;
        snprintf(q, n, "What is %" PRId64 " * %" PRId64 " + %" PRId64 "%s", a, b, c, end);
        return;
    default:
        p->result = a * b - c;
        snprintf(q, n,
                 "A shop gets %" PRId64 " boxes with %" PRId64 " lamps in each and sells %" PRId64
                 " lamps. How many lamps are left%s",
                 a, b, c, end);
        return;
    }
}

int arithmetic_make(struct arithmetic_problem *p, int digits, uint64_t seed, uint64_t i,
                    struct prep_error *err)
{
    const enum kind kind = (enum kind)(i % N_KINDS);
    /* A stream of its own for every problem. */
    struct prep_random r = {seed};
    r.state = prep_random_u64(&r) + i;
    r.state = prep_random_u64(&r);
    if (digits < 1 || digits > 9)
        return prep_fail(err, PREP_EUSAGE, "problems of %d digits, want 1 to 9", digits);
    int64_t a = draw(&r, digits);
    int64_t b = draw(&r, kind >= PRODUCT && digits > 2 ? 2 : digits);
    int64_t c = draw(&r, digits);
    if (kind == STORY) /* no more can be sold than there are */
        c %= a * b + 1;
    ask(p, kind, a, b, c);
    return 0;
}
