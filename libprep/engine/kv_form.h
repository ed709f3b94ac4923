/* SPDX-License-Identifier: MIT */
/*
 * kv_form.h - how keys are stored in a cache: as they are, in BF16, or in FP8 with scales.
 *
 * A key of a position is a row of n values. Of a layer's keys the first n_scaled are the latent
 * (kv_lora_rank), the rest is the rotated part; of an indexer's key all are scaled.
 *
 *    KV_F32    n values                                                      exact
 *    KV_BF16   n values, to nearest, ties to even                            |error| <= |x| 2^-8
 *    KV_FP8    n_scaled E4M3 codes; ceil(n_scaled / 128) F32 scales s, one for each 128 values;
 *              the rest as in KV_BF16 ("DSA FP8", 656 bytes for 512 + 64 values, 132 for 128)
 *              code = E4M3 of x / s to nearest, ties to even, value = code s
 *              |error| <= max(|x| 2^-4, s 2^-10), where s < (largest |x| of the 128) / 224
 *
 * s is the least power of two that brings the largest |x| of its 128 values to 448, the largest
 * code, or below (2^-126 at least; 1 where all are 0), so x / s and code s are exact. Rows of a
 * cache follow each other without gaps; all numbers are little-endian, at any address.
 *
 * A key is rounded once, when it is written, and what attends reads it rounded, also in the call
 * that wrote it: how a text is cut into calls changes nothing.
 */
#ifndef PREP_ENGINE_KV_FORM_H
#define PREP_ENGINE_KV_FORM_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kv_form { KV_F32, KV_BF16, KV_FP8, N_KV_FORMS };
enum { KV_GROUP = 128 }; /* values of a scale */

/* The form of an option: "f32", "bf16" or "fp8"; PREP_EUSAGE, naming them, for anything else. */
PREP_MUST_CHECK int kv_form_parse(enum kv_form *form, const char *name, struct prep_error *err);
const char *kv_form_name(enum kv_form form);

struct kv_row {
    enum kv_form form;
    size_t n, n_scaled;
};

size_t kv_row_bytes(const struct kv_row *row);

/* Write one row, and read it; any CPU gives the same bytes. */
void kv_row_store(void *to, const struct kv_row *row, const float *x);
void kv_row_load(float *x, const struct kv_row *row, const void *from);

#ifdef __cplusplus
}
#endif
#endif
