/* SPDX-License-Identifier: MIT */
#include "libprep/format/obs_files.h"

#include <string.h>

#include "libprep/format/obs_build.h"

#define not_a_run(err, ...) prep_fail_tag(err, PREP_EDATA, "OBS_NOT_PT", __VA_ARGS__)

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n > k && strcmp(s + n - k, tail) == 0;
}

/* head, at least 3 digits, tail: the digits as a number, else -1. */
static long numbered(const char *name, const char *head, const char *tail)
{
    size_t n = strlen(head);
    long v = 0;
    if (strncmp(name, head, n) != 0)
        return -1;
    const char *digit = name + n;
    for (; *digit >= '0' && *digit <= '9' && v < 1000000; digit++)
        v = v * 10 + (*digit - '0');
    return digit - (name + n) >= 3 && strcmp(digit, tail) == 0 ? v : -1;
}

static long group_number(const char *name)
{
    return numbered(name, "group_", "");
}

int obs_block_layer(const char *path)
{
    long v = numbered(base_name(path), "block_", "_metrics.pt");
    return v <= OBS_MAX_LAYER ? (int)v : -1;
}

enum obs_form obs_form_of(const char *path)
{
    if (obs_block_layer(path) >= 0)
        return OBS_FORM_BLOCK;
    if (ends_with(path, ".safetensors"))
        return OBS_FORM_NATIVE;
    if (ends_with(path, ".json"))
        return OBS_FORM_JSON;
    return ends_with(path, ".jsonl") ? OBS_FORM_JSONL : OBS_FORM_PT;
}

/* Names of interest in one folder of block files. */
struct listing {
    char **names;
    size_t n;
    size_t n_blocks;
    const char *group; /* the highest, or NULL */
    int has_intermediate;
};

static int read_listing(struct listing *l, const struct io *io, const char *dir,
                        struct arena *arena, struct prep_error *err)
{
    long best = -1;
    *l = (struct listing){0};
    if (io_list_sorted(io, dir, arena, &l->names, &l->n, err))
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        const char *name = l->names[i];
        l->n_blocks += obs_block_layer(name) >= 0;
        l->has_intermediate |= strcmp(name, "layerwise_intermediate") == 0;
        if (group_number(name) > best) {
            best = group_number(name);
            l->group = name;
        }
    }
    if (l->n_blocks && l->group)
        return not_a_run(err, "%s: holds block files and %s, want one run: name the folder of one",
                         dir, l->group);
    return 0;
}

int obs_list_blocks(const struct io *io, const char *dir, struct arena *arena, char ***files,
                    size_t *n, struct prep_error *err)
{
    const char *at = dir;
    struct listing l;
    if (read_listing(&l, io, at, arena, err))
        return -1;
    if (!l.n_blocks && !l.group && l.has_intermediate) {
        at = io_join(arena, at, "layerwise_intermediate", err);
        if (!at || read_listing(&l, io, at, arena, err))
            return -1;
    }
    if (l.group) {
        at = io_join(arena, at, l.group, err);
        if (!at || read_listing(&l, io, at, arena, err))
            return -1;
    }
    *n = 0;
    *files = arena_calloc(arena, l.n_blocks, sizeof **files, err);
    if (!*files)
        return -1;
    for (size_t i = 0; i < l.n; i++) {
        if (obs_block_layer(l.names[i]) < 0)
            continue;
        (*files)[*n] = io_join(arena, at, l.names[i], err);
        if (!(*files)[(*n)++])
            return -1;
    }
    return *n ? 0 : not_a_run(err, "%s: holds no block_NNN_metrics.pt", at);
}

int obs_is_wanted(const char *name)
{
    const char *base = base_name(name);
    if (base[0] == '.' || strncmp(name, "__MACOSX/", 9) == 0)
        return 0;
    return ends_with(base, ".pt") || ends_with(base, ".pkl") || ends_with(base, ".safetensors") ||
           ends_with(base, ".obs.json") || ends_with(base, ".jsonl");
}

/* Length of the folder part of a name, slash included. */
static size_t folder_n(const char *name)
{
    return (size_t)(base_name(name) - name);
}

/* "a/group_002/block_003_metrics.pt": the group, and the length of "a/". */
static long group_of(const char *name, size_t *above)
{
    char part[32] = "";
    size_t n = folder_n(name), start = n ? n - 1 : 0;
    while (start > 0 && name[start - 1] != '/')
        start--;
    *above = n;
    if (n == 0 || n - 1 - start >= sizeof part)
        return -1;
    memcpy(part, name + start, n - 1 - start);
    long group = group_number(part);
    *above = group >= 0 ? start : n;
    return group;
}

int obs_choose_run(const char *path, struct bundle_file **files, size_t *n, struct prep_error *err)
{
    struct bundle_file *f = *files;
    size_t first = 0, above = 0, other;
    if (*n == 0)
        return not_a_run(err, "%s: holds no observation file", path);
    for (size_t i = 1; i < *n; i++) {
        if (obs_form_of(f[i].name) != OBS_FORM_BLOCK || obs_form_of(f[0].name) != OBS_FORM_BLOCK)
            return not_a_run(err, "%s: holds %s and %s, want one run", path, f[0].name, f[i].name);
    }
    /* Files are sorted: those of one group follow each other. */
    long best = group_of(f[0].name, &above);
    for (size_t i = 1; i < *n; i++) {
        long group = group_of(f[i].name, &other);
        if (other != above || strncmp(f[i].name, f[0].name, above) != 0 ||
            (group < 0) != (best < 0))
            return not_a_run(err, "%s: holds %s and %s, want the blocks of one run", path,
                             f[0].name, f[i].name);
        if (group > best) {
            best = group;
            first = i;
        }
    }
    size_t last = first;
    while (last < *n && group_of(f[last].name, &other) == best)
        last++;
    *files = f + first;
    *n = last - first;
    return 0;
}

/* Does a run's name stand above this part of its path? */
static int is_generic(const char *part)
{
    int is_file = ends_with(part, ".pt") || ends_with(part, ".pkl");
    return strcmp(part, "layerwise_intermediate") == 0 || group_number(part) >= 0 ||
           obs_block_layer(part) >= 0 ||
           (is_file &&
            (strncmp(part, "observations", 12) == 0 || strncmp(part, "partial", 7) == 0));
}

static void strip_ending(char *name)
{
    static const char *const tails[] = {".obs.safetensors",
                                        ".obs.json",
                                        ".safetensors",
                                        ".json",
                                        ".jsonl",
                                        ".tar.gz",
                                        ".tar.zst",
                                        ".tgz",
                                        ".tzst",
                                        ".tar",
                                        ".zip",
                                        ".pt",
                                        ".pkl"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        if (ends_with(name, tails[i])) {
            name[strlen(name) - strlen(tails[i])] = 0;
            return;
        }
    }
}

/* The last part of a path, without the slashes behind it; "" when there is none. */
static char *last_part(char *s)
{
    size_t n = strlen(s);
    while (n > 0 && s[n - 1] == '/')
        s[--n] = 0;
    while (n > 0 && s[n - 1] != '/')
        n--;
    return s + n;
}

const char *obs_label(struct arena *arena, const char *path, struct prep_error *err)
{
    char *s = arena_strndup(arena, path, strlen(path), err), *name = s;
    while (s) {
        char *part = last_part(s);
        if (*part == 0 || strcmp(part, ".") == 0 || strcmp(part, "..") == 0)
            break; /* nothing above the generic name that has a name */
        name = part;
        if (part == s || !is_generic(part))
            break;
        part[-1] = 0;
    }
    if (name)
        strip_ending(name);
    return name;
}

const char *obs_label_in_bundle(struct arena *arena, const char *path, const char *name,
                                struct prep_error *err)
{
    char *stem = arena_strndup(arena, base_name(path), strlen(base_name(path)), err);
    if (!stem)
        return NULL;
    strip_ending(stem);
    const char *whole = arena_printf(arena, err, "%s/%s", stem, name);
    return whole ? obs_label(arena, whole, err) : NULL;
}
