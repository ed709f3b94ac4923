/* SPDX-License-Identifier: MIT */
#include "libprep/store/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/format/hf_index.h"
#include "libprep/store/hub.h"

/* Headers are read and merged BATCH shards at a time, so that their tables never all exist. */
enum { SHOWN = 200, BATCH = 64 };

/* What "small" means in checkpoint_read_file(). */
static const uint64_t max_small_file = 1u << 30;

/* The result of one task. */
struct shard {
    struct safetensors st;
    struct io_stat stat;
    struct arena arena;
};

/* A checkpoint while it is being opened. */
struct opening {
    struct checkpoint *c;
    struct report *report;
    char **listing; /* names in the folder, sorted by bytes */
    size_t n_listing;
    struct hf_index index; /* zero when there is none */
    int shards_only;       /* the index is not believed */
    const char *index_path;
    const char **shards; /* names, sorted */
    struct shard batch[BATCH];
    size_t first; /* shard of batch[0] */
    size_t cap_tensors;
    struct arena scratch;
};

static int by_name(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

static int is_listed(const struct opening *o, const char *name)
{
    return o->n_listing &&
           bsearch(name, o->listing, o->n_listing, sizeof *o->listing, by_name) != NULL;
}

static int ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && strcmp(name + n - k, suffix) == 0;
}

/* Finding the shards */

static int no_weights(struct opening *o, struct prep_error *err)
{
    size_t shards = 0, partial = 0;
    for (size_t i = 0; i < o->n_listing; i++) {
        shards += (size_t)hf_is_shard_name(o->listing[i], strlen(o->listing[i]));
        partial += (size_t)ends_with(o->listing[i], ".partial");
    }
    const char *why =
        partial ? "; unfinished *.partial files are there: the run that writes them was interrupted"
                : "";
    if (shards)
        return prep_fail_tag(err, PREP_ENOINPUT, "NO_INDEX", "%s: has %zu shards but no %s%s",
                             o->c->dir, shards, HF_INDEX_NAME,
                             partial ? why : "; prep-inspect repair makes one");
    return prep_fail_tag(err, PREP_ENOINPUT, "NO_CHECKPOINT", "%s: has neither %s nor %s%s",
                         o->c->dir, HF_INDEX_NAME, HF_SINGLE_NAME, why);
}

static int read_index(struct opening *o, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    o->index_path = io_join(&c->arena, c->dir, HF_INDEX_NAME, err);
    if (!o->index_path)
        return -1;
    if (hf_index_read(&o->index, c->io, o->index_path, &c->arena, err)) {
        if (err->code == PREP_ENOINPUT)
            err->tag = "NO_INDEX";
        return -1;
    }
    c->index_text = o->index.text;
    c->n_shards = o->index.n_shards;
    o->shards = o->index.shards;
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names that an index gives, if it is readable. */
static int named_shards(struct opening *o, const char **names, size_t *n, struct prep_error *err)
{
    struct prep_error why = PREP_ERROR_INIT;
    struct hf_index index = {0};
    const char *path = io_join(&o->scratch, o->c->dir, HF_INDEX_NAME, err);
    *n = 0;
    if (!path)
        return -1;
    if (is_listed(o, HF_INDEX_NAME) &&
        hf_index_read(&index, o->c->io, path, &o->scratch, &why) == 0)
        for (size_t i = 0; i < index.n_shards; i++)
            if (is_listed(o, index.shards[i]))
                names[(*n)++] = index.shards[i];
    hf_index_free(&index);
    if (why.code != PREP_ENOMEM)
        return 0;
    *err = why;
    return -1;
}

static int find_all_shards(struct opening *o, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    const char **names = arena_calloc(&c->arena, o->n_listing, sizeof *names, err);
    if (!names || named_shards(o, names, &c->n_shards, err))
        return -1;
    for (size_t i = 0, known = c->n_shards; !known && i < o->n_listing; i++)
        if (hf_is_shard_name(o->listing[i], strlen(o->listing[i])))
            names[c->n_shards++] = o->listing[i];
    for (size_t i = 0; i < c->n_shards; i++) {
        names[i] = arena_strndup(&c->arena, names[i], strlen(names[i]), err);
        if (!names[i])
            return -1;
    }
    if (c->n_shards)
        qsort(names, c->n_shards, sizeof *names, by_text);
    o->shards = names;
    return c->n_shards ? 0 : no_weights(o, err);
}

static int find_shards(struct opening *o, struct prep_error *err)
{
    static const char *single = HF_SINGLE_NAME;
    if (o->shards_only)
        return find_all_shards(o, err);
    if (is_listed(o, HF_INDEX_NAME))
        return read_index(o, err);
    if (!is_listed(o, HF_SINGLE_NAME))
        return no_weights(o, err);
    o->c->single_file = 1;
    o->c->n_shards = 1;
    o->shards = &single;
    return 0;
}

/* Reading the headers, in parallel */

/* Why a shard cannot be opened, in words that say what to do about it. */
static int shard_fault(const struct opening *o, const char *name, struct prep_error *err)
{
    const char *dir = o->c->dir;
    char partial[300];
    struct prep_error why = *err;
    prep_error_clear(err);
    if (why.code == PREP_EDATA && why.tag[0] == 0)
        return prep_fail_tag(err, PREP_EDATA, "SHARD_KIND",
                             "%s/%s: is not a regular file, want a shard", dir, name);
    if (why.sys == ELOOP)
        return prep_fail_tag(err, PREP_ENOINPUT, "SHARD_MISSING",
                             "%s/%s: is a link that leads back to itself, want a shard", dir, name);
    if (why.sys != ENOENT && why.sys != ENOTDIR) {
        *err = why;
        return -1;
    }
    if (is_listed(o, name))
        return prep_fail_tag(err, PREP_ENOINPUT, "SHARD_MISSING",
                             "%s/%s: is a link to nothing, want a shard: the download is not "
                             "finished",
                             dir, name);
    /* Names are at most 255 bytes. */
    memcpy(mempcpy(partial, name, strlen(name)), ".partial", sizeof ".partial");
    if (is_listed(o, partial))
        return prep_fail_tag(
            err, PREP_ENOINPUT, "SHARD_MISSING",
            "%s/%s: does not exist, but an unfinished %s does: the run that writes "
            "it was interrupted",
            dir, name, partial);
    return prep_fail_tag(err, PREP_ENOINPUT, "SHARD_MISSING",
                         "%s/%s: does not exist, but the index names it", dir, name);
}

static int read_shard(size_t i, void *arg, struct prep_error *err)
{
    struct opening *o = arg;
    const struct io *io = o->c->io;
    struct shard *s = &o->batch[i];
    const char *path = o->c->files[o->first + i].path;
    int fd = -1;
    if (io_open_read(io, path, &fd, &s->stat, err))
        return shard_fault(o, o->shards[o->first + i], err);
    int rc = safetensors_read(&s->st, io, fd, s->stat.size, path, &s->arena, err);
    io_close_read(io, fd);
    return rc;
}

static void set_file(struct source_file *f, const char *name, const char *path,
                     const struct io_stat *st)
{
    *f = (struct source_file){
        .name = name,
        .path = path,
        .bytes = st->size,
        .dev = st->dev,
        .ino = st->ino,
        .mtime_ns = st->mtime_ns,
    };
}

static void warn_header(const struct opening *o, const struct shard *s, const char *path)
{
    static const struct {
        unsigned bit;
        const char *tag, *text;
    } lints[] = {
        {SAFETENSORS_HEADER_ALIGNMENT, "HEADER_ALIGNMENT",
         "data does not begin at a multiple of 8"},
        {SAFETENSORS_HEADER_PADDING, "HEADER_PADDING",
         "header ends in white space other than up to 7 spaces"},
        {SAFETENSORS_HEADER_LEADING_SPACE, "HEADER_LEADING_SPACE",
         "header begins with white space"},
        {SAFETENSORS_UNKNOWN_FIELD, "UNKNOWN_FIELD", "an entry has a field that means nothing"},
    };
    for (size_t k = 0; k < sizeof lints / sizeof *lints; k++)
        if (s->st.lint & lints[k].bit)
            report_warn(o->report, lints[k].tag, "%s: %s", path, lints[k].text);
}

/* The table of tensors */

static int stored_twice(const struct checkpoint *c, const char *name, uint32_t first,
                        uint32_t second, struct prep_error *err)
{
    return prep_fail_tag(err, PREP_EDATA, "INDEX_MISMATCH",
                         "%s: tensor %.*s is stored in %s and in %s, want it once", c->dir, SHOWN,
                         name, c->files[first].name, c->files[second].name);
}

/* Room for n more tensors; the index tells how many there should be. */
static int reserve(struct opening *o, size_t n, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    size_t cap = c->n_tensors + n;
    if (cap <= o->cap_tensors)
        return 0;
    if (cap < o->index.n_entries)
        cap = o->index.n_entries;
    if (cap >= NAME_NONE)
        return prep_fail(err, PREP_EUNSUP, "%s: has %zu tensors, want fewer than 2^32", c->dir,
                         cap);
    struct checkpoint_tensor *t = realloc(c->tensors, cap * sizeof *t);
    if (!t)
        return prep_fail(err, PREP_ENOMEM, "%s: out of memory for %zu tensors", c->dir, cap);
    c->tensors = t;
    o->cap_tensors = cap;
    return c->names.cap ? 0 : name_table_init(&c->names, cap, err);
}

/* Copy the tensors of a shard, names packed, into the table of the checkpoint. */
static int take_tensors(struct opening *o, const struct safetensors *st, uint32_t file,
                        struct prep_error *err)
{
    struct checkpoint *c = o->c;
    size_t bytes = 0;
    for (size_t k = 0; k < st->n_tensors; k++)
        bytes += strlen(st->tensors[k].name) + 1;
    char *names = arena_alloc(&c->arena, bytes, err);
    if (!names || reserve(o, st->n_tensors, err))
        return -1;
    for (size_t k = 0; k < st->n_tensors; k++) {
        struct checkpoint_tensor *t = &c->tensors[c->n_tensors];
        size_t n = strlen(st->tensors[k].name);
        uint32_t old;
        *t = (struct checkpoint_tensor){.info = st->tensors[k], .file = file};
        t->info.name = memcpy(names, t->info.name, n + 1);
        names += n + 1;
        if (prep_add(&c->tensor_bytes, c->tensor_bytes, t->info.bytes))
            return prep_fail_tag(err, PREP_EDATA, "OVERFLOW", "%s: has more than 2^64 bytes",
                                 c->dir);
        if (name_table_add(&c->names, t->info.name, n, (uint32_t)c->n_tensors, &old, err))
            return -1;
        if (old != NAME_NONE)
            return stored_twice(c, t->info.name, c->tensors[old].file, file, err);
        c->n_tensors++;
    }
    return 0;
}

static int read_batch(struct opening *o, size_t n, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    if (prep_parallel_for(n, 0, read_shard, o, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct source_file *f = &c->files[o->first + i];
        struct shard *s = &o->batch[i];
        set_file(f, o->shards[o->first + i], f->path, &s->stat);
        f->header_hi = s->st.header_hash.hi;
        f->header_lo = s->st.header_hash.lo;
        warn_header(o, s, f->path);
        if (take_tensors(o, &s->st, (uint32_t)(o->first + i), err))
            return -1;
        arena_reset(&s->arena);
    }
    return 0;
}

static int read_shards(struct opening *o, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    /* Other files of the folder follow the shards. */
    c->files = arena_calloc(&c->arena, c->n_shards + o->n_listing, sizeof *c->files, err);
    if (!c->files)
        return -1;
    for (size_t i = 0; i < c->n_shards; i++) {
        c->files[i].path = io_join(&c->arena, c->dir, o->shards[i], err);
        if (!c->files[i].path)
            return -1;
    }
    for (; o->first < c->n_shards; o->first += BATCH) {
        size_t left = c->n_shards - o->first;
        if (read_batch(o, left < BATCH ? left : BATCH, err))
            return -1;
    }
    c->n_files = c->n_shards;
    return 0;
}

/* Index against shards */

static int no_such_tensor(struct opening *o, const char *name, size_t n, uint32_t shard,
                          uint32_t found, struct prep_error *err)
{
    const struct checkpoint *c = o->c;
    if (n > SHOWN)
        n = SHOWN;
    if (found == NAME_NONE)
        return prep_fail_tag(err, PREP_EDATA, "INDEX_MISMATCH",
                             "%s: tensor %.*s is not in %s, where the index has it", o->index_path,
                             (int)n, name, c->files[shard].name);
    return prep_fail_tag(err, PREP_EDATA, "INDEX_MISMATCH",
                         "%s: tensor %.*s is in %s, the index has it in %s", o->index_path, (int)n,
                         name, c->files[c->tensors[found].file].name, c->files[shard].name);
}

static int is_tensor(const struct checkpoint *c, size_t i, const char *name, size_t n)
{
    return i < c->n_tensors && strlen(c->tensors[i].info.name) == n &&
           memcmp(c->tensors[i].info.name, name, n) == 0;
}

/* The first tensor that no entry names. */
static int not_in_index(struct opening *o, struct prep_error *err)
{
    const struct checkpoint *c = o->c;
    const struct json *doc = &o->index.doc;
    unsigned char *seen = arena_calloc(&o->scratch, c->n_tensors, 1, err);
    if (!seen)
        return -1;
    uint32_t k = json_first(doc, o->index.weight_map);
    for (; k != JSON_NONE; k = json_next(doc, json_next(doc, k))) {
        size_t n;
        const char *name = json_string(doc, k, &o->scratch, &n, err);
        if (!name)
            return -1;
        seen[name_table_get(&c->names, name, n)] = 1;
    }
    size_t i = 0;
    while (seen[i])
        i++;
    return prep_fail_tag(err, PREP_EDATA, "INDEX_MISMATCH",
                         "%s: does not name tensor %.*s of %s, want every tensor", o->index_path,
                         SHOWN, c->tensors[i].info.name, c->files[c->tensors[i].file].name);
}

/*
 * Every entry names a tensor of its shard; names being unique on both sides, equal counts then
 * say that every tensor is named. Where the index has the order of the files, as writers like
 * it, the entry is the next tensor and needs no look-up.
 */
static int check_index(struct opening *o, struct prep_error *err)
{
    const struct checkpoint *c = o->c;
    const struct json *doc = &o->index.doc;
    size_t next = 0;
    uint32_t k = json_first(doc, o->index.weight_map);
    for (size_t i = 0; k != JSON_NONE; i++, k = json_next(doc, json_next(doc, k))) {
        const struct json_node *key = &doc->nodes[k];
        const char *name = doc->text + key->start + 1;
        size_t n = key->end - key->start - 2;
        if (key->escaped && !(name = json_string(doc, k, &o->scratch, &n, err)))
            return -1;
        uint32_t found = (uint32_t)next;
        if (!is_tensor(c, next, name, n))
            found = name_table_get(&c->names, name, n);
        uint32_t shard = o->index.shard_of[i];
        if (found == NAME_NONE || c->tensors[found].file != shard)
            return no_such_tensor(o, name, n, shard, found, err);
        next = (size_t)found + 1;
    }
    return o->index.n_entries < c->n_tensors ? not_in_index(o, err) : 0;
}

static int is_usual_name(const char *name)
{
    static const char pattern[] = "model-#####-of-#####.safetensors";
    if (strcmp(name, HF_SINGLE_NAME) == 0)
        return 1;
    if (strlen(name) != strlen(pattern))
        return 0;
    for (size_t i = 0; pattern[i]; i++) {
        int digit = name[i] >= '0' && name[i] <= '9';
        if (pattern[i] == '#' ? !digit : name[i] != pattern[i])
            return 0;
    }
    return 1;
}

static void warn_index(struct opening *o)
{
    const struct checkpoint *c = o->c;
    unsigned long long told = o->index.total_size, found = c->tensor_bytes;
    if (o->index.total_size_kind == HF_TOTAL_SIZE_MISSING)
        report_warn(o->report, "TOTAL_SIZE_MISSING", "%s: has no total_size, the tensors have %llu",
                    o->index_path, found);
    else if (told != found)
        report_warn(o->report, "TOTAL_SIZE", "%s: total_size is %llu, the tensors have %llu",
                    o->index_path, told, found);
    if (o->index.total_size_kind == HF_TOTAL_SIZE_FLOAT)
        report_warn(o->report, "TOTAL_SIZE_FLOAT", "%s: total_size %llu is written as a float",
                    o->index_path, told);
    for (size_t i = 0; i < c->n_shards; i++) {
        if (!is_usual_name(c->files[i].name)) {
            report_warn(o->report, "SHARD_NAMING",
                        "%s: is not called model-NNNNN-of-NNNNN.safetensors", c->files[i].path);
            return;
        }
    }
}

/* The other files of the folder */

static int is_own_shard(const struct opening *o, const char *name)
{
    return bsearch(name, o->shards, o->c->n_shards, sizeof *o->shards, by_name) != NULL;
}

static int add_other_file(struct opening *o, const char *name, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    struct io_stat st;
    if (name[0] == '.' || ends_with(name, ".partial") || is_own_shard(o, name))
        return 0;
    const char *path = io_join(&c->arena, c->dir, name, err);
    if (!path)
        return -1;
    int sys = c->io->stat(c->io->self, path, &st);
    if (sys == -ENOENT || sys == -ELOOP) {
        report_warn(o->report, "DANGLING_LINK", "%s: is a link to nothing: left out", path);
        return 0;
    }
    if (sys < 0)
        return prep_fail_sys(err, PREP_ENOINPUT, -sys, "%s: cannot stat", path);
    if (st.kind != IO_REGULAR)
        return 0;
    if (hf_is_shard_name(name, strlen(name))) {
        report_warn(o->report, "STRAY_SHARD", "%s: is no shard of this checkpoint: left out", path);
        return 0;
    }
    set_file(&c->files[c->n_files++], strrchr(path, '/') + 1, path, &st);
    return 0;
}

static int add_other_files(struct opening *o, struct prep_error *err)
{
    for (size_t i = 0; i < o->n_listing; i++)
        if (add_other_file(o, o->listing[i], err))
            return -1;
    return 0;
}

/* The door */

static int open_folder(struct opening *o, const char *path, struct prep_error *err)
{
    struct checkpoint *c = o->c;
    if (hub_resolve(c->io, path, &c->arena, &c->dir, &c->revision, err) ||
        io_list_sorted(c->io, c->dir, &o->scratch, &o->listing, &o->n_listing, err) ||
        find_shards(o, err) || read_shards(o, err))
        return -1;
    if (!c->single_file && !o->shards_only) {
        if (check_index(o, err))
            return -1;
        warn_index(o);
    }
    return add_other_files(o, err);
}

static int open_checkpoint(struct checkpoint **ckpt, const struct io *io, const char *path,
                           int shards_only, struct report *report, struct prep_error *err)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    *ckpt = NULL;
    if (!c)
        return prep_fail(err, PREP_ENOMEM, "out of memory opening %s", path);
    c->io = io;
    arena_init(&c->arena, 0);
    struct opening o = {.c = c, .report = report, .shards_only = shards_only};
    arena_init(&o.scratch, 0);
    int rc = open_folder(&o, path, err);
    for (size_t i = 0; i < BATCH; i++)
        arena_fini(&o.batch[i].arena);
    hf_index_free(&o.index);
    arena_fini(&o.scratch);
    if (rc) {
        checkpoint_close(c);
        return -1;
    }
    *ckpt = c;
    return 0;
}

int checkpoint_open(struct checkpoint **ckpt, const struct io *io, const char *path,
                    struct report *report, struct prep_error *err)
{
    return open_checkpoint(ckpt, io, path, 0, report, err);
}

int checkpoint_open_shards(struct checkpoint **ckpt, const struct io *io, const char *path,
                           struct report *report, struct prep_error *err)
{
    return open_checkpoint(ckpt, io, path, 1, report, err);
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    name_table_free(&c->names);
    free(c->tensors);
    arena_fini(&c->arena);
    free(c);
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    uint32_t i = name_table_get(&c->names, name, strlen(name));
    return i == NAME_NONE ? NULL : &c->tensors[i];
}

static int by_file_name(const void *key, const void *item)
{
    return strcmp(key, ((const struct source_file *)item)->name);
}

int checkpoint_file(const struct checkpoint *c, const char *name)
{
    /* Shards and other files are each sorted. */
    const struct source_file *f =
        bsearch(name, c->files, c->n_shards, sizeof *c->files, by_file_name);
    if (!f)
        f = bsearch(name, c->files + c->n_shards, c->n_files - c->n_shards, sizeof *c->files,
                    by_file_name);
    return f ? (int)(f - c->files) : -1;
}

int checkpoint_reopen(const struct checkpoint *c, const struct source_file *f, int *fd,
                      struct prep_error *err)
{
    struct io_stat st;
    if (io_open_read(c->io, f->path, fd, &st, err))
        return -1;
    if (st.size == f->bytes && st.mtime_ns == f->mtime_ns && st.dev == f->dev && st.ino == f->ino)
        return 0;
    io_close_read(c->io, *fd);
    *fd = -1;
    return prep_fail_tag(err, PREP_EDATA, "SOURCE_CHANGED",
                         "%s: changed while in use: has %llu bytes, had %llu", f->path,
                         (unsigned long long)st.size, (unsigned long long)f->bytes);
}

int checkpoint_read_file(const struct checkpoint *c, const char *name, struct arena *arena,
                         struct span *out, struct prep_error *err)
{
    int i = checkpoint_file(c, name);
    if (i < 0)
        return prep_fail(err, PREP_ENOINPUT, "%s/%s: does not exist", c->dir, name);
    return io_read_file(c->io, c->files[i].path, max_small_file, arena, out, err);
}

int checkpoint_is_index_fault(const struct prep_error *err)
{
    static const char *const tags[] = {"INDEX_MISMATCH", "NO_INDEX", "INDEX_JSON", "INDEX_TYPE"};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (strcmp(err->tag, tags[i]) == 0)
            return 1;
    return 0;
}

int checkpoint_read(const struct checkpoint *c, const struct checkpoint_tensor *t, uint64_t offset,
                    void *buf, size_t n, struct prep_error *err)
{
    const struct source_file *f = &c->files[t->file];
    int fd = -1;
    if (offset > t->info.bytes || n > t->info.bytes - offset)
        return prep_fail(err, PREP_EBUG, "%s: asked for bytes %llu to %llu of %llu", t->info.name,
                         (unsigned long long)offset, (unsigned long long)(offset + n),
                         (unsigned long long)t->info.bytes);
    if (checkpoint_reopen(c, f, &fd, err))
        return -1;
    int rc = io_read_exact(c->io, fd, buf, n, t->info.offset + offset, f->path, err);
    io_close_read(c->io, fd);
    return rc;
}
