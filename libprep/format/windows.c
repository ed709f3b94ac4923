/* SPDX-License-Identifier: MIT */
#include "libprep/format/windows.h"

#include <inttypes.h>

#include "libprep/base/json.h"

#define MAX_FILE (UINT64_C(1) << 30)

#define bad(err, ...) prep_fail_tag((err), PREP_EDATA, "WINDOWS", __VA_ARGS__)

static int fail_at(const struct json *d, uint32_t node, const char *want, struct prep_error *err)
{
    char where[200];
    return bad(err, "%s: want %s", json_where(d, node, where, sizeof where), want);
}

static int read_window(uint32_t *out, uint64_t length, const struct json *d, uint32_t list,
                       struct prep_error *err)
{
    if (json_type(d, list) != JSON_ARRAY || json_count(d, list) != length)
        return fail_at(d, list, "a list of as many token ids as \"length\" says", err);
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i)) {
        uint64_t id;
        if (json_u64(d, i, &id) || id > INT32_MAX)
            return fail_at(d, i, "a token id", err);
        *out++ = (uint32_t)id;
    }
    return 0;
}

static int read_part(struct token_windows *w, const struct json *d, const char *part,
                     struct arena *arena, struct prep_error *err)
{
    uint64_t format;
    const uint32_t version = json_type(d, 0) == JSON_OBJECT ? json_get(d, 0, "format") : JSON_NONE;
    if (version == JSON_NONE || json_u64(d, version, &format) || format != 1)
        return bad(err, "%s: want an object with \"format\": 1", d->name);
    const uint32_t object = json_get(d, 0, part);
    if (object == JSON_NONE || json_type(d, object) != JSON_OBJECT)
        return prep_fail(err, PREP_EUSAGE, "%s: has no windows called \"%s\"", d->name, part);
    const uint32_t length = json_get(d, object, "length"), tokens = json_get(d, object, "tokens");
    if (length == JSON_NONE || json_u64(d, length, &w->length) || w->length < 2)
        return fail_at(d, object, "a \"length\" of 2 or more", err);
    if (tokens == JSON_NONE || json_type(d, tokens) != JSON_ARRAY || !json_count(d, tokens))
        return fail_at(d, object, "\"tokens\", a list of windows", err);
    w->n_windows = json_count(d, tokens);
    /* A window that is as long as it must be is in the text: this cannot be more than the text. */
    if (w->length > d->n || w->n_windows > d->n / w->length)
        return fail_at(d, tokens, "windows as long as \"length\" says", err);
    w->tokens = arena_alloc(arena, (size_t)(w->n_windows * w->length) * sizeof *w->tokens, err);
    if (!w->tokens)
        return -1;
    uint32_t *out = w->tokens;
    for (uint32_t i = json_first(d, tokens); i != JSON_NONE; i = json_next(d, i)) {
        if (read_window(out, w->length, d, i, err))
            return -1;
        out += w->length;
    }
    return 0;
}

int windows_parse(struct token_windows *w, const char *text, size_t n, const char *part,
                  const char *name, struct arena *arena, struct prep_error *err)
{
    struct json d;
    *w = (struct token_windows){0};
    if (json_parse(&d, text, n, name, err))
        return -1;
    int rc = read_part(w, &d, part, arena, err);
    json_free(&d);
    return rc;
}

int windows_read(struct token_windows *w, const struct io *io, const char *path, const char *part,
                 struct arena *arena, struct prep_error *err)
{
    struct arena tmp;
    struct span text;
    arena_init(&tmp, 0);
    int rc = io_read_file(io, path, MAX_FILE, &tmp, &text, err) ||
             windows_parse(w, (const char *)text.p, text.n, part, path, arena, err);
    arena_fini(&tmp);
    return rc ? -1 : 0;
}
