/* SPDX-License-Identifier: MIT */
#include "libprep/model/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void findings_init(struct findings *f)
{
    *f = (struct findings){0};
    arena_init(&f->arena, 0);
}

void findings_fini(struct findings *f)
{
    free(f->items);
    arena_fini(&f->arena);
    *f = (struct findings){0};
}

size_t findings_count(const struct findings *f, const char *code)
{
    for (size_t i = 0; i < f->n_codes; i++)
        if (strcmp(f->codes[i].code, code) == 0)
            return f->codes[i].n;
    return 0;
}

/* Counts one more of the code; returns how many there were before. */
static size_t count_code(struct findings *f, const char *code)
{
    for (size_t i = 0; i < f->n_codes; i++)
        if (strcmp(f->codes[i].code, code) == 0)
            return f->codes[i].n++;
    if (f->n_codes < FINDINGS_MAX_CODES) {
        f->codes[f->n_codes].code = code;
        f->codes[f->n_codes++].n = 1;
    }
    return 0;
}

/* Findings quote names from files: no control byte may reach a terminal. */
static const char *keep_printable(struct findings *f, const char *s)
{
    struct prep_error err = PREP_ERROR_INIT;
    char *copy = arena_strndup(&f->arena, s, strlen(s), &err);
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return copy;
}

static void append(struct findings *f, enum severity severity, const char *code, const char *place,
                   const char *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *where = keep_printable(f, place), *what = keep_printable(f, text);
    if (!where || !what || prep_grow(&f->items, &f->cap, f->n, sizeof *f->items, &err)) {
        f->failed = 1;
        return;
    }
    f->items[f->n++] = (struct finding){code, where, what, severity};
}

void findings_add(struct findings *f, enum severity severity, const char *code, const char *place,
                  const char *fmt, ...)
{
    *(severity == FINDING_ERROR ? &f->n_errors : &f->n_warnings) += 1;
    if (count_code(f, code) >= FINDINGS_PER_CODE)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = 0;
    append(f, severity, code, place, text);
}

int findings_finish(struct findings *f, struct prep_error *err)
{
    for (size_t i = 0; i < f->n_codes; i++) {
        if (f->codes[i].n <= FINDINGS_PER_CODE)
            continue;
        char text[64];
        snprintf(text, sizeof text, "and %zu more", f->codes[i].n - FINDINGS_PER_CODE);
        append(f, FINDING_ERROR, f->codes[i].code, "", text);
    }
    return f->failed ? prep_fail(err, PREP_ENOMEM, "out of memory while listing findings") : 0;
}
