/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/format/obs_build.h"

static void write_pair(struct json_out *o, const char *key, const char *value)
{
    if (!value)
        return;
    json_out_key(o, key);
    json_out_string(o, value);
}

static void write_count(struct json_out *o, const char *key, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, n);
    write_pair(o, key, n ? text : NULL);
}

/* As read, or for another form what is known; all values are strings. */
static void write_metadata(struct json_out *o, const struct obs_run *run)
{
    json_out_key(o, "metadata");
    json_out_open(o, '{');
    for (size_t i = 0; i < run->n_metadata; i++)
        write_pair(o, run->metadata[i].key, run->metadata[i].value);
    if (run->n_metadata == 0) {
        write_pair(o, "format", "reap-obs");
        write_pair(o, "version", "1");
        write_pair(o, "run", run->label);
        write_pair(o, "gate_semantics", run->gate_semantics);
        write_pair(o, "id_space", run->id_space);
        write_count(o, "tokens", run->tokens);
    }
    json_out_close(o);
}

static int write_number(struct json_out *o, const struct obs_run *run, int layer,
                        const char *metric, double v, struct prep_error *err)
{
    if (!isfinite(v))
        return prep_fail_tag(err, PREP_EDATA, "OBS_NONFINITE",
                             "%s: layer %d: %s: %g cannot be written as JSON", run->path, layer,
                             metric, v);
    json_out_f64(o, v);
    return 0;
}

static int write_vector(struct json_out *o, const struct obs_run *run, const struct obs_layer *l,
                        size_t key, struct prep_error *err)
{
    const void *v = obs_vector(l, key);
    /* n_i + n_j says nothing that expert_frequency does not say. */
    if (!v || key == OBS_PAIRWISE)
        return 0;
    enum obs_type type = obs_keys[key].type;
    json_out_key(o, obs_keys[key].name);
    json_out_open(o, '[');
    for (int e = 0; e < l->n_experts; e++) {
        if (type == OBS_I64) {
            json_out_i64(o, ((const int64_t *)v)[e]);
            continue;
        }
        double x = type == OBS_F64 ? ((const double *)v)[e] : (double)((const float *)v)[e];
        if (write_number(o, run, l->layer, obs_keys[key].name, x, err))
            return -1;
    }
    json_out_close(o);
    return 0;
}

static int write_output(struct json_out *o, const struct obs_run *run, const struct obs_layer *l,
                        struct prep_error *err)
{
    const char *name = l->routed_output_is_sum ? OBS_OUTPUT_SUM : OBS_OUTPUT_MEAN;
    const double *v = l->routed_output;
    if (!v)
        return 0;
    json_out_key(o, name);
    json_out_open(o, '[');
    for (int e = 0; e < l->n_experts; e++) {
        json_out_open(o, '[');
        for (int64_t i = 0; i < l->hidden; i++) {
            if (write_number(o, run, l->layer, name, *v++, err))
                return -1;
        }
        json_out_close(o);
    }
    json_out_close(o);
    return 0;
}

static int write_layer(struct json_out *o, const struct obs_run *run, const struct obs_layer *l,
                       struct prep_error *err)
{
    char id[16];
    snprintf(id, sizeof id, "%d", l->layer);
    json_out_key(o, id);
    json_out_open(o, '{');
    if (l->has_total_tokens) {
        json_out_key(o, OBS_TOTAL_TOKENS);
        json_out_i64(o, l->total_tokens);
    }
    for (size_t k = 0; k < OBS_N_KEYS; k++) {
        if (write_vector(o, run, l, k, err))
            return -1;
    }
    if (write_output(o, run, l, err))
        return -1;
    json_out_close(o);
    return 0;
}

int obs_run_write_json(const struct obs_run *run, struct arena *arena, struct span *out,
                       struct prep_error *err)
{
    struct json_out o;
    struct span text;
    int rc = -1;
    json_out_init(&o, 0);
    json_out_open(&o, '{');
    write_pair(&o, "format", "reap-obs");
    json_out_key(&o, "version");
    json_out_i64(&o, 1);
    write_metadata(&o, run);
    json_out_key(&o, "layers");
    json_out_open(&o, '{');
    for (size_t i = 0; i < run->n_layers; i++) {
        if (write_layer(&o, run, &run->layers[i], err))
            goto out;
    }
    json_out_close(&o);
    json_out_close(&o);
    if (json_out_finish(&o, &text, err))
        goto out;
    char *copy = arena_strndup(arena, (const char *)text.p, text.n, err);
    if (!copy)
        goto out;
    *out = (struct span){(const unsigned char *)copy, text.n};
    rc = 0;
out:
    json_out_free(&o);
    return rc;
}
