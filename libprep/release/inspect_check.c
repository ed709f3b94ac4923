/* SPDX-License-Identifier: MIT */
#include "libprep/release/inspect_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libprep/model/check.h"
#include "libprep/release/gguf_check.h"
#include "libprep/store/executor.h"

struct job {
    struct findings *out;
    const struct inspected *it;
    const struct check_options *opt;
    struct report *report;
    struct arena arena;
};

#define fault(j, code, place, ...)                                                                 \
    findings_add((j)->out, FINDING_ERROR, (code), (place), __VA_ARGS__)

static void fault_in_file(struct job *j, const char *name, const struct prep_error *why)
{
    if (why->code != PREP_OK)
        fault(j, *why->tag ? why->tag : "UNREADABLE", name, "%s", why->msg);
}

/* ---- config against tensors ---- */

static int check_tensors(struct job *j, struct prep_error *err)
{
    const struct checkpoint *c = j->it->ckpt;
    const struct tensor_info **list = arena_calloc(&j->arena, c->n_tensors, sizeof *list, err);
    if (!list)
        return -1;
    for (size_t i = 0; i < c->n_tensors; i++)
        list[i] = &c->tensors[i].info;
    return check_inventory(j->out, &j->it->config, list, c->n_tensors, err);
}

/* ---- keep-map ---- */

static void check_passes(struct job *j, const char *place)
{
    const struct keep_map *m = &j->it->map;
    int at = m->base_n_routed_experts, most = 0;
    for (size_t i = 0; i < m->n_passes; i++) {
        if (m->passes[i].from != at)
            fault(j, "KEEP_MAP_PASSES", place, "pass %zu starts from %d experts, want %d", i + 1,
                  m->passes[i].from, at);
        at = m->passes[i].to;
    }
    for (size_t i = 0; i < m->n_layers; i++)
        if (m->layers[i].layer < m->num_hidden_layers && m->layers[i].n_kept > most)
            most = m->layers[i].n_kept;
    if (m->n_passes && at != most)
        fault(j, "KEEP_MAP_PASSES", place, "the last pass ends at %d experts, the lists keep %d",
              at, most);
    int parent = m->parent_sha256 ? m->parent_n_routed_experts : m->base_n_routed_experts;
    for (size_t i = 0; i < m->n_layers; i++)
        if (m->layers[i].n_parent > parent)
            fault(j, "KEEP_MAP_COUNT", place, "layer %d is cut from %d experts, the input had %d",
                  m->layers[i].layer, m->layers[i].n_parent, parent);
}

static void check_map_layer(struct job *j, const struct keep_layer *l)
{
    const struct config *c = &j->it->config;
    if (l->layer >= c->n_layers || !c->is_moe[l->layer]) {
        /* An MTP layer may have been taken off after the cut. */
        if (l->layer < c->num_hidden_layers || !j->it->map.full)
            fault(j, "KEEP_MAP_LAYER", INSPECT_KEEP_MAP,
                  "layer %d is named, but has no routed experts in config.json", l->layer);
    } else if (c->n_experts[l->layer] != l->n_kept) {
        fault(j, "KEEP_MAP_COUNT", INSPECT_KEEP_MAP,
              "layer %d keeps %d experts, config.json says %d", l->layer, l->n_kept,
              c->n_experts[l->layer]);
    }
}

static void check_map_against_config(struct job *j)
{
    const struct config *c = &j->it->config;
    const struct keep_map *m = &j->it->map;
    for (size_t i = 0; i < m->n_layers; i++)
        check_map_layer(j, &m->layers[i]);
    if (!m->full)
        return;
    if (m->num_hidden_layers != c->num_hidden_layers)
        fault(j, "KEEP_MAP_COUNT", INSPECT_KEEP_MAP, "num_hidden_layers is %d, config.json says %d",
              m->num_hidden_layers, c->num_hidden_layers);
    if (m->n_routed_experts != c->n_routed_experts)
        fault(j, "KEEP_MAP_COUNT", INSPECT_KEEP_MAP, "n_routed_experts is %d, config.json says %d",
              m->n_routed_experts, c->n_routed_experts);
    for (int i = 0; i < c->num_hidden_layers; i++)
        if (c->is_moe[i] && !keep_map_layer(m, i))
            fault(j, "KEEP_MAP_LAYER", INSPECT_KEEP_MAP, "layer %d is missing", i);
}

/* ---- manifest ---- */

static void check_manifest_files(struct job *j)
{
    const struct checkpoint *c = j->it->ckpt;
    const struct manifest *m = &j->it->manifest;
    for (size_t i = 0; i < m->n_files; i++) {
        const struct manifest_file *f = &m->files[i];
        int at = checkpoint_file(c, f->name);
        if (at < 0)
            fault(j, "MANIFEST_FILE", f->name, "the manifest names it, but it is not here");
        else if (c->files[at].bytes != f->bytes)
            fault(j, "MANIFEST_SIZE", f->name, "has %" PRIu64 " bytes, the manifest says %" PRIu64,
                  c->files[at].bytes, f->bytes);
    }
}

static void check_manifest_tensors(struct job *j)
{
    const struct checkpoint *c = j->it->ckpt;
    const struct manifest *m = &j->it->manifest;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct manifest_tensor *t = &m->tensors[i];
        const struct checkpoint_tensor *found = checkpoint_find(c, t->name);
        if (!found)
            fault(j, "MANIFEST_TENSOR", t->name, "the manifest names it, but no shard holds it");
        else if (found->info.bytes != t->bytes)
            fault(j, "MANIFEST_TENSOR", t->name,
                  "has %" PRIu64 " bytes, the manifest says %" PRIu64, found->info.bytes, t->bytes);
    }
    for (size_t i = 0; i < c->n_tensors; i++)
        if (!manifest_find(m, c->tensors[i].info.name))
            fault(j, "MANIFEST_TENSOR", c->tensors[i].info.name, "the manifest does not name it");
}

/* ---- every byte ---- */

static void compare_file_hashes(struct job *j, const struct file_hash *files)
{
    const struct checkpoint *c = j->it->ckpt;
    for (size_t i = 0; i < c->n_files; i++) {
        const struct manifest_file *f = manifest_find_file(&j->it->manifest, c->files[i].name);
        char hex[SHA256_HEX];
        if (!f || !f->sha256)
            continue;
        sha256_to_hex(files[i].sha256, hex);
        if (strcmp(hex, f->sha256) != 0)
            fault(j, "FILE_SHA256", f->name, "is %s, the manifest says %s", hex, f->sha256);
    }
}

/* A run may have been told not to hash. */
static int has_hashes(const struct manifest *m)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (m->files[i].sha256)
            return 1;
    return 0;
}

static void compare_tensor_hashes(struct job *j, const struct hash128 *tensors)
{
    const struct checkpoint *c = j->it->ckpt;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const struct manifest_tensor *t = manifest_find(&j->it->manifest, c->tensors[i].info.name);
        char hex[XXH128_HEX];
        if (!t || !t->xxh3)
            continue;
        hash128_to_hex(tensors[i], hex);
        if (strcmp(hex, t->xxh3) != 0)
            fault(j, "TENSOR_XXH3", t->name, "is %s, the manifest says %s", hex, t->xxh3);
    }
}

static int check_data(struct job *j, struct prep_error *err)
{
    const struct checkpoint *c = j->it->ckpt;
    struct file_hash *files = arena_calloc(&j->arena, c->n_files, sizeof *files, err);
    struct hash128 *tensors = arena_calloc(&j->arena, c->n_tensors, sizeof *tensors, err);
    if (!files || !tensors)
        return -1;
    /* Without a manifest reading still shows what a disk cannot give back. */
    for (size_t i = 0; i < c->n_files; i++)
        files[i].wanted =
            i < c->n_shards || manifest_find_file(&j->it->manifest, c->files[i].name) != NULL;
    if (verify_files(files, tensors, c, &j->opt->verify, err))
        return -1;
    if (!j->it->has_manifest) {
        findings_add(j->out, FINDING_WARNING, "NO_MANIFEST", c->dir,
                     "every shard could be read, but there is no " EXEC_MANIFEST
                     " to hold the bytes against");
        return 0;
    }
    if (!has_hashes(&j->it->manifest))
        findings_add(j->out, FINDING_WARNING, "NO_HASHES", EXEC_MANIFEST,
                     "every file could be read, but the run that wrote them did not hash them");
    compare_file_hashes(j, files);
    compare_tensor_hashes(j, tensors);
    return 0;
}

static int check_checkpoint(struct job *j, struct prep_error *err)
{
    const struct inspected *it = j->it;
    fault_in_file(j, HF_INDEX_NAME, &it->index_fault);
    fault_in_file(j, INSPECT_CONFIG, &it->config_fault);
    fault_in_file(j, INSPECT_KEEP_MAP, &it->map_fault);
    fault_in_file(j, EXEC_MANIFEST, &it->manifest_fault);
    if (it->has_config && check_tensors(j, err))
        return -1;
    if (it->has_map && it->has_config)
        check_map_against_config(j);
    if (it->has_manifest) {
        check_manifest_files(j);
        check_manifest_tensors(j);
    }
    return j->opt->read_data ? check_data(j, err) : 0;
}

/* ---- observations ---- */

/* Experts per token as the first layer has it: sum n = T k. 0 when it does not come out even. */
static int top_k_of(const struct obs_run *run)
{
    if (run->num_experts_per_tok)
        return run->num_experts_per_tok;
    for (size_t i = 0; i < run->n_layers; i++) {
        struct obs_summary s;
        inspect_summarize(&s, &run->layers[i]);
        if (s.has_counts && s.tokens)
            return s.routed % s.tokens == 0 && s.routed / s.tokens <= (uint64_t)s.n_experts
                       ? (int)(s.routed / s.tokens)
                       : 0;
    }
    return 0;
}

static int check_observation(struct job *j, struct prep_error *err)
{
    const struct obs_run *run = &j->it->run;
    struct prep_error why = PREP_ERROR_INIT;
    int *layers = arena_calloc(&j->arena, run->n_layers, sizeof *layers, err);
    int *experts = arena_calloc(&j->arena, run->n_layers, sizeof *experts, err);
    if (!layers || !experts)
        return -1;
    if (!run->n_layers)
        fault(j, "OBS_LAYER_MISSING", j->it->path, "holds no layer with experts");
    for (size_t i = 0; i < run->n_layers; i++) {
        layers[i] = run->layers[i].layer;
        experts[i] = run->n_routed_experts ? run->n_routed_experts : run->layers[i].n_experts;
    }
    const struct obs_expect expect = {
        .layers = layers, .n_experts = experts, .n_layers = run->n_layers, .top_k = top_k_of(run)};
    if (obs_run_check_structure(run, &expect, j->report, &why) == 0 &&
        obs_run_check_values(run, &expect, 0, j->report, &why) == 0)
        return 0;
    if (why.code != PREP_EDATA) {
        *err = why;
        return -1;
    }
    fault_in_file(j, j->it->path, &why);
    return 0;
}

int inspect_check(struct findings *out, const struct inspected *it, const struct check_options *opt,
                  struct report *report, struct prep_error *err)
{
    struct job j = {.out = out, .it = it, .opt = opt, .report = report};
    int rc = 0;
    findings_init(out);
    arena_init(&j.arena, 0);
    if (it->kind == KIND_CHECKPOINT)
        rc = check_checkpoint(&j, err);
    else if (it->kind == KIND_OBSERVATION)
        rc = check_observation(&j, err);
    else if (it->kind == KIND_GGUF)
        rc = gguf_check(out, it, opt, err);
    if (!rc && it->has_map && it->map.full)
        check_passes(&j, it->kind == KIND_CHECKPOINT ? INSPECT_KEEP_MAP : it->path);
    if (!rc)
        rc = findings_finish(out, err);
    arena_fini(&j.arena);
    return rc;
}
