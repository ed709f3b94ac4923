/* SPDX-License-Identifier: MIT */
/*
 * tiny_checkpoint.h - checkpoints for tests: made up tensor by tensor, or a view written out.
 *
 * The made-up model has hidden size 8, one dense layer 0, MoE layers 1 and 2, MTP layer 3, eight
 * experts of width 4, two per token. Bytes depend on tensor name and position only, so that equal
 * names have equal bytes and different rows differ.
 *
 * Ownership  a tiny_checkpoint owns its names until tiny_fini()
 * Errors     fail the running test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_TINY_CHECKPOINT_H
#define PREP_TESTS_TINY_CHECKPOINT_H

#include "libprep/model/config.h"
#include "libprep/prune/apply.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TINY_HIDDEN = 8, TINY_EXPERTS = 8, TINY_LAYERS = 3, TINY_MTP = 3 };

struct tiny_checkpoint {
    struct tensor_info *tensors;
    size_t n, cap;
    struct arena arena;
};

void tiny_init(struct tiny_checkpoint *t);
void tiny_fini(struct tiny_checkpoint *t);
/* rows < 0: a scalar; cols < 0: one dimension. */
void tiny_add(struct tiny_checkpoint *t, enum dtype dtype, int rows, int cols, const char *fmt, ...)
    PREP_PRINTF(5, 6);
/* Leave a tensor out again. */
void tiny_remove(struct tiny_checkpoint *t, const char *name);
/* Everything but the experts, in BF16; the MTP layer only where n_layers says so. */
void tiny_add_trunk(struct tiny_checkpoint *t, int n_layers);
/* The experts of the MoE layers below n_layers, in BF16. */
void tiny_add_experts(struct tiny_checkpoint *t, int n_layers);

/* config.json of the made-up model, `extra` (", \"key\": ...") added before the closing brace. */
const char *tiny_config(int n_nextn, const char *extra);

/* Write model.safetensors and config.json into a new folder. */
const char *tiny_write(struct tiny_checkpoint *t, const char *config);
/* The same of a pruned or stitched checkpoint, its edited files and sidecars included. */
const char *tiny_write_output(const struct prune_output *out);

/* An open checkpoint with its config. */
struct tiny_input {
    struct checkpoint *ckpt;
    struct config config;
};

void tiny_open(struct tiny_input *in, const char *dir);
void tiny_close(struct tiny_input *in);

/* Bytes of a tensor of a view, as a writer would gather them; free() them. */
unsigned char *tiny_gather(const struct view *v, const struct view_tensor *t);
/* NULL when absent. */
const struct view_tensor *tiny_find(const struct view *v, const char *name);
/* Text of an edited file; lives until the process ends. NULL when there is none. */
const char *tiny_edited(const struct prune_output *out, const char *name);

#ifdef __cplusplus
}
#endif
#endif
