/* SPDX-License-Identifier: MIT */
#include "libprep/chat/template.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/chat/parse.h"
#include "libprep/chat/value.h"

#define MAX_MEMORY ((size_t)512 << 20)

/* ---- opening ---- */

/* jinja2 counts CR LF and CR as line feeds, and drops one at the end. */
static size_t normalize(char *s, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        int is_cr = s[i] == '\r';
        s[out++] = is_cr ? '\n' : s[i];
        i += is_cr && i + 1 < n && s[i + 1] == '\n';
    }
    return out && s[out - 1] == '\n' ? out - 1 : out;
}

static int parse_into(struct chat_template *t, const char *text, size_t n, const char *name,
                      struct prep_error *err)
{
    struct tpl_tokens tokens = {NULL, 0, 0};
    int rc = -1;
    t->name = arena_strndup(&t->arena, name, strlen(name), err);
    if (!t->name)
        return -1;
    if (n > TPL_MAX_TEMPLATE)
        return prep_fail_tag(err, PREP_EDATA, "TPL_LIMIT", "%s: %zu bytes, want at most 1 MiB",
                             name, n);
    size_t good = utf8_valid(text, n);
    if (good < n)
        return prep_fail_tag(err, PREP_EDATA, "TPL_SYNTAX", "%s: byte %zu is 0x%02x, want UTF-8",
                             name, good, (unsigned char)text[good]);
    sha256_hex(text, n, t->sha256);
    char *copy = arena_strndup(&t->arena, text, n, err);
    if (!copy || name_table_init(&t->names, 64, err))
        return -1;
    if (tpl_lex(&tokens, t->name, copy, normalize(copy, n), err) ||
        tpl_parse_template(t, &tokens, err) || tpl_find_scopes(t, err))
        goto out;
    rc = 0;
out:
    free(tokens.items);
    return rc;
}

int chat_template_parse(struct chat_template **out, const char *text, size_t n, const char *name,
                        struct prep_error *err)
{
    *out = NULL;
    struct chat_template *t = calloc(1, sizeof *t);
    if (!t)
        return prep_fail(err, PREP_ENOMEM, "%s: out of memory", name);
    arena_init(&t->arena, MAX_MEMORY);
    if (parse_into(t, text, n, name, err)) {
        chat_template_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    name_table_free(&t->names);
    free(t->name_texts);
    arena_fini(&t->arena);
    free(t);
}

const char *chat_template_sha256(const struct chat_template *t)
{
    return t->sha256;
}

/* "chat_template" of tokenizer_config.json: a string, or a list of {"name", "template"}. */
static uint32_t find_in_config(const struct json *doc)
{
    uint32_t node =
        json_type(doc, 0) == JSON_OBJECT ? json_get(doc, 0, "chat_template") : JSON_NONE;
    if (node == JSON_NONE || json_type(doc, node) != JSON_ARRAY)
        return node;
    for (uint32_t i = json_first(doc, node); i != JSON_NONE; i = json_next(doc, i)) {
        uint32_t name = json_type(doc, i) == JSON_OBJECT ? json_get(doc, i, "name") : JSON_NONE;
        if (name != JSON_NONE && json_equal(doc, name, "default"))
            return json_get(doc, i, "template");
    }
    return JSON_NONE;
}

static int open_config(struct chat_template **t, const struct io *io, const char *path,
                       const char *folder, struct arena *arena, struct prep_error *err)
{
    struct span text;
    struct json doc;
    int rc = -1;
    if (io_read_file(io, path, UINT64_C(64) << 20, arena, &text, err))
        return -1;
    if (json_parse(&doc, (const char *)text.p, text.n, path, err))
        return -1;
    uint32_t node = find_in_config(&doc);
    size_t n;
    const char *s = NULL;
    if (node == JSON_NONE || json_type(&doc, node) != JSON_STRING)
        prep_fail(
            err, PREP_ENOINPUT,
            "%s: no chat template: want chat_template.jinja, or the text \"chat_template\" in "
            "tokenizer_config.json",
            folder);
    else if ((s = json_string(&doc, node, arena, &n, err)) != NULL)
        rc = chat_template_parse(t, s, n, path, err);
    json_free(&doc);
    return rc;
}

static int exists(const struct io *io, const char *path, enum io_kind kind)
{
    struct io_stat st;
    return io->stat(io->self, path, &st) == 0 && st.kind == kind;
}

int chat_template_open(struct chat_template **t, const struct io *io, const char *path,
                       struct prep_error *err)
{
    struct arena arena;
    struct span text;
    const char *file = path;
    int rc = -1;
    *t = NULL;
    arena_init(&arena, 0);
    if (exists(io, path, IO_DIRECTORY)) {
        file = io_join(&arena, path, "chat_template.jinja", err);
        if (!file)
            goto out;
        if (!exists(io, file, IO_REGULAR)) {
            file = io_join(&arena, path, "tokenizer_config.json", err);
            rc = file ? open_config(t, io, file, path, &arena, err) : -1;
            goto out;
        }
    }
    if (io_read_file(io, file, TPL_MAX_TEMPLATE, &arena, &text, err) == 0)
        rc = chat_template_parse(t, (const char *)text.p, text.n, file, err);
out:
    arena_fini(&arena);
    return rc;
}

/* ---- values of JSON ---- */

struct loader {
    struct tpl_run *r;
    const struct json *doc;
    enum chat_origin origin;
};

/* A role is a word of letters; only such a word may become part of a marker. */
static int is_role(const struct tpl_str *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (!(s->p[i] >= 'a' && s->p[i] <= 'z') && !(s->p[i] >= 'A' && s->p[i] <= 'Z') &&
            s->p[i] != '_')
            return 0;
    return s->n > 0;
}

static int load(struct loader *l, struct tpl_value *out, uint32_t node, int level);

static int load_string(struct loader *l, struct tpl_value *out, uint32_t node)
{
    size_t n;
    const char *s = json_string(l->doc, node, l->r->arena, &n, l->r->err);
    return s ? tpl_wrap(out, tpl_str_new(l->r, s, n, l->origin != CHAT_TRUSTED)) : -1;
}

static int load_number(struct loader *l, struct tpl_value *out, uint32_t node)
{
    const struct json_node *k = &l->doc->nodes[node];
    const char *s = l->doc->text + k->start;
    size_t n = k->end - k->start;
    if (memchr(s, '.', n) || memchr(s, 'e', n) || memchr(s, 'E', n)) {
        *out = tpl_float(0);
        return json_f64(l->doc, node, &out->u.f)
                   ? prep_fail(l->r->err, PREP_ENOMEM, "out of memory reading a number")
                   : 0;
    }
    *out = tpl_int(0);
    if (json_i64(l->doc, node, &out->u.i) == 0)
        return 0;
    out->kind = TPL_BIG;
    out->u.s = tpl_str_new(l->r, s, n, 0);
    return out->u.s ? 0 : -1;
}

static int load_object(struct loader *l, struct tpl_value *out, uint32_t node, int level)
{
    if (tpl_dict_new(l->r, out, TPL_DICT, json_count(l->doc, node)))
        return -1;
    struct tpl_dict *d = out->u.d;
    for (uint32_t k = json_first(l->doc, node); k != JSON_NONE; k = json_next(l->doc, k)) {
        struct tpl_value *value = &d->values[d->n];
        if (load_string(l, &d->keys[d->n], k))
            return -1;
        k = json_next(l->doc, k);
        if (load(l, value, k, level + 1))
            return -1;
        if (l->origin == CHAT_MESSAGES && level == 1 && value->kind == TPL_STRING &&
            tpl_str_is(d->keys[d->n].u.s, "role") && is_role(value->u.s))
            value->u.s->data = 0;
        d->n++;
    }
    return 0;
}

static int load(struct loader *l, struct tpl_value *out, uint32_t node, int level)
{
    size_t i = 0;
    switch (json_type(l->doc, node)) {
    case JSON_NULL:
        *out = tpl_none();
        return 0;
    case JSON_FALSE:
    case JSON_TRUE:
        *out = tpl_bool(json_type(l->doc, node) == JSON_TRUE);
        return 0;
    case JSON_NUMBER:
        return load_number(l, out, node);
    case JSON_STRING:
        return load_string(l, out, node);
    case JSON_OBJECT:
        return load_object(l, out, node, level);
    default:
        break;
    }
    if (tpl_list_new(l->r, out, json_count(l->doc, node), TPL_A_LIST))
        return -1;
    struct tpl_list *list = out->u.l;
    for (uint32_t k = json_first(l->doc, node); k != JSON_NONE; k = json_next(l->doc, k))
        if (load(l, &list->items[i++], k, level + 1))
            return -1;
    return 0;
}

static int load_vars(struct tpl_run *r, const struct chat_var *vars, size_t n)
{
    r->vars = tpl_alloc(r, n, sizeof *r->vars);
    if (!r->vars)
        return -1;
    for (size_t i = 0; i < n; i++) {
        uint32_t name = name_table_get(&r->t->names, vars[i].name, strlen(vars[i].name));
        struct loader l = {r, vars[i].doc, vars[i].origin};
        if (name == NAME_NONE)
            continue; /* the template never asks for it */
        r->vars[r->n_vars].name = name;
        if (load(&l, &r->vars[r->n_vars++].value, vars[i].node, 0))
            return -1;
    }
    r->steps = 0;
    return 0;
}

/* ---- rendering ---- */

static int count_parts(struct tokenizer_part *parts, const struct tpl_buf *b)
{
    int n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (i && b->from[i] == b->from[i - 1])
            continue;
        if (parts && n)
            parts[n - 1].end = i;
        if (parts)
            parts[n] = (struct tokenizer_part){b->n, b->from[i]};
        n++;
    }
    return n;
}

static int take_text(struct chat_text *out, const struct tpl_buf *b, struct prep_error *err)
{
    out->n = b->n;
    out->n_parts = (size_t)count_parts(NULL, b);
    out->p = malloc(b->n + 1);
    out->parts = calloc(out->n_parts + 1, sizeof *out->parts);
    if (!out->p || !out->parts) {
        chat_text_free(out);
        return prep_fail(err, PREP_ENOMEM, "out of memory for a prompt of %zu bytes", b->n);
    }
    if (b->n)
        memcpy(out->p, b->p, b->n);
    out->p[b->n] = 0;
    count_parts(out->parts, b);
    return 0;
}

int chat_template_render(struct chat_text *out, const struct chat_template *t,
                         const struct chat_var *vars, size_t n_vars, struct prep_error *err)
{
    struct arena arena;
    struct tpl_buf text = {NULL, NULL, 0, 0};
    struct tpl_frame root = {.scope = &t->scope};
    struct tpl_run r = {.arena = &arena, .err = err, .t = t, .out = &text, .line = 1};
    *out = (struct chat_text){NULL, 0, NULL, 0};
    arena_init(&arena, MAX_MEMORY);
    int rc =
        load_vars(&r, vars, n_vars) || tpl_exec(&r, &root, t->root) || take_text(out, &text, err);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

void chat_text_free(struct chat_text *text)
{
    free(text->p);
    free(text->parts);
    *text = (struct chat_text){NULL, 0, NULL, 0};
}
