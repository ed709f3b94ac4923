/* SPDX-License-Identifier: MIT */
/*
 * quantized.h - run a quantization from a test, and look at what came out.
 *
 * Ownership  folders live until the process ends
 * Errors     what should work and does not fails the running cmocka test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_QUANTIZED_H
#define PREP_TESTS_QUANTIZED_H

#include "libprep/release/quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A job with the tools' defaults: experts, modelopt, all instructions this machine has. */
struct quantize_job quantized_job(const char *source);
/* Carry it out into a new folder, which is returned. */
const char *quantized_run(const struct quantize_job *job);
/* Only plan; the error's tag when that fails, else "". */
const char *quantized_refusal(const struct quantize_job *job);

/* A maximum that gives this input scale (or, compressed-tensors, input_global_scale). */
float quantized_amax(enum quant_layout layout, float scale);
/* Write *.amax.safetensors into a new folder; every module saw 1000 tokens. */
const char *quantized_amax_file(const struct amax_entry *entries, size_t n, int n_routed_experts);

#ifdef __cplusplus
}
#endif
#endif
