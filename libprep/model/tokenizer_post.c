/* SPDX-License-Identifier: MIT */
/*
 * The post-processor: which ids go before and after a text when that is asked for.
 *
 *   {"type": "TemplateProcessing",
 *    "single": [{"SpecialToken": {"id": "[gMASK]"}}, {"Sequence": {"id": "A"}}],
 *    "special_tokens": {"[gMASK]": {"ids": [290]}}}
 */
#include <string.h>

#include "libprep/model/tokenizer_parts.h"

/* Far more than anyone needs: bounds what a file can make us do. */
enum { MAX_PARTS = 1024, MAX_PROCESSORS = 16, MAX_IDS = 65535 };

static int template_fault(const struct tokenizer_reader *r, uint32_t node, const char *what)
{
    return tokenizer_fault(r, node, PREP_EDATA, "TOK_POSTPROCESSOR", "TemplateProcessing: %s",
                           what);
}

/* The ids that stand for a special token of the template, appended. */
static int push_special(struct tokenizer_reader *r, uint32_t list, uint32_t item,
                        struct token_ids *to)
{
    const struct json *d = r->doc;
    uint32_t name = json_type(d, item) == JSON_OBJECT ? json_get(d, item, "id") : JSON_NONE;
    uint32_t entry = JSON_NONE, ids = JSON_NONE;
    if (name == JSON_NONE || json_type(d, name) != JSON_STRING)
        return template_fault(r, item, "SpecialToken without an id");
    size_t n = json_decode(d, name, r->scratch);
    r->scratch[n] = 0;
    if (list != JSON_NONE && json_type(d, list) == JSON_OBJECT)
        entry = json_get(d, list, r->scratch);
    if (entry != JSON_NONE && json_type(d, entry) == JSON_OBJECT)
        ids = json_get(d, entry, "ids");
    if (ids == JSON_NONE || json_type(d, ids) != JSON_ARRAY)
        return template_fault(r, item, "SpecialToken whose ids are not listed in special_tokens");
    for (uint32_t i = json_first(d, ids); i != JSON_NONE; i = json_next(d, i)) {
        uint64_t id;
        if (json_u64(d, i, &id) || id > INT32_MAX || !tokenizer_token(r->t, (uint32_t)id))
            return template_fault(r, i, "id of no token");
        if (to->n == MAX_IDS)
            return template_fault(r, i, "more than 65535 ids");
        if (token_ids_push(to, (uint32_t)id, r->err))
            return -1;
    }
    return 0;
}

/* One template: what it puts before and after the sequence. */
static int read_template(struct tokenizer_reader *r, uint32_t node, struct token_ids side[2])
{
    const struct json *d = r->doc;
    uint32_t single = tokenizer_key(r, node, "single"), item = JSON_NONE;
    uint32_t list = tokenizer_key(r, node, "special_tokens");
    int seen = 0;
    if (single == JSON_NONE || json_type(d, single) != JSON_ARRAY)
        return template_fault(r, node, "no list \"single\"");
    if (json_count(d, single) > MAX_PARTS)
        return template_fault(r, single, "\"single\" has more than 1024 parts");
    for (uint32_t i = json_first(d, single); i != JSON_NONE; i = json_next(d, i)) {
        if (json_type(d, i) != JSON_OBJECT)
            return template_fault(r, i, "part of \"single\" is no object");
        item = json_get(d, i, "SpecialToken");
        if (item == JSON_NONE) {
            uint32_t sequence = json_get(d, i, "Sequence"), id = JSON_NONE;
            if (sequence != JSON_NONE && json_type(d, sequence) == JSON_OBJECT)
                id = json_get(d, sequence, "id");
            if (seen++ || id == JSON_NONE || json_type(d, id) != JSON_STRING ||
                !json_equal(d, id, "A"))
                return template_fault(r, i, "want the Sequence A once, and SpecialTokens");
        } else if (push_special(r, list, item, &side[seen])) {
            return -1;
        }
    }
    return seen ? 0 : template_fault(r, single, "\"single\" lacks the Sequence A");
}

/* A later template goes around an earlier one. */
static int wrap_around(struct tokenizer *t, struct token_ids side[2], struct prep_error *err)
{
    for (size_t i = 0; i < t->wrap[0].n; i++)
        if (token_ids_push(&side[0], t->wrap[0].ids[i], err))
            return -1;
    for (size_t i = 0; i < side[1].n; i++)
        if (token_ids_push(&t->wrap[1], side[1].ids[i], err))
            return -1;
    struct token_ids old = t->wrap[0];
    t->wrap[0] = side[0];
    side[0] = old;
    return 0;
}

static int read_processor(struct tokenizer_reader *r, uint32_t node)
{
    struct token_ids side[2] = {{0}};
    int rc = -1;
    if (tokenizer_is(r, node, "ByteLevel"))
        return 0;
    if (!tokenizer_is(r, node, "TemplateProcessing"))
        return tokenizer_fault(r, node, PREP_EUNSUP, "TOK_POSTPROCESSOR",
                               "post_processor is not ByteLevel, TemplateProcessing or a Sequence "
                               "of these");
    if (read_template(r, node, side) || wrap_around(r->t, side, r->err))
        goto out;
    rc = 0;
out:
    token_ids_free(&side[0]);
    token_ids_free(&side[1]);
    return rc;
}

int tokenizer_read_post(struct tokenizer_reader *r)
{
    uint32_t node = tokenizer_key(r, 0, "post_processor");
    if (node == JSON_NONE)
        return 0;
    if (!tokenizer_is(r, node, "Sequence"))
        return read_processor(r, node);
    uint32_t list = tokenizer_key(r, node, "processors");
    if (list == JSON_NONE || json_type(r->doc, list) != JSON_ARRAY)
        return tokenizer_fault(r, node, PREP_EDATA, "TOK_POSTPROCESSOR",
                               "Sequence without a list \"processors\"");
    if (json_count(r->doc, list) > MAX_PROCESSORS)
        return tokenizer_fault(r, list, PREP_EDATA, "TOK_POSTPROCESSOR", "more than %d processors",
                               MAX_PROCESSORS);
    for (uint32_t i = json_first(r->doc, list); i != JSON_NONE; i = json_next(r->doc, i))
        if (read_processor(r, i))
            return -1;
    return 0;
}
