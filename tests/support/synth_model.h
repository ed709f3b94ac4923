/* SPDX-License-Identifier: MIT */
/*
 * synth_model.h - the whole BF16 checkpoint that a config implies, on a synthetic store.
 *
 * Shards are filled in the order of the inventory and named as on the hub; config.json is the
 * config's own text; two small files stand for the tokenizer.
 *
 * Units      bytes
 * Ownership  the caller frees the store with synth_free()
 * Errors     PREP_ENOMEM
 */
#ifndef PREP_TESTS_SYNTH_MODEL_H
#define PREP_TESTS_SYNTH_MODEL_H

#include "libprep/model/config.h"
#include "libprep/store/synth.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As the published GLM-5.x shards. */
#define SYNTH_MODEL_SHARD_BYTES UINT64_C(5370000000)

/* MTP layers included. shard_bytes is the most tensor bytes of a shard, 0: as above. */
PREP_MUST_CHECK int synth_model_new(struct synth **s, const char *dir, const struct config *c,
                                    uint64_t shard_bytes, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
