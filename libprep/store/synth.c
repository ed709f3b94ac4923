/* SPDX-License-Identifier: MIT */
#include "libprep/store/synth.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/store/synth_fs.h"

int synth_new(struct synth **out, const char *dir, struct prep_error *err)
{
    struct synth *s = calloc(1, sizeof *s);
    if (!s)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    s->io = synth_table;
    s->io.self = s;
    pthread_mutex_init(&s->lock, NULL);
    arena_init(&s->arena, 0);
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    s->dir = arena_strndup(&s->arena, dir, n, err);
    int rc = s->dir ? 0 : -1;
    for (size_t end = 1; end <= n && !rc; end++) {
        if (dir[end] != '/' && end != n)
            continue;
        struct synth_node *d = synth_add_node(s, dir, end, IO_DIRECTORY);
        if (!d)
            rc = prep_fail(err, PREP_ENOMEM, "out of memory");
        else
            d->source = end == n;
    }
    if (rc)
        synth_free(s);
    else
        *out = s;
    return rc;
}

void synth_free(struct synth *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_nodes; i++) {
        free(s->nodes[i]->kept);
        free(s->nodes[i]);
    }
    free(s->nodes);
    free(s->open);
    free(s->shards);
    arena_fini(&s->arena);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int add_source(struct synth *s, const char *name, struct synth_node **out,
                      struct prep_error *err)
{
    const char *path = io_join(&s->arena, s->dir, name, err);
    if (!path)
        return -1;
    if (synth_find(s, path, strlen(path)))
        return prep_fail(err, PREP_EBUG, "%s: added twice", path);
    struct synth_node *d = synth_add_node(s, path, strlen(path), IO_REGULAR);
    if (!d)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    d->source = 1;
    *out = d;
    return 0;
}

int synth_add_text(struct synth *s, const char *name, const void *bytes, size_t n,
                   struct prep_error *err)
{
    struct synth_node *d;
    if (add_source(s, name, &d, err))
        return -1;
    d->kept = malloc(n + 1);
    if (!d->kept)
        return prep_fail(err, PREP_ENOMEM, "out of memory for %s", name);
    if (n)
        memcpy(d->kept, bytes, n);
    d->n_kept = d->cap_kept = n;
    d->size = n;
    return 0;
}

int synth_add_shard(struct synth *s, const char *name, struct tensor_info *tensors, size_t n,
                    struct prep_error *err)
{
    if (prep_grow(&s->shards, &s->cap_shards, s->n_shards, sizeof *s->shards, err))
        return -1;
    struct synth_shard *shard = arena_calloc(&s->arena, 1, sizeof *shard, err);
    struct synth_node *d;
    if (!shard || synth_shard_init(shard, tensors, n, &s->arena, err) ||
        add_source(s, name, &d, err))
        return -1;
    shard->name = strrchr(d->path, '/') + 1;
    d->shard = shard;
    d->size = shard->bytes;
    s->shards[s->n_shards++] = shard;
    return 0;
}

int synth_add_index(struct synth *s, struct prep_error *err)
{
    struct json_out o;
    struct span text;
    uint64_t total = 0;
    for (size_t i = 0; i < s->n_shards; i++)
        total += s->shards[i]->bytes - s->shards[i]->header.n;
    json_out_init(&o, 2);
    json_out_open(&o, '{');
    json_out_key(&o, "metadata");
    json_out_open(&o, '{');
    json_out_key(&o, "total_size");
    json_out_u64(&o, total);
    json_out_close(&o);
    json_out_key(&o, "weight_map");
    json_out_open(&o, '{');
    for (size_t i = 0; i < s->n_shards; i++) {
        const struct synth_shard *shard = s->shards[i];
        for (size_t t = 0; t < shard->n_tensors; t++) {
            json_out_key(&o, shard->tensors[t].name);
            json_out_string(&o, shard->name);
        }
    }
    json_out_close(&o);
    json_out_close(&o);
    int rc = json_out_finish(&o, &text, err) ||
             synth_add_text(s, "model.safetensors.index.json", text.p, text.n, err);
    json_out_free(&o);
    return rc ? -1 : 0;
}

const struct io *synth_io(const struct synth *s)
{
    return &s->io;
}

void synth_watch(struct synth *s, synth_write_fn fn, void *arg)
{
    s->watch = fn;
    s->watch_arg = arg;
}

void synth_stats(struct synth *s, struct synth_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
}
