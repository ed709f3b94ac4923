/* SPDX-License-Identifier: MIT */
/*
 * exec_engine.h - the moving part of the executor: files in flight, blocks, workers.
 *
 * A *lane* is a file in flight. It is cut into blocks; a few of them (the window) are in memory.
 * A block is filled (reads, literals, outputs of steps), then hashed in file order and written
 * in any order, then its buffer is used again. Steps with a function run as soon as their memory
 * is granted, in plan order. Any number of identical workers picks whatever is ready:
 *
 *      fill --> hash (in order, one at a time per lane) --.
 *           \-> write ------------------------------------+--> free
 *
 * Private to store/. Everything under `lock` unless said otherwise.
 */
#ifndef PREP_STORE_EXEC_ENGINE_H
#define PREP_STORE_EXEC_ENGINE_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "libprep/base/hash.h"
#include "libprep/store/exec_memory.h"
#include "libprep/store/executor.h"
#include "libprep/store/journal.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ENGINE_MAX_LANES = PLAN_MAX_STRANDS, ENGINE_MAX_WINDOW = 4, ENGINE_OPEN_SOURCES = 48 };

enum block_state { BLOCK_EMPTY, BLOCK_FILLING, BLOCK_FULL };

struct block {
    enum block_state state;
    int writing, written, hashed;
    uint64_t number; /* in the file, counted from the lane's base */
    size_t bytes;
    unsigned char *data; /* 4096-aligned */
};

struct lane {
    int active; /* holds a file */
    int busy;   /* a worker is opening, syncing or finishing it: nobody else may */
    int hashing;
    uint32_t file; /* of the plan */
    int fd, direct;
    uint64_t base, n_blocks; /* base: where this run began, behind what was durable */
    uint64_t next_fill, next_hash, n_written;
    struct block blocks[ENGINE_MAX_WINDOW];
    /* Running hashes, touched only by the worker that holds `hashing`. */
    struct sha256 sha;
    struct xxh128 *tensor_hash, *extent_hash;
    uint32_t tensor; /* first tensor that is not hashed to its end */
    /* A state waiting to become a journal record once every byte below it is written. */
    int snap_set;
    uint64_t snap_block; /* blocks below this number */
    struct journal_file snap;
    uint32_t snap_tensor, snap_first_tensor; /* tensors that end inside the extent */
    uint64_t recorded;                       /* bytes covered by the last record or snapshot */
    time_t recorded_at;
};

enum call_state { CALL_WAITING, CALL_RUNNING, CALL_DONE, CALL_FREED };

struct call {
    enum call_state state;
    uint32_t step;
    uint64_t left;             /* bytes of its outputs not yet copied into blocks */
    int skip;                  /* all its extents are durable: never run */
    unsigned char *memory;     /* outputs, back to back, aligned */
    const uint64_t *output_at; /* offset of each output in memory */
    const uint64_t *output_bytes;
    unsigned char *wanted; /* for step_memory.wanted */
};

/* An open source. */
struct source_slot {
    uint32_t source;
    int fd;
    int users; /* -1: empty */
    uint64_t last_use;
};

struct engine {
    const struct plan *plan;
    const struct exec_options *opt;
    const struct io *io;
    struct journal *journal;
    /* What to do: files in order, one stage after the other. */
    const uint32_t *queue;
    size_t n_queue, next_queue, n_finished;
    unsigned char *opened; /* [n_queue]; every file before next_queue is */

    struct lane lanes[ENGINE_MAX_LANES];
    int n_lanes, window, n_workers;
    uint64_t block_bytes;

    struct call *calls;     /* in the order of their first extent */
    uint32_t *call_of_step; /* UINT32_MAX: not a call */
    size_t n_calls, next_call;
    uint64_t call_memory, call_budget; /* granted, of what may be */
    struct exec_memory memory;

    struct source_slot sources[ENGINE_OPEN_SOURCES];
    uint64_t source_clock;
    int drop_behind; /* sources larger than half of RAM: do not fill the page cache */
    int kernel_copy; /* copy_range works between these file systems */

    pthread_mutex_t lock;
    pthread_mutex_t journal_lock; /* appending waits for the disk: not under `lock` */
    pthread_cond_t changed;
    int running;  /* tasks under way */
    int stopping; /* start nothing new */
    int failed;
    uint64_t failed_at; /* queue position and block of the first failure: the lowest wins */
    struct prep_error error;
    uint64_t written_bytes, read_bytes, resumed_bytes;
    uint32_t written_files;
    struct arena arena;
};

/* Smallest mem for a plan. */
uint64_t engine_floor(const struct plan *plan);
/* Blocks and steps, held at once at most so far. */
uint64_t engine_peak(const struct engine *e);
/* Memory and threads by opt; queue lists the files to do. */
PREP_MUST_CHECK int engine_init(struct engine *e, const struct plan *plan,
                                const struct exec_options *opt, struct journal *journal,
                                const uint32_t *queue, size_t n_queue, struct prep_error *err);
/* Runs to the end, the first error or the stop flag. */
PREP_MUST_CHECK int engine_run(struct engine *e, struct prep_error *err);
void engine_fini(struct engine *e);

/* exec_strand.c: which file may be opened next, as a place in the queue, or n_queue; under the
 * lock. Strands that the queue has side by side; the calls of a band in their order. */
size_t engine_next_file(const struct engine *e);
int engine_most_strands(const struct engine *e);
void engine_sort_band(struct engine *e, size_t first_call);

/* exec_call.c: steps with a function. Listing them, and where their outputs lie; then, under the
 * lock, what a call needs, whether it may start, whether a block may be filled, and which outputs
 * a filled block was the last to need. engine_run_call() itself runs outside the lock. */
PREP_MUST_CHECK int engine_init_calls(struct engine *e, struct prep_error *err);
PREP_MUST_CHECK int engine_place_outputs(struct engine *e, struct prep_error *err);
uint64_t engine_call_need(const struct engine *e, const struct call *c);
int engine_call_is_ready(const struct engine *e, const struct call *c);
PREP_MUST_CHECK int engine_run_call(struct engine *e, struct call *c, struct prep_error *err);
int engine_block_is_ready(const struct engine *e, const struct lane *l, uint64_t number,
                          size_t bytes);
void engine_release_calls(struct engine *e, const struct lane *l, const struct block *b);

/* exec_block.c: one block, outside the lock. */
PREP_MUST_CHECK int engine_fill(struct engine *e, struct lane *l, struct block *b,
                                struct prep_error *err);
PREP_MUST_CHECK int engine_write(struct engine *e, struct lane *l, struct block *b,
                                 struct prep_error *err);
void engine_hash(struct engine *e, struct lane *l, const struct block *b);
PREP_MUST_CHECK int engine_read_range(struct engine *e, const struct plan_range *r, uint64_t skip,
                                      unsigned char *to, size_t n, struct prep_error *err);

/* The extent of a file that holds byte `offset`. */
uint32_t engine_find_extent(const struct plan *plan, const struct plan_file *f, uint64_t offset);

/* exec_lane.c: opening (with resume), recording and finishing a file, outside the lock. */
/* Before anything else: believe the journal about a file only as far as the disk bears it out. */
PREP_MUST_CHECK int engine_verify_durable(const struct plan *plan, const struct exec_options *opt,
                                          struct journal *journal, uint32_t file,
                                          struct prep_error *err);
PREP_MUST_CHECK int engine_open_lane(struct engine *e, struct lane *l, struct prep_error *err);
PREP_MUST_CHECK int engine_record(struct engine *e, struct lane *l, struct prep_error *err);
PREP_MUST_CHECK int engine_finish_lane(struct engine *e, struct lane *l, struct prep_error *err);
/* Bytes of the lane's file that lie below a block number. */
uint64_t lane_offset(const struct engine *e, const struct lane *l, uint64_t block);

/* "dir/name" or "dir/name.partial" in the caller's buffer; PREP_EUSAGE when too long. */
PREP_MUST_CHECK int exec_path(char *buf, size_t size, const char *dir, const char *name,
                              const char *suffix, struct prep_error *err);
enum { EXEC_PATH_BYTES = 4400 };
/* NAME.partial -> NAME, durable. */
PREP_MUST_CHECK int exec_rename(const struct exec_options *opt, const char *name,
                                struct prep_error *err);

/* exec_manifest.c: the last file, from what the journal says of all others. */
PREP_MUST_CHECK int exec_write_manifest(const struct plan *plan, const struct exec_options *opt,
                                        const struct journal *journal, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
