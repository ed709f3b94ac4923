/* SPDX-License-Identifier: MIT */
/* Before a judgement runs: models, text, and who gets how much memory. */
#include <inttypes.h>
#include <string.h>

#include "libprep/release/judge_ranks.h"

enum { LEAST_WINDOW = 2, LEAST_WINDOW_MTP = 3 };

/* ---- opening ---- */

static int has_calibration(const struct judge_job *job)
{
    return job->calibration.windows || job->calibration.tokens;
}

static int check_job(const struct judge_job *job, struct prep_error *err)
{
    if (job->n_models < 1 || job->n_models > JUDGE_MAX_MODELS)
        return prep_fail(err, PREP_EUSAGE, "%zu models to judge, want 1 to %d", job->n_models,
                         (int)JUDGE_MAX_MODELS);
    if (job->original && job->reference)
        return prep_fail(err, PREP_EUSAGE,
                         "judge against the original or against a reference of it, not both");
    if (has_calibration(job) && job->run.inputs == INPUTS_AS_THEY_ARE)
        return prep_fail(err, PREP_EUSAGE, "a calibration text is for inputs of 4 bits");
    if (job->save && (job->n_models > 1 || job->original || job->reference))
        return prep_fail(err, PREP_EUSAGE, "a reference is saved of one model, run alone");
    if (job->reference && (job->text.n_texts || job->text.windows || job->text.tokens))
        return prep_fail(err, PREP_EUSAGE,
                         "a reference is judged on the text it was made from; "
                         "give no other");
    return 0;
}

static int open_models(struct judgement *j, const struct judge_job *job, struct report *report,
                       struct prep_error *err)
{
    j->results = arena_calloc(&j->arena, job->n_models, sizeof *j->results, err);
    if (!j->results)
        return -1;
    if (job->original) {
        j->has_original = 1;
        if (judge_model_open(&j->original, job->io, job->original, NULL, report, err))
            return -1;
    }
    for (size_t i = 0; i < job->n_models; i++) {
        struct judge_result *r = &j->results[j->n_results++];
        if (judge_model_open(&r->model, job->io, job->models[i], job->keep_map, report, err))
            return -1;
        if (job->original && (judge_model_match(&j->original, &r->model, report, err) ||
                              judge_model_map(&r->model, &j->original, &r->knows_experts, err)))
            return -1;
        if (i > 0 && judge_model_match(&j->results[0].model, &r->model, report, err))
            return -1;
    }
    return 0;
}

static int read_reference(struct judgement *j, const struct judge_job *job, struct prep_error *err)
{
    struct reference *r = &j->reference;
    j->has_reference = 1;
    j->reference_path = job->reference;
    if (reference_read(r, job->io, job->reference, &j->arena, err))
        return -1;
    for (size_t i = 0; i < j->n_results; i++)
        if (reference_check(r, &j->results[i].model.identity, job->reference,
                            j->results[i].model.path, err))
            return -1;
    return judge_text_take(&j->text, r->tokens, r->n_sequences, r->sequence, job->text.max_windows,
                           &j->arena, err);
}

static int read_text(struct judgement *j, const struct judge_job *job, struct report *report,
                     struct prep_error *err)
{
    struct tokenizer *t = NULL;
    const struct judge_model *m = job->original ? &j->original : &j->results[0].model;
    const int has_tokenizer = job->tokenizer || strcmp(m->identity.tokenizer_sha256, "none") != 0;
    int rc = 0;
    if (job->reference)
        return read_reference(j, job, err);
    if (!job->text.windows && has_tokenizer)
        rc = tokenizer_open(&t, job->io, job->tokenizer ? job->tokenizer : m->path, report, err);
    rc = rc || judge_text_read(&j->text, &job->text, t, job->io, &j->arena, err);
    tokenizer_free(t);
    return rc ? -1 : 0;
}

static int check_text(const struct judgement *j, const struct judge_job *job,
                      struct prep_error *err)
{
    const struct config *c = j->results[0].model.config;
    const uint64_t least = job->with_mtp ? LEAST_WINDOW_MTP : LEAST_WINDOW;
    const uint64_t n = j->text.n_windows * j->text.window;
    if (j->text.window < least)
        return prep_fail_tag(err, PREP_EDATA, "JUDGE_TEXT",
                             "windows of %" PRIu64 " tokens, want at least %" PRIu64,
                             j->text.window, least);
    for (uint64_t i = 0; i < n; i++)
        if (j->text.tokens[i] >= c->vocab_size)
            return prep_fail_tag(err, PREP_EDATA, "TOKEN_ID",
                                 "window %" PRIu64 ", position %" PRIu64 ": token id %" PRIu32
                                 ", the vocabulary has %" PRId64,
                                 i / j->text.window, i % j->text.window, j->text.tokens[i],
                                 c->vocab_size);
    return 0;
}

static int check_mtp(const struct judge_model *m, struct prep_error *err)
{
    if (m->config->num_nextn_predict_layers > 0)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "MTP_MISSING", "%s: has no MTP layer to judge", m->path);
}

/* ---- memory ---- */

static uint64_t tokens_of(const struct judgement *j, uint64_t sequences)
{
    return sequences * j->text.window;
}

static size_t lanes_of(const struct judge_result *r)
{
    return r->has_forced ? 3 : 1;
}

/* What is ours while a unit of so many windows runs. */
static uint64_t own_bytes(const struct judgement *j, const struct judge_job *job,
                          uint64_t sequences)
{
    const uint64_t window = j->text.window;
    const uint64_t n_series = 2 + 3 * j->n_results;
    uint64_t bytes = n_series * judge_series_memory(j->text.n_windows, window), most = 0;
    for (size_t i = 0; i < j->n_results; i++)
        bytes += judge_load_memory(j->results[i].model.config);
    if (job->save)
        bytes += reference_memory(j->text.n_windows, window,
                                  (uint64_t)j->results[0].model.config->vocab_size);
    if (!j->has_original)
        return bytes;
    const struct config *c = j->original.config;
    bytes += judge_load_memory(c);
    bytes += 3 * tokens_of(j, sequences) * (uint64_t)c->hidden_size * sizeof(float);
    bytes += judge_sites_memory(c, (size_t)tokens_of(j, sequences));
    for (size_t i = 0; i < j->n_results; i++) {
        const struct judge_result *r = &j->results[i];
        const uint64_t n =
            r->has_linears ? judge_linears_memory(&r->linears, job->run.n_threads) : 0;
        most = n > most ? n : most;
    }
    return bytes + most;
}

uint64_t judge_need(const struct judge_model *m, size_t n_tokens, size_t n_lanes, size_t window,
                    int with_mtp)
{
    const struct config *c = m->config;
    const uint64_t row = (uint64_t)(c->vocab_size + c->hidden_size) * sizeof(float) * n_lanes;
    uint64_t floor = runtime_floor(m->runtime, n_tokens * n_lanes, window) + row;
    if (with_mtp)
        floor += (uint64_t)n_tokens * n_lanes * (uint64_t)c->hidden_size * sizeof(float);
    return floor + floor / 7 + 1;
}

static uint64_t floor_of(const struct judgement *j, const struct judge_job *job, uint64_t sequences)
{
    const size_t n = (size_t)tokens_of(j, sequences), window = (size_t)j->text.window;
    uint64_t bytes = own_bytes(j, job, sequences);
    if (j->has_original)
        bytes += judge_need(&j->original, n, 1, window, job->with_mtp);
    for (size_t i = 0; i < j->n_results; i++)
        bytes +=
            judge_need(&j->results[i].model, n, lanes_of(&j->results[i]), window, job->with_mtp);
    return bytes;
}

static int start(struct judge_model *m, const struct judge_job *job, int original, uint64_t mem,
                 struct report *report, struct prep_error *err)
{
    struct runtime_options run = job->run;
    run.mem = mem;
    run.without_mtp = !job->with_mtp;
    if (original)
        run.inputs = INPUTS_AS_THEY_ARE;
    if (original && job->original_as_is) {
        run.index_pattern = NULL;
        run.dense = run.mtp_dense = 0;
        run.latent_eps = 0;
    }
    return judge_model_start(m, &run, report, err);
}

/* Open everything once to learn the floors, then again with its share of what is left. */
int judge_start(struct judge_watch *w, struct report *report, struct prep_error *err)
{
    struct judgement *j = w->j;
    const struct judge_job *job = w->job;
    const size_t n_models = j->n_results + (size_t)j->has_original;
    uint64_t units = j->text.n_windows < UNIT_SEQUENCES ? j->text.n_windows : UNIT_SEQUENCES;
    if (j->has_original && start(&j->original, job, 1, 0, report, err))
        return -1;
    for (size_t i = 0; i < j->n_results; i++)
        if (start(&j->results[i].model, job, 0, 0, report, err))
            return -1;
    while (job->run.mem && units > 1 && floor_of(j, job, units) > job->run.mem)
        units--;
    if (judge_ranks_compare(j, job, err) || judge_ranks_unit(&units, j, job, err))
        return -1;
    w->unit_sequences = (size_t)units;
    if (!job->run.mem)
        return 0;
    const uint64_t least = floor_of(j, job, units);
    if (least > job->run.mem)
        return prep_fail(err, PREP_EUSAGE,
                         "memory of %" PRIu64 " bytes is too little for windows of %" PRIu64
                         " tokens: at least %" PRIu64 " bytes are needed",
                         job->run.mem, j->text.window, least);
    const uint64_t more = (job->run.mem - least) / n_models;
    const size_t n = (size_t)tokens_of(j, units), window = (size_t)j->text.window;
    if (j->has_original &&
        start(&j->original, job, 1, judge_need(&j->original, n, 1, window, job->with_mtp) + more,
              NULL, err))
        return -1;
    for (size_t i = 0; i < j->n_results; i++) {
        struct judge_model *m = &j->results[i].model;
        const uint64_t need = judge_need(m, n, lanes_of(&j->results[i]), window, job->with_mtp);
        if (start(m, job, 0, need + more, NULL, err))
            return -1;
    }
    return 0;
}

int judge_open(struct judgement *j, const struct judge_job *job, struct report *report,
               struct prep_error *err)
{
    if (check_job(job, err) || open_models(j, job, report, err) || read_text(j, job, report, err) ||
        check_text(j, job, err))
        return -1;
    for (size_t i = 0; job->with_mtp && i < j->n_results; i++)
        if (check_mtp(&j->results[i].model, err))
            return -1;
    return job->with_mtp && j->has_original ? check_mtp(&j->original, err) : 0;
}
