/* SPDX-License-Identifier: MIT */
#include "libprep/engine/generation_config.h"

#include "libprep/base/json.h"

/* The value of a key; null counts as absent: JSON_NONE. */
static uint32_t member(const struct json *d, const char *key)
{
    uint32_t node = json_get(d, 0, key);
    return node != JSON_NONE && json_type(d, node) == JSON_NULL ? JSON_NONE : node;
}

static int wrong(const struct json *d, uint32_t node, const char *key, const char *want,
                 struct prep_error *err)
{
    char where[160];
    return prep_fail_tag(err, PREP_EDATA, "GEN_CONFIG", "%s: \"%s\": want %s",
                         json_where(d, node, where, sizeof where), key, want);
}

static int read_number(double *v, const struct json *d, const char *key, struct prep_error *err)
{
    uint32_t node = member(d, key);
    if (node == JSON_NONE)
        return 0;
    return json_f64(d, node, v) ? wrong(d, node, key, "a number", err) : 0;
}

static int read_id(uint32_t *id, const struct json *d, uint32_t node, const char *key,
                   struct prep_error *err)
{
    uint64_t v;
    if (json_u64(d, node, &v) || v >= UINT32_MAX)
        return wrong(d, node, key, "a token id", err);
    *id = (uint32_t)v;
    return 0;
}

/* One id, or a list of them. */
static int read_eos(struct generation_config *c, const struct json *d, struct prep_error *err)
{
    uint32_t node = member(d, "eos_token_id");
    if (node == JSON_NONE)
        return 0;
    if (json_type(d, node) != JSON_ARRAY) {
        c->n_eos = 1;
        return read_id(&c->eos[0], d, node, "eos_token_id", err);
    }
    for (uint32_t k = json_first(d, node); k != JSON_NONE; k = json_next(d, k)) {
        if (c->n_eos == GENERATION_MAX_EOS)
            return wrong(d, node, "eos_token_id", "at most 16 ids", err);
        if (read_id(&c->eos[c->n_eos++], d, k, "eos_token_id", err))
            return -1;
    }
    return 0;
}

static int read_members(struct generation_config *c, const struct json *d, struct prep_error *err)
{
    struct sampling *s = &c->sampling;
    double top_k = 0;
    uint32_t sample, pad;
    if (json_type(d, 0) != JSON_OBJECT)
        return prep_fail_tag(err, PREP_EDATA, "GEN_CONFIG", "%s: want an object", d->name);
    s->temperature = 1;
    sample = member(d, "do_sample");
    pad = member(d, "pad_token_id");
    if (sample != JSON_NONE && json_type(d, sample) != JSON_TRUE &&
        json_type(d, sample) != JSON_FALSE)
        return wrong(d, sample, "do_sample", "true or false", err);
    if (read_number(&s->temperature, d, "temperature", err) ||
        read_number(&s->top_p, d, "top_p", err) || read_number(&s->min_p, d, "min_p", err) ||
        read_number(&s->repetition_penalty, d, "repetition_penalty", err) ||
        read_number(&s->frequency_penalty, d, "frequency_penalty", err) ||
        read_number(&top_k, d, "top_k", err) || read_eos(c, d, err) ||
        (pad != JSON_NONE && read_id(&c->pad, d, pad, "pad_token_id", err)))
        return -1;
    if (!(top_k >= 0 && top_k < UINT32_MAX) || top_k != (double)(uint32_t)top_k)
        return wrong(d, member(d, "top_k"), "top_k", "a count", err);
    s->top_k = (uint32_t)top_k;
    if (sample == JSON_NONE || json_type(d, sample) == JSON_FALSE)
        s->temperature = 0;
    if (sampling_check(s, err)) {
        err->code = PREP_EDATA; /* an option of the file, not of the command line */
        err->tag = "GEN_CONFIG";
        return prep_note(err, "%s", d->name);
    }
    return 0;
}

int generation_config_parse(struct generation_config *c, const char *text, size_t n,
                            const char *name, struct prep_error *err)
{
    struct json doc;
    *c = (struct generation_config){.sampling = SAMPLING_GREEDY, .pad = UINT32_MAX};
    if (json_parse(&doc, text, n, name, err))
        return -1;
    int rc = read_members(c, &doc, err);
    json_free(&doc);
    return rc;
}

int generation_config_read(struct generation_config *c, const struct io *io, const char *folder,
                           struct prep_error *err)
{
    struct arena arena;
    struct span text;
    arena_init(&arena, 0);
    const char *path = io_join(&arena, folder, "generation_config.json", err);
    int rc = !path || io_read_file(io, path, 1 << 20, &arena, &text, err) ||
             generation_config_parse(c, (const char *)text.p, text.n, path, err);
    arena_fini(&arena);
    return rc ? -1 : 0;
}
