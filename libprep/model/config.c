/* SPDX-License-Identifier: MIT */
#include "libprep/model/config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "libprep/model/config_read.h"

enum { MAX_CONFIG_BYTES = 16 << 20 };

/* No matrix side of this family comes near; products of two stay far inside 64 bits. */
#define MAX_SIDE (INT64_C(1) << 24)
#define MAX_PARAMETERS 0x1p58

uint32_t config_find(const struct config_reader *r, const char *key)
{
    uint32_t node = json_get(r->d, r->object, key);
    return node != JSON_NONE && json_type(r->d, node) == JSON_NULL ? JSON_NONE : node;
}

int config_bad(const struct config_reader *r, uint32_t node, const char *key, enum prep_code code,
               const char *tag, const char *want)
{
    const struct json_node *n = &r->d->nodes[node];
    size_t len = n->end - n->start;
    return prep_fail_tag(r->err, code, tag, "%s: %s is %.*s%s, want %s", r->d->name, key,
                         (int)(len < 60 ? len : 60), r->d->text + n->start, len < 60 ? "" : "...",
                         want);
}

int config_missing(const struct config_reader *r, const char *key)
{
    return prep_fail_tag(r->err, PREP_EDATA, "CONFIG_KEY", "%s: no %s, which has no default",
                         r->d->name, key);
}

/* A number token without a fraction or an exponent, of any size. */
static int is_integer(const struct json *d, uint32_t node)
{
    const struct json_node *n = &d->nodes[node];
    if (json_type(d, node) != JSON_NUMBER)
        return 0;
    for (size_t i = n->start; i < n->end; i++)
        if (strchr(".eE", d->text[i]))
            return 0;
    return 1;
}

int config_node_int(const struct config_reader *r, uint32_t node, const char *key, int64_t lo,
                    int64_t hi, int64_t *v)
{
    if (!is_integer(r->d, node))
        return config_bad(r, node, key, PREP_EDATA, "CONFIG_TYPE", "an integer");
    if (json_i64(r->d, node, v) == 0 && *v >= lo && *v <= hi)
        return 0;
    struct prep_error range = PREP_ERROR_INIT;
    prep_fail(&range, PREP_EDATA, "%lld to %lld", (long long)lo, (long long)hi);
    return config_bad(r, node, key, PREP_EDATA, "CONFIG_RANGE", range.msg);
}

int config_int(const struct config_reader *r, const char *key, int64_t lo, int64_t hi, int64_t *v)
{
    uint32_t node = config_find(r, key);
    return node == JSON_NONE ? 0 : config_node_int(r, node, key, lo, hi, v);
}

int config_bool(const struct config_reader *r, const char *key, int *v)
{
    uint32_t node = config_find(r, key);
    if (node == JSON_NONE)
        return 0;
    enum json_type t = json_type(r->d, node);
    if (t != JSON_TRUE && t != JSON_FALSE)
        return config_bad(r, node, key, PREP_EDATA, "CONFIG_TYPE", "true or false");
    *v = t == JSON_TRUE;
    return 0;
}

int config_positive(const struct config_reader *r, const char *key, double *v)
{
    uint32_t node = config_find(r, key);
    if (node == JSON_NONE)
        return config_missing(r, key);
    if (json_f64(r->d, node, v))
        return config_bad(r, node, key, PREP_EDATA, "CONFIG_TYPE", "a number");
    if (!isfinite(*v) || *v <= 0)
        return config_bad(r, node, key, PREP_EDATA, "CONFIG_RANGE", "a finite number above 0");
    return 0;
}

int config_only(const struct config_reader *r, const char *key, const char *want)
{
    uint32_t node = config_find(r, key);
    if (node == JSON_NONE)
        return 0;
    if (json_type(r->d, node) != JSON_STRING)
        return config_bad(r, node, key, PREP_EDATA, "CONFIG_TYPE", "a string");
    if (json_equal(r->d, node, want))
        return 0;
    return config_bad(r, node, key, PREP_EUNSUP, "UNSUPPORTED", want);
}

static int read_architecture(const struct config_reader *r)
{
    static const char MODEL[] = "glm_moe_dsa", CLASS[] = "GlmMoeDsaForCausalLM";
    uint32_t node = config_find(r, "model_type");
    if (node == JSON_NONE)
        return config_missing(r, "model_type");
    if (json_type(r->d, node) != JSON_STRING)
        return config_bad(r, node, "model_type", PREP_EDATA, "CONFIG_TYPE", "a string");
    int wrapped = r->object != 0;
    if (!json_equal(r->d, node, MODEL) && !(wrapped && json_equal(r->d, node, "glm_moe_dsa_text")))
        return config_bad(r, node, "model_type", PREP_EUNSUP, "ARCHITECTURE", MODEL);

    node = config_find(r, "architectures");
    if (node == JSON_NONE) {
        if (!wrapped) /* a text_config does not repeat it */
            report_warn(r->report, "ARCHITECTURES_MISSING",
                        "%s: no architectures; engines that choose by it refuse the model",
                        r->d->name);
        return 0;
    }
    if (json_type(r->d, node) != JSON_ARRAY)
        return config_bad(r, node, "architectures", PREP_EDATA, "CONFIG_TYPE", "a list");
    for (uint32_t i = json_first(r->d, node); i != JSON_NONE; i = json_next(r->d, i))
        if (json_type(r->d, i) == JSON_STRING && json_equal(r->d, i, CLASS))
            return 0;
    return config_bad(r, node, "architectures", PREP_EUNSUP, "ARCHITECTURE", CLASS);
}

#define WIDE(f) offsetof(struct config, f), 1
#define NARROW(f) offsetof(struct config, f), 0

static const struct int_key {
    const char *key;
    size_t offset;
    int wide; /* int64_t, not int */
    int required;
    int64_t min, max;
} INT_KEYS[] = {
    {"vocab_size", WIDE(vocab_size), 1, 1, MAX_SIDE},
    {"hidden_size", WIDE(hidden_size), 1, 1, MAX_SIDE},
    {"intermediate_size", WIDE(intermediate_size), 1, 1, MAX_SIDE},
    {"moe_intermediate_size", WIDE(moe_intermediate_size), 1, 1, MAX_SIDE},
    {"num_hidden_layers", NARROW(num_hidden_layers), 1, 1, CONFIG_MAX_LAYERS},
    {"num_nextn_predict_layers", NARROW(num_nextn_predict_layers), 0, 0, CONFIG_MAX_LAYERS},
    {"first_k_dense_replace", NARROW(first_k_dense_replace), 0, 0, CONFIG_MAX_LAYERS},
    {"num_attention_heads", NARROW(num_attention_heads), 1, 1, 65536},
    {"q_lora_rank", WIDE(q_lora_rank), 1, 1, MAX_SIDE},
    {"kv_lora_rank", WIDE(kv_lora_rank), 1, 1, MAX_SIDE},
    {"qk_nope_head_dim", WIDE(qk_nope_head_dim), 1, 1, 65536},
    {"qk_rope_head_dim", WIDE(qk_rope_head_dim), 1, 2, 65536},
    {"v_head_dim", WIDE(v_head_dim), 1, 1, 65536},
    {"index_n_heads", NARROW(index_n_heads), 1, 1, 65536},
    {"index_head_dim", WIDE(index_head_dim), 1, 1, 65536},
    {"index_topk", WIDE(index_topk), 1, 1, MAX_SIDE},
    {"n_shared_experts", NARROW(n_shared_experts), 1, 0, 1024},
    {"num_experts_per_tok", NARROW(num_experts_per_tok), 1, 1, CONFIG_MAX_EXPERTS},
    {"n_group", NARROW(n_group), 0, 1, CONFIG_MAX_EXPERTS},
    {"topk_group", NARROW(topk_group), 0, 1, CONFIG_MAX_EXPERTS},
    {"max_position_embeddings", NARROW(max_position_embeddings), 1, 1, INT32_MAX},
};

static int read_integers(const struct config_reader *r)
{
    for (size_t i = 0; i < sizeof INT_KEYS / sizeof INT_KEYS[0]; i++) {
        const struct int_key *k = &INT_KEYS[i];
        uint32_t node = config_find(r, k->key);
        if (node == JSON_NONE && k->required)
            return config_missing(r, k->key);
        if (node == JSON_NONE)
            continue;
        int64_t v;
        if (config_node_int(r, node, k->key, k->min, k->max, &v))
            return -1;
        unsigned char *field = (unsigned char *)r->c + k->offset;
        if (k->wide)
            memcpy(field, &v, sizeof v);
        else
            memcpy(field, &(int){(int)v}, sizeof(int));
    }
    return 0;
}

/* Two keys for one number: both may be there, but they must agree. */
static int read_expert_count(const struct config_reader *r)
{
    int64_t n = 0, alias = 0;
    if (config_int(r, "n_routed_experts", 1, CONFIG_MAX_EXPERTS, &n) ||
        config_int(r, "num_experts", 1, CONFIG_MAX_EXPERTS, &alias))
        return -1;
    if (n == 0 && alias == 0)
        return config_missing(r, "n_routed_experts");
    if (n != 0 && alias != 0 && n != alias)
        return config_bad(r, config_find(r, "num_experts"), "num_experts", PREP_EDATA,
                          "CONFIG_RANGE", "the value of n_routed_experts");
    r->c->n_routed_experts = (int)(n ? n : alias);
    return 0;
}

static int out_of_range(const struct config_reader *r, const char *key, const char *want)
{
    return config_bad(r, config_find(r, key), key, PREP_EDATA, "CONFIG_RANGE", want);
}

static int check_relations(const struct config_reader *r)
{
    const struct config *c = r->c;
    int64_t v;
    if (c->num_hidden_layers + c->num_nextn_predict_layers > CONFIG_MAX_LAYERS)
        return out_of_range(r, "num_nextn_predict_layers", "at most 1024 layers in all");
    if (c->first_k_dense_replace > c->num_hidden_layers)
        return out_of_range(r, "first_k_dense_replace", "at most num_hidden_layers");
    if (c->qk_rope_head_dim % 2 != 0)
        return out_of_range(r, "qk_rope_head_dim", "an even number: rotation works on pairs");
    if (c->qk_rope_head_dim > c->index_head_dim)
        return out_of_range(r, "index_head_dim", "at least qk_rope_head_dim");
    int64_t qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    v = qk;
    if (config_int(r, "qk_head_dim", 1, 2 * 65536, &v))
        return -1;
    if (v != qk)
        return out_of_range(r, "qk_head_dim", "qk_nope_head_dim + qk_rope_head_dim");
    if (c->num_experts_per_tok > c->n_routed_experts)
        return out_of_range(r, "num_experts_per_tok", "at most the number of routed experts");
    if (c->n_routed_experts % c->n_group != 0)
        return out_of_range(r, "n_group", "a divisor of the number of routed experts");
    if (c->topk_group > c->n_group)
        return out_of_range(r, "topk_group", "at most n_group");
    if (c->num_experts_per_tok > c->n_routed_experts / c->n_group * c->topk_group)
        return out_of_range(r, "topk_group", "groups that hold num_experts_per_tok experts");
    return 0;
}

/* What would be another model: refused, never computed as if it were this one. */
static int check_supported(const struct config_reader *r)
{
    struct config *c = r->c;
    int attention_bias = 0, mlp_bias = 0;
    int64_t kv_heads = c->num_attention_heads, freq = 1;
    if (config_only(r, "hidden_act", "silu") || config_only(r, "scoring_func", "sigmoid") ||
        config_only(r, "topk_method", "noaux_tc") ||
        config_bool(r, "attention_bias", &attention_bias) ||
        config_bool(r, "mlp_bias", &mlp_bias) ||
        config_int(r, "num_key_value_heads", 1, 65536, &kv_heads) ||
        config_int(r, "moe_layer_freq", 1, CONFIG_MAX_LAYERS, &freq))
        return -1;
    const char *key = NULL, *want = "false";
    if (attention_bias)
        key = "attention_bias";
    else if (mlp_bias)
        key = "mlp_bias";
    else if (kv_heads != c->num_attention_heads) {
        key = "num_key_value_heads";
        want = "num_attention_heads: MLA has one key and value per head";
    } else if (freq != 1) {
        key = "moe_layer_freq";
        want = "1: every layer after the dense ones is MoE";
    }
    if (key)
        return config_bad(r, config_find(r, key), key, PREP_EUNSUP, "UNSUPPORTED", want);
    if (config_find(r, "topk_method") == JSON_NONE)
        report_warn(r->report, "TOPK_METHOD",
                    "%s: no topk_method; an engine drops the correction bias without noaux_tc",
                    r->d->name);
    return 0;
}

static int read_rope(const struct config_reader *r)
{
    struct config *c = r->c;
    uint32_t params = config_find(r, "rope_parameters");
    struct config_reader in = *r;
    if (params != JSON_NONE) {
        if (json_type(r->d, params) != JSON_OBJECT)
            return config_bad(r, params, "rope_parameters", PREP_EDATA, "CONFIG_TYPE", "an object");
        in.object = params;
    }
    /* Before rope_parameters there were rope_theta and rope_scaling. */
    struct config_reader kind = in;
    uint32_t scaling = config_find(r, "rope_scaling");
    if (params == JSON_NONE && scaling != JSON_NONE) {
        if (json_type(r->d, scaling) != JSON_OBJECT)
            return config_bad(r, scaling, "rope_scaling", PREP_EDATA, "CONFIG_TYPE", "an object");
        kind.object = scaling;
    }
    if (config_only(&kind, "rope_type", "default") || config_only(&kind, "type", "default"))
        return -1;
    if (config_find(&in, "rope_theta") == JSON_NONE)
        in = *r;
    if (config_positive(&in, "rope_theta", &c->rope_theta))
        return -1;
    if (config_find(r, "indexer_rope_interleave") == JSON_NONE)
        report_warn(r->report, "INDEXER_ROPE",
                    "%s: no indexer_rope_interleave; one engine falls back to half-split",
                    r->d->name);
    return 0;
}

static int read_eos(struct config_reader r)
{
    struct config *c = r.c;
    uint32_t node = config_find(&r, "eos_token_id");
    if (node == JSON_NONE) {
        r.object = 0;
        node = config_find(&r, "eos_token_id");
    }
    if (node == JSON_NONE)
        return 0;
    int is_list = json_type(r.d, node) == JSON_ARRAY;
    if (!is_list)
        report_warn(r.report, "EOS_IDS", "%s: eos_token_id is one id; the family has three",
                    r.d->name);
    for (uint32_t i = is_list ? json_first(r.d, node) : node; i != JSON_NONE;
         i = is_list ? json_next(r.d, i) : JSON_NONE) {
        const int max = (int)(sizeof c->eos_token_id / sizeof c->eos_token_id[0]);
        int64_t v;
        if (config_node_int(&r, i, "eos_token_id", 0, INT32_MAX, &v))
            return -1;
        if (c->n_eos == max)
            return config_bad(&r, node, "eos_token_id", PREP_EDATA, "CONFIG_RANGE",
                              "at most 16 ids");
        if (v >= c->vocab_size)
            report_warn(r.report, "EOS_IDS",
                        "%s: eos_token_id %lld is beyond the vocabulary of %lld", r.d->name,
                        (long long)v, (long long)c->vocab_size);
        c->eos_token_id[c->n_eos++] = v;
    }
    return 0;
}

/* In doubles, which cannot overflow here; every term is at least what the model has. */
static int check_total(const struct config_reader *r)
{
    const struct config *c = r->c;
    double h = (double)c->hidden_size, w = (double)c->moe_intermediate_size;
    double q = (double)c->q_lora_rank, kv = (double)c->kv_lora_rank;
    double heads = c->num_attention_heads, ih = c->index_n_heads, id = (double)c->index_head_dim;
    double rope = (double)c->qk_rope_head_dim, qk = (double)c->qk_nope_head_dim + rope;
    double v = (double)c->v_head_dim;
    double layer = q * h + heads * qk * q + (kv + rope) * h + heads * (qk + v) * kv +
                   heads * v * h + ih * id * q + id * h + ih * h;
    layer += 3 * h * (double)c->intermediate_size;
    layer += (c->n_routed_experts + (double)c->n_shared_experts) * 3 * h * w;
    layer += c->n_routed_experts * (h + 1) + 2 * h * h + 16 * h;
    double total = 2 * h * (double)c->vocab_size + c->n_layers * layer;
    if (total < MAX_PARAMETERS)
        return 0;
    return prep_fail_tag(r->err, PREP_EDATA, "CONFIG_RANGE",
                         "%s: the sizes make a model of %.3g parameters, want fewer than 2^58",
                         r->d->name, total);
}

static int read_model(const struct config_reader *r)
{
    struct config *c = r->c;
    c->n_group = c->topk_group = 1;
    c->rope_interleave = c->indexer_rope_interleave = 1;
    c->norm_topk_prob = -1;
    if (read_architecture(r) || read_integers(r) || read_expert_count(r) || check_relations(r) ||
        check_supported(r) || read_rope(r) ||
        config_positive(r, "rms_norm_eps", &c->rms_norm_eps) ||
        config_positive(r, "routed_scaling_factor", &c->routed_scaling_factor) ||
        config_bool(r, "norm_topk_prob", &c->norm_topk_prob) ||
        config_bool(r, "tie_word_embeddings", &c->tie_word_embeddings) ||
        config_bool(r, "rope_interleave", &c->rope_interleave) ||
        config_bool(r, "indexer_rope_interleave", &c->indexer_rope_interleave) || read_eos(*r))
        return -1;
    if (c->norm_topk_prob < 0)
        return config_missing(r, "norm_topk_prob");
    c->n_layers = c->num_hidden_layers + c->num_nextn_predict_layers;
    return check_total(r) || config_read_mlp_types(r) || config_read_expert_counts(r) ||
                   config_read_indexers(r) || config_read_quantization(r)
               ? -1
               : 0;
}

/* json.c's classes under the names of this file. */
static void rename_json_error(struct prep_error *err)
{
    if (err->code == PREP_EDATA)
        err->tag = strcmp(err->tag, "JSON_DUPLICATE_KEY") == 0 ? "DUPLICATE_KEY" : "CONFIG_JSON";
}

int config_parse(struct config *c, const char *text, size_t n, const char *name,
                 struct report *report, struct prep_error *err)
{
    *c = (struct config){.quant_method = "", .quantization = JSON_NONE};
    arena_init(&c->arena, 0);
    char *copy = arena_strndup(&c->arena, text, n, err);
    c->name = copy ? arena_strndup(&c->arena, name, strlen(name), err) : NULL;
    if (!c->name)
        goto fail;
    c->text = (struct span){(const unsigned char *)copy, n};
    if (json_parse(&c->json, copy, n, c->name, err)) {
        rename_json_error(err);
        goto fail;
    }
    struct config_reader r = {c, &c->json, 0, report, err};
    if (json_type(r.d, 0) != JSON_OBJECT) {
        prep_fail_tag(err, PREP_EDATA, "CONFIG_TYPE", "%s: not a JSON object", name);
        goto fail;
    }
    uint32_t inner = json_get(r.d, 0, "text_config");
    if (inner != JSON_NONE && json_type(r.d, inner) == JSON_OBJECT)
        r.object = inner;
    c->object = r.object;
    if (read_model(&r) == 0)
        return 0;
fail:
    config_free(c);
    return -1;
}

int config_load(struct config *c, const struct io *io, const char *path, struct report *report,
                struct prep_error *err)
{
    struct arena arena;
    struct io_stat st;
    struct span text;
    int rc = -1;
    *c = (struct config){0};
    arena_init(&arena, 0);
    if (io->stat(io->self, path, &st) == 0 && st.kind == IO_DIRECTORY)
        path = io_join(&arena, path, "config.json", err);
    if (!path)
        goto out;
    if (io_read_file(io, path, MAX_CONFIG_BYTES, &arena, &text, err)) {
        if (err->code == PREP_ENOINPUT)
            err->tag = "NO_CONFIG";
        goto out;
    }
    rc = config_parse(c, (const char *)text.p, text.n, path, report, err);
out:
    arena_fini(&arena);
    return rc;
}

void config_free(struct config *c)
{
    json_free(&c->json);
    arena_fini(&c->arena);
    *c = (struct config){.quant_method = ""};
}
