/* SPDX-License-Identifier: MIT */
#include "libprep/quant/gguf_types.h"

#include <ctype.h>
#include <string.h>

#include "kernels/ggml/ggml.h"

int gguf_type_from_name(const char *name)
{
    char upper[16];
    size_t n = strlen(name);
    if (n >= sizeof upper)
        return GGUF_NO_TYPE;
    for (size_t i = 0; i <= n; i++)
        upper[i] = (char)toupper((unsigned char)name[i]);
    const struct ggml_type_info *t = ggml_type_by_name(upper);
    if (!t || (t->id != GGML_F32 && !ggml_codec(ISA_SCALAR, t->id)))
        return GGUF_NO_TYPE;
    return t->id;
}

static int open_pattern(struct gguf_pattern *p, const char *text, struct arena *arena,
                        struct prep_error *err)
{
    const char *eq = strrchr(text, '=');
    const int type = eq && eq > text ? gguf_type_from_name(eq + 1) : GGUF_NO_TYPE;
    if (type == GGUF_NO_TYPE)
        return prep_fail(err, PREP_EUSAGE,
                         "%s: want REGEX=TYPE, with a type that make-gguf writes (f32, bf16, q8_0, "
                         "q4_k, iq4_nl, ...)",
                         text);
    char *regex = arena_strndup(arena, text, (size_t)(eq - text), err);
    if (!regex)
        return -1;
    for (char *s = regex; *s; s++)
        *s = (char)tolower((unsigned char)*s);
    *p = (struct gguf_pattern){.text = text, .type = (enum ggml_type)type};
    return pattern_compile(&p->regex, regex, strlen(regex), PATTERN_SEARCH, err);
}

int gguf_patterns_open(struct gguf_patterns *p, const char *const *texts, size_t n,
                       struct arena *arena, struct prep_error *err)
{
    *p = (struct gguf_patterns){0};
    p->items = arena_calloc(arena, n, sizeof *p->items, err);
    if (!p->items)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (open_pattern(&p->items[i], texts[i], arena, err)) {
            gguf_patterns_close(p);
            return -1;
        }
        p->n++;
    }
    return 0;
}

void gguf_patterns_close(struct gguf_patterns *p)
{
    for (size_t i = 0; i < p->n; i++)
        pattern_free(p->items[i].regex);
    *p = (struct gguf_patterns){0};
}

int gguf_patterns_split(const char ***texts, size_t *n, struct span file, struct arena *arena,
                        struct prep_error *err)
{
    const char *s = (const char *)file.p, *end = s + file.n;
    *n = 0;
    *texts = arena_calloc(arena, file.n / 2 + 1, sizeof **texts, err);
    if (!*texts)
        return -1;
    for (int line_start = 1; s < end;) {
        if (line_start && *s == '#') {
            while (s < end && *s != '\n')
                s++;
            continue;
        }
        if (isspace((unsigned char)*s)) {
            line_start = *s++ == '\n';
            continue;
        }
        const char *from = s;
        while (s < end && !isspace((unsigned char)*s))
            s++;
        line_start = 0;
        (*texts)[*n] = arena_strndup(arena, from, (size_t)(s - from), err);
        if (!(*texts)[(*n)++])
            return -1;
    }
    return 0;
}

/* The first pattern found in the name, or NULL. */
static int find_pattern(const struct gguf_pattern **found, const struct gguf_type_options *o,
                        const char *name, struct prep_error *err)
{
    size_t start, end;
    *found = NULL;
    for (size_t i = 0; o->patterns && i < o->patterns->n && !*found; i++) {
        struct gguf_pattern *p = &o->patterns->items[i];
        switch (pattern_find(p->regex, name, strlen(name), 0, &start, &end)) {
        case PATTERN_YES:
            p->matched++;
            *found = p;
            break;
        case PATTERN_LIMIT:
            return prep_fail_tag(err, PREP_EDATA, "PATTERN", "%s: takes too long on %s", p->text,
                                 name);
        case PATTERN_NO:
            break;
        }
    }
    return 0;
}

static int is_float_type(enum ggml_type type)
{
    return type == GGML_F32 || type == GGML_F16 || type == GGML_BF16;
}

int gguf_choose_type(enum ggml_type *type, enum ggml_type *wanted,
                     const struct gguf_type_options *o, const struct gguf_target *t,
                     struct prep_error *err)
{
    const struct gguf_tensor g = gguf_target_tensor(t);
    const enum ggml_type base = gguf_rung_base(o->rule.rung);
    const struct gguf_pattern *found;
    *type = *wanted = gguf_type_of(&o->rule, &g);
    if (t->fixed_f32)
        return 0;
    if (t->n_cols % 256) {
        struct gguf_tensor whole = g;
        whole.n_cols = 256;
        *wanted = gguf_type_of(&o->rule, &whole);
    }
    if (t->spec.part == PART_EMBED && o->embedding != GGUF_NO_TYPE)
        *wanted = (enum ggml_type)o->embedding;
    else if (t->spec.part == PART_LM_HEAD && o->output != GGUF_NO_TYPE)
        *wanted = (enum ggml_type)o->output;
    else if (is_float_type(base))
        return 0;
    else if (find_pattern(&found, o, t->name, err))
        return -1;
    else if (found)
        *wanted = found->type;
    else if (o->rule.indexer_proj_f32 && t->spec.part == PART_INDEXER_WEIGHTS)
        return 0;
    else if (o->pure)
        *wanted = base;
    else
        return 0;
    *type = gguf_fit_row(*wanted, t->n_cols);
    return 0;
}
