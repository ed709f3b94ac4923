/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "libprep/release/lint_job.h"

enum { MAX_IDS = 64, IDS_TEXT = 160 };

struct ids {
    int64_t v[MAX_IDS];
    int n;
};

/* A JSON file of the folder; 1 when it is there and whole, 0 when not, -1 for real errors. */
static int open_json(struct lint_job *j, const char *name, struct json *doc, struct prep_error *err)
{
    struct prep_error why = PREP_ERROR_INIT;
    struct span text;
    *doc = (struct json){0};
    if (checkpoint_file(j->ckpt, name) < 0)
        return 0;
    if (checkpoint_read_file(j->ckpt, name, &j->arena, &text, &why) == 0 &&
        json_parse(doc, (const char *)text.p, text.n, name, &why) == 0)
        return json_type(doc, 0) == JSON_OBJECT;
    if (why.code == PREP_EDATA) {
        lint_add(j->out, "CONFIG_JSON", LINT_ENGINES, name, "%s", why.msg);
        return 0;
    }
    *err = why;
    return -1;
}

/* ---- chat template ---- */

static int lint_template(struct lint_job *j, struct prep_error *err)
{
    struct json doc;
    if (checkpoint_file(j->ckpt, "chat_template.jinja") >= 0 ||
        checkpoint_file(j->ckpt, "chat_template.json") >= 0)
        return 0;
    int there = open_json(j, "tokenizer_config.json", &doc, err);
    int has = there > 0 && json_get(&doc, 0, "chat_template") != JSON_NONE;
    json_free(&doc);
    if (there < 0)
        return -1;
    if (!has)
        lint_add(j->out, "TEMPLATE_MISSING", LINT_ENGINES, "chat_template.jinja",
                 "is not there, and tokenizer_config.json has no chat_template");
    return 0;
}

/* ---- ids that end an answer ---- */

static int read_ids(struct ids *out, const struct json *d, uint32_t node)
{
    *out = (struct ids){.n = 0};
    int list = json_type(d, node) == JSON_ARRAY;
    for (uint32_t i = list ? json_first(d, node) : node; i != JSON_NONE;
         i = list ? json_next(d, i) : JSON_NONE) {
        if (out->n == MAX_IDS || json_i64(d, i, &out->v[out->n]))
            return -1;
        out->n++;
    }
    return 0;
}

static int has_id(const struct ids *ids, int64_t v)
{
    for (int i = 0; i < ids->n; i++)
        if (ids->v[i] == v)
            return 1;
    return 0;
}

static int same_ids(const struct ids *a, const struct ids *b)
{
    for (int i = 0; i < a->n; i++)
        if (!has_id(b, a->v[i]))
            return 0;
    for (int i = 0; i < b->n; i++)
        if (!has_id(a, b->v[i]))
            return 0;
    return 1;
}

static const char *ids_text(const struct ids *ids, char buf[IDS_TEXT])
{
    size_t at = (size_t)snprintf(buf, IDS_TEXT, "[");
    for (int i = 0; i < ids->n && at < IDS_TEXT - 32; i++)
        at += (size_t)snprintf(buf + at, IDS_TEXT - at, "%s%lld", i ? ", " : "",
                               (long long)ids->v[i]);
    snprintf(buf + at, IDS_TEXT - at, "]");
    return buf;
}

static int lint_eos(struct lint_job *j, struct prep_error *err)
{
    const struct config *c = j->c;
    struct json doc;
    struct ids theirs, ours = {.n = c->n_eos};
    char one[IDS_TEXT], two[IDS_TEXT];
    memcpy(ours.v, c->eos_token_id, sizeof c->eos_token_id);
    int there = open_json(j, "generation_config.json", &doc, err);
    uint32_t node = there > 0 ? json_get(&doc, 0, "eos_token_id") : JSON_NONE;
    if (node != JSON_NONE && json_type(&doc, node) != JSON_NULL) {
        if (read_ids(&theirs, &doc, node))
            lint_add(j->out, "EOS_IDS", LINT_ENGINES, "generation_config.json",
                     "eos_token_id is no list of token ids");
        else if (!same_ids(&ours, &theirs))
            lint_add(j->out, "EOS_IDS", LINT_ENGINES, "generation_config.json",
                     "eos_token_id is %s in generation_config.json, %s in config.json",
                     ids_text(&theirs, one), ids_text(&ours, two));
    }
    json_free(&doc);
    return there < 0 ? -1 : 0;
}

int lint_files(struct lint_job *j, struct prep_error *err)
{
    if (!j->it->has_config)
        return 0; /* no model: nothing is served from here */
    return lint_template(j, err) || lint_eos(j, err) ? -1 : 0;
}
