/* SPDX-License-Identifier: MIT */
#include "libprep/base/pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_DEPTH = 10000, MAX_HEAP_KIB = 20000, MAX_NESTING = 100, PROBE_BYTES = 48 };

struct pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    size_t n;
    char text[]; /* for pattern_is_slow */
};

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    pcre2_code_free(p->code);
    free(p);
}

static int no_memory(struct prep_error *err)
{
    return prep_fail(err, PREP_ENOMEM, "out of memory compiling a pattern");
}

static int compile(struct pattern *p, enum pattern_anchor anchor, struct prep_error *err)
{
    /*
     * Python's text patterns: Unicode classes, "." stops at line ends; names need not be UTF-8.
     * Start optimizations would hide from pattern_is_slow() what is slow in the engines.
     */
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    if (anchor != PATTERN_SEARCH)
        options |= PCRE2_MATCH_INVALID_UTF | PCRE2_ANCHORED | PCRE2_NO_START_OPTIMIZE;
    if (anchor == PATTERN_WHOLE)
        options |= PCRE2_ENDANCHORED;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return no_memory(err);
    pcre2_set_parens_nest_limit(context, MAX_NESTING);
    int code = 0;
    PCRE2_SIZE at = 0;
    p->code = pcre2_compile((PCRE2_SPTR)p->text, p->n, options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (p->code)
        return 0;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return no_memory(err);
    PCRE2_UCHAR why[160] = "";
    pcre2_get_error_message(code, why, sizeof why);
    return prep_fail_tag(err, PREP_EDATA, "PATTERN",
                         "pattern \"%.*s\" does not compile: byte %zu: %s",
                         (int)(p->n < 200 ? p->n : 200), p->text, (size_t)at, (char *)why);
}

int pattern_compile(struct pattern **out, const char *text, size_t n, enum pattern_anchor anchor,
                    struct prep_error *err)
{
    *out = NULL;
    if (n > PATTERN_MAX_BYTES)
        return prep_fail_tag(err, PREP_EDATA, "PATTERN",
                             "pattern of %zu bytes, at most %d are accepted", n, PATTERN_MAX_BYTES);
    /* PCRE2 reads "(*..." at the start as a setting; in Python it is a mistake. */
    if (n >= 2 && memcmp(text, "(*", 2) == 0)
        return prep_fail_tag(err, PREP_EDATA, "PATTERN",
                             "pattern \"%.*s\" does not compile: nothing to repeat",
                             (int)(n < 200 ? n : 200), text);
    struct pattern *p = calloc(1, sizeof *p + n + 1);
    if (!p)
        return no_memory(err);
    memcpy(p->text, text, n);
    p->n = n;
    if (compile(p, anchor, err)) {
        pattern_free(p);
        return -1;
    }
    p->match = pcre2_match_data_create(1, NULL); /* only yes or no is asked for */
    p->limits = pcre2_match_context_create(NULL);
    if (!p->match || !p->limits) {
        pattern_free(p);
        return no_memory(err);
    }
    pcre2_set_match_limit(p->limits, PATTERN_MAX_STEPS);
    pcre2_set_depth_limit(p->limits, MAX_DEPTH);
    pcre2_set_heap_limit(p->limits, MAX_HEAP_KIB);
    *out = p;
    return 0;
}

enum pattern_result pattern_match(struct pattern *p, const char *s, size_t n)
{
    int rc = pcre2_match(p->code, (PCRE2_SPTR)s, n, 0, 0, p->match, p->limits);
    if (rc >= 0)
        return PATTERN_YES;
    return rc == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_LIMIT;
}

enum pattern_result pattern_find(struct pattern *p, const char *s, size_t n, size_t from,
                                 size_t *start, size_t *end)
{
    /* Checking the whole text again for every match would take quadratic time. */
    int rc = pcre2_match(p->code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, p->match, p->limits);
    if (rc < 0)
        return rc == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_LIMIT;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(p->match);
    *start = at[0];
    *end = at[1];
    return PATTERN_YES;
}

int pattern_is_slow(struct pattern *p, int *budget)
{
    unsigned char seen[256] = {0};
    char probe[PROBE_BYTES + 1];
    probe[PROBE_BYTES] = '\x01';
    for (size_t i = 0; i<p->n && * budget> 0; i++) {
        unsigned char c = (unsigned char)p->text[i];
        int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '_';
        if (!letter || seen[c])
            continue;
        seen[c] = 1;
        (*budget)--;
        memset(probe, c, PROBE_BYTES);
        if (pattern_match(p, probe, sizeof probe) == PATTERN_LIMIT)
            return 1;
    }
    return 0;
}
