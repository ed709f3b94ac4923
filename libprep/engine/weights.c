/* SPDX-License-Identifier: MIT */
/*
 * Slots are ABSENT, LOADING or HELD. Held slots are in a list from the least to the most recently
 * used. One lock guards everything; bytes are read without it.
 */
#include "libprep/engine/weights.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert/convert.h"
#include "kernels/ggml/ggml.h"
#include "libprep/base/pages.h"

enum { ALIGN = 64, LARGE = 1 << 17 };

enum slot_state { ABSENT, LOADING, HELD };

struct slot {
    struct weight w;
    uint64_t bytes; /* of the buffer */
    unsigned char *buffer;
    uint32_t older, newer; /* in the list, WEIGHT_NONE at its ends */
    uint32_t pins;
    unsigned char state;
    unsigned char awaited; /* announced and not yet used */
};

struct weights {
    struct source source;
    const struct convert_kernels *convert;
    struct slot *slots;
    size_t n, cap;
    uint64_t total, largest;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t limit, held, peak, read;
    int n_loading;
    uint32_t oldest, newest;
    uint32_t *queue; /* announced */
    size_t n_queue, at, cap_queue;
    uint32_t failed;           /* the module that the reader could not read ... */
    struct prep_error failure; /* ... and why */
    pthread_t thread;
    int started, stop;

    struct source_reader ahead; /* of the thread */
    struct source_reader now;   /* of the user */
    struct source_reader rows;  /* embeddings */
    unsigned char *row;
    size_t cap_row;
};

/* What malloc keeps of small modules is little. */
static unsigned char *buffer_new(uint64_t bytes)
{
    return bytes < LARGE ? aligned_alloc(ALIGN, bytes ? (size_t)bytes : ALIGN) : pages_take(bytes);
}

static void buffer_free(unsigned char *p, uint64_t bytes)
{
    if (bytes < LARGE)
        free(p);
    else
        pages_give(p, bytes);
}

int weights_new(struct weights **out, const struct source *source, struct prep_error *err)
{
    struct weights *w = calloc(1, sizeof *w);
    if (!w)
        return prep_fail(err, PREP_ENOMEM, "no memory for the table of weights");
    w->source = *source;
    w->convert = convert_kernels(N_ISA - 1);
    w->oldest = w->newest = w->failed = WEIGHT_NONE;
    w->limit = UINT64_MAX;
    source_reader_init(&w->ahead, &w->source);
    source_reader_init(&w->now, &w->source);
    source_reader_init(&w->rows, &w->source);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    *out = w;
    return 0;
}

void weights_free(struct weights *w)
{
    if (!w)
        return;
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->stop = 1;
        pthread_cond_broadcast(&w->changed);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    for (size_t i = 0; i < w->n; i++)
        buffer_free(w->slots[i].buffer, w->slots[i].bytes);
    source_reader_fini(&w->ahead);
    source_reader_fini(&w->now);
    source_reader_fini(&w->rows);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w->slots);
    free(w->queue);
    free(w->row);
    free(w);
}

/* Modules */

static uint64_t aligned(uint64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

struct weight weight_of(const struct linear *l)
{
    return (struct weight){.name = l->name, .linear = l, .count = l->out, .cols = l->in};
}

struct weight weight_of_slice(const struct linear_slice *s)
{
    return (struct weight){.name = s->linear.name,
                           .linear = &s->linear,
                           .slice = s,
                           .first = s->linear.first_row + s->lead_row,
                           .count = s->rows,
                           .lead_row = s->lead_row,
                           .lead_col = s->lead_col,
                           .cols = s->cols};
}

static uint64_t module_bytes(const struct weight *w)
{
    uint64_t sum = 0;
    if (!w->linear)
        return aligned(w->count * sizeof(float));
    for (int i = 0; i < w->linear->n_tensors; i++)
        sum += aligned(w->linear->tensors[i].info->bytes);
    return sum;
}

int weights_add(struct weights *w, const struct weight *module, uint32_t *id,
                struct prep_error *err)
{
    if (prep_grow(&w->slots, &w->cap, w->n, sizeof *w->slots, err))
        return -1;
    struct slot *s = &w->slots[w->n];
    *s = (struct slot){.w = *module, .older = WEIGHT_NONE, .newer = WEIGHT_NONE};
    s->bytes = module_bytes(module);
    w->total += s->bytes;
    if (s->bytes > w->largest)
        w->largest = s->bytes;
    *id = (uint32_t)w->n++;
    return 0;
}

const struct weight *weights_at(const struct weights *w, uint32_t id)
{
    return &w->slots[id].w;
}

uint32_t weights_count(const struct weights *w)
{
    return (uint32_t)w->n;
}

uint64_t weights_bytes(const struct weights *w, uint32_t id)
{
    return w->slots[id].bytes;
}

uint64_t weights_stored_bytes(const struct weights *w, uint32_t id)
{
    const struct weight *m = &w->slots[id].w;
    return m->linear ? linear_bytes(m->linear) : m->vector->bytes;
}

uint64_t weights_total(const struct weights *w)
{
    return w->total;
}

uint64_t weights_largest(const struct weights *w)
{
    return w->largest;
}

/* The list of held slots */

static void unlink_slot(struct weights *w, struct slot *s)
{
    if (s->older != WEIGHT_NONE)
        w->slots[s->older].newer = s->newer;
    else
        w->oldest = s->newer;
    if (s->newer != WEIGHT_NONE)
        w->slots[s->newer].older = s->older;
    else
        w->newest = s->older;
    s->older = s->newer = WEIGHT_NONE;
}

static void link_newest(struct weights *w, struct slot *s)
{
    const uint32_t id = (uint32_t)(s - w->slots);
    s->older = w->newest;
    s->newer = WEIGHT_NONE;
    if (w->newest != WEIGHT_NONE)
        w->slots[w->newest].newer = id;
    else
        w->oldest = id;
    w->newest = id;
}

/* The next to go: never one that is in use; one that is awaited only when `even_awaited`, and then
 * the one that was read last, which is needed last. */
static struct slot *victim(struct weights *w, int even_awaited)
{
    for (uint32_t i = w->oldest; i != WEIGHT_NONE; i = w->slots[i].newer)
        if (w->slots[i].pins == 0 && !w->slots[i].awaited)
            return &w->slots[i];
    for (uint32_t i = w->newest; even_awaited && i != WEIGHT_NONE; i = w->slots[i].older)
        if (w->slots[i].pins == 0)
            return &w->slots[i];
    return NULL;
}

/* Take the slot's buffer from it. */
static unsigned char *evict(struct weights *w, struct slot *s)
{
    unsigned char *buffer = s->buffer;
    unlink_slot(w, s);
    s->buffer = NULL;
    s->state = ABSENT;
    s->awaited = 0;
    w->held -= s->bytes;
    return buffer;
}

/*
 * Drop others until `bytes` more are within the bound. *buffer becomes that of a dropped module of
 * the same size, which most are. -1 when nothing more can be dropped.
 */
static int make_room(struct weights *w, uint64_t bytes, int even_awaited, unsigned char **buffer)
{
    while (w->held > w->limit || bytes > w->limit - w->held) {
        struct slot *s = victim(w, even_awaited);
        if (!s)
            return -1;
        const int same = s->bytes == bytes && !*buffer;
        unsigned char *p = evict(w, s);
        if (same)
            *buffer = p;
        else
            buffer_free(p, s->bytes);
    }
    return 0;
}

/* There may be room for what it has to read. The user waits for nothing while it calls. */
static void wake_reader(struct weights *w)
{
    if (w->at < w->n_queue)
        pthread_cond_broadcast(&w->changed);
}

void weights_limit(struct weights *w, uint64_t bytes)
{
    unsigned char *none = NULL; /* no module has 0 bytes, so it stays so */
    pthread_mutex_lock(&w->lock);
    w->limit = bytes;
    (void)make_room(w, 0, 1, &none);
    wake_reader(w);
    pthread_mutex_unlock(&w->lock);
}

/* Reading */

/* Widen n stored values to F32. */
static int widen(const struct convert_kernels *k, float *out, const unsigned char *bytes, size_t n,
                 const struct tensor_info *info, struct prep_error *err)
{
    switch (info->dtype) {
    case DTYPE_F32:
        memcpy(out, bytes, n * sizeof(float));
        return 0;
    case DTYPE_BF16:
        k->bf16_to_f32(out, bytes, n);
        return 0;
    case DTYPE_F16:
        k->f16_to_f32(out, bytes, n);
        return 0;
    default:
        return prep_fail_tag(err, PREP_EDATA, "TENSOR_DTYPE", "%s: %s, want BF16, F16 or F32",
                             info->name, dtype_name((enum dtype)info->dtype));
    }
}

static int load_vector(const struct convert_kernels *k, struct source_reader *r, struct slot *s,
                       struct prep_error *err)
{
    const struct tensor_info *info = s->w.vector;
    unsigned char *stored = malloc(info->bytes + 1);
    if (!stored)
        return prep_fail(err, PREP_ENOMEM, "%s: no memory", s->w.name);
    float *values = (float *)(void *)s->buffer;
    int rc = source_read(r, s->w.tensor, 0, stored, info->bytes, err) ||
             widen(k, values, stored, s->w.count, info, err);
    free(stored);
    s->w.values = values;
    return rc ? -1 : 0;
}

static int load_linear(struct source_reader *r, struct slot *s, struct prep_error *err)
{
    unsigned char *p = s->buffer;
    for (int i = 0; i < s->w.linear->n_tensors; i++) {
        const struct linear_tensor *t = &s->w.linear->tensors[i];
        const uint64_t n = t->info->bytes;
        if (s->w.slice ? source_read_pieces(r, t->index, &s->w.slice->pieces[i], p, err)
                       : source_read(r, t->index, 0, p, n, err))
            return -1;
        s->w.parts[i] = (struct span){p, n};
        p += aligned(n);
    }
    return 0;
}

/* Called and left with the lock held; room has been made. Takes the buffer over. */
static int load(struct weights *w, struct slot *s, struct source_reader *r, unsigned char *buffer,
                struct prep_error *err)
{
    const uint64_t before = r->read_bytes;
    s->state = LOADING;
    w->n_loading++;
    w->held += s->bytes;
    if (w->held > w->peak)
        w->peak = w->held;
    pthread_mutex_unlock(&w->lock);
    s->buffer = buffer ? buffer : buffer_new(s->bytes);
    int rc = -1;
    if (!s->buffer)
        prep_fail(err, PREP_ENOMEM, "%s: no memory for %llu bytes", s->w.name,
                  (unsigned long long)s->bytes);
    else
        rc = s->w.linear ? load_linear(r, s, err) : load_vector(w->convert, r, s, err);
    pthread_mutex_lock(&w->lock);
    w->n_loading--;
    w->read += r->read_bytes - before;
    s->state = ABSENT;
    if (rc) {
        buffer_free(s->buffer, s->bytes);
        s->buffer = NULL;
        w->held -= s->bytes;
    } else {
        s->state = HELD;
        link_newest(w, s);
    }
    pthread_cond_broadcast(&w->changed);
    return rc;
}

/* The reader: what is announced, as far as there is room without dropping what is awaited. */

static int read_next(struct weights *w)
{
    struct slot *s = &w->slots[w->queue[w->at]];
    unsigned char *buffer = NULL;
    if (s->state == ABSENT) {
        if (make_room(w, s->bytes, 0, &buffer)) {
            buffer_free(buffer, s->bytes);
            return -1;
        }
        s->awaited = 1;
        const uint32_t id = w->queue[w->at++];
        struct prep_error err = PREP_ERROR_INIT;
        if (load(w, s, &w->ahead, buffer, &err)) {
            w->failed = id;
            w->failure = err;
        }
        return 0;
    }
    w->at++;
    return 0;
}

static void *read_ahead(void *arg)
{
    struct weights *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        const int idle = w->at == w->n_queue || w->failed != WEIGHT_NONE;
        if (idle || read_next(w))
            pthread_cond_wait(&w->changed, &w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Held ones are kept for their turn, too. */
static int announce(struct weights *w, const uint32_t *ids, size_t n, struct prep_error *err)
{
    for (size_t i = 0; i < w->n_queue; i++)
        w->slots[w->queue[i]].awaited = 0;
    w->at = w->n_queue = 0;
    w->failed = WEIGHT_NONE;
    for (size_t i = 0; i < n; i++) {
        if (prep_grow(&w->queue, &w->cap_queue, w->n_queue, sizeof *w->queue, err))
            return -1;
        w->queue[w->n_queue++] = ids[i];
        w->slots[ids[i]].awaited = w->slots[ids[i]].state == HELD;
    }
    while (w->at < w->n_queue && w->slots[w->queue[w->at]].state == HELD)
        w->at++;
    if (!w->started && w->at < w->n_queue && !pthread_create(&w->thread, NULL, read_ahead, w))
        w->started = 1;
    wake_reader(w);
    return 0;
}

int weights_announce(struct weights *w, const uint32_t *ids, size_t n, struct prep_error *err)
{
    pthread_mutex_lock(&w->lock);
    int rc = w->held == w->total && w->n_queue == w->at ? 0 : announce(w, ids, n, err);
    pthread_mutex_unlock(&w->lock);
    return rc;
}

/*
 * With the lock held: makes the slot HELD, by this thread's doing or the reader's. Whatever was
 * waited for, the reader may have brought the slot itself meanwhile.
 */
static int bring(struct weights *w, struct slot *s, struct prep_error *err)
{
    unsigned char *buffer = NULL;
    int rc = -1;
    for (;;) {
        if (s->state == HELD) {
            rc = 0;
            break;
        }
        if (w->failed == (uint32_t)(s - w->slots)) {
            *err = err->code == PREP_OK ? w->failure : *err;
            break;
        }
        /* What cannot go is in use, or on its way in. */
        if (s->state == ABSENT && (!make_room(w, s->bytes, 1, &buffer) || w->n_loading == 0))
            return load(w, s, &w->now, buffer, err);
        pthread_cond_wait(&w->changed, &w->lock);
    }
    buffer_free(buffer, s->bytes);
    return rc;
}

int weights_get(struct weights *w, uint32_t id, const struct weight **module,
                struct prep_error *err)
{
    struct slot *s = &w->slots[id];
    pthread_mutex_lock(&w->lock);
    int rc = bring(w, s, err);
    if (rc == 0) {
        s->pins++;
        s->awaited = 0;
        unlink_slot(w, s);
        link_newest(w, s);
        *module = &s->w;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

void weights_put(struct weights *w, uint32_t id)
{
    unsigned char *none = NULL;
    pthread_mutex_lock(&w->lock);
    w->slots[id].pins--;
    (void)make_room(w, 0, 0, &none);
    wake_reader(w);
    pthread_mutex_unlock(&w->lock);
}

int weights_read_row(struct weights *w, uint32_t tensor, uint64_t row, float *out,
                     struct prep_error *err)
{
    const struct tensor_info *info = source_info(&w->source, tensor);
    const size_t n = (size_t)(info->bytes / info->shape[0]);
    if (n > w->cap_row) {
        free(w->row);
        w->cap_row = 0;
        w->row = malloc(n);
        if (!w->row)
            return prep_fail(err, PREP_ENOMEM, "%s: no memory for a row", info->name);
        w->cap_row = n;
    }
    if (info->ggml) {
        const struct ggml_codec *codec = ggml_codec(cpu_isa(), info->ggml - 1u);
        if (source_read(&w->rows, tensor, row * n, w->row, n, err))
            return -1;
        codec->dequantize_rows(out, w->row, 1, (size_t)info->shape[1]);
        return 0;
    }
    return source_read(&w->rows, tensor, row * n, w->row, n, err) ||
                   widen(w->convert, out, w->row, (size_t)info->shape[1], info, err)
               ? -1
               : 0;
}

void weights_stats(struct weights *w, struct weights_stats *out)
{
    pthread_mutex_lock(&w->lock);
    *out = (struct weights_stats){w->read + w->rows.read_bytes, w->held, w->peak};
    pthread_mutex_unlock(&w->lock);
}
