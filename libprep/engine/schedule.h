/* SPDX-License-Identifier: MIT */
/*
 * schedule.h - a set of sequences through one or several models at once, layer by layer.
 *
 * A *lane* is one way of running all sequences: a model, whose choices it takes, and where each
 * layer's input comes from. Lanes of one model share a batch, so its weights are loaded and decoded
 * once for all of them. What quality.md asks for is a list of lanes:
 *
 *    0  the original, free                       {A, -1, -1}
 *    1  the quantized model as it runs           {B, -1, -1}
 *    2  the same with the original's choices     {B,  0, -1}      forced KL
 *    3  each layer from the original's input     {B,  0,  0}      block output error
 *
 * and keep sets beside each other are lanes of the original, each restricted to its experts.
 *
 * Chunk-major: a unit of sequences goes through all layers, then the next unit. Layer-major: all
 * units go through a layer, then through the next; hidden states wait in memory or in a spill file.
 * Both call the visitor with the same bytes, in (unit, layer) or (layer, unit) order; logits come
 * unit by unit at the end of either.
 *
 * Shapes     hidden states [tokens, hidden_size] F32, tokens counted through the unit
 * Ownership  everything is borrowed for the run
 * Errors     those of runtime.h; PREP_EUSAGE for lanes that do not fit together (a lane is forced
 *            by and fed from earlier lanes only; models must agree in shape); PREP_EIO and
 *            PREP_ECREATE of the spill file. What a visitor raises ends the run
 * Threads    visitors are called from the calling thread
 */
#ifndef PREP_ENGINE_SCHEDULE_H
#define PREP_ENGINE_SCHEDULE_H

#include "libprep/base/io.h"
#include "libprep/base/progress.h"
#include "libprep/engine/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SCHEDULE_MAX_LANES = 64 };

struct lane {
    struct runtime *runtime; /* lanes of one runtime stand next to each other */
    int forced_by;           /* an earlier lane, or -1 */
    int fed_by;              /* takes that earlier lane's input at every layer, or -1: its own */
    const struct taps *taps; /* may be NULL; the first lane of a runtime only */
    const struct expert_set *among; /* [layers of the model], or NULL: see batch_restrict() */
};

/* Sequences of a unit at a layer. */
struct schedule_at {
    size_t unit, first_sequence, n_sequences, n_tokens;
    int layer;
    const struct batch *const *batches; /* by lane; its tokens begin at offsets[lane] */
    const size_t *offsets;
};

/*
 * Some consecutive rows of a unit, and what every lane says comes next. The model has a row for
 * each token. An MTP layer has one less per sequence (none for a sequence of one token): row t of a
 * sequence is for its token t + 2.
 */
struct schedule_logits {
    size_t unit, first_sequence, n_sequences;
    size_t first_row, n_rows;
    int mtp_layer;              /* -1: the model */
    const float *const *logits; /* by lane, [n_rows, vocab_size]; NULL for fed lanes */
    const float *const *z;      /* by lane, [n_rows, hidden_size], after the final norm */
};

struct schedule_visitor {
    void *arg;
    /* Each may be NULL. Before and after a layer: hidden states by batch_get_hidden(). */
    int (*before)(void *arg, const struct schedule_at *at, struct prep_error *err);
    int (*after)(void *arg, const struct schedule_at *at, struct prep_error *err);
    int (*logits)(void *arg, const struct schedule_logits *l, struct prep_error *err);
};

struct schedule {
    const struct sequence *sequences; /* tokens and n only */
    size_t n_sequences;
    size_t unit_sequences; /* 0: UNIT_SEQUENCES */
    const struct lane *lanes;
    size_t n_lanes;
    int n_layers; /* main layers to run, 0: all; without logits when fewer */
    int with_mtp; /* then also the first MTP layer, for the lanes that are not fed */
    /* Chunk-major: only units part, part + n_parts, part + 2 n_parts, ... are run. 0 parts: all. */
    size_t part, n_parts;
    int layer_major;
    const struct io *io; /* for the spill file */
    const char *spill;   /* its path, or NULL: hidden states wait in memory */
    struct schedule_visitor visitor;
    progress_fn progress; /* may be NULL; done_bytes counts tokens times layers */
    void *progress_arg;
};

PREP_MUST_CHECK int schedule_run(const struct schedule *s, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
