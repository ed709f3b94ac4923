/* SPDX-License-Identifier: MIT */
/* A run split by whole files: what its parts say of each other's work. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libprep/store/exec_run.h"

int exec_is_part(const struct exec_options *opt)
{
    return opt->n_parts > 0 && !opt->assemble;
}

void exec_part_name(char buf[EXEC_NAME_BYTES], int part, int n_parts, const char *what)
{
    snprintf(buf, EXEC_NAME_BYTES, "part-%d-of-%d.%s", part, n_parts, what);
}

/* How many parts there are stands in their journals' names. */
static int count_parts(struct exec_run *r, struct prep_error *err)
{
    char **names;
    size_t n;
    int found = 0;
    if (r->opt.n_parts > 0) /* the caller knows */
        return 0;
    if (io_list_sorted(r->opt.io, r->state, &r->arena, &names, &n, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        int part, n_parts, end = 0;
        if (sscanf(names[i], "part-%9d-of-%9d.journal%n", &part, &n_parts, &end) != 2 || end == 0 ||
            names[i][end] || part < 0 || part >= n_parts)
            continue;
        if (found && n_parts != found)
            return prep_fail_tag(err, PREP_EDATA, "PART_INCOMPLETE",
                                 "%s: holds parts of %d and of %d; --fresh starts over", r->state,
                                 found, n_parts);
        found = n_parts;
    }
    if (!found)
        return prep_fail_tag(err, PREP_ENOINPUT, "PART_INCOMPLETE",
                             "%s: no part has run; give --part i/n for every i first", r->opt.dir);
    r->opt.n_parts = found;
    return 0;
}

static int read_part(struct exec_run *r, int part, struct journal *j, struct prep_error *err)
{
    char name[EXEC_NAME_BYTES], path[EXEC_PATH_BYTES];
    exec_part_name(name, part, r->opt.n_parts, "journal");
    if (exec_path(path, sizeof path, r->state, name, "", err))
        return -1;
    if (journal_read(j, r->opt.io, path, r->plan->key, &r->sizes, err))
        return prep_note(err, "part %d of %d", part, r->opt.n_parts);
    return 0;
}

int exec_check_parts(struct exec_run *r, struct prep_error *err)
{
    if (count_parts(r, err))
        return -1;
    for (int part = 0; part < r->opt.n_parts; part++) {
        struct journal j = {0};
        int rc = read_part(r, part, &j, err);
        journal_close(&j);
        if (rc)
            return -1;
    }
    return 0;
}

int exec_adopt_part(struct exec_run *r, int part, struct prep_error *err)
{
    struct journal j = {0};
    int rc = read_part(r, part, &j, err);
    for (size_t i = (size_t)part; i < r->plan->n_files && !rc; i += (size_t)r->opt.n_parts) {
        const struct plan_file *f = &r->plan->files[i];
        if (f->stage > PLAN_SIDECAR)
            break;
        if (!j.files[i].complete)
            rc = prep_fail_tag(err, PREP_EDATA, "PART_INCOMPLETE",
                               "part %d of %d: %s is not finished; run that part again", part,
                               r->opt.n_parts, f->name);
        r->journal.files[i] = j.files[i];
        memcpy(r->journal.tensors + f->first_tensor, j.tensors + f->first_tensor,
               f->n_tensors * sizeof *j.tensors);
    }
    if (!rc)
        journal_adopt_notes(&r->journal, &j);
    journal_close(&j);
    return rc;
}

int exec_is_mine(const struct exec_run *r, size_t file)
{
    const struct exec_options *opt = &r->opt;
    if (!exec_is_part(opt))
        return 1;
    return r->plan->files[file].stage <= PLAN_SIDECAR &&
           file % (size_t)opt->n_parts == (size_t)opt->part;
}

/*
 * Whole in another run's journal, and there under its final name. A partial file proves nothing
 * here: it has its full size from the start, and a third run may be at it.
 */
static int is_worth(const struct exec_run *r, const struct journal *from, size_t file)
{
    const struct plan_file *f = &r->plan->files[file];
    struct prep_error ignored = PREP_ERROR_INIT;
    char path[EXEC_PATH_BYTES];
    struct io_stat st;
    return exec_is_mine(r, file) && from->files[file].complete &&
           !r->journal.files[file].complete &&
           !exec_path(path, sizeof path, r->opt.dir, f->name, "", &ignored) &&
           r->opt.io->stat(r->opt.io->self, path, &st) >= 0 && st.size == f->bytes;
}

/* From now on our journal says so, too. */
static int adopt_file(struct exec_run *r, const struct journal *from, size_t file,
                      struct prep_error *err)
{
    const struct plan_file *f = &r->plan->files[file];
    r->journal.files[file] = from->files[file];
    memcpy(r->journal.tensors + f->first_tensor, from->tensors + f->first_tensor,
           f->n_tensors * sizeof *from->tensors);
    r->journal.resumed = 1;
    return journal_add_file(&r->journal, (uint32_t)file, from->files[file].sha256, f->first_tensor,
                            f->n_tensors, err);
}

/* What the other's steps said, before the files they made. A note's unit is 8 bytes. */
static int adopt_notes(struct exec_run *r, const struct journal *from, struct prep_error *err)
{
    struct journal *const j = &r->journal;
    const uint64_t n = j->note_bytes / 8;
    for (uint64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && from->noted[end] && !j->noted[end]; end++)
            memcpy(j->notes + 8 * end, from->notes + 8 * end, 8);
        if (end == i)
            end++;
        else if (journal_add_note(j, 8 * i, (uint32_t)(8 * (end - i)), err))
            return -1;
    }
    return 0;
}

/* A journal that cannot be read, or is of another plan, has nothing for us. */
static int adopt_journal(struct exec_run *r, const char *path, struct prep_error *err)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    struct journal j = {0};
    size_t left = 0;
    int rc = 0;
    if (!journal_read(&j, r->opt.io, path, r->plan->key, &r->sizes, &ignored))
        for (size_t i = 0; i < r->plan->n_files; i++)
            left += is_worth(r, &j, i) ? 1 : 0;
    if (left)
        rc = adopt_notes(r, &j, err);
    for (size_t i = 0; i < r->plan->n_files && left && !rc; i++) {
        if (!is_worth(r, &j, i))
            continue;
        rc = adopt_file(r, &j, i, err);
        left--;
    }
    journal_close(&j);
    return rc;
}

static int is_journal(const char *name)
{
    const size_t n = strlen(name), end = strlen("journal");
    return n >= end && strcmp(name + n - end, "journal") == 0;
}

int exec_adopt_others(struct exec_run *r, struct prep_error *err)
{
    char **names;
    size_t n;
    if (io_list_sorted(r->opt.io, r->state, &r->arena, &names, &n, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        char path[EXEC_PATH_BYTES];
        if (!is_journal(names[i]) || strcmp(names[i], r->journal_name) == 0)
            continue;
        if (exec_path(path, sizeof path, r->state, names[i], "", err) ||
            adopt_journal(r, path, err))
            return -1;
    }
    return 0;
}

int exec_forget(struct exec_run *r, struct prep_error *err)
{
    const struct io *io = r->opt.io;
    char **names;
    size_t n;
    if (io_list_sorted(io, r->state, &r->arena, &names, &n, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        char path[EXEC_PATH_BYTES];
        if (!is_journal(names[i]))
            continue;
        if (exec_path(path, sizeof path, r->state, names[i], "", err))
            return -1;
        int sys = io->unlink(io->self, path);
        if (sys < 0)
            return io_fail_create(err, -sys, path, "remove");
    }
    return 0;
}
