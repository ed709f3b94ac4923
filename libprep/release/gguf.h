/* SPDX-License-Identifier: MIT */
/*
 * gguf.h - what make-gguf does: from files to a plan the executor can carry out.
 *
 *   checkpoint (+ keep-map) --apply--> view --linears, map--> targets, for every file a type each
 *   (+ importance matrix) --> steps --parts--> plan
 *
 * All rungs asked for are made in one reading of the source: their files are strands of one band.
 * Files that the converter of llama.cpp would make (BF16, F16) have another order in strict parity,
 * and so have an MTP layer that gets a file of its own: these are bands of their own.
 *
 * Nothing is written here. What was found and decided is in the report: warnings, and facts for
 * --json; the result keeps it for a person's table.
 *
 * Ownership  a job borrows its strings and lists; a result owns all it holds until *_free()
 * Errors     those of every step, in the order above; PREP_EUSAGE for a rung or type that is
 *            unknown; PREP_EDATA with IMATRIX_SHAPE for an importance matrix of another model
 * Threads    one job, one thread (headers are read in parallel)
 */
#ifndef PREP_RELEASE_GGUF_H
#define PREP_RELEASE_GGUF_H

#include "libprep/format/imatrix.h"
#include "libprep/model/gguf_keys.h"
#include "libprep/prune/job.h"
#include "libprep/quant/gguf_step.h"
#include "libprep/quant/gguf_types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gguf_job_mtp {
    GGUF_JOB_KEEP,     /* in the file, like any layer */
    GGUF_JOB_DROP,     /* left out */
    GGUF_JOB_SEPARATE, /* in a file mtp-NAME of its own, with embeddings and head */
};

struct gguf_job {
    const struct io *io;
    const char *tool;     /* "make-gguf" */
    const char *source;   /* folder, or ORG/NAME[@rev] in the local hub cache */
    const char *keep_map; /* prune in the same pass, or NULL */

    /* what */
    const char *const *rungs; /* "Q4_K_M", "family:Q4_K_M" */
    size_t n_rungs;
    enum gguf_job_mtp mtp;
    const char *const *patterns; /* REGEX=TYPE, in order */
    size_t n_patterns;
    const char *type_file; /* more of them, behind these */
    int pure;
    const char *output_type, *embedding_type;
    const char *imatrix;
    int strict_parity;
    enum isa isa;

    /* names */
    const char *prefix;    /* of the files; NULL: last part of the source */
    const char *metadata;  /* JSON file of general.* */
    int names_from_folder; /* or guess them as the converter does */
    const char *pre;       /* tokenizer.ggml.pre; NULL: glm4 */
    const char *tokenizer; /* folder to take the tokenizer from; NULL: the source */

    uint64_t split_bytes;   /* 0: one file */
    uint64_t split_tensors; /* 0: any number */
    int first_empty;        /* the first part holds the keys alone */
};

/* One file, before it is split. */
struct gguf_output {
    const char *label; /* "Q4_K_M-family" */
    const char *stem;  /* of the file: "glm-nano-Q4_K_M" */
    enum gguf_rung rung;
    int family;
    enum ggml_type *types; /* [map->n] */
    uint64_t tensor_bytes; /* with the padding of each */
    uint64_t file_bytes;   /* of all parts */
    uint64_t n_fallback;   /* targets whose rows decided the type */
    size_t n_parts;
};

/* Files of one order and one set of layers: a band of the plan. */
struct gguf_pass {
    struct gguf_map map;
    enum gguf_order order;
    enum gguf_mtp mtp;
    struct gguf_output outputs[GGUF_MAX_FILES];
    size_t n_outputs;
    struct gguf_weights *weights; /* [map.n], or NULL */
    const char *size_label;       /* of what the files hold */
    struct gguf_work work;
};

enum { GGUF_MAX_PASSES = 4 };

/* What a rung would weigh: bytes of tensors, padded; of plain and family mixture. */
struct gguf_size {
    enum gguf_rung rung;
    uint64_t plain, family;
};

struct gguf_result {
    struct prune_result pruned; /* source, keep-map and view; its plan is not made */
    struct config config;       /* of the output */
    struct linears linears;
    struct gguf_pass passes[GGUF_MAX_PASSES];
    size_t n_passes;
    struct gguf_patterns patterns;
    struct imatrix imatrix;
    struct source_file imatrix_file;
    struct checkpoint imatrix_source; /* with that file and no tensors */
    struct gguf_size sizes[RUNG_COUNT];
    struct plan *plan;
    struct arena arena;
    const struct gguf_job *job; /* for the manifest */
};

PREP_MUST_CHECK int gguf_job_run(struct gguf_result *result, const struct gguf_job *job,
                                 struct report *report, struct prep_error *err);
void gguf_result_free(struct gguf_result *result); /* accepts a zeroed struct */

/* Private to release/gguf*.c. */
PREP_MUST_CHECK int gguf_open_imatrix(struct gguf_result *r, struct report *report,
                                      struct prep_error *err);
PREP_MUST_CHECK int gguf_match_imatrix(struct gguf_result *r, struct gguf_pass *pass,
                                       struct report *report, struct prep_error *err);
/* The keys that all files of a pass share, and what is added for one file. */
PREP_MUST_CHECK int gguf_pass_keys(struct gguf_keys *k, const struct gguf_result *r,
                                   const struct gguf_pass *pass, struct report *report,
                                   struct prep_error *err);
PREP_MUST_CHECK int gguf_file_keys(struct gguf_keys *k, const struct gguf_result *r,
                                   const struct gguf_pass *pass, const struct gguf_output *out,
                                   struct prep_error *err);
PREP_MUST_CHECK int gguf_make_plan(struct gguf_result *r, struct report *report,
                                   struct prep_error *err);
int gguf_manifest(void *result, const unsigned char *notes, struct json_out *o,
                  struct prep_error *err);
void gguf_facts(const struct gguf_result *r, struct report *report);

#ifdef __cplusplus
}
#endif
#endif
