/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/base/json_patch.h"
#include "libprep/quant/configs.h"
#include "libprep/release/repair_job.h"

enum { MAX_FILES = 4 };

/* One JSON file under repair. */
struct mended_file {
    const char *name;
    struct json doc;
    struct json_patch patch;
    uint32_t object;   /* the quantization config in it, or JSON_NONE */
    struct span whole; /* written in place of the file, or empty */
};

struct config_repair {
    struct repairing *k;
    struct mended_file files[MAX_FILES]; /* config.json first */
    size_t n;
    int has_lists;
    struct quant_configs fresh; /* made from the tensors */
};

/* ---- files ---- */

static uint32_t object_of(const struct json *d, const char *key)
{
    uint32_t node = json_type(d, 0) == JSON_OBJECT ? json_get(d, 0, key) : JSON_NONE;
    return node != JSON_NONE && json_type(d, node) == JSON_OBJECT ? node : JSON_NONE;
}

static int open_file(struct config_repair *c, const char *name, struct prep_error *err)
{
    struct repairing *k = c->k;
    struct mended_file *f = &c->files[c->n];
    struct span text;
    if (checkpoint_file(k->r->ckpt, name) < 0)
        return 0;
    *f = (struct mended_file){.name = name};
    if (checkpoint_read_file(k->r->ckpt, name, &k->r->arena, &text, err) ||
        json_parse(&f->doc, (const char *)text.p, text.n, name, err))
        return -1;
    json_patch_init(&f->patch, &f->doc, &k->r->arena);
    f->object = object_of(&f->doc, c->n ? "quantization" : "quantization_config");
    if (c->n && f->object == JSON_NONE)
        f->object = object_of(&f->doc, "quantization_config");
    if (c->n && f->object == JSON_NONE && json_type(&f->doc, 0) == JSON_OBJECT)
        f->object = 0;
    if (!c->n)
        f->object = k->r->config->quantization;
    c->n++;
    return 0;
}

static void close_files(struct config_repair *c)
{
    for (size_t i = 0; i < c->n; i++) {
        json_patch_free(&c->files[i].patch);
        json_free(&c->files[i].doc);
    }
}

static int finish_files(struct config_repair *c, struct prep_error *err)
{
    struct repairing *k = c->k;
    k->texts = arena_calloc(&k->r->arena, MAX_FILES + 1, sizeof *k->texts, err);
    if (!k->texts)
        return -1;
    for (size_t i = 0; i < c->n; i++) {
        struct mended_file *f = &c->files[i];
        struct layout_text *t = &k->texts[k->n_texts++];
        *t = (struct layout_text){f->name, f->whole, i ? PLAN_SIDECAR : PLAN_CONFIG};
        if (!f->whole.n && json_patch_finish(&f->patch, &t->text, err))
            return -1;
    }
    return 0;
}

/* ---- keys of config.json ---- */

static int set_text(struct config_repair *c, const char *code, const char *key, const char *json,
                    struct prep_error *err)
{
    struct repairing *k = c->k;
    if (!repair_wants(k, code))
        return 0;
    repair_mended(k, code, 1, key);
    return json_patch_set(&c->files[0].patch, k->r->config->object, key, json, strlen(json), err);
}

/* Experts of a layer as stored: the largest id and one. */
static int stored_experts(const struct lint_job *j, int layer)
{
    int n = 0, last = -1;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        if (m->role == ROLE_EXPERT && m->layer == layer && m->expert != last) {
            last = m->expert;
            n++;
        }
    }
    return n;
}

/* All MoE layers have the same number of experts, and the config another. */
static int mend_count(struct config_repair *c, struct prep_error *err)
{
    const struct config *cfg = c->k->r->config;
    static const char *const keys[] = {"n_routed_experts", "num_experts"};
    int common = 0;
    if (!repair_wants(c->k, "EXPERT_COUNT") ||
        json_get(&cfg->json, cfg->object, "num_routed_experts_per_layer") != JSON_NONE)
        return 0;
    for (int i = 0; i < cfg->n_layers; i++) {
        int n = cfg->is_moe[i] ? stored_experts(&c->k->modules, i) : 0;
        if (n && common && n != common)
            return 0;
        common = n ? n : common;
    }
    if (common < cfg->num_experts_per_tok || common == cfg->n_routed_experts)
        return 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_get(&cfg->json, cfg->object, keys[i]) != JSON_NONE &&
            json_patch_set_i64(&c->files[0].patch, cfg->object, keys[i], common, err))
            return -1;
    repair_mended(c->k, "EXPERT_COUNT", 1, "n_routed_experts set to what is stored");
    return 0;
}

static int mend_mtp_count(struct config_repair *c, struct prep_error *err)
{
    const struct config *cfg = c->k->r->config;
    int stored = 0;
    if (!repair_wants(c->k, "MTP_COUNT"))
        return 0;
    for (int i = cfg->num_hidden_layers; i < cfg->n_layers; i++)
        stored += c->k->modules.layers[i].parts[PART_O] != NULL;
    if (!stored)
        return 0;
    repair_mended(c->k, "MTP_COUNT", 1, "num_nextn_predict_layers set to what is stored");
    return json_patch_set_i64(&c->files[0].patch, cfg->object, "num_nextn_predict_layers", stored,
                              err);
}

/* ---- quantization configs ---- */

static int64_t stored_group(const struct lint_job *j)
{
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct checkpoint_tensor *q = j->modules[i].tensors[SUFFIX_QWEIGHT];
        const struct checkpoint_tensor *s = j->modules[i].tensors[SUFFIX_SCALES];
        if (j->modules[i].form == FORM_INT4_GPTQ && q && s && q->info.n_dims == 2 &&
            s->info.n_dims == 2 && s->info.shape[0] && q->info.shape[0] <= INT32_MAX)
            return (int64_t)(q->info.shape[0] * 8 / s->info.shape[0]);
    }
    return 0;
}

static int mend_group_size(struct config_repair *c, struct prep_error *err)
{
    const int64_t group = stored_group(&c->k->modules);
    if (!repair_wants(c->k, "GROUP_SIZE") || !group)
        return 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->files[i].object != JSON_NONE &&
            json_patch_set_i64(&c->files[i].patch, c->files[i].object, "group_size", group, err))
            return -1;
    repair_mended(c->k, "GROUP_SIZE", 1, "group_size set to what the scales have");
    return 0;
}

static int mend_modules_key(struct config_repair *c, struct prep_error *err)
{
    if (!repair_wants(c->k, "GPTQ_MODULES_KEY"))
        return 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->files[i].object != JSON_NONE &&
            json_patch_remove_key(&c->files[i].patch, c->files[i].object,
                                  "modules_in_block_to_quantize", err))
            return -1;
    repair_mended(c->k, "GPTQ_MODULES_KEY", 1, "modules_in_block_to_quantize dropped");
    return 0;
}

static enum linear_form linear_form_of(enum form form)
{
    switch (form) {
    case FORM_NVFP4_MODELOPT:
        return LINEAR_NVFP4_MODELOPT;
    case FORM_NVFP4_PACKED:
        return LINEAR_NVFP4_CT;
    case FORM_INT4_GPTQ:
        return LINEAR_GPTQ;
    default:
        return LINEAR_PLAIN;
    }
}

/* The one coded form of the checkpoint; FORM_PLAIN when there is none, or several. */
static enum form coded_form(const struct lint_job *j, int *has_input)
{
    enum form form = FORM_PLAIN;
    *has_input = 0;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        if (!is_quantized(m))
            continue;
        if (form != FORM_PLAIN && form != m->form)
            return FORM_PLAIN;
        form = m->form;
        *has_input |= m->tensors[SUFFIX_INPUT_SCALE] || m->tensors[SUFFIX_INPUT_GLOBAL_SCALE];
    }
    return form;
}

/* What a quantizer would say of these tensors. */
static int make_fresh(struct config_repair *c, struct prep_error *err)
{
    struct repair_result *r = c->k->r;
    struct linears linears;
    struct quant_selection chosen;
    int has_input;
    const enum form form = coded_form(&c->k->modules, &has_input);
    const enum linear_form want = linear_form_of(form);
    struct quant_config_request request = {
        .layout = want == LINEAR_NVFP4_CT ? QUANT_COMPRESSED_TENSORS
                  : want == LINEAR_GPTQ   ? QUANT_GPTQ
                                          : QUANT_MODELOPT,
        .view = &r->view,
        .linears = &linears,
        .num_hidden_layers = r->config->num_hidden_layers,
        .has_input = has_input,
        .group_size = (uint64_t)stored_group(&c->k->modules),
    };
    struct prep_error why = PREP_ERROR_INIT;
    if (want == LINEAR_PLAIN)
        return 0;
    /* Tensors that do not fit each other are no ground for a list: it stays as it is. */
    if (linears_of_view(&linears, &r->view, r->config, &r->arena, NULL, &why) ||
        quant_select_form(&chosen, &linears, want, &r->arena, &why)) {
        if (why.code == PREP_ENOMEM)
            *err = why;
        return why.code == PREP_ENOMEM ? -1 : 0;
    }
    request.choices = chosen.choices;
    c->has_lists = 1;
    return quant_configs_make(&c->fresh, &request, &r->arena, err);
}

static const char *list_key(const struct json *d, uint32_t object)
{
    static const char *const keys[] = {"exclude_modules", "ignore", "dynamic"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_get(d, object, keys[i]) != JSON_NONE)
            return keys[i];
    return NULL;
}

/* The list alone, as a file would have it: json_patch_set() indents it to where it goes. */
static int list_text(struct json_out *o, const struct json *d, uint32_t list, struct arena *arena,
                     struct span *text, struct prep_error *err)
{
    const int pairs = json_type(d, list) == JSON_OBJECT;
    json_out_open(o, pairs ? '{' : '[');
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i)) {
        size_t n;
        const char *s = json_string(d, i, arena, &n, err);
        if (!s)
            return -1;
        if (pairs) {
            json_out_key_n(o, s, n);
            i = json_next(d, i);
            json_out_raw(o, d->text + d->nodes[i].start, d->nodes[i].end - d->nodes[i].start);
        } else {
            json_out_string_n(o, s, n);
        }
    }
    json_out_close(o);
    return json_out_finish(o, text, err);
}

/* The fresh list in place of each that is there. */
static int set_lists(struct config_repair *c, struct prep_error *err)
{
    const struct span text = c->fresh.quantization_config;
    struct json fresh = {0};
    struct json_out o;
    struct span list;
    json_out_init(&o, 2);
    int rc = json_parse(&fresh, (const char *)text.p, text.n, "list", err);
    const char *from = rc ? NULL : list_key(&fresh, 0);
    if (from)
        rc = list_text(&o, &fresh, json_get(&fresh, 0, from), &c->k->r->arena, &list, err);
    for (size_t i = 0; i < c->n && !rc && from; i++) {
        struct mended_file *f = &c->files[i];
        if (f->object == JSON_NONE || f->whole.n)
            continue;
        const char *key = list_key(&f->doc, f->object);
        size_t n = list.n;
        while (n && list.p[n - 1] == '\n')
            n--;
        rc = json_patch_set(&f->patch, f->object, key ? key : from, (const char *)list.p, n, err);
    }
    json_out_free(&o);
    json_free(&fresh);
    return rc;
}

static int is_beside(const struct config_repair *c, const struct mended_file *f)
{
    return c->fresh.beside && strcmp(f->name, c->fresh.beside) == 0;
}

/* Does config.json itself fit the tensors? */
static int main_fits(const struct config_repair *c)
{
    const struct lint *l = &c->k->r->found;
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].code, "QUANT_CONFIG_DISAGREE") == 0 &&
            strcmp(l->items[i].place, "config.json") == 0)
            return 0;
    return c->files[0].object != JSON_NONE;
}

static int mend_disagreement(struct config_repair *c, struct prep_error *err)
{
    const struct span fresh = c->fresh.quantization_config;
    struct mended_file *main = &c->files[0];
    if (!main_fits(c) &&
        json_patch_set(&main->patch, 0, "quantization_config", (const char *)fresh.p, fresh.n, err))
        return -1;
    if (!main_fits(c))
        main->object = JSON_NONE; /* its list is fresh already */
    for (size_t i = 1; i < c->n; i++)
        c->files[i].whole = is_beside(c, &c->files[i]) ? c->fresh.beside_text : fresh;
    return 0;
}

static int mend_lists(struct config_repair *c, struct prep_error *err)
{
    static const char *const lists[] = {"EXCLUDE_LEAF_MISSING", "EXCLUDE_FUSED_MISSING",
                                        "EXCLUDE_TOO_WIDE", "ROUTER_NOT_EXCLUDED",
                                        "MTP_NOT_EXCLUDED"};
    static const char *const configs[] = {"QUANT_CONFIG_DISAGREE", "QUANT_CONFIG_MISSING"};
    size_t n = 0, m = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        n += (size_t)repair_wants(c->k, lists[i]);
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        m += (size_t)repair_wants(c->k, configs[i]);
    if ((!n && !m) || make_fresh(c, err))
        return n || m ? -1 : 0;
    if (!c->has_lists)
        return 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (repair_wants(c->k, lists[i]))
            repair_mended(c->k, lists[i], 1, "the list written anew from the tensors");
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        if (repair_wants(c->k, configs[i]))
            repair_mended(c->k, configs[i], 1, "what does not fit the tensors written anew");
    return (m && mend_disagreement(c, err)) || set_lists(c, err) ? -1 : 0;
}

int repair_configs(struct repairing *k, struct prep_error *err)
{
    static const char *const names[MAX_FILES] = {
        "config.json", "hf_quant_config.json", "quantize_config.json", "quantization_config.json"};
    struct config_repair c = {.k = k};
    int rc = -1;
    for (int i = 0; i < MAX_FILES; i++)
        if (open_file(&c, names[i], err))
            goto out;
    if (set_text(&c, "ARCHITECTURES_MISSING", "architectures", "[\"GlmMoeDsaForCausalLM\"]", err) ||
        set_text(&c, "INDEXER_ROPE", "indexer_rope_interleave", "true", err) ||
        set_text(&c, "TOPK_METHOD", "topk_method", "\"noaux_tc\"", err) || mend_count(&c, err) ||
        mend_mtp_count(&c, err) || mend_group_size(&c, err) || mend_modules_key(&c, err) ||
        mend_lists(&c, err) || finish_files(&c, err))
        goto out;
    rc = 0;
out:
    close_files(&c);
    return rc;
}
