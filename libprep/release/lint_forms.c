/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "libprep/release/lint_job.h"

enum { TEXT_BYTES = 400 };

/* "kv_b_proj" of a module name. */
static const char *last_part(const struct lint_module *m)
{
    const char *dot = strrchr(m->name, '.');
    return dot ? dot + 1 : m->name;
}

/* How many layers have this part quantized, and the first such module. */
static int count_part(const struct lint_job *j, enum part part, const struct lint_module **first)
{
    int n = 0;
    *first = NULL;
    for (int i = 0; i < j->c->n_layers; i++) {
        const struct lint_module *m = j->layers[i].parts[part];
        if (!is_quantized(m))
            continue;
        if (n++ == 0)
            *first = m;
    }
    return n;
}

static int is_method(const struct lint_job *j, const char *method)
{
    return strcmp(j->quant.method, method) == 0;
}

static const char *layers_text(int n)
{
    return n == 1 ? "layer" : "layers";
}

/* ---- attention and indexer ---- */

static void lint_attention(struct lint_job *j)
{
    const struct lint_module *m, *kv;
    int n = count_part(j, PART_KV_B, &m);
    if (n && m->form != FORM_FP8)
        lint_add(j->out, "KV_B_QUANTIZED", LINT_ENGINES, m->name, "kv_b_proj is %s in %d %s",
                 form_name(m->form), n, layers_text(n));
    static const enum part fused[] = {PART_INDEXER_WK, PART_INDEXER_WEIGHTS};
    for (size_t i = 0; i < sizeof fused / sizeof *fused; i++) {
        n = count_part(j, fused[i], &m);
        if (n && m->form != FORM_FP8)
            lint_add(j->out, "INDEXER_QUANTIZED", LINT_ENGINES, m->name, "%s is %s in %d %s",
                     last_part(m), form_name(m->form), n, layers_text(n));
    }
    n = count_part(j, PART_Q_A, &m);
    count_part(j, PART_KV_A, &kv);
    if (n && kv && (m->form == FORM_NVFP4_PACKED || m->form == FORM_INT4_GPTQ))
        lint_add(j->out, "QKV_A_QUANTIZED", LINT_ENGINES, m->name,
                 "q_a_proj and kv_a_proj_with_mqa are %s in %d %s", form_name(m->form), n,
                 layers_text(n));
}

static void lint_pair(struct lint_job *j, const struct lint_module *a, const struct lint_module *b)
{
    char place[48];
    if (!a || !b || a->form == b->form || a->form == FORM_ABSENT || b->form == FORM_ABSENT)
        return;
    lint_add(j->out, "FUSED_PAIR_SPLIT", LINT_ENGINES, layer_place(place, a->layer),
             "%s is %s, %s is %s", a->name, form_name(a->form), b->name, form_name(b->form));
}

static void lint_pairs(struct lint_job *j)
{
    for (int i = 0; i < j->c->n_layers; i++) {
        const struct lint_module *const *p = j->layers[i].parts;
        lint_pair(j, p[PART_Q_A], p[PART_KV_A]);
        lint_pair(j, p[PART_GATE], p[PART_UP]);
        lint_pair(j, p[PART_SHARED_GATE], p[PART_SHARED_UP]);
    }
}

/* ---- the MTP layers ---- */

static const struct lint_module *first_quantized(const struct lint_layer *l)
{
    for (int p = 0; p < PART_OTHER; p++)
        if (is_quantized(l->parts[p]))
            return l->parts[p];
    return is_quantized(l->expert[0]) ? l->expert[0] : NULL;
}

static void lint_mtp(struct lint_job *j)
{
    const struct config *c = j->c;
    char place[48];
    int quantized_experts = 0;
    for (int i = 0; i < c->num_hidden_layers; i++)
        quantized_experts |= is_quantized(j->layers[i].expert[0]);
    for (int i = c->num_hidden_layers; i < c->n_layers; i++) {
        const struct lint_layer *l = &j->layers[i];
        const struct lint_module *m = first_quantized(l);
        if (m && is_nvfp4(m) && is_method(j, "modelopt"))
            lint_add(j->out, "MTP_QUANTIZED", LINT_SGLANG, layer_place(place, i), "%s is %s",
                     m->name, form_name(m->form));
        if (is_nvfp4(l->expert[0]))
            lint_add(j->out, "MTP_QUANTIZED", LINT_LLAMA, layer_place(place, i), "%s is %s",
                     l->expert[0]->name, form_name(l->expert[0]->form));
        if (is_plain(l->expert[0]) && quantized_experts && is_method(j, "gptq"))
            lint_add(j->out, "MTP_GPTQ_BF16", LINT_SGLANG, layer_place(place, i),
                     "the experts are BF16, those of the other layers W4A16");
    }
    if (c->num_nextn_predict_layers > 1)
        lint_add(j->out, "LLAMA_MTP", LINT_LLAMA, c->name ? "config.json" : "", "%d MTP layers",
                 c->num_nextn_predict_layers);
}

/* ---- the shared expert ---- */

static void lint_shared_fusion(struct lint_job *j)
{
    const int n = j->c->n_routed_experts;
    if (n != 256 && n != 384)
        return;
    for (size_t i = 0; i < j->quant.n_entries; i++)
        if (strstr(j->quant.entries[i], "shared_expert"))
            return; /* refused by the engine itself */
    for (int i = 0; i < j->c->num_hidden_layers; i++) {
        const struct lint_layer *l = &j->layers[i];
        const struct lint_module *m = l->parts[PART_SHARED_GATE];
        if (!is_quantized(l->expert[0]) || !m || m->form == l->expert[0]->form)
            continue;
        char place[48];
        lint_add(j->out, "SHARED_FUSION", LINT_SGLANG, layer_place(place, i),
                 "the shared expert is %s, the routed ones are %s", form_name(m->form),
                 form_name(l->expert[0]->form));
        return;
    }
}

/* ---- shapes that kernels take ---- */

/* Of a GPTQ linear: outputs and inputs. */
static int gptq_shape(const struct lint_module *m, uint64_t *out, uint64_t *in)
{
    const struct checkpoint_tensor *q = m->tensors[SUFFIX_QWEIGHT];
    if (m->form != FORM_INT4_GPTQ || !q || q->info.n_dims != 2 || q->info.shape[0] > UINT32_MAX)
        return 0;
    *out = q->info.shape[1];
    *in = q->info.shape[0] * 8;
    return 1;
}

static void lint_marlin(struct lint_job *j)
{
    int seen[PART_OTHER + 1] = {0};
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        uint64_t out, in;
        if (!gptq_shape(m, &out, &in) || (out % 64 == 0 && in % 128 == 0))
            continue;
        if (m->role == ROLE_EXPERT || seen[m->part]++)
            continue; /* the fused kernel of experts has another rule, and a fallback */
        lint_add(j->out, "MARLIN_SHAPE", LINT_ENGINES, m->name,
                 "has %llu outputs and %llu inputs, want multiples of 64 and 128",
                 (unsigned long long)out, (unsigned long long)in);
    }
}

/* ---- devices ---- */

/* What NVFP4 asks of a device depends on the layout and on whether activations are quantized. */
static void lint_devices(struct lint_job *j)
{
    const struct lint_module *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < j->n_modules; i++) {
        if (!is_nvfp4(&j->modules[i]))
            continue;
        first = first ? first : &j->modules[i];
        n++;
    }
    if (!n)
        return;
    if (!j->quant.wants_input)
        lint_add(j->out, "NVFP4_CAPABILITY", LINT_ENGINES, j->quant.file,
                 "%zu linears in NVFP4, weights only: compute capability 8.0 and more, through "
                 "Marlin",
                 n);
    else if (first->form == FORM_NVFP4_MODELOPT)
        lint_add(
            j->out, "NVFP4_CAPABILITY", LINT_ENGINES, j->quant.file,
            "%zu linears in NVFP4, modelopt W4A4: compute capability 10.0 and more; experts on "
            "8.0 to 9.x through Marlin",
            n);
    else
        lint_add(j->out, "NVFP4_CAPABILITY", LINT_ENGINES, j->quant.file,
                 "%zu linears in NVFP4, compressed-tensors W4A4: compute capability 10.0 and more; "
                 "below, sglang 0.5.23 serves through Marlin and 0.5.10 raises NotImplementedError",
                 n);
    lint_add(j->out, "NVFP4_SM120", LINT_ENGINES, j->quant.file,
             "%zu linears in NVFP4: what was reported of sm_120", n);
}

/* ---- llama.cpp ---- */

static int has_slot(const struct lint_module *m)
{
    return m->role == ROLE_EXPERT || m->role == ROLE_SHARED_EXPERT || m->role == ROLE_DENSE_MLP ||
           m->part == PART_O || m->part == PART_EH_PROJ;
}

/* One line for all the parts that have no slot. */
static void lint_slots(struct lint_job *j)
{
    int seen[PART_OTHER + 1] = {0};
    const struct lint_module *first = NULL;
    char text[TEXT_BYTES] = "";
    size_t at = 0;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        if (!is_nvfp4(m) || has_slot(m) || seen[m->part]++)
            continue;
        first = first ? first : m;
        if (at < sizeof text - 64)
            at += (size_t)snprintf(text + at, 64, "%s%.50s", at ? ", " : "", last_part(m));
    }
    if (first)
        lint_add(j->out, "LLAMA_NO_SLOT", LINT_LLAMA, first->name, "%s: stored as %s", text,
                 form_name(first->form));
}

static void lint_llama(struct lint_job *j)
{
    int seen[PART_OTHER + 1] = {0};
    lint_slots(j);
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        const struct checkpoint_tensor *codes =
            m->tensors[m->form == FORM_NVFP4_MODELOPT ? SUFFIX_WEIGHT : SUFFIX_WEIGHT_PACKED];
        if (is_nvfp4(m) && codes && codes->info.n_dims == 2 && codes->info.shape[1] % 32 &&
            !seen[m->part]++)
            lint_add(j->out, "LLAMA_COLUMNS", LINT_LLAMA, m->name,
                     "has %llu inputs, want a multiple of 64",
                     (unsigned long long)codes->info.shape[1] * 2);
    }
    if (j->c->index_head_dim % 64)
        lint_add(j->out, "LLAMA_INDEXER", LINT_LLAMA, "config.json",
                 "index_head_dim is %lld, want a multiple of 64", (long long)j->c->index_head_dim);
}

void lint_forms(struct lint_job *j)
{
    lint_attention(j);
    lint_pairs(j);
    lint_mtp(j);
    lint_shared_fusion(j);
    lint_marlin(j);
    lint_devices(j);
    lint_llama(j);
}
