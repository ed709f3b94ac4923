/* SPDX-License-Identifier: MIT */
#include "libprep/store/hub.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { COMMIT_DIGITS = 40, MAX_REF_BYTES = 4096 };

struct hub_id {
    const char *org, *name, *revision;
    int org_n, name_n;
};

/* One part of a repository id: letters, digits, '-', '_', '.'; no "." or "..". */
static int part_length(const char *s)
{
    int n = 0;
    while (isalnum((unsigned char)s[n]) || (s[n] && strchr("-_.", s[n])))
        n++;
    return s[0] == '.' ? 0 : n;
}

/* A revision becomes a path below refs/ and snapshots/: no part may leave them. */
static int is_revision(const char *s)
{
    for (;;) {
        int n = part_length(s);
        if (n == 0)
            return 0;
        if (s[n] == 0)
            return 1;
        if (s[n] != '/')
            return 0;
        s += n + 1;
    }
}

static int parse_id(struct hub_id *id, const char *path)
{
    id->org = path;
    id->org_n = part_length(path);
    if (id->org_n == 0 || path[id->org_n] != '/')
        return -1;
    id->name = path + id->org_n + 1;
    id->name_n = part_length(id->name);
    const char *rest = id->name + id->name_n;
    if (id->name_n == 0 || (*rest && *rest != '@'))
        return -1;
    id->revision = *rest ? rest + 1 : "main";
    return is_revision(id->revision) ? 0 : -1;
}

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static const char *cache_folder(struct arena *arena, struct prep_error *err)
{
    static const struct {
        const char *variable, *below;
    } places[] = {
        {"HF_HUB_CACHE", ""},
        {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"},
        {"HOME", "/.cache/huggingface/hub"},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *v = variable(places[i].variable);
        if (v)
            return arena_printf(arena, err, "%s%s", v, places[i].below);
    }
    prep_fail(err, PREP_ENOINPUT, "no hub cache: none of HF_HUB_CACHE, HF_HOME, HOME is set");
    return NULL;
}

static int is_folder(const struct io *io, const char *path)
{
    struct io_stat st;
    return io->stat(io->self, path, &st) >= 0 && st.kind == IO_DIRECTORY;
}

/* The commit that a ref names; NULL without error when there is no such ref. */
static int read_ref(const struct io *io, const char *path, struct arena *arena, const char **commit,
                    struct prep_error *err)
{
    struct io_stat st;
    struct span text;
    *commit = NULL;
    if (io->stat(io->self, path, &st) < 0 || st.kind != IO_REGULAR)
        return 0;
    if (io_read_file(io, path, MAX_REF_BYTES, arena, &text, err))
        return -1;
    size_t n = text.n;
    while (n && isspace(text.p[n - 1]))
        n--;
    char *s = arena_strndup(arena, (const char *)text.p, n, err);
    if (!s)
        return -1;
    if (strlen(s) != n || !is_revision(s) || strchr(s, '/'))
        return prep_fail(err, PREP_EDATA, "%s: found \"%.60s\", want a commit", path, s);
    *commit = s;
    return 0;
}

static int resolve_id(const struct io *io, const struct hub_id *id, struct arena *arena,
                      const char **dir, const char **revision, struct prep_error *err)
{
    const char *cache = cache_folder(arena, err), *commit = NULL;
    const char *repo = cache ? arena_printf(arena, err, "%s/models--%.*s--%.*s", cache, id->org_n,
                                            id->org, id->name_n, id->name)
                             : NULL;
    const char *ref = repo ? arena_printf(arena, err, "%s/refs/%s", repo, id->revision) : NULL;
    if (!ref)
        return -1;
    if (!is_folder(io, repo))
        return prep_fail(err, PREP_ENOINPUT,
                         "%.*s/%.*s: neither a folder nor in the hub cache %s; download it first",
                         id->org_n, id->org, id->name_n, id->name, cache);
    if (read_ref(io, ref, arena, &commit, err))
        return -1;
    *revision = commit ? commit : id->revision;
    *dir = arena_printf(arena, err, "%s/snapshots/%s", repo, *revision);
    if (!*dir)
        return -1;
    if (!is_folder(io, *dir))
        return prep_fail(err, PREP_ENOINPUT,
                         "%s: revision %s of %.*s/%.*s is not there; download it first", *dir,
                         id->revision, id->org_n, id->org, id->name_n, id->name);
    return 0;
}

/* ".../snapshots/<commit>" tells its revision even when given as a plain path. */
static const char *revision_of(const char *dir)
{
    const char *slash = strrchr(dir, '/'), *below = "/snapshots";
    size_t n = strlen(below);
    if (!slash || (size_t)(slash - dir) < n || strncmp(slash - n, below, n) != 0 ||
        strspn(slash + 1, "0123456789abcdef") != COMMIT_DIGITS || slash[1 + COMMIT_DIGITS])
        return NULL;
    return slash + 1;
}

int hub_resolve(const struct io *io, const char *path, struct arena *arena, const char **dir,
                const char **revision, struct prep_error *err)
{
    struct io_stat st;
    struct hub_id id;
    int sys = io->stat(io->self, path, &st);
    if (sys >= 0 && st.kind == IO_DIRECTORY) {
        size_t n = strlen(path);
        while (n > 1 && path[n - 1] == '/')
            n--;
        *dir = arena_strndup(arena, path, n, err);
        *revision = *dir ? revision_of(*dir) : NULL;
        return *dir ? 0 : -1;
    }
    if (sys >= 0)
        return prep_fail_tag(err, PREP_ENOINPUT, "NO_CHECKPOINT",
                             "%s: is a file, want the folder of a checkpoint", path);
    if ((sys == -ENOENT || sys == -ENOTDIR) && parse_id(&id, path) == 0)
        return resolve_id(io, &id, arena, dir, revision, err);
    return prep_fail_sys(err, PREP_ENOINPUT, -sys, "%s: cannot open", path);
}
