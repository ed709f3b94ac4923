/* SPDX-License-Identifier: MIT */
/* Activations of 4 bits: the largest inputs on a calibration text, then scales for every model. */
#include "libprep/engine/inputs.h"
#include "libprep/release/judge_parts.h"

/* The text through all main layers of one model, unrounded. */
static int measure(struct inputs_amax *a, struct judge_watch *w, struct runtime *r,
                   const struct judge_text *t, struct arena *arena, struct prep_error *err)
{
    const size_t tokens = w->unit_sequences * (size_t)w->j->text.window;
    const size_t unit = tokens / (size_t)t->window;
    struct sequence *sequences = arena_calloc(arena, (size_t)t->n_windows, sizeof *sequences, err);
    if (!sequences || inputs_amax_init(a, r, arena, err))
        return -1;
    for (uint64_t i = 0; i < t->n_windows; i++)
        sequences[i] =
            (struct sequence){.tokens = t->tokens + i * t->window, .n = (size_t)t->window};
    const struct lane lane = {.runtime = r, .forced_by = -1, .fed_by = -1, .taps = &a->taps};
    const struct schedule s = {.sequences = sequences,
                               .n_sequences = (size_t)t->n_windows,
                               .unit_sequences = unit ? unit : 1,
                               .lanes = &lane,
                               .n_lanes = 1,
                               .io = w->job->io};
    return schedule_run(&s, err) ? prep_note(err, "calibration") : 0;
}

static int round_all(struct judge_watch *w, const struct judge_text *t, struct arena *arena,
                     struct prep_error *err)
{
    struct judgement *j = w->j;
    struct inputs_amax original = {0};
    if (t && j->has_original && measure(&original, w, j->original.runtime, t, arena, err))
        return -1;
    for (size_t i = 0; i < j->n_results; i++) {
        struct judge_model *m = &j->results[i].model;
        struct inputs_amax own = original;
        if (t && !j->has_original && measure(&own, w, m->runtime, t, arena, err))
            return prep_note(err, "%s", m->path);
        if (runtime_round_inputs(m->runtime, t ? &own : NULL, err))
            return prep_note(err, "%s", m->path);
    }
    return 0;
}

int judge_round_inputs(struct judge_watch *w, struct prep_error *err)
{
    const struct judge_job *job = w->job;
    const int measured = job->calibration.windows || job->calibration.tokens;
    struct judge_text text;
    struct arena arena;
    if (job->run.inputs == INPUTS_AS_THEY_ARE)
        return 0;
    if (job->run.ranks)
        return prep_fail(err, PREP_EUNSUP, "inputs of 4 bits: not with a model split over ranks");
    arena_init(&arena, 0);
    int rc = (measured && judge_text_read(&text, &job->calibration, NULL, job->io, &arena, err)) ||
             round_all(w, measured ? &text : NULL, &arena, err);
    arena_fini(&arena);
    return rc ? -1 : 0;
}
