/* SPDX-License-Identifier: MIT */
/*
 * lint_scan.h - the values of the small tensors: scales, zero points, group numbers.
 *
 * Shards are read in parallel, each once and forward, nothing but the tensors asked for; memory is
 * one buffer per thread. What a scan finds depends on the tensor alone.
 *
 * Shapes     scans[checkpoint n_tensors], by index of the tensor
 * Ownership  the caller's
 * Errors     those of reading
 */
#ifndef PREP_RELEASE_LINT_SCAN_H
#define PREP_RELEASE_LINT_SCAN_H

#include <stdint.h>

#include "libprep/base/error.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum scan_kind {
    SCAN_NOTHING,
    SCAN_ONE,    /* a single F32: value */
    SCAN_E4M3,   /* block scales: NaN, negative */
    SCAN_FLOATS, /* F32, BF16 or F16: NaN or infinite, negative, zero */
    SCAN_WORDS,  /* 32-bit words that should all be `want` */
    SCAN_GROUPS, /* 32-bit numbers: the i-th should be i / want */
};

struct scan {
    enum scan_kind kind;
    uint32_t want;
    float value;
    uint32_t word;                     /* SCAN_WORDS, SCAN_GROUPS: the first that is wrong */
    uint64_t wrong, first_wrong;       /* NaN and infinite ones; words that differ */
    uint64_t negative, first_negative; /* elements */
    uint64_t zero, first_zero;
};

PREP_MUST_CHECK int lint_scan(struct scan *scans, const struct checkpoint *ckpt, int n_threads,
                              struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
