/* SPDX-License-Identifier: MIT */
#include "libprep/quant/exclude.h"

#include <string.h>

enum { MAX_KEYS = 2 };

/* In an entry %P is the prefix, %N the layer; both are free of characters special in patterns
 * but for the dots of a prefix, which match themselves. */
static const struct method {
    const char *name;
    const char *keys[MAX_KEYS]; /* the first that is there is used, else the first */
    const char *value;          /* of an entry in a dictionary; NULL: the key holds a list */
    const char *entries[EXCLUDE_MAX_ENTRIES];
} methods[] = {
    {"compressed-tensors",
     {"ignore"},
     NULL,
     {"re:.*layers\\.%N\\..*", "re:model\\.decoder\\..*", "re:.*shared_head.*"}},
    {"modelopt", {"ignore", "exclude_modules"}, NULL, {"%Players.%N*", "*shared_head*"}},
    {"hf_quant_config", {"exclude_modules"}, NULL, {"%Players.%N*", "*shared_head*"}},
    {"gptq", {"dynamic"}, "{}", {"-:.*layers\\.%N\\..*", "-:model\\.decoder\\..*"}},
    {"auto-round",
     {"extra_config"},
     "{\"bits\": 16}",
     {".*layers\\.%N\\..*", "model\\.decoder\\..*"}},
    {"fp8", {"modules_to_not_convert", "ignored_layers"}, NULL, {"%Players.%N", "model.decoder"}},
};

static const struct method *find_method(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

static char *fill_in(struct arena *arena, const char *entry, const char *prefix, int layer,
                     struct prep_error *err)
{
    const char *p = strstr(entry, "%P"), *n = strstr(entry, "%N");
    if (!n)
        return arena_strndup(arena, entry, strlen(entry), err);
    const char *from = p ? p + 2 : entry;
    return arena_printf(arena, err, "%s%.*s%d%s", p ? prefix : "", (int)(n - from), from, layer,
                        n + 2);
}

/* Is the entry among the elements of the list, or the keys of the dictionary? */
static int has_entry(const struct json *d, uint32_t list, const char *entry)
{
    int is_object = json_type(d, list) == JSON_OBJECT;
    for (uint32_t c = json_first(d, list); c != JSON_NONE;) {
        if (json_type(d, c) == JSON_STRING && json_equal(d, c, entry))
            return 1;
        c = json_next(d, is_object ? json_next(d, c) : c);
    }
    return 0;
}

/* The key to use and its node, JSON_NONE when the config does not have the list yet. */
static const char *find_list(const struct json *d, uint32_t object, const struct method *m,
                             uint32_t *list)
{
    enum json_type want = m->value ? JSON_OBJECT : JSON_ARRAY;
    for (int i = 0; i < MAX_KEYS && m->keys[i]; i++) {
        *list = json_get(d, object, m->keys[i]);
        if (*list != JSON_NONE && json_type(d, *list) == want)
            return m->keys[i];
    }
    *list = JSON_NONE;
    return m->keys[0];
}

/* A list of its own, as one line per entry. */
static int add_list(struct json_patch *p, uint32_t object, const char *key, const struct method *m,
                    const char *const *entries, size_t n, struct prep_error *err)
{
    struct json_out o;
    struct span text;
    json_out_init(&o, 2);
    json_out_open(&o, m->value ? '{' : '[');
    for (size_t i = 0; i < n; i++) {
        if (m->value) {
            json_out_key(&o, entries[i]);
            json_out_raw(&o, m->value, strlen(m->value));
        } else {
            json_out_string(&o, entries[i]);
        }
    }
    json_out_close(&o);
    int rc = json_out_finish(&o, &text, err);
    if (!rc)
        rc = json_patch_set(p, object, key, (const char *)text.p, text.n, err);
    json_out_free(&o);
    return rc;
}

static int extend_list(struct json_patch *p, uint32_t list, const struct method *m,
                       const char *entry, struct prep_error *err)
{
    if (has_entry(p->doc, list, entry))
        return 0;
    if (m->value)
        return json_patch_set(p, list, entry, m->value, strlen(m->value), err);
    const char *quoted = json_quote(p->arena, entry, err);
    return quoted ? json_patch_append(p, list, quoted, strlen(quoted), err) : -1;
}

static int list_entries(const char *entries[EXCLUDE_MAX_ENTRIES], size_t *n, const struct method *m,
                        const char *prefix, int layer, struct arena *arena, struct prep_error *err)
{
    for (*n = 0; *n < EXCLUDE_MAX_ENTRIES && m->entries[*n]; ++*n) {
        entries[*n] = fill_in(arena, m->entries[*n], prefix, layer, err);
        if (!entries[*n])
            return -1;
    }
    return 0;
}

int exclude_entries(const char *entries[EXCLUDE_MAX_ENTRIES], size_t *n, const char **value,
                    const char *quant_method, const char *prefix, int layer, struct arena *arena,
                    struct prep_error *err)
{
    const struct method *m = find_method(quant_method);
    if (!m)
        return prep_fail(err, PREP_EBUG, "quant_method \"%s\" has no list", quant_method);
    *value = m->value;
    return list_entries(entries, n, m, prefix, layer, arena, err);
}

int exclude_layer(struct json_patch *p, uint32_t object, const char *quant_method,
                  const char *prefix, int layer, struct report *report, struct prep_error *err)
{
    const char *entries[EXCLUDE_MAX_ENTRIES];
    size_t n;
    uint32_t list;
    if (object == JSON_NONE)
        return 0;
    const struct method *m = find_method(quant_method);
    if (!m) {
        report_warn(report, "STITCH_NOT_LISTED",
                    "%s: quant_method \"%s\" has no list we know; layer %d is not marked as "
                    "unquantized",
                    p->doc->name, quant_method, layer);
        return 0;
    }
    if (list_entries(entries, &n, m, prefix, layer, p->arena, err))
        return -1;
    if (strcmp(m->name, "gptq") == 0)
        report_warn(report, "STITCH_ENGINE",
                    "sglang quantizes every MoE layer of a gptq checkpoint and cannot load layer "
                    "%d in BF16; vLLM can",
                    layer);
    const char *key = find_list(p->doc, object, m, &list);
    if (list == JSON_NONE)
        return add_list(p, object, key, m, entries, n, err);
    for (size_t i = 0; i < n; i++)
        if (extend_list(p, list, m, entries[i], err))
            return -1;
    return 0;
}
