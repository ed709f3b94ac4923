/* SPDX-License-Identifier: MIT */
/*
 * imatrix.h - importance-matrix files of llama.cpp, both forms: read, written, merged.
 *
 * An entry belongs to one GGUF tensor and holds, per slice (expert, or 1) and column, the sum of
 * squares of that input, and how many rows went into it. What a quantizer weighs errors with is
 * the mean, sum / count; a slice that saw nothing counts as all ones, which is not the same as
 * having no entry.
 *
 *   GGUF   general.type "imatrix"; imatrix.datasets, .chunk_count, .chunk_size; per entry two F32
 *          tensors, NAME.in_sum2 [slices, columns] and NAME.counts [slices, 1]
 *   .dat   i32 n; n x { i32 length, name, i32 calls, i32 n_values, F32 values[] };
 *          i32 chunk_count, i32 length, dataset       values are means times calls
 *
 * In the second form counts per expert are lost, and so are the borders between slices.
 *
 * Shapes     values [slices * columns], slice after slice; counts [slices]
 * Units      rows of input; chunk_size in tokens
 * Ownership  everything lives in the struct's arena until imatrix_free()
 * Errors     PREP_EDATA with IMATRIX_FORMAT (another kind of file, a half entry, lengths that do
 *            not fit), IMATRIX_VALUE (NaN, infinite, negative); when merging IMATRIX_SHAPE; those
 *            of gguf.h
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_IMATRIX_H
#define PREP_FORMAT_IMATRIX_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"
#include "libprep/base/table.h"

#ifdef __cplusplus
extern "C" {
#endif

struct imatrix_entry {
    const char *name;   /* "blk.3.ffn_down_exps.weight" */
    uint64_t n_values;  /* of all slices */
    uint64_t slices;    /* counts; 1 in the second form, whatever the tensor */
    uint64_t values_at; /* of values[0] in the file; 0 when made by merging */
    const float *counts;
    const float *values; /* NULL unless loaded */
};

struct imatrix {
    struct imatrix_entry *entries; /* ascending by name */
    size_t n;
    int legacy; /* .dat: values are means times count */
    const char **datasets;
    size_t n_datasets;
    uint32_t chunk_count, chunk_size; /* 0: not said */
    uint64_t file_bytes;
    struct name_table names;
    struct arena arena;
};

/* Names and counts, judged; with_values: the values, too. */
PREP_MUST_CHECK int imatrix_open(struct imatrix *m, const struct io *io, const char *path,
                                 int with_values, struct prep_error *err);
void imatrix_free(struct imatrix *m); /* accepts a zeroed struct */
/* NULL when the file has none for this tensor. */
const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *tensor);
/* Slices of an entry that saw nothing. */
uint64_t imatrix_empty_slices(const struct imatrix *m, const struct imatrix_entry *e);

/* The weights of one slice: values / count, or ones. out may be values. */
void imatrix_mean(float *out, const float *values, uint64_t n, float count);

/*
 * Sums and counts of several files that hold their values, in the order given (sums in F32, as the
 * reference adds them). Entries of the second form take part as their calls times chunk_size rows;
 * chunk_size 0: that of the first file that says one, else 512.
 */
PREP_MUST_CHECK int imatrix_merge(struct imatrix *out, const struct imatrix *parts,
                                  const char *const *paths, size_t n, uint32_t chunk_size,
                                  struct prep_error *err);
/* The whole file, in the arena. */
PREP_MUST_CHECK int imatrix_write(const struct imatrix *m, struct arena *arena, struct span *out,
                                  struct prep_error *err);
PREP_MUST_CHECK int imatrix_write_legacy(const struct imatrix *m, struct arena *arena,
                                         struct span *out, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
