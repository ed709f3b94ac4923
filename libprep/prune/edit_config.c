/* SPDX-License-Identifier: MIT */
#include "libprep/prune/edit_config.h"

#include <string.h>

#include "libprep/base/table.h"
#include "libprep/prune/block_list.h"

const char *const quantization_files[] = {"hf_quant_config.json", "quantize_config.json",
                                          "quantization_config.json", NULL};

/* Names that stand for n_routed_experts in related architectures. */
static const char *const aliases[] = {"num_local_experts", "num_experts", "moe_num_experts"};

enum { N_ALIASES = sizeof aliases / sizeof *aliases };

static const char per_layer_key[] = "num_routed_experts_per_layer";

/* A member of an object, or JSON_NONE when it is absent or no object has it. */
static uint32_t member(const struct json *d, uint32_t object, const char *key)
{
    if (object == JSON_NONE || json_type(d, object) != JSON_OBJECT)
        return JSON_NONE;
    return json_get(d, object, key);
}

static int holds(const struct json *d, uint32_t node, int v)
{
    int64_t found;
    return node != JSON_NONE && json_i64(d, node, &found) == 0 && found == v;
}

static int is_known_count(const struct json *d, uint32_t key)
{
    for (int i = 0; i < N_ALIASES; i++)
        if (json_equal(d, key, aliases[i]))
            return 1;
    return json_equal(d, key, "n_routed_experts");
}

static int warn_suspicious(const struct json_patch *p, uint32_t object, int before,
                           struct report *report, struct prep_error *err)
{
    const struct json *d = p->doc;
    for (uint32_t k = json_first(d, object), v; k != JSON_NONE; k = json_next(d, v)) {
        v = json_next(d, k);
        if (!holds(d, v, before) || is_known_count(d, k))
            continue;
        const char *name = json_string(d, k, p->arena, NULL, err);
        if (!name)
            return -1;
        if (strcasestr(name, "expert"))
            report_warn(report, "APPLY_SUSPICIOUS_KEY",
                        "%s: %s is %d like the old number of experts; left as it is", d->name, name,
                        before);
    }
    return 0;
}

/* The counts of one object that has them; *found tells whether any stood there. */
static int edit_counts(struct json_patch *p, uint32_t object, const struct expert_counts *c,
                       int *found, struct prep_error *err)
{
    const struct json *d = p->doc;
    if (holds(d, member(d, object, "n_routed_experts"), c->before)) {
        *found = 1;
        if (json_patch_set_i64(p, object, "n_routed_experts", c->after, err))
            return -1;
    }
    for (int i = 0; i < N_ALIASES; i++) {
        if (!holds(d, member(d, object, aliases[i]), c->before))
            continue;
        *found = 1;
        if (json_patch_set_i64(p, object, aliases[i], c->after, err))
            return -1;
    }
    if (member(d, object, per_layer_key) != JSON_NONE)
        return json_patch_set_ints(p, object, per_layer_key, c->n_experts, (size_t)c->n_layers,
                                   err);
    return 0;
}

int edit_expert_counts(struct json_patch *p, uint32_t object, const struct expert_counts *counts,
                       struct report *report, struct prep_error *err)
{
    const struct json *d = p->doc;
    /* Some wrappers repeat the numbers of text_config beside it. */
    const uint32_t objects[2] = {object, object == 0 ? member(d, 0, "text_config") : 0};
    int found = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t o = objects[i];
        if (o == JSON_NONE || json_type(d, o) != JSON_OBJECT)
            continue;
        if (edit_counts(p, o, counts, &found, err))
            return -1;
        if (counts->after != counts->before && warn_suspicious(p, o, counts->before, report, err))
            return -1;
        int has_mtp = member(d, o, "num_nextn_predict_layers") != JSON_NONE;
        if (counts->mtp_after != counts->mtp_before && (has_mtp || i == 0) &&
            json_patch_set_i64(p, o, "num_nextn_predict_layers", counts->mtp_after, err))
            return -1;
    }
    if (!found && json_patch_set_i64(p, object, "n_routed_experts", counts->after, err))
        return -1;
    if (!counts->uniform && member(d, object, per_layer_key) == JSON_NONE)
        return json_patch_set_ints(p, object, per_layer_key, counts->n_experts,
                                   (size_t)counts->n_layers, err);
    return 0;
}

/* One list or dictionary while it is edited. */
struct list_edit {
    struct json_patch *p;
    const struct module_list *modules;
    uint32_t list;
    enum pattern_syntax syntax;
    int expand;
    size_t n; /* children */
    uint32_t *children;
    const char **entries; /* NULL for a child that is no name */
    struct entry_fate *fates;
};

static int judge_entries(struct list_edit *e, struct prep_error *err)
{
    const struct json *d = e->p->doc;
    struct arena *arena = e->p->arena;
    int is_object = json_type(d, e->list) == JSON_OBJECT;
    size_t count = json_count(d, e->list);
    e->children = arena_calloc(arena, count, sizeof *e->children, err);
    e->entries = arena_calloc(arena, count, sizeof *e->entries, err);
    e->fates = arena_calloc(arena, count, sizeof *e->fates, err);
    if (!e->children || !e->entries || !e->fates)
        return -1;
    for (uint32_t c = json_first(d, e->list); c != JSON_NONE; e->n++) {
        size_t i = e->n, n;
        e->children[i] = c;
        if (json_type(d, c) == JSON_STRING) {
            const char *entry = json_string(d, c, arena, &n, err);
            if (!entry)
                return -1;
            if (strlen(entry) == n) {
                e->entries[i] = entry;
                if (module_entry(&e->fates[i], e->modules, entry, e->syntax, e->expand, arena, err))
                    return -1;
            }
        }
        c = json_next(d, is_object ? json_next(d, c) : c);
    }
    return 0;
}

static const char *final_name(const struct list_edit *e, size_t i)
{
    const struct entry_fate *f = &e->fates[i];
    if (f->expanded || f->action == ENTRY_DROP)
        return NULL;
    return f->action == ENTRY_REPLACE ? f->names[0] : e->entries[i];
}

/* Names that patterns were expanded to and that the list has already are left out. */
static int drop_repeats(struct list_edit *e, struct prep_error *err)
{
    struct name_table seen;
    uint32_t old;
    int rc = -1;
    if (name_table_init(&seen, e->n, err))
        return -1;
    for (size_t i = 0; i < e->n; i++) {
        const char *name = final_name(e, i);
        if (name && name_table_add(&seen, name, strlen(name), 0, &old, err))
            goto out;
    }
    for (size_t i = 0; i < e->n; i++) {
        struct entry_fate *f = &e->fates[i];
        size_t kept = 0;
        for (size_t k = 0; f->expanded && k < f->n; k++) {
            if (name_table_add(&seen, f->names[k], strlen(f->names[k]), 0, &old, err))
                goto out;
            if (old == NAME_NONE)
                f->names[kept++] = f->names[k];
        }
        if (f->expanded) {
            f->n = kept;
            f->action = kept ? ENTRY_REPLACE : ENTRY_DROP;
        }
    }
    rc = 0;
out:
    name_table_free(&seen);
    return rc;
}

static int patch_entries(const struct list_edit *e, struct prep_error *err)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct entry_fate *f = &e->fates[i];
        int rc = 0;
        if (f->action == ENTRY_DROP)
            rc = json_patch_remove(e->p, e->list, e->children[i], err);
        else if (f->action == ENTRY_REPLACE && f->expanded)
            rc = json_patch_expand(e->p, e->list, e->children[i], f->names, f->n, err);
        else if (f->action == ENTRY_REPLACE)
            rc = json_patch_replace_string(e->p, e->children[i], f->names[0], err);
        if (rc)
            return -1;
    }
    return 0;
}

static int edit_list(struct json_patch *p, uint32_t list, enum pattern_syntax syntax,
                     const struct module_list *modules, int expand, struct prep_error *err)
{
    struct list_edit e = {
        .p = p, .modules = modules, .list = list, .syntax = syntax, .expand = expand};
    if (list == JSON_NONE ||
        (json_type(p->doc, list) != JSON_ARRAY && json_type(p->doc, list) != JSON_OBJECT))
        return 0;
    int rc = judge_entries(&e, err);
    int any_expanded = 0;
    for (size_t i = 0; i < e.n && !rc; i++)
        any_expanded |= e.fates[i].expanded;
    if (!rc && any_expanded)
        rc = drop_repeats(&e, err);
    return rc ? -1 : patch_entries(&e, err);
}

/* The lists of one quantization config. */
static int edit_quantization(struct json_patch *p, uint32_t object,
                             const struct module_list *modules, int expand, struct prep_error *err)
{
    static const struct {
        const char *key;
        enum pattern_syntax syntax;
    } lists[] = {
        {"ignore", SYNTAX_GLOB},
        {"modules_to_not_convert", SYNTAX_GLOB},
        {"modules_to_not_quantize", SYNTAX_GLOB},
        {"ignored_layers", SYNTAX_GLOB},
        {"exclude_modules", SYNTAX_GLOB},
        {"quantized_layers", SYNTAX_GLOB},
        {"extra_config", SYNTAX_FULLMATCH},
        {"dynamic", SYNTAX_MATCH},
    };
    const struct json *d = p->doc;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (edit_list(p, member(d, object, lists[i].key), lists[i].syntax, modules, expand, err))
            return prep_note(err, "%s: %s", d->name, lists[i].key);
    if (edit_block_list(p, member(d, object, "modules_in_block_to_quantize"), modules->renumber,
                        err))
        return prep_note(err, "%s", d->name);
    uint32_t groups = member(d, object, "config_groups");
    if (groups == JSON_NONE || json_type(d, groups) != JSON_OBJECT)
        return 0;
    for (uint32_t k = json_first(d, groups), v; k != JSON_NONE; k = json_next(d, v)) {
        v = json_next(d, k);
        if (edit_list(p, member(d, v, "targets"), SYNTAX_GLOB, modules, expand, err))
            return prep_note(err, "%s: config_groups targets", d->name);
    }
    return 0;
}

enum { N_PLACES = 5 };

/* Every node where lists may stand, the likeliest first; of a plain sidecar that is the root. */
static void quantization_places(const struct json *d, uint32_t places[N_PLACES])
{
    uint32_t config = member(d, 0, "quantization_config");
    places[0] = member(d, config, "quantization"); /* modelopt, 2025 */
    places[1] = config;
    places[2] = member(d, member(d, 0, "text_config"), "quantization_config");
    places[3] = member(d, 0, "quantization");
    places[4] = json_type(d, 0) == JSON_OBJECT ? 0 : JSON_NONE;
}

int edit_module_lists(struct json_patch *p, const struct module_list *modules, int expand_patterns,
                      struct prep_error *err)
{
    uint32_t places[N_PLACES];
    quantization_places(p->doc, places);
    for (int i = 0; i < N_PLACES; i++)
        if (edit_quantization(p, places[i], modules, expand_patterns, err))
            return -1;
    return 0;
}

uint32_t quantization_node(const struct json *doc, int sidecar)
{
    uint32_t places[N_PLACES];
    quantization_places(doc, places);
    for (int i = 0; i < (sidecar ? N_PLACES : N_PLACES - 1); i++)
        if (places[i] != JSON_NONE && json_type(doc, places[i]) == JSON_OBJECT)
            return places[i];
    return JSON_NONE;
}
