/* SPDX-License-Identifier: MIT */
/* The run around the engine: whose folder is it, what is left to do, and what it proves at the end.
 */
#include "libprep/store/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/store/exec_engine.h"
#include "libprep/store/exec_run.h"
#include "libprep/store/manifest.h"

/* ---- the output folder, before anything is written ---- */

/* Is this file, reached through any link, one of the sources? */
static int is_source(const struct plan *plan, const struct io_stat *st)
{
    for (size_t i = 0; i < plan->n_sources; i++) {
        const struct source_file *f = plan->sources[i].file;
        if (f->dev == st->dev && f->ino == st->ino)
            return 1;
    }
    return 0;
}

/* Sources list every file of their folder: a folder whose files are sources is an input. */
static int refuse_input(const struct plan *plan, const struct exec_options *opt, char **names,
                        size_t n, struct prep_error *err)
{
    for (size_t i = 0; i < n; i++) {
        char path[EXEC_PATH_BYTES];
        struct io_stat st;
        if (exec_path(path, sizeof path, opt->dir, names[i], "", err))
            return -1;
        if (opt->io->stat(opt->io->self, path, &st) >= 0 && is_source(plan, &st))
            return prep_fail_tag(err, PREP_ECREATE, "OUTPUT_IS_INPUT",
                                 "%s: is a file of the input; choose another output folder", path);
    }
    return 0;
}

static int has_name(char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return 1;
    return 0;
}

static int refuse_occupied(const struct exec_options *opt, char *const *names, size_t n,
                           struct prep_error *err)
{
    if (opt->force)
        return 0;
    /* With both manifest and state the run was killed while tidying up: it goes on. */
    if (has_name(names, n, EXEC_MANIFEST) && !has_name(names, n, EXEC_STATE_DIR))
        return prep_fail_tag(err, PREP_ECREATE, "OUTPUT_FINISHED",
                             "%s: holds a finished output; --force replaces it", opt->dir);
    if (n && !has_name(names, n, EXEC_STATE_DIR))
        return prep_fail_tag(err, PREP_ECREATE, "OUTPUT_IN_THE_WAY",
                             "%s: is not empty (%s) and not an interrupted run; choose another "
                             "folder, or --force to write into it",
                             opt->dir, names[0]);
    return 0;
}

/* Bytes for which room must still be found: files that do not exist in any form yet. */
static int missing_bytes(const struct plan *plan, const struct exec_options *opt, uint64_t *missing,
                         struct prep_error *err)
{
    *missing = 0;
    for (size_t i = 0; i < plan->n_files; i++) {
        const struct plan_file *f = &plan->files[i];
        char path[EXEC_PATH_BYTES];
        struct io_stat st;
        uint64_t have = 0;
        if (exec_is_part(opt) &&
            (f->stage > PLAN_SIDECAR || i % (size_t)opt->n_parts != (size_t)opt->part))
            continue;
        for (int k = 0; k < 2; k++) {
            if (exec_path(path, sizeof path, opt->dir, f->name, k ? "" : ".partial", err))
                return -1;
            if (opt->io->stat(opt->io->self, path, &st) >= 0 && st.size > have)
                have = st.size;
        }
        *missing += f->bytes > have ? f->bytes - have : 0;
    }
    return 0;
}

/* The folder that holds the output folder. */
static const char *parent_folder(const struct exec_options *opt, char *buf, size_t size)
{
    snprintf(buf, size, "%s", opt->dir);
    size_t n = strlen(buf);
    while (n > 1 && buf[n - 1] == '/')
        buf[--n] = 0;
    char *slash = strrchr(buf, '/');
    if (!slash)
        return ".";
    slash[slash == buf ? 1 : 0] = 0;
    return buf;
}

static int check_space(const struct plan *plan, const struct exec_options *opt,
                       struct prep_error *err)
{
    char buf[EXEC_PATH_BYTES];
    uint64_t missing, room;
    if (missing_bytes(plan, opt, &missing, err))
        return -1;
    struct io_stat st;
    const char *folder = opt->io->stat(opt->io->self, opt->dir, &st) >= 0
                             ? opt->dir
                             : parent_folder(opt, buf, sizeof buf);
    int sys = opt->io->free_space(opt->io->self, folder, &room);
    if (sys == -ENOENT)
        return prep_fail(err, PREP_ECREATE, "%s: no such folder; create it first", folder);
    if (sys < 0)
        return io_fail_create(err, -sys, folder, "look for room in");
    if (missing > room)
        return prep_fail_tag(err, PREP_ECREATE, "NO_ROOM",
                             "%s: needs %" PRIu64 " bytes, %" PRIu64 " are free", folder, missing,
                             room);
    return 0;
}

static int check_folder(const struct plan *plan, const struct exec_options *opt,
                        struct prep_error *err)
{
    struct io_stat st;
    int sys = opt->io->stat(opt->io->self, opt->dir, &st);
    if (sys == -ENOENT)
        return 0;
    if (sys < 0)
        return io_fail_create(err, -sys, opt->dir, "look into");
    if (st.kind != IO_DIRECTORY)
        return prep_fail_tag(err, PREP_ECREATE, "OUTPUT_IN_THE_WAY", "%s: is not a folder",
                             opt->dir);
    struct arena tmp;
    arena_init(&tmp, 0);
    char **names;
    size_t n;
    int rc = io_list_sorted(opt->io, opt->dir, &tmp, &names, &n, err);
    if (!rc)
        rc = refuse_input(plan, opt, names, n, err) || refuse_occupied(opt, names, n, err);
    arena_fini(&tmp);
    return rc ? -1 : 0;
}

int plan_check(const struct plan *plan, const struct exec_options *opt, struct exec_result *result,
               struct prep_error *err)
{
    result->floor_bytes = engine_floor(plan);
    uint64_t mem = opt->mem ? opt->mem : UINT64_C(4) << 30;
    if (mem < result->floor_bytes)
        return prep_fail(err, PREP_EUSAGE,
                         "--mem %" PRIu64 " is too little, this plan needs at least %" PRIu64
                         " bytes",
                         mem, result->floor_bytes);
    if (opt->n_parts > 0 && !opt->assemble && (opt->part < 0 || opt->part >= opt->n_parts))
        return prep_fail(err, PREP_EUSAGE, "--part %d/%d: want 0 <= i < n", opt->part,
                         opt->n_parts);
    if (!opt->dir)
        return 0;
    return check_folder(plan, opt, err) || check_space(plan, opt, err) ? -1 : 0;
}

/* ---- locks and state ---- */

/* The name of a new folder or file in `folder` survives a power loss. */
static int sync_folder(const struct io *io, const char *folder, struct prep_error *err)
{
    int sys = io->sync_dir(io->self, folder);
    return sys < 0 ? io_fail_create(err, -sys, folder, "sync") : 0;
}

static int make_folder(const struct io *io, const char *path, struct prep_error *err)
{
    int sys = io->mkdir(io->self, path, 0777);
    if (sys < 0 && sys != -EEXIST)
        return io_fail_create(err, -sys, path, "create");
    return 0;
}

static int take_lock(struct exec_run *r, const char *name, int exclusive, int *fd,
                     struct prep_error *err)
{
    char path[EXEC_PATH_BYTES];
    const struct io *io = r->opt.io;
    if (exec_path(path, sizeof path, r->state, name, "", err))
        return -1;
    *fd = io->open(io->self, path, O_RDWR | O_CREAT, 0666);
    if (*fd < 0)
        return io_fail_create(err, -*fd, path, "create");
    int sys = io->lock(io->self, *fd, exclusive);
    if (sys == -EWOULDBLOCK)
        return prep_fail_tag(err, PREP_ECREATE, "LOCKED", "%s: another run is writing here",
                             r->opt.dir);
    return sys < 0 ? io_fail_create(err, -sys, path, "lock") : 0;
}

static int is_planned(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_files; i++)
        if (strcmp(plan->files[i].name, name) == 0)
            return 1;
    return 0;
}

/* What the old output wrote and the new one does not: a stale index would be read before it. */
static int remove_stale(struct exec_run *r, const char *manifest, struct prep_error *err)
{
    const struct io *io = r->opt.io;
    struct manifest m = {0};
    struct span text;
    struct io_stat st;
    if (io->stat(io->self, manifest, &st) < 0)
        return 0;
    int rc = io_read_file(io, manifest, UINT64_C(1) << 30, &r->arena, &text, err) ||
             manifest_parse(&m, (const char *)text.p, text.n, manifest, err);
    for (size_t i = 0; i < m.n_files && !rc; i++) {
        const char *name = m.files[i].name;
        char path[EXEC_PATH_BYTES];
        if (is_planned(r->plan, name) || file_name_fault(name, strlen(name)))
            continue;
        rc = exec_path(path, sizeof path, r->opt.dir, name, "", err);
        int sys = rc ? 0 : io->unlink(io->self, path);
        if (sys < 0 && sys != -ENOENT)
            rc = io_fail_create(err, -sys, path, "remove");
    }
    manifest_free(&m);
    return rc ? -1 : 0;
}

/* --force on a finished output: take away the mark of completeness before touching a byte. */
static int unfinish(struct exec_run *r, struct prep_error *err)
{
    char path[EXEC_PATH_BYTES];
    const struct io *io = r->opt.io;
    if (!r->opt.force)
        return 0;
    if (exec_path(path, sizeof path, r->opt.dir, EXEC_MANIFEST, "", err) ||
        remove_stale(r, path, err))
        return -1;
    int sys = io->unlink(io->self, path);
    if (sys == -ENOENT)
        return 0;
    if (sys >= 0)
        sys = io->sync_dir(io->self, r->opt.dir);
    if (sys < 0)
        return io_fail_create(err, -sys, path, "remove");
    r->opt.fresh = 1; /* a journal beside a manifest is a leftover */
    return 0;
}

static int lock_state(struct exec_run *r, struct prep_error *err)
{
    char lock_name[EXEC_NAME_BYTES];
    const struct exec_options *opt = &r->opt;
    if (exec_path(r->state, sizeof r->state, opt->dir, EXEC_STATE_DIR, "", err) ||
        make_folder(opt->io, opt->dir, err) || make_folder(opt->io, r->state, err) ||
        take_lock(r, "lock", !exec_is_part(opt), &r->lock, err))
        return -1;
    snprintf(r->journal_name, sizeof r->journal_name, "journal");
    if (!exec_is_part(opt))
        return 0;
    exec_part_name(r->journal_name, opt->part, opt->n_parts, "journal");
    exec_part_name(lock_name, opt->part, opt->n_parts, "lock");
    return take_lock(r, lock_name, 1, &r->part_lock, err);
}

static int open_state(struct exec_run *r, struct prep_error *err)
{
    char path[EXEC_PATH_BYTES], parent[EXEC_PATH_BYTES];
    const struct io *io = r->opt.io;
    if (unfinish(r, err) || exec_path(path, sizeof path, r->state, r->journal_name, "", err) ||
        journal_open(&r->journal, io, path, r->plan->key, &r->sizes, r->opt.fresh, err))
        return -1;
    /* Before any other file appears: what is found there later must be known as ours. */
    return sync_folder(io, r->state, err) || sync_folder(io, r->opt.dir, err) ||
                   sync_folder(io, parent_folder(&r->opt, parent, sizeof parent), err) ||
                   (!r->opt.fresh && !r->opt.assemble && exec_adopt_others(r, err))
               ? -1
               : 0;
}

/* What is left to do, after looking at what is really there. */
static int make_queue(struct exec_run *r, uint64_t *done_bytes, struct prep_error *err)
{
    const struct exec_options *opt = &r->opt;
    r->queue = arena_calloc(&r->arena, r->plan->n_files, sizeof *r->queue, err);
    if (!r->queue)
        return -1;
    for (size_t i = 0; i < r->plan->n_files; i++) {
        const struct plan_file *f = &r->plan->files[i];
        if (!exec_is_mine(r, i))
            continue;
        const int was_complete = r->journal.files[i].complete;
        if (engine_verify_durable(r->plan, opt, &r->journal, (uint32_t)i, err))
            return -1;
        /* Gone: said before a new partial file of the same size is there. */
        if (was_complete && !r->journal.files[i].complete &&
            journal_add_extent(&r->journal, (uint32_t)i, &r->journal.files[i], f->first_tensor, 0,
                               err))
            return -1;
        if (r->journal.files[i].complete) {
            *done_bytes += f->bytes;
            continue;
        }
        if (opt->assemble && opt->n_parts > 0 && f->stage <= PLAN_SIDECAR)
            return prep_fail_tag(err, PREP_EDATA, "PART_INCOMPLETE",
                                 "%s: is gone though its part finished; run that part again",
                                 f->name);
        r->queue[r->n_queue++] = (uint32_t)i;
    }
    return 0;
}

/* ---- the end ---- */

/*
 * The output is complete: the journals and locks have done their work. The journal goes last, so
 * that a run killed here can still be told from another plan's.
 */
static int remove_state(struct exec_run *r, struct prep_error *err)
{
    const struct io *io = r->opt.io;
    char **names;
    size_t n;
    if (io_list_sorted(io, r->state, &r->arena, &names, &n, err))
        return -1;
    for (size_t i = n; i-- > 0;) {
        char path[EXEC_PATH_BYTES];
        if (exec_path(path, sizeof path, r->state, names[i], "", err))
            return -1;
        int sys = io->unlink(io->self, path);
        if (sys < 0)
            return io_fail_create(err, -sys, path, "remove");
    }
    int sys = io->rmdir(io->self, r->state);
    return sys < 0 ? io_fail_create(err, -sys, r->state, "remove") : 0;
}

/* 1: an earlier run had finished all but the tidying, which is done now; 0: not so. */
static int tidy_finished(struct exec_run *r, struct prep_error *err)
{
    char manifest[EXEC_PATH_BYTES], path[EXEC_PATH_BYTES];
    struct io_stat st;
    const struct io *io = r->opt.io;
    if (exec_path(manifest, sizeof manifest, r->opt.dir, EXEC_MANIFEST, "", err) ||
        exec_path(path, sizeof path, r->state, "journal", "", err))
        return -1;
    if (r->opt.force || io->stat(io->self, manifest, &st) < 0)
        return 0;
    struct journal j = {0};
    int rc = 0;
    if (io->stat(io->self, path, &st) >= 0)
        rc = journal_read(&j, io, path, r->plan->key, &r->sizes, err);
    journal_close(&j);
    return rc || remove_state(r, err) ? -1 : 1;
}

/* ---- the run ---- */

static int run_engine(struct exec_run *r, struct exec_result *result, struct prep_error *err)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    /* Sources and output on a file system that shares extents? Ask with the first source. */
    int rc = engine_init(e, r->plan, &r->opt, &r->journal, r->queue, r->n_queue, err);
    int fd = -1;
    if (!rc && r->plan->n_sources) {
        const struct plan_source *s = &r->plan->sources[0];
        rc = io_open_read(s->io, s->file->path, &fd, NULL, err);
        if (!rc && s->io == r->opt.io)
            e->kernel_copy = s->io->copy_range(s->io->self, fd, 0, r->lock, 0, 0) == 0;
        io_close_read(s->io, fd);
    }
    if (!rc)
        rc = engine_run(e, err);
    result->written_bytes = e->written_bytes;
    result->resumed_bytes += e->resumed_bytes;
    result->read_bytes = e->read_bytes;
    result->written_files = e->written_files;
    result->peak_bytes = engine_peak(e);
    engine_fini(e);
    free(e);
    return rc;
}

static int run_all(struct exec_run *r, struct exec_result *result, struct prep_error *err)
{
    const struct exec_options *opt = &r->opt;
    if (lock_state(r, err))
        return -1;
    int tidied = tidy_finished(r, err);
    if (tidied) {
        result->finished = tidied > 0;
        return tidied < 0 ? -1 : 0;
    }
    if ((opt->assemble && exec_check_parts(r, err)) || open_state(r, err))
        return -1;
    result->resumed = r->journal.resumed;
    for (int part = 0; opt->assemble && part < opt->n_parts; part++)
        if (exec_adopt_part(r, part, err))
            return -1;
    if (make_queue(r, &result->resumed_bytes, err))
        return -1;
    if (r->n_queue && run_engine(r, result, err))
        return -1;
    if (exec_is_part(opt))
        return 0;
    if (exec_write_manifest(r->plan, &r->opt, &r->journal, err) || remove_state(r, err))
        return -1;
    result->finished = 1;
    return 0;
}

static void start_run(struct exec_run *r, const struct plan *plan, const struct exec_options *opt)
{
    *r = (struct exec_run){.plan = plan,
                           .opt = *opt,
                           .lock = -1,
                           .part_lock = -1,
                           .journal.fd = -1,
                           .sizes = {plan->n_files, plan->n_tensors, plan->note_bytes}};
    if (r->opt.n_threads < 1)
        r->opt.n_threads = prep_default_threads();
    arena_init(&r->arena, 0);
}

static void end_run(struct exec_run *r)
{
    const struct io *io = r->opt.io;
    journal_close(&r->journal);
    if (r->part_lock >= 0)
        io->close(io->self, r->part_lock);
    if (r->lock >= 0)
        io->close(io->self, r->lock);
    arena_fini(&r->arena);
}

int plan_prepare(const struct plan *plan, const struct exec_options *opt,
                 struct exec_result *result, struct prep_error *err)
{
    struct exec_run r;
    *result = (struct exec_result){0};
    if (plan_check(plan, opt, result, err))
        return -1;
    start_run(&r, plan, opt);
    int rc = lock_state(&r, err);
    const int tidied = rc ? 0 : tidy_finished(&r, err);
    if (tidied)
        result->finished = tidied > 0;
    else if (!rc)
        rc = unfinish(&r, err) || (r.opt.fresh && exec_forget(&r, err));
    end_run(&r);
    return rc || tidied < 0 ? -1 : 0;
}

int plan_execute(const struct plan *plan, const struct exec_options *opt,
                 struct exec_result *result, struct prep_error *err)
{
    struct exec_run r;
    *result = (struct exec_result){0};
    if (plan_check(plan, opt, result, err))
        return -1;
    start_run(&r, plan, opt);
    int rc = run_all(&r, result, err);
    end_run(&r);
    return rc;
}
