/* SPDX-License-Identifier: MIT */
#include "libprep/format/observation.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/format/bundle.h"
#include "libprep/format/obs_build.h"
#include "libprep/format/obs_files.h"

#define MAX_RUN_BYTES ((size_t)4 << 30)

const struct obs_layer *obs_run_layer(const struct obs_run *run, int layer)
{
    for (size_t i = 0; i < run->n_layers; i++) {
        if (run->layers[i].layer == layer)
            return &run->layers[i];
    }
    return NULL;
}

void obs_run_free(struct obs_run *run)
{
    arena_fini(&run->arena);
    *run = (struct obs_run){0};
}

static int read_form(struct obs_build *b, enum obs_form form, const char *name, struct span bytes)
{
    sha256_update(&b->sha, bytes.p, bytes.n);
    switch (form) {
    case OBS_FORM_NATIVE:
        return obs_read_native(b, bytes);
    case OBS_FORM_JSON:
        return obs_read_json(b, bytes);
    case OBS_FORM_JSONL:
        return obs_read_jsonl(b, bytes);
    case OBS_FORM_BLOCK:
        return obs_read_pt(b, bytes, obs_block_layer(name));
    default:
        return obs_read_pt(b, bytes, -1);
    }
}

/* Only native files hold vectors of several gate rules. */
static int check_suffix(const struct obs_build *b, enum obs_form form)
{
    if (*b->suffix == 0 || form == OBS_FORM_NATIVE || form == OBS_FORM_JSON)
        return 0;
    return obs_bad(b, "OBS_METRIC_MISSING", "%s: has one gate rule only, \"%s\" was asked for",
                   b->path, b->suffix + 1);
}

static int read_file(struct obs_build *b, const struct io *io, const char *path)
{
    struct arena tmp;
    struct span bytes;
    struct io_stat st;
    int rc = -1;
    enum obs_form form = obs_form_of(path);
    arena_init(&tmp, 0);
    b->path = path;
    if (check_suffix(b, form))
        return -1;
    if (io->stat(io->self, path, &st) == 0 && st.size > OBS_MAX_FILE_BYTES)
        return obs_bad(b, "OBS_PICKLE_LIMIT", "%s: has %llu bytes, want at most %llu", path,
                       (unsigned long long)st.size, (unsigned long long)OBS_MAX_FILE_BYTES);
    if (io_read_file(io, path, OBS_MAX_FILE_BYTES, &tmp, &bytes, b->err) == 0)
        rc = read_form(b, form, path, bytes);
    arena_fini(&tmp);
    return rc;
}

/* One block at a time: the highest memory is that of the run plus one file. */
static int read_folder(struct obs_build *b, const struct io *io, const char *path)
{
    struct arena tmp;
    char **files = NULL;
    size_t n = 0;
    int rc = -1;
    arena_init(&tmp, 0);
    if (obs_list_blocks(io, path, &tmp, &files, &n, b->err))
        goto out;
    for (size_t i = 0; i < n; i++) {
        if (read_file(b, io, files[i]))
            goto out;
    }
    rc = 0;
out:
    arena_fini(&tmp);
    return rc;
}

static int read_bundle(struct obs_build *b, const struct io *io, const char *path)
{
    static const struct bundle_limits limits = {65536, OBS_MAX_FILE_BYTES, OBS_MAX_FILE_BYTES};
    struct arena tmp;
    struct bundle_file *files = NULL;
    size_t n = 0;
    int rc = -1;
    arena_init(&tmp, 0);
    if (bundle_load(io, path, &limits, obs_is_wanted, &tmp, &files, &n, b->err) ||
        obs_choose_run(path, &files, &n, b->err))
        goto out;
    for (size_t i = 0; i < n; i++) {
        b->path = arena_printf(&tmp, b->err, "%s: %s", path, files[i].name);
        enum obs_form form = obs_form_of(files[i].name);
        if (!b->path || check_suffix(b, form) || read_form(b, form, files[i].name, files[i].bytes))
            goto out;
    }
    if (!b->run->label)
        b->run->label = obs_label_in_bundle(&b->run->arena, path, files[0].name, b->err);
    rc = b->run->label ? 0 : -1;
out:
    b->path = path;
    arena_fini(&tmp);
    return rc;
}

static int read_any(struct obs_build *b, const struct io *io, const char *path)
{
    struct io_stat st;
    int sys = io->stat(io->self, path, &st);
    if (sys < 0)
        return prep_fail_sys(b->err, PREP_ENOINPUT, -sys, "%s: cannot read", path);
    if (st.kind == IO_DIRECTORY)
        return read_folder(b, io, path);
    return bundle_has_name(path) ? read_bundle(b, io, path) : read_file(b, io, path);
}

/* sum = (double)mean * (double)n where the sum is absent. */
static int sum_from_mean(struct obs_build *b, const struct obs_layer *l, const float *mean,
                         double **sum, unsigned char *made)
{
    if (*sum || !mean || !l->expert_frequency)
        return 0;
    *sum = arena_calloc(&b->run->arena, (size_t)l->n_experts, sizeof **sum, b->err);
    if (!*sum)
        return -1;
    for (int e = 0; e < l->n_experts; e++)
        (*sum)[e] = (double)mean[e] * (double)l->expert_frequency[e];
    *made = 1;
    b->from_means = 1;
    return 0;
}

static int complete_layers(struct obs_build *b)
{
    for (size_t i = 0; i < b->n_layers; i++) {
        struct obs_layer *l = &b->layers[i];
        if (sum_from_mean(b, l, l->ean_mean, &l->ean_sum, &l->ean_sum_from_mean) ||
            sum_from_mean(b, l, l->reap, &l->weighted_ean_sum, &l->weighted_ean_sum_from_mean))
            return -1;
    }
    return 0;
}

static int by_layer(const void *a, const void *b)
{
    const struct obs_layer *x = a, *y = b;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

/* Layers in order and in the arena, the hash, the label, the token count. */
static int finish(struct obs_build *b, const char *path)
{
    struct obs_run *run = b->run;
    unsigned char digest[SHA256_BYTES];
    uint64_t most = 0;
    run->layers = arena_calloc(&run->arena, b->n_layers, sizeof *run->layers, b->err);
    if (!run->layers)
        return -1;
    if (b->n_layers) {
        memcpy(run->layers, b->layers, b->n_layers * sizeof *run->layers);
        qsort(run->layers, b->n_layers, sizeof *run->layers, by_layer);
    }
    run->n_layers = b->n_layers;
    for (size_t i = 0; i < run->n_layers; i++) {
        if (i > 0 && run->layers[i].layer == run->layers[i - 1].layer)
            return obs_bad(b, "OBS_SHAPE", "%s: layer %d occurs twice", path, run->layers[i].layer);
        if (run->layers[i].total_tokens > 0 && (uint64_t)run->layers[i].total_tokens > most)
            most = (uint64_t)run->layers[i].total_tokens;
    }
    if (run->tokens == 0)
        run->tokens = most;
    sha256_final(&b->sha, digest);
    sha256_to_hex(digest, run->sha256);
    if (!run->id_space)
        run->id_space = "base";
    if (!run->label)
        run->label = obs_label(&run->arena, path, b->err);
    return run->label ? 0 : -1;
}

int obs_run_read(struct obs_run *run, const struct io *io, const char *path, const char *suffix,
                 struct report *report, struct prep_error *err)
{
    struct obs_build b = {.run = run, .path = path, .suffix = "", .err = err};
    int rc = -1;
    *run = (struct obs_run){0};
    arena_init(&run->arena, MAX_RUN_BYTES);
    sha256_init(&b.sha);
    run->path = arena_strndup(&run->arena, path, strlen(path), err);
    if (suffix && *suffix)
        b.suffix = arena_printf(&run->arena, err, ".%s", suffix);
    if (!run->path || !b.suffix || read_any(&b, io, path) || complete_layers(&b) ||
        finish(&b, path))
        goto out;
    if (b.from_means)
        report_warn(report, "OBS_SUM_FROM_MEAN",
                    "%s: sums are absent and rebuilt as mean x expert_frequency, which is less "
                    "precise",
                    path);
    rc = 0;
out:
    free(b.layers);
    if (rc)
        obs_run_free(run);
    return rc;
}
