/* SPDX-License-Identifier: MIT */
/*
 * tokenizer.json and the files beside it -> tokenizer.*.
 *
 * Words keep the spelling of the file (bytes as characters); ids without a word become "[PADn]".
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/gguf_keys.h"
#include "libprep/model/tokenizer_split.h"

/* Kinds of words, as the runtime numbers them. */
enum { KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_USER = 4, KIND_UNUSED = 5 };

enum { MAX_VOCAB = 1 << 26 };

static const char tokenizer_name[] = "tokenizer.json";

/* Special ids in the order in which they are looked for. */
enum special { BOS, EOS, UNK, SEP, PAD, CLS, MASK, EOT, EOM, N_SPECIAL };

static const struct {
    const char *json, *key;
} SPECIAL[N_SPECIAL] = {
    [BOS] = {"bos", "bos"},       [EOS] = {"eos", "eos"}, [UNK] = {"unk", "unknown"},
    [SEP] = {"sep", "seperator"}, /* as the reference spells it */
    [PAD] = {"pad", "padding"},   [CLS] = {"cls", "cls"}, [MASK] = {"mask", "mask"},
    [EOT] = {NULL, "eot"},        [EOM] = {NULL, "eom"},
};

struct vocab {
    struct gguf_keys *k;
    const struct gguf_tokenizer *t;
    struct json doc, config, model; /* tokenizer.json, tokenizer_config.json, config.json */
    struct span *words;             /* [vocab_size] */
    int32_t *kinds;
    uint32_t id[N_SPECIAL];
    enum special order[N_SPECIAL];
    int n_order;
    unsigned char is_set[N_SPECIAL];
    struct report *report;
    struct prep_error *err;
};

static uint32_t key_of(const struct json *d, uint32_t object, const char *key)
{
    if (!d->nodes || object == JSON_NONE || json_type(d, object) != JSON_OBJECT)
        return JSON_NONE;
    uint32_t node = json_get(d, object, key);
    return node != JSON_NONE && json_type(d, node) == JSON_NULL ? JSON_NONE : node;
}

static int is_string(const struct json *d, uint32_t node)
{
    return node != JSON_NONE && json_type(d, node) == JSON_STRING;
}

static int fault(struct vocab *v, uint32_t node, const char *what)
{
    char where[256];
    return prep_fail_tag(v->err, PREP_EDATA, "GGUF_TOKENIZER", "%s: %s",
                         json_where(&v->doc, node, where, sizeof where), what);
}

/* ---- words ---- */

static int put_word(struct vocab *v, uint32_t text, uint64_t id, int32_t kind)
{
    size_t n;
    if (id >= v->t->vocab_size)
        return prep_fail_tag(v->err, PREP_EDATA, "TOK_VOCAB_SIZE",
                             "%s: token id %" PRIu64 ", but config.json has vocab_size %" PRIu64,
                             tokenizer_name, id, v->t->vocab_size);
    char *s = json_string(&v->doc, text, v->k->arena, &n, v->err);
    v->words[id] = (struct span){(const unsigned char *)s, n};
    v->kinds[id] = kind;
    return s ? 0 : -1;
}

static int list_vocab(struct vocab *v)
{
    const struct json *d = &v->doc;
    uint32_t words = key_of(d, key_of(d, 0, "model"), "vocab");
    if (words == JSON_NONE || json_type(d, words) != JSON_OBJECT)
        return fault(v, 0, "model.vocab is not there");
    for (uint32_t k = json_first(d, words); k != JSON_NONE;) {
        uint32_t value = json_next(d, k);
        uint64_t id;
        if (json_u64(d, value, &id))
            return fault(v, value, "want a token id");
        if (put_word(v, k, id, KIND_NORMAL))
            return -1;
        k = json_next(d, value);
    }
    return 0;
}

static int begins(struct span s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

static int ends(struct span s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p + s.n - n, with, n) == 0;
}

static int looks_special(struct span s)
{
    static const char *const words[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (s.n == strlen(words[i]) && begins(s, words[i]))
            return 1;
    return (begins(s, "<|") && ends(s, "|>")) ||
           (begins(s, "<\xef\xbd\x9c") && ends(s, "\xef\xbd\x9c>")) || /* U+FF5C */
           (begins(s, "<unused") && ends(s, ">"));
}

/* U+2581, how other tokenizers write a space, becomes one. */
static void put_spaces(struct span *s)
{
    unsigned char *p = (unsigned char *)(uintptr_t)s->p;
    size_t n = 0;
    for (size_t i = 0; i < s->n;) {
        int space = s->n - i >= 3 && memcmp(p + i, "\xe2\x96\x81", 3) == 0;
        p[n++] = space ? ' ' : p[i];
        i += space ? 3 : 1;
    }
    s->n = n;
}

static int list_added(struct vocab *v)
{
    const struct json *d = &v->doc;
    uint32_t list = key_of(d, 0, "added_tokens");
    if (list == JSON_NONE)
        return 0;
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i)) {
        uint32_t text = key_of(d, i, "content"), special = key_of(d, i, "special");
        uint64_t id;
        if (!is_string(d, text) || key_of(d, i, "id") == JSON_NONE ||
            json_u64(d, key_of(d, i, "id"), &id))
            return fault(v, i, "want an added token with id and content");
        if (put_word(v, text, id, KIND_CONTROL))
            return -1;
        if ((special == JSON_NONE || json_type(d, special) != JSON_TRUE) &&
            !looks_special(v->words[id])) {
            v->kinds[id] = KIND_USER;
            put_spaces(&v->words[id]);
        }
    }
    return 0;
}

static int fill_holes(struct vocab *v)
{
    for (uint64_t i = 0; i < v->t->vocab_size; i++) {
        if (v->kinds[i])
            continue;
        char *s = arena_printf(v->k->arena, v->err, "[PAD%" PRIu64 "]", i);
        if (!s)
            return -1;
        v->words[i] = (struct span){(const unsigned char *)s, strlen(s)};
        v->kinds[i] = KIND_UNUSED;
    }
    return 0;
}

/* "a b" as it is; ["a", "b"] joined by a space, one inside a part as the character of its byte. */
static int put_merge(struct vocab *v, uint32_t node, struct span *out)
{
    const struct json *d = &v->doc;
    if (is_string(d, node)) {
        out->p = (const unsigned char *)json_string(d, node, v->k->arena, &out->n, v->err);
        return out->p ? 0 : -1;
    }
    uint32_t a = json_first(d, node), b = a == JSON_NONE ? a : json_next(d, a);
    if (!is_string(d, a) || !is_string(d, b))
        return fault(v, node, "want a merge of two strings");
    const size_t room = 2 * (size_t)(d->nodes[node].end - d->nodes[node].start) + 2;
    unsigned char *p = arena_alloc(v->k->arena, room, v->err);
    char *part = arena_alloc(v->k->arena, room, v->err);
    if (!p || !part)
        return -1;
    size_t n = 0;
    for (uint32_t i = a; i != JSON_NONE && (i == a || i == b); i = json_next(d, i)) {
        const size_t m = json_decode(d, i, part);
        if (i == b)
            p[n++] = ' ';
        for (size_t c = 0; c < m; c++) {
            if (part[c] == ' ') {
                p[n++] = 0xc4; /* U+0120 */
                p[n++] = 0xa0;
            } else {
                p[n++] = (unsigned char)part[c];
            }
        }
    }
    *out = (struct span){p, n};
    return 0;
}

static int merges_key(struct vocab *v)
{
    const struct json *d = &v->doc;
    uint32_t list = key_of(d, key_of(d, 0, "model"), "merges");
    if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY)
        return fault(v, 0, "model.merges is not there");
    size_t n = 0;
    struct span *items = arena_calloc(v->k->arena, json_count(d, list), sizeof *items, v->err);
    if (!items)
        return -1;
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i))
        if (put_merge(v, i, &items[n++]))
            return -1;
    return gguf_set_strings(v->k, "tokenizer.ggml.merges", items, n, v->err);
}

static int words_keys(struct vocab *v)
{
    const uint64_t n = v->t->vocab_size;
    if (n == 0 || n > MAX_VOCAB)
        return prep_fail_tag(v->err, PREP_EDATA, "TOK_VOCAB_SIZE",
                             "config.json has vocab_size %" PRIu64, n);
    v->words = arena_calloc(v->k->arena, (size_t)n, sizeof *v->words, v->err);
    v->kinds = arena_calloc(v->k->arena, (size_t)n, sizeof *v->kinds, v->err);
    return !v->words || !v->kinds || list_vocab(v) || list_added(v) || fill_holes(v) ||
                   gguf_set_strings(v->k, "tokenizer.ggml.tokens", v->words, (size_t)n, v->err) ||
                   gguf_set_i32s(v->k, "tokenizer.ggml.token_type", v->kinds, (size_t)n, v->err) ||
                   merges_key(v)
               ? -1
               : 0;
}

/* ---- special ids ---- */

static void set_special(struct vocab *v, enum special s, uint64_t id)
{
    if (v->is_set[s] || id > UINT32_MAX)
        return;
    v->is_set[s] = 1;
    v->id[s] = (uint32_t)id;
    v->order[v->n_order++] = s;
}

/* The id of the added token with this text; -1 when there is none. */
static int64_t added_id(const struct vocab *v, const char *text)
{
    const struct json *d = &v->doc;
    uint32_t list = key_of(d, 0, "added_tokens");
    if (list == JSON_NONE)
        return -1;
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i)) {
        int64_t id;
        if (json_equal(d, key_of(d, i, "content"), text) &&
            json_i64(d, key_of(d, i, "id"), &id) == 0)
            return id;
    }
    return -1;
}

/* tokenizer_config.json: "eos_token" is a string, or an object with its content. */
static int from_tokenizer_config(struct vocab *v)
{
    for (int s = BOS; s <= MASK; s++) {
        char key[32];
        struct arena *arena = v->k->arena;
        memcpy(key, SPECIAL[s].json, strlen(SPECIAL[s].json) + 1);
        strcat(key, "_token");
        uint32_t node = key_of(&v->config, 0, key);
        if (node != JSON_NONE && json_type(&v->config, node) == JSON_OBJECT)
            node = key_of(&v->config, node, "content");
        if (!is_string(&v->config, node))
            continue;
        const char *text = json_string(&v->config, node, arena, NULL, v->err);
        if (!text)
            return -1;
        const int64_t id = added_id(v, text);
        if (id >= 0)
            set_special(v, (enum special)s, (uint64_t)id);
    }
    return 0;
}

static void from_model_config(struct vocab *v)
{
    for (int s = BOS; s <= MASK; s++) {
        char key[32];
        uint64_t id;
        memcpy(key, SPECIAL[s].json, strlen(SPECIAL[s].json) + 1);
        strcat(key, "_token_id");
        uint32_t node = key_of(&v->model, 0, key);
        if (node != JSON_NONE && json_u64(&v->model, node, &id) == 0)
            set_special(v, (enum special)s, id);
    }
}

/* What the architecture's converter sets where nothing else did. */
static int from_family(struct vocab *v)
{
    static const struct {
        enum special special;
        const char *text;
    } forced[] = {
        {BOS, "[gMASK]"}, {EOT, "<|user|>"}, {UNK, "<|endoftext|>"}, {EOM, "<|observation|>"}};
    for (size_t i = 0; i < sizeof forced / sizeof *forced; i++) {
        const int64_t id = added_id(v, forced[i].text);
        if (id < 0 && !v->is_set[forced[i].special])
            return prep_fail_tag(v->err, PREP_EDATA, "GGUF_TOKENIZER",
                                 "%s: has no added token %s, which the format needs; a tokenizer "
                                 "of another family? --tokenizer FOLDER takes another one",
                                 tokenizer_name, forced[i].text);
        if (id >= 0)
            set_special(v, forced[i].special, (uint64_t)id);
    }
    return 0;
}

static int special_keys(struct vocab *v)
{
    if (from_tokenizer_config(v))
        return -1;
    from_model_config(v);
    if (from_family(v))
        return -1;
    for (int i = 0; i < v->n_order; i++) {
        char key[64];
        const enum special s = v->order[i];
        strcpy(key, "tokenizer.ggml.");
        strcat(key, SPECIAL[s].key);
        strcat(key, "_token_id");
        if (gguf_set_u32(v->k, key, v->id[s], v->err))
            return -1;
    }
    return 0;
}

/* ---- what is put before and after a text ---- */

struct adding {
    int bos, eos; /* -1: not said */
};

/* Is the special token of a template item this one? */
static int item_is(const struct vocab *v, uint32_t item, enum special s)
{
    const struct json *d = &v->doc;
    uint32_t id = key_of(d, key_of(d, item, "SpecialToken"), "id");
    if (!is_string(d, id) || !v->is_set[s])
        return 0;
    char *text = json_string(d, id, v->k->arena, NULL, v->err);
    return text && added_id(v, text) == (int64_t)v->id[s];
}

static void read_template(const struct vocab *v, uint32_t node, struct adding *a)
{
    const struct json *d = &v->doc;
    uint32_t list = key_of(d, node, "single"), last = JSON_NONE;
    if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY)
        return;
    uint32_t first = json_first(d, list);
    for (uint32_t i = first; i != JSON_NONE; i = json_next(d, i))
        last = i;
    if (first == JSON_NONE)
        return;
    if (key_of(d, first, "SpecialToken") != JSON_NONE &&
        (item_is(v, first, BOS) || item_is(v, first, CLS)))
        a->bos = 1;
    if (last != first && key_of(d, last, "SpecialToken") != JSON_NONE &&
        (item_is(v, last, EOS) || item_is(v, last, SEP)))
        a->eos = 1;
}

static void read_post_processor(const struct vocab *v, uint32_t node, struct adding *a, int depth)
{
    const struct json *d = &v->doc;
    uint32_t type = key_of(d, node, "type");
    if (!is_string(d, type) || depth > 4)
        return;
    if (json_equal(d, type, "ByteLevel") && a->bos < 0 && a->eos < 0) {
        a->bos = a->eos = 0;
    } else if (json_equal(d, type, "TemplateProcessing")) {
        read_template(v, node, a);
    } else if (json_equal(d, type, "Sequence")) {
        uint32_t list = key_of(d, node, "processors");
        if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY)
            return;
        for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i))
            read_post_processor(v, i, a, depth + 1);
    }
}

static int from_flag(const struct vocab *v, const char *key, int now)
{
    uint32_t node = key_of(&v->config, 0, key);
    if (now >= 0 || node == JSON_NONE)
        return now;
    enum json_type t = json_type(&v->config, node);
    return t == JSON_TRUE ? 1 : t == JSON_FALSE ? 0 : now;
}

static int adding_keys(struct vocab *v)
{
    struct adding a = {-1, -1};
    read_post_processor(v, key_of(&v->doc, 0, "post_processor"), &a, 0);
    a.bos = from_flag(v, "add_bos_token", a.bos);
    a.eos = from_flag(v, "add_eos_token", a.eos);
    if (a.bos >= 0 && gguf_set_bool(v->k, "tokenizer.ggml.add_bos_token", a.bos, v->err))
        return -1;
    if (a.eos >= 0 && gguf_set_bool(v->k, "tokenizer.ggml.add_eos_token", a.eos, v->err))
        return -1;
    return 0;
}

/* ---- the chat template ---- */

static int set_template(struct vocab *v, const struct json *d, uint32_t node)
{
    size_t n;
    char *s = json_string(d, node, v->k->arena, &n, v->err);
    return s ? gguf_set_string(v->k, "tokenizer.chat_template", s, n, v->err) : -1;
}

static int template_key(struct vocab *v)
{
    const struct gguf_tokenizer *t = v->t;
    uint32_t node = key_of(&v->config, 0, "chat_template");
    struct json doc = {0};
    int rc = 0;
    if (is_string(&v->config, node))
        return set_template(v, &v->config, node);
    if (t->template_jinja.n)
        return gguf_set_string(v->k, "tokenizer.chat_template", (const char *)t->template_jinja.p,
                               t->template_jinja.n, v->err);
    if (!t->template_json.n) {
        report_warn(v->report, "NO_CHAT_TEMPLATE",
                    "no chat template in tokenizer_config.json, chat_template.jinja or "
                    "chat_template.json: the file has none");
        return 0;
    }
    rc = json_parse(&doc, (const char *)t->template_json.p, t->template_json.n,
                    "chat_template.json", v->err);
    if (!rc && is_string(&doc, key_of(&doc, 0, "chat_template")))
        rc = set_template(v, &doc, key_of(&doc, 0, "chat_template"));
    json_free(&doc);
    return rc;
}

/* ---- the whole ---- */

/* The runtime knows how to split text by this name alone. */
static int pre_key(struct vocab *v)
{
    const struct json *d = &v->doc;
    const char *pre = v->t->pre ? v->t->pre : "glm4";
    uint32_t list = key_of(d, key_of(d, 0, "pre_tokenizer"), "pretokenizers");
    uint32_t split =
        list != JSON_NONE && json_type(d, list) == JSON_ARRAY ? json_first(d, list) : JSON_NONE;
    uint32_t regex = key_of(d, key_of(d, split, "pattern"), "Regex");
    if (!v->t->pre && (!is_string(d, regex) || !json_equal(d, regex, tokenizer_split_pattern)))
        report_warn(v->report, "TOKENIZER_PRE",
                    "%s: does not split text as GLM-4 does, and tokenizer.ggml.pre is glm4 all the "
                    "same; give --pre NAME, a name that llama.cpp knows for this tokenizer",
                    tokenizer_name);
    return gguf_set_string(v->k, "tokenizer.ggml.pre", pre, strlen(pre), v->err);
}

static int parse_optional(struct json *d, struct span text, const char *name,
                          struct prep_error *err)
{
    return text.n ? json_parse(d, (const char *)text.p, text.n, name, err) : 0;
}

int gguf_tokenizer_keys(struct gguf_keys *k, const struct gguf_tokenizer *t, struct report *report,
                        struct prep_error *err)
{
    struct vocab v = {.k = k, .t = t, .report = report, .err = err};
    int rc =
        json_parse(&v.doc, (const char *)t->tokenizer.p, t->tokenizer.n, tokenizer_name, err) ||
        parse_optional(&v.config, t->config, "tokenizer_config.json", err) ||
        parse_optional(&v.model, t->model_config, "config.json", err) ||
        gguf_set_string(k, "tokenizer.ggml.model", "gpt2", 4, err) || pre_key(&v) ||
        words_keys(&v) || special_keys(&v) || adding_keys(&v) || template_key(&v);
    json_free(&v.doc);
    json_free(&v.config);
    json_free(&v.model);
    return rc ? -1 : 0;
}
