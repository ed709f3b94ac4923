/* SPDX-License-Identifier: MIT */
/*
 * fault_log.h - the changes to a file system that a power loss could still take back.
 *
 * Changes are logged as they happen and leave the log when their file or folder is synced.
 * Settling undoes what is left, newest first, and with a seed lets some of it happen again.
 *
 * Ownership  removed files are kept in a temporary folder (graves) of the same file system
 * Errors     anything that goes wrong here fails the running cmocka test
 * Threads    one at a time
 */
#ifndef PREP_TESTS_FAULT_LOG_H
#define PREP_TESTS_FAULT_LOG_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum fault_change {
    FAULT_WRITTEN,
    FAULT_SIZED,
    FAULT_CREATED,
    FAULT_RENAMED,
    FAULT_UNLINKED,
    FAULT_FOLDER_MADE,
    FAULT_FOLDER_REMOVED,
};

struct fault_op;
struct fault_file;

struct fault_log {
    struct fault_op *newest;
    struct fault_file *files;
    const char *grave;
    uint64_t n_graves;
};

void fault_log_init(struct fault_log *log);
void fault_log_forget(struct fault_log *log);

/* A free path for a file that is about to lose its name; malloc'ed. */
char *fault_log_grave(struct fault_log *log);
/* A change of names has happened. Takes grave, which may be NULL; to is for renames. */
void fault_log_name(struct fault_log *log, enum fault_change kind, const char *path, const char *to,
                    char *grave);
/* Before bytes [offset, offset + n) or the size of a file change ... */
struct fault_op *fault_log_data(struct fault_log *log, enum fault_change kind, int fd,
                                uint64_t offset, uint64_t n);
/* ... and after: done bytes were written there, or the call failed (negative). */
void fault_log_data_end(struct fault_log *log, struct fault_op *op, ssize_t done);
/* The file or folder was synced. */
void fault_log_sync(struct fault_log *log, const struct stat *st);

/* Lose the rest: all of it when seed is 0. */
void fault_log_settle(struct fault_log *log, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
