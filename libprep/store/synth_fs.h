/* SPDX-License-Identifier: MIT */
/*
 * synth_fs.h - the file system in memory around a synthetic checkpoint (synth.h).
 *
 * Private to store/.
 *
 * Ownership  nodes belong to the store and live as long: a descriptor outlives its name
 * Threads    the table locks for itself; the two functions below are called under the lock
 */
#ifndef PREP_STORE_SYNTH_FS_H
#define PREP_STORE_SYNTH_FS_H

#include <pthread.h>

#include "libprep/store/synth.h"
#include "libprep/store/synth_data.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A file or folder. */
struct synth_node {
    const char *path; /* in the arena, so that a writer may still look at an old one */
    uint64_t hash;
    enum io_kind kind;
    int gone;                        /* has lost its name */
    int source;                      /* belongs to the source folder: read only */
    const struct synth_shard *shard; /* data are computed */
    uint64_t size;
    unsigned char *kept; /* the first n_kept bytes; after them zeros, unless swallowed */
    size_t n_kept, cap_kept;
    int swallowed;
};

struct synth {
    struct io io;
    const char *dir;
    pthread_mutex_t lock; /* nodes, descriptors, kept bytes, counters */
    struct synth_node **nodes;
    size_t n_nodes, cap_nodes;
    struct synth_node **open; /* by descriptor, NULL: free */
    size_t n_open, cap_open;
    struct synth_stats stats;
    synth_write_fn watch;
    void *watch_arg;
    struct synth_shard **shards;
    size_t n_shards, cap_shards;
    struct arena arena;
};

/* The file or folder of this path, given without slashes at its end; NULL when there is none. */
struct synth_node *synth_find(const struct synth *s, const char *path, size_t n);
/* NULL when out of memory. */
struct synth_node *synth_add_node(struct synth *s, const char *path, size_t n, enum io_kind kind);

/* All entries; `self` is to be set to the store. */
extern const struct io synth_table;

#ifdef __cplusplus
}
#endif
#endif
