/* SPDX-License-Identifier: MIT */
/*
 * plan.h - what a tool will write, known to the byte before a byte is written.
 *
 * A plan is a list of output files and a graph of steps. Every byte of every file belongs to one
 * extent, and every extent is an output of one step. A step has inputs (byte ranges of source
 * files), steps it must follow, declared work memory, and a pure function from inputs to
 * outputs; two common kinds need no function: PLAN_COPY strings its inputs together, PLAN_BYTES
 * holds the bytes. The executor carries out any plan and knows nothing else.
 *
 *    sources --inputs--> step --outputs--> extents = files, in order, without gaps
 *
 * Building: add sources; add steps; add files, and append to each file the outputs it consists
 * of, in the order of their offsets; plan_finish().
 *
 * Units      bytes
 * Ownership  the plan copies names and small arrays into its arena; PLAN_BYTES memory, step
 *            arguments and sources are borrowed and must outlive it
 * Errors     PREP_ENOMEM; PREP_EBUG when the parts do not add up to whole files
 * Threads    const after plan_finish()
 */
#ifndef PREP_STORE_PLAN_H
#define PREP_STORE_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Memory handed to a step: inputs as read, outputs to fill, scratch of work_bytes. All of it is
 * aligned to PLAN_ALIGN bytes. The function may not touch anything else that changes.
 *
 * A note is what a step has to say about its work besides its outputs, an error or a count: a few
 * bytes, zeroed before the step runs. It is journalled with what it is about and handed to the
 * plan's manifest function, also when the step ran in an earlier run or another part.
 */
struct step_memory {
    const struct span *inputs;
    unsigned char *const *outputs;
    const uint64_t *output_bytes;
    void *work;
    void *note;                  /* NULL for a step without one */
    const unsigned char *wanted; /* [n_outputs], or NULL: all. Others need not be filled */
};

typedef int (*step_fn)(const struct step_memory *m, const void *arg, struct prep_error *err);

enum { PLAN_MAX_NOTE = 4096, PLAN_PAGE = 4096, PLAN_ALIGN = 64, PLAN_BLOCK_LEAST = 256 << 10 };

enum step_kind { PLAN_BYTES, PLAN_COPY, PLAN_CALL };

struct plan_range {
    uint32_t source;
    uint64_t offset, bytes;
};

struct plan_step {
    enum step_kind kind;
    step_fn fn;      /* PLAN_CALL */
    const void *arg; /* PLAN_CALL: for fn; PLAN_BYTES: the bytes */
    uint64_t work_bytes, input_bytes, output_bytes;
    uint64_t input_room, output_room; /* PLAN_CALL: with each input and output aligned */
    uint64_t note_at;                 /* in the notes of the plan */
    uint32_t note_bytes;
    uint32_t first_input, n_inputs;
    uint32_t first_after, n_after; /* earlier steps that must be done first */
    uint32_t n_outputs;
};

struct plan_extent {
    uint64_t offset, bytes; /* in the file */
    uint32_t step, output;
};

/* Order of appearance: an unfinished folder must not look like a model (reliability.md 5.2). */
enum file_stage { PLAN_SHARD, PLAN_SIDECAR, PLAN_CONFIG, PLAN_INDEX };

struct plan_file {
    const char *name;
    enum file_stage stage;
    uint64_t bytes;
    uint32_t first_extent, n_extents;
    uint32_t first_tensor, n_tensors;
    uint32_t band, strand; /* see plan_strand(); 0: a file for itself */
};

/* A tensor inside an output file, for hashing and for the manifest. */
struct plan_tensor {
    const char *name;
    const char *origin; /* the tensor it is a byte copy of, or NULL when it was computed */
    uint64_t offset, bytes;
};

struct plan_source {
    const struct io *io;
    const struct source_file *file;
};

/* Writes members of the manifest's "run" object. notes: of all steps, see plan_step.note_at. */
struct json_out;
typedef int (*plan_manifest_fn)(void *arg, const unsigned char *notes, struct json_out *o,
                                struct prep_error *err);

struct plan {
    struct plan_source *sources;
    struct plan_step *steps;
    struct plan_range *inputs;
    uint32_t *after;
    struct plan_file *files; /* in order of appearance */
    struct plan_extent *extents;
    struct plan_tensor *tensors;
    size_t n_sources, n_steps, n_inputs, n_after, n_files, n_extents, n_tensors;
    size_t cap_sources, cap_steps, cap_inputs, cap_after, cap_files, cap_extents, cap_tensors;
    uint64_t output_bytes, input_bytes;
    uint64_t floor_bytes;      /* plan_floor() for the smallest blocks */
    uint32_t most_strands;     /* in a band */
    uint64_t note_bytes;       /* of all steps */
    plan_manifest_fn manifest; /* may be NULL */
    void *manifest_arg;
    /* One line per thing that decides the output: "tool ...", "option ...", "source ...",
     * "layout ...". Two runs with equal text write equal bytes. */
    struct span key;
    char key_sha256[65];
    struct arena arena;
    char *key_text; /* growing; becomes key */
    size_t key_n, key_cap;
};

PREP_MUST_CHECK int plan_new(struct plan **plan, const char *tool, const char *version,
                             struct prep_error *err);
void plan_free(struct plan *plan); /* accepts NULL */

/* Anything besides sources and layout that decides the output; goes into the key. */
PREP_MUST_CHECK int plan_option(struct plan *p, const char *name, const char *value,
                                struct prep_error *err);
/* Every file of a checkpoint as a source; *first is the number of its files[0]. */
PREP_MUST_CHECK int plan_add_checkpoint(struct plan *p, const struct checkpoint *ckpt,
                                        uint32_t *first, struct prep_error *err);

PREP_MUST_CHECK int plan_add_bytes(struct plan *p, const void *bytes, size_t n, uint32_t *step,
                                   struct prep_error *err);
PREP_MUST_CHECK int plan_add_copy(struct plan *p, const struct plan_range *ranges, size_t n,
                                  uint32_t *step, struct prep_error *err);
PREP_MUST_CHECK int plan_add_call(struct plan *p, step_fn fn, const void *arg, uint64_t work_bytes,
                                  const struct plan_range *ranges, size_t n, uint32_t *step,
                                  struct prep_error *err);
/* The step added last, a call, leaves a note of 1 to PLAN_MAX_NOTE bytes. */
PREP_MUST_CHECK int plan_note(struct plan *p, uint32_t bytes, struct prep_error *err);
/* step runs after earlier, which has the lower number. Right after adding the step. */
PREP_MUST_CHECK int plan_after(struct plan *p, uint32_t step, uint32_t earlier,
                               struct prep_error *err);

/* Files come in the order of their stages. */
PREP_MUST_CHECK int plan_add_file(struct plan *p, const char *name, enum file_stage stage,
                                  struct prep_error *err);
/*
 * The file added last is one of several that grow side by side: they take outputs of the same
 * calls, which must run once. Files of one strand are written one after the other, strands of one
 * band at the same time, bands one after the other. The calls of a band must be numbered in the
 * order in which every strand needs them. Both numbers are above 0; the files of a band follow each
 * other in the plan, each strand's together. At most PLAN_MAX_STRANDS to a band.
 */
enum { PLAN_MAX_STRANDS = 24 };
PREP_MUST_CHECK int plan_strand(struct plan *p, uint32_t band, uint32_t strand,
                                struct prep_error *err);
/* Append output `output` of a step (0 for copies and bytes) to the file added last. Outputs of
 * one step are numbered in the order in which they are appended, whatever the file. */
PREP_MUST_CHECK int plan_append(struct plan *p, uint32_t step, uint64_t bytes,
                                struct prep_error *err);
/* Name the bytes appended next as a tensor (names and origins are borrowed). */
PREP_MUST_CHECK int plan_tensor_here(struct plan *p, const char *name, const char *origin,
                                     uint64_t bytes, struct prep_error *err);

PREP_MUST_CHECK int plan_finish(struct plan *p, struct prep_error *err);

/* n as whole pages. */
uint64_t plan_pages(uint64_t n);
/* Memory of a call, in whole pages: its inputs and work while it runs, its outputs until they are
 * written. */
uint64_t plan_run_memory(const struct plan_step *s);
uint64_t plan_output_memory(const struct plan_step *s);
/*
 * Memory of all calls, run one after the other in the order of the files: a call holds all of its
 * memory while it runs, then its outputs until they are copied into blocks of this many bytes,
 * which are filled when all of their bytes are there. In a band the calls run in their own order,
 * and every strand has such a block.
 */
PREP_MUST_CHECK int plan_floor(const struct plan *p, uint64_t block, uint64_t *floor,
                               struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
