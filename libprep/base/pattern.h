/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - regular expressions from config files and recipes, bounded in time.
 *
 * Quantization configs name modules by Python expressions that are matched from the start of the
 * name (re.match) or against all of it (re.fullmatch). PCRE2 runs them with limits on steps and
 * depth, so that a hostile or clumsy pattern costs milliseconds and is reported, not a day.
 *
 * Units      a step is one of PCRE2's internal match calls; a search ends after
 *            PATTERN_MAX_STEPS of them
 * Ownership  pattern_compile / pattern_free
 * Errors     PREP_EDATA, tag PATTERN: does not compile, longer than PATTERN_MAX_BYTES; PREP_ENOMEM
 * Threads    one pattern, one thread at a time (it holds its match memory)
 */
#ifndef PREP_BASE_PATTERN_H
#define PREP_BASE_PATTERN_H

#include <stddef.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PATTERN_MAX_BYTES = 4096, PATTERN_MAX_STEPS = 100000 };

enum pattern_anchor {
    PATTERN_START,  /* re.match */
    PATTERN_WHOLE,  /* re.fullmatch */
    PATTERN_SEARCH, /* re.finditer, with pattern_find() only */
};

enum pattern_result {
    PATTERN_NO,
    PATTERN_YES,
    PATTERN_LIMIT, /* given up: neither yes nor no */
};

struct pattern;

PREP_MUST_CHECK int pattern_compile(struct pattern **p, const char *text, size_t n,
                                    enum pattern_anchor anchor, struct prep_error *err);
void pattern_free(struct pattern *p); /* accepts NULL */

enum pattern_result pattern_match(struct pattern *p, const char *s, size_t n);

/*
 * The first match at or after `from`, a character boundary of s, which must be well-formed UTF-8.
 * For PATTERN_SEARCH.
 */
enum pattern_result pattern_find(struct pattern *p, const char *s, size_t n, size_t from,
                                 size_t *start, size_t *end);

/*
 * Looks for exponential backtracking without knowing the names to come: runs of each letter the
 * pattern contains, followed by a byte it cannot match. 1 when one of them ends in PATTERN_LIMIT.
 * *budget is the number of runs that may still be tried, counted down.
 */
int pattern_is_slow(struct pattern *p, int *budget);

#ifdef __cplusplus
}
#endif
#endif
