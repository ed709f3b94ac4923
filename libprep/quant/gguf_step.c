/* SPDX-License-Identifier: MIT */
#include "libprep/quant/gguf_step.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kernels/convert/convert.h"

enum { CHUNK_BYTES = 1 << 20, CHUNK_ROWS = 256 };

/* ---- memory ---- */

static uint64_t align64(uint64_t n)
{
    return (n + 63) / 64 * 64;
}

static uint64_t chunk_rows(const struct linear *l)
{
    uint64_t n = CHUNK_BYTES / (4 * l->in);
    return n < 1 ? 1 : n > CHUNK_ROWS ? CHUNK_ROWS : n;
}

static const struct gguf_target *target_of(const struct gguf_unit *u, int half)
{
    /* The values of kv_b_proj are a target of their own, elsewhere in the order. */
    const struct gguf_target *t = &u->work->map->targets[u->target];
    if (half != GGUF_V_B)
        return t;
    char name[GGUF_NAME_BYTES];
    return gguf_map_find(u->work->map, gguf_name(&t->spec, GGUF_V_B, name));
}

static size_t index_of(const struct gguf_unit *u, const struct gguf_target *t)
{
    return (size_t)(t - u->work->map->targets);
}

static const struct gguf_weights *weights_of(const struct gguf_unit *u, const struct gguf_target *t)
{
    const struct gguf_weights *w = u->work->weights ? &u->work->weights[index_of(u, t)] : NULL;
    return w && w->entry ? w : NULL;
}

uint64_t gguf_step_work_bytes(const struct gguf_unit *u)
{
    const struct gguf_target *t = target_of(u, GGUF_WHOLE);
    const struct linear *l = u->from;
    if (t->half != GGUF_K_B)
        return align64(4 * chunk_rows(l) * l->in) + align64(4 * l->in);
    const struct gguf_target *v = target_of(u, GGUF_V_B);
    const uint64_t head = l->out / t->slices * l->in; /* a head's keys and values */
    return align64(4 * head) + align64(4 * t->n_cols * t->dims[1]) +
           align64(4 * t->n_cols * t->slices) + align64(4 * v->n_cols * v->slices);
}

uint64_t gguf_unit_bytes(const struct gguf_work *w, const struct gguf_unit *u,
                         const struct gguf_target *t, enum ggml_type type)
{
    const struct ggml_type_info *info = ggml_type_info(type);
    (void)w;
    return (t->half == GGUF_WHOLE ? u->n : t->n_rows) * (t->n_cols / info->block) *
           info->block_bytes;
}

/* ---- values ---- */

/* Where in the source a target's rows lie, for messages. */
static int not_finite(const struct gguf_unit *u, const float *x, uint64_t n, uint64_t row,
                      struct prep_error *err)
{
    uint64_t at = 0;
    while (at < n && isfinite(x[at]))
        at++;
    return prep_fail_tag(err, PREP_EDATA, "NONFINITE",
                         "%s: row %" PRIu64 ", column %" PRIu64
                         " is no finite number; such weights cannot be quantized",
                         u->from->tensors[0].info->name, row + at / u->from->in, at % u->from->in);
}

static int all_finite(const float *x, uint64_t n)
{
    uint32_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static void widen(const struct gguf_work *w, enum dtype dtype, float *dst, const unsigned char *src,
                  size_t n)
{
    if (dtype == DTYPE_F32)
        memcpy(dst, src, 4 * n);
    else if (dtype == DTYPE_F16)
        w->decode.convert->f16_to_f32(dst, src, n);
    else
        w->decode.convert->bf16_to_f32(dst, src, n);
}

/* Rows of a plain source, of which the inputs are runs of rows (of a vector: of values); row counts
 * from the first of the unit. */
static void read_plain(const struct gguf_unit *u, const struct step_memory *m, float *dst,
                       uint64_t row, uint64_t n)
{
    const enum dtype dtype = (enum dtype)u->from->tensors[0].info->dtype;
    const uint64_t size = dtype == DTYPE_F32 ? 4 : 2;
    uint64_t skip = row * u->from->in, left = n * u->from->in;
    for (uint32_t i = 0; i < u->n_inputs && left; i++) {
        const uint64_t have = m->inputs[i].n / size;
        if (skip >= have) {
            skip -= have;
            continue;
        }
        const uint64_t take = have - skip < left ? have - skip : left;
        widen(u->work, dtype, dst, m->inputs[i].p + skip * size, (size_t)take);
        dst += take;
        left -= take;
        skip = 0;
    }
}

/* Rows [row, row + n) of the unit as F32, all finite. */
static int read_rows(const struct gguf_unit *u, const struct step_memory *m, float *dst,
                     uint64_t row, uint64_t n, struct prep_error *err)
{
    if (u->from->form == LINEAR_PLAIN) {
        read_plain(u, m, dst, row, n);
    } else {
        const struct linear_rows want = {.first = u->first + row, .n = n, .f32 = dst};
        if (linear_decode_rows(u->from, &u->work->decode, m->inputs, &want, err))
            return -1;
    }
    if (!all_finite(dst, n * u->from->in))
        return not_finite(u, dst, n * u->from->in, u->first + row, err);
    return 0;
}

/* ---- weights ---- */

/* The means of one slice, from the bytes of its sums. */
static int read_weights(float *dst, struct span sums, float count, uint64_t n, const char *name,
                        struct prep_error *err)
{
    const float *v = (const float *)(const void *)sums.p; /* aligned, plan.h */
    if (sums.n != 4 * n)
        return prep_fail(err, PREP_EBUG, "%s: %zu bytes of weights", name, sums.n);
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(v[i]) || v[i] < 0)
            return prep_fail_tag(err, PREP_EDATA, "IMATRIX_VALUE",
                                 "%s: value %" PRIu64
                                 " of the importance matrix is %g, want finite and not negative",
                                 name, i, (double)v[i]);
    imatrix_mean(dst, v, n, count);
    return 0;
}

static float count_of(const struct gguf_weights *w, uint64_t slice)
{
    const uint64_t s = w->slice_of ? (uint64_t)w->slice_of[slice] : slice;
    return w->entry->counts[w->entry->slices == 1 ? 0 : s];
}

/* All slices of an attn_k_b or attn_v_b. */
static int read_head_weights(const struct gguf_unit *u, const struct gguf_target *t, float *dst,
                             struct span sums, struct prep_error *err)
{
    const struct gguf_weights *w = weights_of(u, t);
    if (sums.n != 4 * t->n_cols * t->slices)
        return prep_fail(err, PREP_EBUG, "%s: %zu bytes of weights", t->name, sums.n);
    for (uint64_t s = 0; s < t->slices; s++) {
        const struct span one = {sums.p + 4 * t->n_cols * s, 4 * (size_t)t->n_cols};
        if (read_weights(dst + t->n_cols * s, one, count_of(w, s), t->n_cols, t->name, err))
            return -1;
    }
    return 0;
}

/* ---- writing ---- */

/* Rungs that this run does not write are not computed. */
static int wanted(const struct step_memory *m, size_t output)
{
    return !m->wanted || m->wanted[output];
}

/* n rows of a target in a file's type. */
static int write_rows(const struct gguf_unit *u, const struct gguf_target *t, enum ggml_type type,
                      unsigned char *dst, const float *src, uint64_t n, const float *weights,
                      struct prep_error *err)
{
    if (type == GGML_F32) {
        memcpy(dst, src, 4 * (size_t)(n * t->n_cols));
        return 0;
    }
    const struct ggml_codec *codec = ggml_codec(u->work->isa, type);
    if (!codec)
        return prep_fail(err, PREP_EBUG, "%s: nothing writes type %d", t->name, (int)type);
    codec->quantize_rows(dst, src, (size_t)n, (size_t)t->n_cols, codec->weighted ? weights : NULL);
    const size_t blocks = (size_t)(n * (t->n_cols / codec->block));
    const size_t bad = ggml_first_bad(codec, dst, blocks);
    if (bad == blocks)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "GGML_SCALE",
                         "%s (from %s): block %zu of a piece: values too large for %s", t->name,
                         u->from->tensors[0].info->name, bad, ggml_type_info(type)->name);
}

static int make_matrix(const struct gguf_unit *u, const struct step_memory *m,
                       struct prep_error *err)
{
    const struct gguf_target *t = target_of(u, GGUF_WHOLE);
    const struct gguf_weights *w = weights_of(u, t);
    const uint64_t chunk = chunk_rows(u->from);
    float *rows = m->work;
    float *weights = (float *)(void *)((unsigned char *)m->work + align64(4 * chunk * u->from->in));
    if (w && read_weights(weights, m->inputs[u->n_inputs], count_of(w, u->slice), t->n_cols,
                          t->name, err))
        return -1;
    for (uint64_t row = 0; row < u->n; row += chunk) {
        const uint64_t n = u->n - row < chunk ? u->n - row : chunk;
        if (read_rows(u, m, rows, row, n, err))
            return -1;
        for (size_t f = 0; f < u->work->n_files; f++) {
            const enum ggml_type type = u->work->types[f][u->target];
            const struct ggml_type_info *info = ggml_type_info(type);
            unsigned char *dst =
                m->outputs[f] + row * (t->n_cols / info->block) * info->block_bytes;
            if (wanted(m, f) && write_rows(u, t, type, dst, rows, n, w ? weights : NULL, err))
                return -1;
        }
    }
    return 0;
}

/* Rows [nope][kv] become rows [kv][nope]. */
static void transpose(float *dst, const float *src, uint64_t rows, uint64_t cols)
{
    enum { TILE = 16 };
    for (uint64_t r = 0; r < rows; r += TILE)
        for (uint64_t c = 0; c < cols; c++)
            for (uint64_t i = r; i < r + TILE && i < rows; i++)
                dst[c * rows + i] = src[i * cols + c];
}

struct heads {
    const struct gguf_target *k, *v;
    float *rows, *turned, *k_weights, *v_weights; /* the last two NULL without weights */
};

static int write_head(const struct gguf_unit *u, const struct heads *h, const struct step_memory *m,
                      uint64_t head, struct prep_error *err)
{
    const struct gguf_target *k = h->k, *v = h->v;
    for (size_t f = 0; f < u->work->n_files; f++) {
        const enum ggml_type kt = u->work->types[f][u->target];
        const enum ggml_type vt = u->work->types[f][index_of(u, v)];
        const uint64_t k_bytes = gguf_unit_bytes(u->work, u, k, kt) / k->slices;
        const uint64_t v_bytes = gguf_unit_bytes(u->work, u, v, vt) / v->slices;
        if (wanted(m, 2 * f) &&
            write_rows(u, k, kt, m->outputs[2 * f] + head * k_bytes, h->turned, k->dims[1],
                       h->k_weights ? h->k_weights + head * k->n_cols : NULL, err))
            return -1;
        if (wanted(m, 2 * f + 1) &&
            write_rows(u, v, vt, m->outputs[2 * f + 1] + head * v_bytes,
                       h->rows + k->n_cols * u->from->in, v->dims[1],
                       h->v_weights ? h->v_weights + head * v->n_cols : NULL, err))
            return -1;
    }
    return 0;
}

/* kv_b_proj: head by head, keys first. */
static int make_heads(const struct gguf_unit *u, const struct step_memory *m,
                      struct prep_error *err)
{
    struct heads h = {.k = target_of(u, GGUF_WHOLE), .v = target_of(u, GGUF_V_B)};
    const uint64_t per_head = u->from->out / h.k->slices;
    const struct gguf_weights *kw = weights_of(u, h.k), *vw = weights_of(u, h.v);
    unsigned char *at = m->work;
    uint32_t input = u->n_inputs;
    h.rows = (float *)(void *)at;
    at += align64(4 * per_head * u->from->in);
    h.turned = (float *)(void *)at;
    at += align64(4 * h.k->n_cols * h.k->dims[1]);
    if (kw) {
        h.k_weights = (float *)(void *)at;
        if (read_head_weights(u, h.k, h.k_weights, m->inputs[input++], err))
            return -1;
    }
    at += align64(4 * h.k->n_cols * h.k->slices);
    if (vw) {
        h.v_weights = (float *)(void *)at;
        if (read_head_weights(u, h.v, h.v_weights, m->inputs[input], err))
            return -1;
    }
    for (uint64_t head = 0; head < h.k->slices; head++) {
        if (read_rows(u, m, h.rows, head * per_head, per_head, err))
            return -1;
        transpose(h.turned, h.rows, h.k->n_cols, h.k->dims[1]);
        if (write_head(u, &h, m, head, err))
            return -1;
    }
    return 0;
}

int gguf_step(const struct step_memory *m, const void *unit, struct prep_error *err)
{
    const struct gguf_unit *u = unit;
    return target_of(u, GGUF_WHOLE)->half == GGUF_K_B ? make_heads(u, m, err)
                                                      : make_matrix(u, m, err);
}
