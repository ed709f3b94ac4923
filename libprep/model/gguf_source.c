/* SPDX-License-Identifier: MIT */
#include "libprep/model/gguf_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/gguf_keys.h"
#include "libprep/model/gguf_names.h"
#include "libprep/model/inventory.h"
#include "libprep/store/gguf_set.h"

#define A GGUF_ARCHITECTURE "."

struct reading {
    struct checkpoint *ckpt;
    const struct gguf_set *set;
    const struct config *c;
    size_t cap;
    uint64_t n_used; /* tensors of the file */
    const char *path;
    struct prep_error *err;
};

int gguf_source_is(const struct io *io, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct io_stat st;
    unsigned char magic[4] = {0};
    int fd = -1;
    if (io->stat(io->self, path, &st) < 0 || st.kind != IO_REGULAR || st.size < sizeof magic ||
        io_open_read(io, path, &fd, NULL, &err))
        return 0;
    int rc = io_read_exact(io, fd, magic, sizeof magic, 0, path, &err);
    io_close_read(io, fd);
    return !rc && memcmp(magic, "GGUF", 4) == 0;
}

/* ---- the config ---- */

static const struct {
    const char *json, *key;
} INTEGERS[] = {
    {"vocab_size", A "vocab_size"},
    {"hidden_size", A "embedding_length"},
    {"intermediate_size", A "feed_forward_length"},
    {"moe_intermediate_size", A "expert_feed_forward_length"},
    {"first_k_dense_replace", A "leading_dense_block_count"},
    {"num_attention_heads", A "attention.head_count"},
    {"q_lora_rank", A "attention.q_lora_rank"},
    {"kv_lora_rank", A "attention.kv_lora_rank"},
    {"v_head_dim", A "attention.value_length_mla"},
    {"index_n_heads", A "attention.indexer.head_count"},
    {"index_head_dim", A "attention.indexer.key_length"},
    {"index_topk", A "attention.indexer.top_k"},
    {"n_routed_experts", A "expert_count"},
    {"n_shared_experts", A "expert_shared_count"},
    {"num_experts_per_tok", A "expert_used_count"},
    {"n_group", A "expert_group_count"},
    {"topk_group", A "expert_group_used_count"},
    {"max_position_embeddings", A "context_length"},
};

static int no_key(const struct reading *r, const char *key)
{
    return prep_fail_tag(r->err, PREP_EDATA, "GGUF_CONFIG", "%s: key %s is missing or no number",
                         r->path, key);
}

static int integer(const struct reading *r, const char *key, uint64_t *v)
{
    return gguf_as_u64(gguf_set_key(r->set, key), v) ? no_key(r, key) : 0;
}

static int put_integers(struct reading *r, struct json_out *o)
{
    for (size_t i = 0; i < sizeof INTEGERS / sizeof *INTEGERS; i++) {
        uint64_t v;
        if (integer(r, INTEGERS[i].key, &v))
            return -1;
        json_out_key(o, INTEGERS[i].json);
        json_out_u64(o, v);
    }
    return 0;
}

/* Widths and counts that the format has in another form. */
static int put_derived(struct reading *r, struct json_out *o)
{
    uint64_t blocks, mtp = 0, key, value, rope;
    if (integer(r, A "block_count", &blocks) || integer(r, A "attention.key_length", &key) ||
        integer(r, A "attention.value_length", &value))
        return -1;
    if (gguf_set_key(r->set, A "nextn_predict_layers") &&
        integer(r, A "nextn_predict_layers", &mtp))
        return -1;
    if (key < value || blocks < mtp)
        return no_key(r, A "attention.key_length");
    rope = key - value; /* latent + rope, latent */
    if (integer(r, A "attention.key_length_mla", &key))
        return -1;
    if (key < rope)
        return no_key(r, A "attention.key_length_mla");
    json_out_key(o, "num_hidden_layers");
    json_out_u64(o, blocks - mtp);
    json_out_key(o, "num_nextn_predict_layers");
    json_out_u64(o, mtp);
    json_out_key(o, "qk_rope_head_dim");
    json_out_u64(o, rope);
    json_out_key(o, "qk_nope_head_dim");
    json_out_u64(o, key - rope);
    return 0;
}

/* The shortest text that reads back to the same float: 1e-05, not 9.99999975e-06. */
static int put_float(struct reading *r, struct json_out *o, const char *json, const char *key)
{
    double v;
    char text[32];
    if (gguf_as_f64(gguf_set_key(r->set, key), &v) || !(v - v == 0))
        return no_key(r, key);
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v)
            break;
    }
    json_out_key(o, json);
    json_out_raw(o, text, strlen(text));
    return 0;
}

static int put_indexers(struct reading *r, struct json_out *o)
{
    const struct gguf_kv *kv = gguf_set_key(r->set, A "attention.indexer.types");
    if (!kv)
        return 0;
    if (kv->type != GGUF_ARRAY || kv->element != GGUF_BOOL)
        return no_key(r, A "attention.indexer.types");
    int all = 1;
    for (uint64_t i = 0; i < kv->count; i++)
        all &= kv->bytes.p[i];
    if (all)
        return 0; /* as a config without the key */
    json_out_key(o, "indexer_types");
    json_out_open(o, '[');
    for (uint64_t i = 0; i < kv->count; i++)
        json_out_string(o, kv->bytes.p[i] ? "full" : "shared");
    json_out_close(o);
    return 0;
}

static void put_text(struct json_out *o, const char *key, const char *value)
{
    json_out_key(o, key);
    json_out_string(o, value);
}

static int put_rest(struct reading *r, struct json_out *o)
{
    uint64_t eos;
    int norm = 0;
    (void)gguf_as_bool(gguf_set_key(r->set, A "expert_weights_norm"), &norm);
    put_text(o, "hidden_act", "silu");
    put_text(o, "scoring_func", "sigmoid");
    put_text(o, "topk_method", "noaux_tc");
    put_text(o, "dtype", "bfloat16");
    json_out_key(o, "norm_topk_prob");
    json_out_bool(o, norm);
    json_out_key(o, "rope_interleave");
    json_out_bool(o, 1);
    json_out_key(o, "indexer_rope_interleave");
    json_out_bool(o, 1);
    json_out_key(o, "tie_word_embeddings");
    uint32_t part;
    json_out_bool(o, !gguf_set_find(r->set, "output.weight", &part));
    if (gguf_as_u64(gguf_set_key(r->set, "tokenizer.ggml.eos_token_id"), &eos) == 0) {
        json_out_key(o, "eos_token_id");
        json_out_u64(o, eos);
    }
    return put_float(r, o, "rms_norm_eps", A "attention.layer_norm_rms_epsilon") ||
           put_float(r, o, "rope_theta", A "rope.freq_base") ||
           put_float(r, o, "routed_scaling_factor", A "expert_weights_scale");
}

static int write_config(struct reading *r, struct span *text)
{
    struct json_out o;
    struct span s;
    json_out_init(&o, 2);
    json_out_open(&o, '{');
    json_out_key(&o, "architectures");
    json_out_open(&o, '[');
    json_out_string(&o, "GlmMoeDsaForCausalLM");
    json_out_close(&o);
    put_text(&o, "model_type", "glm_moe_dsa");
    int rc = put_integers(r, &o) || put_derived(r, &o) || put_indexers(r, &o) || put_rest(r, &o);
    json_out_close(&o);
    rc = rc || json_out_finish(&o, &s, r->err);
    char *copy = rc ? NULL : arena_strndup(&r->ckpt->arena, (const char *)s.p, s.n, r->err);
    if (copy)
        *text = (struct span){(unsigned char *)copy, s.n};
    json_out_free(&o);
    return copy ? 0 : -1;
}

/* ---- the table ---- */

static int wrong_shape(struct reading *r, const struct gguf_tensor_info *t, const char *want)
{
    return prep_fail_tag(r->err, PREP_EDATA, "TENSOR_SHAPE",
                         "%s: %s: dimensions %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                         " are not those of %s",
                         r->path, t->name, t->dims[0], t->dims[1], t->dims[2], t->dims[3], want);
}

/* Bytes [offset, offset + bytes) of t under a name of the hub; the shape is set by the caller. */
static struct tensor_info *add(struct reading *r, const struct gguf_tensor_info *t, uint32_t part,
                               const char *name, uint64_t bytes)
{
    struct checkpoint *c = r->ckpt;
    uint32_t old;
    if (prep_grow(&c->tensors, &r->cap, c->n_tensors, sizeof *c->tensors, r->err))
        return NULL;
    struct checkpoint_tensor *to = &c->tensors[c->n_tensors];
    const size_t n = strlen(name);
    *to = (struct checkpoint_tensor){.file = part};
    to->info.name = arena_strndup(&c->arena, name, n, r->err);
    if (!to->info.name ||
        name_table_add(&c->names, to->info.name, n, (uint32_t)c->n_tensors, &old, r->err))
        return NULL;
    to->info.offset = t->offset;
    to->info.bytes = bytes;
    to->info.dtype = t->type == GGML_F32    ? DTYPE_F32
                     : t->type == GGML_F16  ? DTYPE_F16
                     : t->type == GGML_BF16 ? DTYPE_BF16
                                            : DTYPE_U8;
    to->info.ggml = to->info.dtype == DTYPE_U8 ? (uint16_t)(t->type + 1) : 0;
    c->tensor_bytes += bytes;
    c->n_tensors++;
    return &to->info;
}

static int add_experts(struct reading *r, const struct tensor_spec *s,
                       const struct gguf_tensor_info *t, uint32_t part)
{
    char name[INVENTORY_NAME_BYTES];
    const uint64_t n = (uint64_t)s->copies, each = t->bytes / n;
    if (t->dims[0] != s->cols || t->dims[1] != s->rows || t->dims[2] != n || t->dims[3] != 1)
        return wrong_shape(r, t, "all experts of the layer");
    for (int e = 0; e < s->copies; e++) {
        struct tensor_info *to = add(r, t, part, inventory_name(s, "model.", e, name), each);
        if (!to)
            return -1;
        to->offset += (uint64_t)e * each;
        to->n_dims = 2;
        to->shape[0] = s->rows;
        to->shape[1] = s->cols;
    }
    return 0;
}

static int add_one(struct reading *r, const struct tensor_spec *s, const struct gguf_tensor_info *t,
                   uint32_t part)
{
    char name[INVENTORY_NAME_BYTES];
    const int vector = s->n_dims == 1;
    if (t->dims[0] != (vector ? s->rows : s->cols) || t->dims[1] != (vector ? 1 : s->rows) ||
        t->dims[2] != 1 || t->dims[3] != 1)
        return wrong_shape(r, t, inventory_name(s, "model.", -1, name));
    struct tensor_info *to = add(r, t, part, inventory_name(s, "model.", -1, name), t->bytes);
    if (!to)
        return -1;
    to->n_dims = s->n_dims;
    to->shape[0] = s->rows;
    to->shape[1] = vector ? 0 : s->cols;
    return 0;
}

/* attn_k_b or attn_v_b, as weight_k or weight_v of kv_b_proj. */
static int add_half(struct reading *r, const struct tensor_spec *s, enum gguf_half half,
                    const struct gguf_tensor_info *t, uint32_t part)
{
    const struct config *c = r->c;
    const uint64_t heads = (uint64_t)c->num_attention_heads, kv = (uint64_t)c->kv_lora_rank;
    const uint64_t nope = (uint64_t)c->qk_nope_head_dim, v = (uint64_t)c->v_head_dim;
    const int k = half == GGUF_K_B;
    struct tensor_spec named = *s;
    char name[INVENTORY_NAME_BYTES];
    named.suffix = k ? SUFFIX_WEIGHT_K : SUFFIX_WEIGHT_V;
    if (t->dims[0] != (k ? nope : kv) || t->dims[1] != (k ? kv : v) || t->dims[2] != heads ||
        t->dims[3] != 1)
        return wrong_shape(r, t, "a half of kv_b_proj");
    struct tensor_info *to = add(r, t, part, inventory_name(&named, "model.", -1, name), t->bytes);
    if (!to)
        return -1;
    /* One form for both halves, whatever their types. */
    to->ggml = (uint16_t)(t->type + 1);
    to->n_dims = 3;
    to->shape[0] = heads;
    to->shape[1] = t->dims[1];
    to->shape[2] = t->dims[0];
    return 0;
}

static int add_spec(struct reading *r, const struct tensor_spec *s, enum gguf_half half)
{
    char name[GGUF_NAME_BYTES];
    uint32_t part;
    const char *wanted = gguf_name(s, half, name);
    const struct gguf_tensor_info *t = wanted ? gguf_set_find(r->set, wanted, &part) : NULL;
    const int tied = s->part == PART_LM_HEAD && r->c->tie_word_embeddings;
    if (!t && (s->optional || tied || s->part == PART_MTP_EMBED || s->part == PART_MTP_HEAD))
        return 0;
    if (!t)
        return prep_fail_tag(r->err, PREP_EDATA, "TENSOR_MISSING", "%s: has no tensor %s", r->path,
                             wanted ? wanted : s->path);
    r->n_used++;
    if (half != GGUF_WHOLE)
        return add_half(r, s, half, t, part);
    return s->role == ROLE_EXPERT ? add_experts(r, s, t, part) : add_one(r, s, t, part);
}

static int add_layer(struct reading *r, int layer)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    const int n = inventory_layer(r->c, layer, specs);
    for (int i = 0; i < n; i++) {
        const int kv_b = specs[i].part == PART_KV_B;
        /* Readers of GGUF take layers without an indexer, and routers without a bias. */
        if (specs[i].role == ROLE_INDEXER)
            specs[i].optional = 1;
        if (add_spec(r, &specs[i], kv_b ? GGUF_K_B : GGUF_WHOLE) ||
            (kv_b && add_spec(r, &specs[i], GGUF_V_B)))
            return -1;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct checkpoint_tensor *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->info.offset < y->info.offset ? -1 : x->info.offset > y->info.offset;
}

/* By file, then by offset, as every table. */
static int sort_table(struct reading *r)
{
    struct checkpoint *c = r->ckpt;
    if (c->n_tensors)
        qsort(c->tensors, c->n_tensors, sizeof *c->tensors, by_place);
    name_table_free(&c->names);
    if (name_table_init(&c->names, c->n_tensors, r->err))
        return -1;
    for (size_t i = 0; i < c->n_tensors; i++) {
        uint32_t old;
        const char *name = c->tensors[i].info.name;
        if (name_table_add(&c->names, name, strlen(name), (uint32_t)i, &old, r->err))
            return -1;
    }
    return 0;
}

static int copy_files(struct reading *r)
{
    struct checkpoint *c = r->ckpt;
    c->n_files = c->n_shards = r->set->n_parts;
    c->files = arena_calloc(&c->arena, c->n_files, sizeof *c->files, r->err);
    c->dir = arena_strndup(&c->arena, r->path, strlen(r->path), r->err);
    if (!c->files || !c->dir)
        return -1;
    for (size_t i = 0; i < c->n_files; i++) {
        c->files[i] = r->set->files[i];
        c->files[i].path =
            arena_strndup(&c->arena, r->set->files[i].path, strlen(r->set->files[i].path), r->err);
        if (!c->files[i].path)
            return -1;
        const char *slash = strrchr(c->files[i].path, '/');
        c->files[i].name = slash ? slash + 1 : c->files[i].path;
    }
    return 0;
}

static int build(struct reading *r, struct config *config, struct span *text, struct report *report)
{
    const struct gguf_kv *arch = gguf_set_key(r->set, "general.architecture");
    if (!arch || arch->type != GGUF_STRING ||
        strcmp((const char *)arch->bytes.p, GGUF_ARCHITECTURE) != 0)
        return prep_fail_tag(r->err, PREP_EUNSUP, "ARCHITECTURE",
                             "%s: general.architecture is %s, want " GGUF_ARCHITECTURE, r->path,
                             arch && arch->type == GGUF_STRING ? (const char *)arch->bytes.p
                                                               : "missing");
    if (copy_files(r) || write_config(r, text) ||
        config_parse(config, (const char *)text->p, text->n, r->path, report, r->err))
        return -1;
    r->c = config;
    for (int layer = INVENTORY_GLOBALS; layer < config->n_layers; layer++)
        if (add_layer(r, layer))
            return -1;
    if (r->n_used != r->set->n_tensors)
        return prep_fail_tag(r->err, PREP_EDATA, "TENSOR_UNKNOWN",
                             "%s: %" PRIu64 " of %" PRIu64 " tensors are not of the family",
                             r->path, r->set->n_tensors - r->n_used, r->set->n_tensors);
    return sort_table(r);
}

int gguf_source_open(struct checkpoint **ckpt, struct span *text, const struct io *io,
                     const char *path, struct report *report, struct prep_error *err)
{
    struct gguf_set set;
    struct config config = {0};
    struct reading r = {.set = &set, .path = path, .err = err};
    *ckpt = NULL;
    if (gguf_set_open(&set, io, path, err))
        return -1;
    gguf_set_warn(&set, report);
    r.ckpt = calloc(1, sizeof *r.ckpt);
    int rc = r.ckpt ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory opening %s", path);
    if (!rc) {
        arena_init(&r.ckpt->arena, 0);
        r.ckpt->io = io;
        r.ckpt->single_file = 1;
        rc = name_table_init(&r.ckpt->names, 0, err) || build(&r, &config, text, report);
    }
    config_free(&config);
    gguf_set_close(&set);
    if (rc)
        checkpoint_close(r.ckpt);
    else
        *ckpt = r.ckpt;
    return rc ? -1 : 0;
}
