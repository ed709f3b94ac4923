/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/fp.h"
#include "libprep/prune/renumber.h"

static const char config_name[] = "config.json", norm_name[] = "model.norm.weight";

enum { MAX_NORM = 1 << 20 };

/* ---- who it is ---- */

static void write_shape(char *out, const struct config *c)
{
    snprintf(out, REFERENCE_SHAPE,
             "glm_moe_dsa vocab %" PRId64 " hidden %" PRId64 " layers %d dense %d heads %d q_lora "
             "%" PRId64 " kv_lora %" PRId64 " nope %" PRId64 " rope %" PRId64 " v %" PRId64
             " indexer %dx%" PRId64 " topk %" PRId64 " mlp %" PRId64 " expert %" PRId64
             " shared %d theta %g",
             c->vocab_size, c->hidden_size, c->num_hidden_layers, c->first_k_dense_replace,
             c->num_attention_heads, c->q_lora_rank, c->kv_lora_rank, c->qk_nope_head_dim,
             c->qk_rope_head_dim, c->v_head_dim, c->index_n_heads, c->index_head_dim, c->index_topk,
             c->intermediate_size, c->moe_intermediate_size, c->n_shared_experts, c->rope_theta);
}

static int widen(unsigned char *out, const unsigned char *p, uint64_t n, enum dtype dtype)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        if (dtype == DTYPE_F32)
            bits = load_le32(p + 4 * i);
        else if (dtype == DTYPE_BF16)
            bits = f32_bits(f32_from_bf16(load_le16(p + 2 * i)));
        else if (dtype == DTYPE_F16)
            bits = f32_bits(f32_from_f16(load_le16(p + 2 * i)));
        else
            return -1;
        store_le32(out + 4 * i, bits);
    }
    return 0;
}

/* SHA-256 of the final norm's values as F32. */
static int hash_norm(struct judge_model *m, struct prep_error *err)
{
    const struct checkpoint *ckpt = m->pruned.source.ckpt;
    const struct checkpoint_tensor *t = checkpoint_find(ckpt, norm_name);
    if (!t || t->info.n_dims != 1 || t->info.shape[0] > MAX_NORM)
        return prep_fail_tag(err, PREP_EDATA, t ? "TENSOR_SHAPE" : "TENSOR_MISSING",
                             "%s: %s: want a vector", m->path, norm_name);
    const uint64_t n = t->info.shape[0];
    unsigned char *bytes = arena_alloc(&m->arena, (size_t)t->info.bytes, err);
    unsigned char *values = arena_alloc(&m->arena, (size_t)n * 4, err);
    if (!bytes || !values || checkpoint_read(ckpt, t, 0, bytes, (size_t)t->info.bytes, err))
        return -1;
    if (widen(values, bytes, n, (enum dtype)t->info.dtype))
        return prep_fail_tag(err, PREP_EDATA, "TENSOR_DTYPE",
                             "%s: %s: is %s, want BF16, F16 or F32", m->path, norm_name,
                             dtype_name((enum dtype)t->info.dtype));
    sha256_hex(values, (size_t)n * 4, m->identity.final_norm_sha256);
    return 0;
}

static int hash_tokenizer(struct judge_model *m, struct prep_error *err)
{
    const struct checkpoint *ckpt = m->pruned.source.ckpt;
    struct span text;
    if (checkpoint_file(ckpt, "tokenizer.json") < 0) {
        memcpy(m->identity.tokenizer_sha256, "none", sizeof "none");
        return 0;
    }
    if (checkpoint_read_file(ckpt, "tokenizer.json", &m->arena, &text, err))
        return -1;
    sha256_hex(text.p, text.n, m->identity.tokenizer_sha256);
    return 0;
}

static void describe_forms(struct judge_model *m)
{
    size_t n[LINEAR_FORM_COUNT] = {0}, at = 0;
    for (size_t i = 0; i < m->linears.n; i++)
        n[m->linears.items[i].form]++;
    for (int f = LINEAR_FORM_COUNT - 1; f >= 0; f--) {
        if (!n[f] || at >= sizeof m->forms)
            continue;
        at += (size_t)snprintf(m->forms + at, sizeof m->forms - at, "%s%s %zu", at ? ", " : "",
                               linear_form_name((enum linear_form)f), n[f]);
    }
}

/* ---- opening ---- */

static int edited_config(struct judge_model *m, struct report *report, struct prep_error *err)
{
    const struct prune_output *out = &m->pruned.output;
    for (size_t i = 0; i < out->n_edited; i++)
        if (strcmp(out->edited[i].name, config_name) == 0) {
            const struct span text = out->edited[i].text;
            m->config = &m->edited;
            return config_parse(&m->edited, (const char *)text.p, text.n, config_name, report, err);
        }
    return 0; /* nothing had to change */
}

static int open_pruned(struct judge_model *m, const struct io *io, const char *keep_map,
                       struct report *report, struct prep_error *err)
{
    struct prune_result *p = &m->pruned;
    const struct prune_job job = {
        .io = io, .source = m->path, .keep_map = keep_map, .options = {.mtp = MTP_PROXY}};
    const struct apply_options apply = {0};
    if (prune_job_run(p, &job, 0, report, err) ||
        prune_apply(&p->output, p->source.ckpt, &p->source.config, &p->map, &apply, report, err))
        return -1;
    m->map = &p->map;
    m->view = &p->output.view;
    m->config = &p->source.config;
    return edited_config(m, report, err);
}

static int open_whole(struct judge_model *m, const struct io *io, struct report *report,
                      struct prep_error *err)
{
    struct source *s = &m->pruned.source;
    if (source_open(s, io, m->path, report, err))
        return -1;
    m->config = &s->config;
    m->map = s->has_map ? &s->map : NULL;
    return 0;
}

static void count_tensors(struct judge_model *m)
{
    const struct checkpoint *ckpt = m->pruned.source.ckpt;
    m->n_tensors = m->view ? m->view->n_tensors : ckpt->n_tensors;
    m->tensor_bytes = m->view ? 0 : ckpt->tensor_bytes;
    for (size_t i = 0; m->view && i < m->view->n_tensors; i++)
        m->tensor_bytes += m->view->tensors[i].info.bytes;
}

int judge_model_open(struct judge_model *m, const struct io *io, const char *path,
                     const char *keep_map, struct report *report, struct prep_error *err)
{
    *m = (struct judge_model){.path = path};
    arena_init(&m->arena, 0);
    if (keep_map ? open_pruned(m, io, keep_map, report, err) : open_whole(m, io, report, err))
        return -1;
    const struct checkpoint *ckpt = m->pruned.source.ckpt;
    if (m->view ? linears_of_view(&m->linears, m->view, m->config, &m->arena, report, err)
                : linears_of_checkpoint(&m->linears, ckpt, m->config, &m->arena, report, err))
        return prep_note(err, "%s", path);
    m->matrices =
        (struct judge_matrices){.checkpoint = ckpt, .view = m->view, .linears = &m->linears};
    count_tensors(m);
    describe_forms(m);
    write_shape(m->identity.shape, m->config);
    return hash_norm(m, err) || hash_tokenizer(m, err) ? -1 : 0;
}

void judge_model_close(struct judge_model *m)
{
    runtime_close(m->runtime);
    prune_result_free(&m->pruned);
    config_free(&m->edited);
    arena_fini(&m->arena);
    *m = (struct judge_model){0};
}

int judge_model_start(struct judge_model *m, const struct runtime_options *options,
                      struct report *report, struct prep_error *err)
{
    const struct runtime_source source = {
        .checkpoint = m->view ? NULL : m->pruned.source.ckpt, .view = m->view, .config = m->config};
    runtime_close(m->runtime);
    m->runtime = NULL;
    return runtime_open(&m->runtime, &source, options, report, err) ? prep_note(err, "%s", m->path)
                                                                    : 0;
}

/* ---- two models ---- */

int judge_model_match(const struct judge_model *original, const struct judge_model *other,
                      struct report *report, struct prep_error *err)
{
    const struct reference_identity *a = &original->identity, *b = &other->identity;
    if (strcmp(a->shape, b->shape) != 0)
        return prep_fail_tag(err, PREP_EDATA, "JUDGE_MODEL",
                             "%s (%s) is another model than %s (%s)", other->path, b->shape,
                             original->path, a->shape);
    if (strcmp(a->tokenizer_sha256, b->tokenizer_sha256) != 0)
        report_warn(report, "JUDGE_TOKENIZER",
                    "%s has another tokenizer.json (%.16s) than %s (%.16s); token ids are compared",
                    other->path, b->tokenizer_sha256, original->path, a->tokenizer_sha256);
    return 0;
}

static int same_experts(const struct config *a, const struct config *b)
{
    for (int i = 0; i < a->num_hidden_layers; i++)
        if (a->n_experts[i] != b->n_experts[i])
            return 0;
    return 1;
}

int judge_model_map(struct judge_model *other, const struct judge_model *original, int *known,
                    struct prep_error *err)
{
    const struct config *a = original->config, *b = other->config;
    struct prep_error unfit = PREP_ERROR_INIT;
    struct renumber r = {0};
    *known = 1;
    if (same_experts(a, b))
        return 0;
    if (!other->map || renumber_init(&r, a, other->map, 0, &unfit))
        *known = 0;
    int **experts = arena_calloc(&other->arena, (size_t)b->n_layers, sizeof *experts, err);
    int rc = experts ? 0 : -1;
    for (int i = 0; !rc && i < b->n_layers; i++) {
        const struct renumber_layer *l = *known && i < r.n_layers ? renumber_pruned(&r, i) : NULL;
        const int n = b->n_experts[i];
        experts[i] = arena_calloc(&other->arena, (size_t)n, sizeof **experts, err);
        rc = experts[i] ? 0 : -1;
        if (l && l->n_kept != n)
            *known = 0;
        for (int e = 0; !rc && e < n; e++)
            experts[i][e] = !*known ? -1 : l ? l->kept[e] : e;
    }
    renumber_fini(&r);
    other->matrices.experts = experts;
    return rc;
}
