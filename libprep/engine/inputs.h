/* SPDX-License-Identifier: MIT */
/*
 * inputs.h - activations of 4 bits: the largest inputs of linears, and the scales that follow.
 *
 * An NVFP4 engine rounds the inputs of a linear to blocks of 16 E2M1 codes (kernels/nvfp4,
 * `inputs`). The scale of a linear's inputs is the one it is stored with; where there is none it is
 * amax / 2688, amax the largest input on a calibration text. Routed experts of a layer share one
 * amax for gate and up and one for down, as the main engines do.
 *
 *    runtime with F32 inputs + inputs_taps()  ->  struct inputs_amax  ->  runtime_round_inputs()
 *
 * Shapes     amax [n_layers, PART_OTHER], by layer and tap_site(); 0: nothing was seen
 * Ownership  inputs_amax_init() takes the arena's memory; scales live in the runtime
 * Errors     PREP_EDATA, tag INPUT_SCALE: a linear without a scale and without a maximum, or with
 *            one that is not finite and positive; PREP_EUNSUP: one whose inputs cannot be rounded
 *            (kv_b, which is multiplied with the queries; inputs no multiple of 16)
 * Threads    as taps.h; one call at a time
 */
#ifndef PREP_ENGINE_INPUTS_H
#define PREP_ENGINE_INPUTS_H

#include "libprep/base/arena.h"
#include "libprep/engine/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

struct inputs_amax {
    float *amax;
    int n_layers;
    struct taps taps; /* these fill it */
};

PREP_MUST_CHECK int inputs_amax_init(struct inputs_amax *a, const struct runtime *r,
                                     struct arena *arena, struct prep_error *err);

/*
 * From now on the inputs of the linears that the runtime was opened for (options.inputs) are
 * rounded. a may be NULL when all of them are stored with a scale.
 */
PREP_MUST_CHECK int runtime_round_inputs(struct runtime *r, const struct inputs_amax *a,
                                         struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
