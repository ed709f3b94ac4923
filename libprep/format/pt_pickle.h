/* SPDX-License-Identifier: MIT */
/*
 * pt_pickle.h - what the files of pt share: the stack machine, storages and tensor views.
 *
 * Ownership  values go into pt->arena; stack and memo are freed before returning
 * Errors     OBS_PICKLE_* and OBS_STORAGE_* of pt.h
 * Threads    one pt, one thread
 */
#ifndef PREP_FORMAT_PT_PICKLE_H
#define PREP_FORMAT_PT_PICKLE_H

#include "libprep/format/pt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Interpret the pickle, errors with the byte offset in data.pkl; storages are looked up in pt->zip
 * below pt->prefix. Sets pt->root. */
PREP_MUST_CHECK int pt_pickle_run(struct pt *pt, struct span pickle, struct prep_error *err);

/* Element type of a storage class, or NULL when v is none. */
const enum pt_dtype *pt_storage_class(const struct pt_value *v);
/* The storage of a persistent id; NULL with err set. */
struct pt_storage *pt_storage_new(struct pt *pt, const struct pt_value *id, struct prep_error *err);
/* The view that _rebuild_tensor_v2(args) stands for; NULL with err set. */
struct pt_tensor *pt_tensor_new(struct pt *pt, const struct pt_value *args, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
