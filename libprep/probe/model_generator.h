/* SPDX-License-Identifier: MIT */
/*
 * model_generator.h - a model that goes on from prompts, all of them in one batch as memory allows.
 *
 * Ownership  borrows the runtime
 * Errors     those of generate.h
 * Threads    one call at a time per runtime
 */
#ifndef PREP_PROBE_MODEL_GENERATOR_H
#define PREP_PROBE_MODEL_GENERATOR_H

#include "libprep/engine/runtime.h"
#include "libprep/probe/generator.h"

#ifdef __cplusplus
extern "C" {
#endif

void model_generator(struct generator *g, struct runtime *r);

#ifdef __cplusplus
}
#endif
#endif
