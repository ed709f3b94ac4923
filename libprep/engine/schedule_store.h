/* SPDX-License-Identifier: MIT */
/*
 * schedule_store.h - where hidden states wait between the layers of a layer-major run.
 *
 * In memory, or in a spill file that loses its name at the end. Private to schedule.c.
 *
 * Units      floats; a slot holds what one batch carries from layer to layer
 * Ownership  store_close() frees memory and removes the file
 * Errors     PREP_ENOMEM, PREP_ECREATE, PREP_EIO
 */
#ifndef PREP_ENGINE_SCHEDULE_STORE_H
#define PREP_ENGINE_SCHEDULE_STORE_H

#include "libprep/base/io.h"
#include "libprep/engine/batch.h"

#ifdef __cplusplus
extern "C" {
#endif

struct store {
    const struct io *io;
    const char *path; /* NULL: memory */
    int fd;
    uint64_t *offsets; /* [n_slots + 1] in floats */
    size_t n_slots;
    float *memory;
    float *buffer; /* [rows, hidden_size] of the file */
    size_t rows, hidden;
};

/* path NULL: in memory. A slot has floats[i] floats. */
PREP_MUST_CHECK int store_open(struct store *s, const struct io *io, const char *path,
                               const uint64_t *floats, size_t n, size_t hidden,
                               struct prep_error *err);
void store_close(struct store *s); /* accepts a zeroed struct */

/* Floats that a batch carries: hidden states, and selections if layers share them. */
uint64_t store_floats(const struct runtime *r, size_t tokens, size_t longest);

PREP_MUST_CHECK int store_put(struct store *s, size_t slot, const struct batch *b,
                              struct prep_error *err);
PREP_MUST_CHECK int store_get(struct store *s, size_t slot, struct batch *b,
                              struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
