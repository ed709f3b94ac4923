/* SPDX-License-Identifier: MIT */
#include "libprep/release/lint_match.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static int starts_with(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

static int ends_after_dot(const char *name, const char *tail)
{
    size_t n = strlen(name), k = strlen(tail);
    return n > k && name[n - k - 1] == '.' && strcmp(name + n - k, tail) == 0;
}

/* '.' is escaped, '*' becomes ".*"; every other letter keeps what it means in an expression. */
static char *glob_to_regex(const char *glob)
{
    char *out = malloc(2 * strlen(glob) + 1), *p = out;
    if (!out)
        return NULL;
    for (; *glob; glob++) {
        if (*glob == '.')
            *p++ = '\\';
        if (*glob == '*')
            *p++ = '.';
        *p++ = *glob;
    }
    *p = 0;
    return out;
}

/* The regular expression of an entry: NULL when it has none. */
static const char *regex_of(enum list_rule rule, const char *entry)
{
    switch (rule) {
    case LIST_CT:
    case LIST_CT_SUFFIX:
        return starts_with(entry, "re:") ? entry + 3 : NULL;
    case LIST_DYNAMIC:
        return starts_with(entry, "-:") || starts_with(entry, "+:") ? entry + 2 : entry;
    case LIST_EXTRA:
        return strpbrk(entry, "*+?^$()[]{}|\\") ? entry : NULL;
    default:
        return NULL;
    }
}

static int compile_entry(struct lint_match *m, size_t i, struct prep_error *err)
{
    struct prep_error why = PREP_ERROR_INIT;
    int whole = m->rule == LIST_EXTRA || m->rule == LIST_MODELOPT_SGLANG;
    char *made = NULL;
    const char *regex = regex_of(m->rule, m->entries[i]);
    if (m->rule == LIST_MODELOPT_SGLANG) {
        made = glob_to_regex(m->entries[i]);
        if (!made)
            return prep_fail(err, PREP_ENOMEM, "out of memory for an exclude list");
        regex = made;
    }
    int rc = regex ? pattern_compile(&m->patterns[i], regex, strlen(regex),
                                     whole ? PATTERN_WHOLE : PATTERN_START, &why)
                   : 0;
    free(made);
    if (rc == 0 || why.code == PREP_EDATA)
        return 0;
    *err = why;
    return -1;
}

int lint_match_init(struct lint_match *m, enum list_rule rule, const char *const *entries, size_t n,
                    struct prep_error *err)
{
    *m = (struct lint_match){.rule = rule, .entries = entries, .n = n};
    m->patterns = calloc(n + 1, sizeof(struct pattern *));
    if (!m->patterns)
        return prep_fail(err, PREP_ENOMEM, "out of memory for %zu exclude entries", n);
    if (name_table_init(&m->names, n, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        uint32_t old;
        if (name_table_add(&m->names, entries[i], strlen(entries[i]), (uint32_t)i, &old, err) ||
            compile_entry(m, i, err))
            return -1;
    }
    return 0;
}

void lint_match_fini(struct lint_match *m)
{
    for (size_t i = 0; m->patterns && i < m->n; i++)
        pattern_free(m->patterns[i]);
    free(m->patterns);
    name_table_free(&m->names);
    *m = (struct lint_match){0};
}

int lint_match_exact(const struct lint_match *m, const char *entry)
{
    return name_table_get(&m->names, entry, strlen(entry)) != NAME_NONE;
}

static int yes(struct pattern *p, const char *s, size_t n)
{
    return p && pattern_match(p, s, n) == PATTERN_YES;
}

static int any_part(struct pattern *p, const char *name)
{
    for (const char *at = name; *at;) {
        size_t n = strcspn(at, ".");
        if (yes(p, at, n))
            return 1;
        at += n + (at[n] == '.');
    }
    return 0;
}

/* "...self_attn.kv_a_proj_with_mqa" names "...self_attn.fused_qkv_a_proj_with_mqa", too. */
static int names_fused(const char *entry, const char *name)
{
    static const char *const tails[] = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"};
    const char *tail = strrchr(entry, '.'), *last = strrchr(name, '.');
    if (!tail || !last || tail - entry != last - name ||
        strncmp(entry, name, (size_t)(tail - entry)) != 0)
        return 0;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (strcmp(tail + 1, tails[i]) == 0)
            return strstr(last + 1, tails[i]) != NULL;
    return 0;
}

/* The experts of a layer are one module to sglang: an entry that reaches into it takes it whole. */
static int reaches_into(const char *entry, const char *name)
{
    const char *at = ends_after_dot(name, "mlp.experts") ? strstr(entry, name) : NULL;
    return at && strchr(".*", at[strlen(name)]) != NULL; /* the end of the entry included */
}

static int is_above(const char *entry, const char *name)
{
    size_t n = strlen(entry);
    return strncmp(entry, name, n) == 0 && (name[n] == 0 || name[n] == '.');
}

static int entry_matches(struct lint_match *m, size_t i, const char *name)
{
    const char *entry = m->entries[i];
    struct pattern *p = m->patterns[i];
    switch (m->rule) {
    case LIST_CT:
    case LIST_EXTRA:
    case LIST_DYNAMIC:
        return p ? yes(p, name, strlen(name)) : strcmp(entry, name) == 0;
    case LIST_CT_SUFFIX:
        return p ? yes(p, name, strlen(name))
                 : strcmp(entry, name) == 0 || ends_after_dot(name, entry);
    case LIST_MODELOPT_SGLANG:
        return yes(p, name, strlen(name)) || any_part(p, name) || names_fused(entry, name) ||
               reaches_into(entry, name);
    case LIST_MODELOPT_VLLM:
        return strstr(name, entry) != NULL || fnmatch(entry, name, FNM_NOESCAPE) == 0;
    case LIST_PATHS:
        return is_above(entry, name);
    }
    return 0;
}

int lint_match(struct lint_match *m, const char *module)
{
    uint32_t exact = name_table_get(&m->names, module, strlen(module));
    if (exact != NAME_NONE && m->rule != LIST_DYNAMIC)
        return (int)exact;
    for (size_t i = 0; i < m->n; i++) {
        /* Plain entries were looked up: only the rules below look at them in another way. */
        if (!m->patterns[i] && (m->rule == LIST_CT || m->rule == LIST_EXTRA))
            continue;
        if (entry_matches(m, i, module))
            return m->rule == LIST_DYNAMIC && !starts_with(m->entries[i], "-:") ? -1 : (int)i;
    }
    return -1;
}
