/* SPDX-License-Identifier: MIT */
/*
 * general.*: sampling from generation_config.json, names from a metadata file or, on request, from
 * the name of the folder. The rules for names are those of the reference converter, written down
 * in docs/make-gguf.md.
 */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/gguf_keys.h"

enum { MAX_WORDS = 32 };

/* ---- sampling ---- */

static const struct sampling_key {
    const char *key, *json, *other; /* other: a second name in JSON */
    int integer;
} SAMPLING[] = {
    {"general.sampling.sequence", "sequence", NULL, 0},
    {"general.sampling.top_k", "top_k", NULL, 1},
    {"general.sampling.top_p", "top_p", NULL, 0},
    {"general.sampling.min_p", "min_p", NULL, 0},
    {"general.sampling.xtc_probability", "xtc_probability", NULL, 0},
    {"general.sampling.xtc_threshold", "xtc_threshold", NULL, 0},
    {"general.sampling.temp", "temperature", NULL, 0},
    {"general.sampling.penalty_last_n", "penalty_last_n", NULL, 1},
    {"general.sampling.penalty_repeat", "penalty_repeat", "repetition_penalty", 0},
    {"general.sampling.mirostat", "mirostat", NULL, 1},
    {"general.sampling.mirostat_tau", "mirostat_tau", NULL, 0},
    {"general.sampling.mirostat_eta", "mirostat_eta", NULL, 0},
};

static int put_sampling(struct gguf_keys *k, const struct json *d, const struct sampling_key *s,
                        struct prep_error *err)
{
    uint32_t node = json_get(d, 0, s->json);
    int64_t i;
    double v;
    if (node == JSON_NONE && s->other)
        node = json_get(d, 0, s->other);
    if (node == JSON_NONE)
        return 0;
    if (json_type(d, node) == JSON_STRING) {
        size_t n;
        char *text = json_string(d, node, k->arena, &n, err);
        return text ? gguf_set_string(k, s->key, text, n, err) : -1;
    }
    if (json_type(d, node) != JSON_NUMBER)
        return 0;
    if (s->integer && json_i64(d, node, &i) == 0 && i >= INT32_MIN && i <= INT32_MAX)
        return gguf_set_i32(k, s->key, (int32_t)i, err);
    if (json_f64(d, node, &v) || !isfinite(v))
        return 0;
    return gguf_set_f32(k, s->key, (float)v, err);
}

static int sampling_keys(struct gguf_keys *k, struct span text, struct prep_error *err)
{
    struct json d = {0};
    if (!text.n)
        return 0;
    int rc = json_parse(&d, (const char *)text.p, text.n, "generation_config.json", err);
    for (size_t i = 0; i < sizeof SAMPLING / sizeof *SAMPLING && !rc; i++)
        if (json_type(&d, 0) == JSON_OBJECT)
            rc = put_sampling(k, &d, &SAMPLING[i], err);
    json_free(&d);
    return rc;
}

/* ---- names ---- */

void gguf_size_label(char buf[64], uint64_t shared, uint64_t expert, int n_experts)
{
    const uint64_t n = shared + expert;
    const double v = (double)n;
    double scaled = v * 1e-3;
    char unit = 'K';
    if (v > 1e12) {
        scaled = v * 1e-12;
        unit = 'T';
    } else if (v > 1e9) {
        scaled = v * 1e-9;
        unit = 'B';
    } else if (v > 1e6) {
        scaled = v * 1e-6;
        unit = 'M';
    }
    int digits = 0;
    for (uint64_t r = (uint64_t)rint(scaled); r; r /= 10)
        digits++;
    const int decimals = digits < 2 ? 2 - digits : 0;
    if (n_experts > 0)
        snprintf(buf, 64, "%dx%.*f%c", n_experts, decimals, scaled, unit);
    else
        snprintf(buf, 64, "%.*f%c", decimals, scaled, unit);
}

/* What a word of the folder's name is. */
enum word_kind { WORD_NONE, WORD_VERSION, WORD_SIZE, WORD_FINETUNE, WORD_TYPE, WORD_BASE };

struct word {
    char text[64];
    enum word_kind kind;
};

static const char *skip_digits(const char *s)
{
    while (isdigit((unsigned char)*s))
        s++;
    return s;
}

/* (v|iter)?digits(.digits)* */
static int is_version(const char *s)
{
    if (strncasecmp(s, "iter", 4) == 0)
        s += 4;
    else if (*s == 'v' || *s == 'V')
        s++;
    const char *end = skip_digits(s);
    if (end == s)
        return 0;
    while (*end == '.' && isdigit((unsigned char)end[1]))
        end = skip_digits(end + 1);
    return *end == 0;
}

/* i?q digits (_ letters or digits)* or b?f p? (16|32) */
static int is_type(const char *s)
{
    const char *p = s;
    if (tolower((unsigned char)*p) == 'i')
        p++;
    if (tolower((unsigned char)*p) == 'q' && isdigit((unsigned char)p[1])) {
        p = skip_digits(p + 1);
        while (*p == '_' && isalnum((unsigned char)p[1]))
            p += 2;
        if (*p == 0)
            return 1;
    }
    p = s;
    if (tolower((unsigned char)*p) == 'b')
        p++;
    if (tolower((unsigned char)*p) != 'f')
        return 0;
    p++;
    if (tolower((unsigned char)*p) == 'p')
        p++;
    return strcmp(p, "16") == 0 || strcmp(p, "32") == 0;
}

/* ((A|digits x)? digits ([._] digits)? [KMBT] digit?) or a word; 0 when it is none, else the
 * number of parameters it stands for, or 1 for a word. */
static double size_of(const char *s)
{
    static const char *const words[] = {"small", "mini", "medium", "large", "xl"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(s, words[i]) == 0)
            return 1;
    double experts = 1;
    if (*s == 'A' || *s == 'a') {
        s++;
    } else {
        const char *x = skip_digits(s);
        if (x > s && (*x == 'x' || *x == 'X')) {
            experts = strtod(s, NULL);
            s = x + 1;
        }
    }
    if (!isdigit((unsigned char)*s))
        return 0;
    char number[32] = "";
    size_t n = 0;
    while ((isdigit((unsigned char)*s) || *s == '.' || *s == '_') && n + 1 < sizeof number)
        number[n++] = *s++ == '_' ? '.' : s[-1];
    number[n] = 0;
    static const char units[] = "KMBT";
    const char *u = *s ? strchr(units, toupper((unsigned char)*s)) : NULL;
    if (!u || (s[1] && (!isdigit((unsigned char)s[1]) || s[2])))
        return 0;
    static const double of_unit[] = {1e3, 1e6, 1e9, 1e12};
    return experts * strtod(number, NULL) * of_unit[u - units];
}

static int is_tune(const char *s)
{
    static const char *const words[] = {"chat", "instruct", "vision", "lora"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(s, words[i]) == 0)
            return 1;
    return 0;
}

static int split_words(struct word words[MAX_WORDS], const char *s, size_t len)
{
    int n = 0;
    for (size_t at = 0; at <= len && n < MAX_WORDS;) {
        size_t end = at;
        while (end < len && s[end] != '-')
            end++;
        if (end > at) {
            size_t m = end - at < sizeof words->text - 1 ? end - at : sizeof words->text - 1;
            words[n].kind = WORD_NONE;
            memcpy(words[n].text, s + at, m);
            words[n++].text[m] = 0;
        }
        at = end + 1;
    }
    return n;
}

/* Each lower-case word that is no version gets a capital. */
static void make_name(char *out, size_t size, const struct word *words, int n)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < n; i++) {
        char text[64];
        int lower = 1;
        memcpy(text, words[i].text, sizeof text);
        for (const char *p = text; *p; p++)
            lower &= !isupper((unsigned char)*p);
        if (lower && !is_version(text) && !isdigit((unsigned char)text[0]))
            text[0] = (char)toupper((unsigned char)text[0]);
        int m = snprintf(out + used, size - used, "%s%s", i ? " " : "", text);
        used += m > 0 && (size_t)m < size - used ? (size_t)m : 0;
    }
}

static void label_words(struct word *words, int n, uint64_t parameters)
{
    for (int i = 0; i < n; i++) {
        const char *s = words[i].text;
        const double size = i ? size_of(s) : 0;
        if (is_version(s)) {
            words[i].kind = WORD_VERSION;
        } else if (is_type(s)) {
            words[i].kind = WORD_TYPE;
        } else if (size > 0) {
            /* A size that is far from the model's is part of a name, unless it is of the active
             * parameters ("A14B"). */
            const double off = fabs(size - (double)parameters);
            const int active = toupper((unsigned char)s[0]) == 'A';
            words[i].kind = size > 1 && !active && parameters && off > 0.875 * (double)parameters
                                ? WORD_FINETUNE
                                : WORD_SIZE;
        } else if (i && is_tune(s)) {
            words[i].kind = WORD_FINETUNE;
        }
    }
}

/* Leading words without a label, and versions right behind them, are the base name. */
static void label_base(struct word *words, int n)
{
    int i = 0;
    for (; i < n; i++) {
        if (words[i].kind == WORD_NONE && (i == 0 || isalpha((unsigned char)words[i].text[0]))) {
            words[i].kind = WORD_BASE;
        } else if (words[i].kind == WORD_VERSION && i) {
            words[i].kind = WORD_BASE;
        } else {
            break;
        }
    }
    /* At the end of the name it is a version after all. */
    for (; i == n && i > 1 && is_version(words[i - 1].text); n--, i--)
        words[i - 1].kind = WORD_VERSION;
    for (i = 0; i < n; i++)
        if (words[i].kind == WORD_NONE)
            words[i].kind = WORD_FINETUNE;
}

static void join(char *out, size_t size, const struct word *words, int n, enum word_kind kind)
{
    size_t used = 0;
    out[0] = 0;
    for (int i = 0; i < n; i++) {
        if (words[i].kind != kind)
            continue;
        int m = snprintf(out + used, size - used, "%s%s", used ? "-" : "", words[i].text);
        used += m > 0 && (size_t)m < size - used ? (size_t)m : 0;
    }
}

void gguf_title_of(struct gguf_title *t, const char *folder, uint64_t parameters)
{
    struct word words[MAX_WORDS];
    size_t len = strlen(folder), from = 0;
    *t = (struct gguf_title){0};
    while (len && folder[len - 1] == '/')
        len--;
    for (size_t i = 0; i < len; i++)
        if (folder[i] == '/')
            from = i + 1;
    const int n = split_words(words, folder + from, len - from);
    make_name(t->name, sizeof t->name, words, n);
    label_words(words, n, parameters);
    label_base(words, n);
    join(t->version, sizeof t->version, words, n, WORD_VERSION);
    join(t->basename, sizeof t->basename, words, n, WORD_BASE);
    join(t->finetune, sizeof t->finetune, words, n, WORD_FINETUNE);
    join(t->size_label, sizeof t->size_label, words, n, WORD_SIZE);
    if (!t->version[0] && !t->finetune[0] && !t->size_label[0])
        t->basename[0] = 0;
}

/* ---- the metadata file ---- */

/* In the order of the file. */
static const char *const TEXTS[] = {
    "name",         "author",       "version",      "organization", "finetune",
    "basename",     "description",  "quantized_by", "size_label",   "license",
    "license.name", "license.link", "url",          "doi",          "uuid",
    "repo_url",     "source.url",   "source.doi",   "source.uuid",  "source.repo_url",
};

struct metadata {
    struct gguf_keys *k;
    const struct json *d; /* NULL: no file */
    const struct gguf_title *title;
    const struct gguf_general *g;
    struct prep_error *err;
};

/* What the folder's name says of a key; NULL when nothing. */
static const char *guess(const struct metadata *m, const char *key)
{
    const struct gguf_title *t = m->title;
    const char *s = NULL;
    if (t && strcmp(key, "name") == 0)
        s = t->name;
    else if (t && strcmp(key, "version") == 0)
        s = t->version;
    else if (t && strcmp(key, "finetune") == 0)
        s = t->finetune;
    else if (t && strcmp(key, "basename") == 0)
        s = t->basename;
    else if (t && strcmp(key, "size_label") == 0)
        s = t->size_label;
    if (strcmp(key, "size_label") == 0 && (!s || !s[0]))
        s = m->g->size_label;
    return s && s[0] ? s : NULL;
}

static int wrong_type(struct metadata *m, uint32_t node, const char *want)
{
    char where[256];
    return prep_fail_tag(m->err, PREP_EDATA, "GGUF_METADATA", "%s: want %s",
                         json_where(m->d, node, where, sizeof where), want);
}

static int put_text(struct metadata *m, const char *key)
{
    char full[96];
    snprintf(full, sizeof full, "general.%s", key);
    uint32_t node = m->d ? json_get(m->d, 0, full) : JSON_NONE;
    if (node == JSON_NONE) {
        const char *s = guess(m, key);
        return s ? gguf_set_string(m->k, full, s, strlen(s), m->err) : 0;
    }
    if (json_type(m->d, node) != JSON_STRING)
        return wrong_type(m, node, "a string");
    size_t n;
    const char *s = json_string(m->d, node, m->k->arena, &n, m->err);
    if (!s)
        return -1;
    return n ? gguf_set_string(m->k, full, s, n, m->err) : 0;
}

static int put_list(struct metadata *m, const char *key)
{
    uint32_t node = m->d ? json_get(m->d, 0, key) : JSON_NONE;
    if (node == JSON_NONE)
        return 0;
    if (json_type(m->d, node) != JSON_ARRAY)
        return wrong_type(m, node, "a list of strings");
    size_t n = 0, cap = json_count(m->d, node);
    struct span *items = arena_calloc(m->k->arena, cap, sizeof *items, m->err);
    for (uint32_t i = json_first(m->d, node); i != JSON_NONE && items; i = json_next(m->d, i)) {
        if (json_type(m->d, i) != JSON_STRING)
            return wrong_type(m, i, "a string");
        items[n].p = (const unsigned char *)json_string(m->d, i, m->k->arena, &items[n].n, m->err);
        if (!items[n++].p)
            return -1;
    }
    return items ? gguf_set_strings(m->k, key, items, n, m->err) : -1;
}

/* [{"name": "..", "repo_url": ".."}, ..] -> general.base_model.count, general.base_model.0.name */
static int put_models(struct metadata *m, const char *list, const char *key)
{
    static const char *const fields[] = {"name", "author", "version", "organization", "description",
                                         "url",  "doi",    "uuid",    "repo_url"};
    char full[128];
    uint32_t node = m->d ? json_get(m->d, 0, list) : JSON_NONE, index = 0;
    if (node == JSON_NONE)
        return 0;
    if (json_type(m->d, node) != JSON_ARRAY)
        return wrong_type(m, node, "a list of objects");
    snprintf(full, sizeof full, "%s.count", key);
    if (gguf_set_u32(m->k, full, (uint32_t)json_count(m->d, node), m->err))
        return -1;
    for (uint32_t i = json_first(m->d, node); i != JSON_NONE; i = json_next(m->d, i), index++) {
        if (json_type(m->d, i) != JSON_OBJECT)
            return wrong_type(m, i, "an object");
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
            uint32_t v = json_get(m->d, i, fields[f]);
            size_t n;
            if (v == JSON_NONE || json_type(m->d, v) != JSON_STRING)
                continue;
            char *s = json_string(m->d, v, m->k->arena, &n, m->err);
            snprintf(full, sizeof full, "%s.%" PRIu32 ".%s", key, index, fields[f]);
            if (!s || gguf_set_string(m->k, full, s, n, m->err))
                return -1;
        }
    }
    return 0;
}

static int put_all(struct metadata *m)
{
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        if (put_text(m, TEXTS[i]))
            return -1;
    return put_models(m, "general.base_models", "general.base_model") ||
                   put_models(m, "general.datasets", "general.dataset") ||
                   put_list(m, "general.tags") || put_list(m, "general.languages")
               ? -1
               : 0;
}

int gguf_general_keys(struct gguf_keys *k, const struct gguf_general *g, struct prep_error *err)
{
    struct json doc = {0};
    struct gguf_title title;
    struct metadata m = {.k = k, .g = g, .err = err};
    if (gguf_set_string(k, "general.architecture", GGUF_ARCHITECTURE, strlen(GGUF_ARCHITECTURE),
                        err) ||
        gguf_set_string(k, "general.type", "model", 5, err) || sampling_keys(k, g->generation, err))
        return -1;
    if (g->folder) {
        gguf_title_of(&title, g->folder, g->parameters);
        m.title = &title;
    }
    int rc = 0;
    if (g->metadata.n) {
        rc = json_parse(&doc, (const char *)g->metadata.p, g->metadata.n, g->metadata_name, err);
        m.d = &doc;
        if (!rc && json_type(&doc, 0) != JSON_OBJECT)
            rc = wrong_type(&m, 0, "an object");
    }
    rc = rc || put_all(&m);
    json_free(&doc);
    return rc ? -1 : 0;
}
