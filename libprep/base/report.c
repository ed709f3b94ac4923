/* SPDX-License-Identifier: MIT */
#include "libprep/base/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void report_init(struct report *r)
{
    *r = (struct report){0};
    arena_init(&r->arena, 0);
    r->facts = cJSON_CreateObject();
    r->failed = r->facts == NULL;
}

void report_fini(struct report *r)
{
    arena_fini(&r->arena);
    free(r->warnings);
    cJSON_Delete(r->facts);
    *r = (struct report){0};
}

void report_warn(struct report *r, const char *tag, const char *fmt, ...)
{
    if (!r)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = 0;
    struct prep_error err = PREP_ERROR_INIT;
    /* Warnings quote names from files: keep control bytes off the terminal. */
    for (char *s = text; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
    char *copy = arena_strndup(&r->arena, text, strlen(text), &err);
    if (!copy ||
        prep_grow(&r->warnings, &r->cap_warnings, r->n_warnings, sizeof *r->warnings, &err)) {
        r->failed = 1;
        return;
    }
    r->warnings[r->n_warnings++] = (struct warning){tag, copy};
}

int report_has(const struct report *r, const char *tag)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        if (strcmp(r->warnings[i].tag, tag) == 0)
            return 1;
    return 0;
}

int report_ok(const struct report *r, struct prep_error *err)
{
    return r->failed ? prep_fail(err, PREP_ENOMEM, "out of memory while reporting") : 0;
}

void report_u64(cJSON *object, const char *key, uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, v);
    cJSON_AddRawToObject(object, key, text);
}

void report_add(cJSON *array, cJSON *item)
{
    if (!cJSON_AddItemToArray(array, item))
        cJSON_Delete(item);
}

cJSON *report_add_object(cJSON *array)
{
    cJSON *item = cJSON_CreateObject();
    if (cJSON_AddItemToArray(array, item))
        return item;
    cJSON_Delete(item);
    return NULL;
}
