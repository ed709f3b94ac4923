/* SPDX-License-Identifier: MIT */
/*
 *   header | logsumexp F64 [S,N] | tail F64 [S,N] | top_logits F32 [S,N,K]
 *          | next_logits F32 [S,N-1] | top_ids I32 [S,N,K] | tokens I32 [S,N]
 */
#include "libprep/format/reference.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/forward/forward.h"
#include "libprep/numeric/elementary.h"
#include "libprep/numeric/kl_top.h"

enum { LOGSUMEXP, TAIL, TOP_LOGITS, NEXT_LOGITS, TOP_IDS, TOKENS, N_TENSORS };
enum { N_OWN = 11, HASHED_AT_ONCE = 1024 };
#define MAX_FILE (UINT64_C(1) << 40)
/* Rows as the writer makes them add up to 1 within 1e-12; F32 logits of another writer, far less.
 */
#define SUM_TOLERANCE 1e-6

static const struct {
    const char *name;
    enum dtype dtype;
} layout[N_TENSORS] = {
    [LOGSUMEXP] = {"logsumexp", DTYPE_F64},   [TAIL] = {"tail", DTYPE_F64},
    [TOP_LOGITS] = {"top_logits", DTYPE_F32}, [NEXT_LOGITS] = {"next_logits", DTYPE_F32},
    [TOP_IDS] = {"top_ids", DTYPE_I32},       [TOKENS] = {"tokens", DTYPE_I32},
};

#define bad(err, ...) prep_fail_tag((err), PREP_EDATA, "REFERENCE", __VA_ARGS__)

const char *reference_metadata(const struct reference *r, const char *key)
{
    for (size_t i = 0; i < r->n_metadata; i++)
        if (strcmp(r->metadata[i].key, key) == 0)
            return r->metadata[i].value;
    return NULL;
}

static void shape_of(struct tensor_info *t, int which, const struct reference *r)
{
    *t = (struct tensor_info){.name = layout[which].name,
                              .shape = {r->n_sequences, r->sequence},
                              .n_dims = 2,
                              .dtype = (uint8_t)layout[which].dtype};
    if (which == NEXT_LOGITS)
        t->shape[1]--;
    if (which == TOP_LOGITS || which == TOP_IDS) {
        t->shape[2] = r->top_k;
        t->n_dims = 3;
    }
}

uint64_t reference_memory(uint64_t n_sequences, uint64_t sequence, uint64_t vocab_size)
{
    uint64_t k = vocab_size < REFERENCE_TOP ? vocab_size : REFERENCE_TOP, rows, bytes;
    if (prep_mul(&rows, n_sequences, sequence) || prep_mul(&bytes, rows, 2 * (8 * k + 24)))
        return UINT64_MAX;
    return bytes;
}

/* Sizes are set; the arrays are made. */
static int make_arrays(struct reference *r, struct arena *arena, struct prep_error *err)
{
    const size_t rows = (size_t)(r->n_sequences * r->sequence);
    r->tokens = arena_calloc(arena, rows, sizeof *r->tokens, err);
    r->logsumexp = arena_calloc(arena, rows, sizeof *r->logsumexp, err);
    r->tail = arena_calloc(arena, rows, sizeof *r->tail, err);
    r->next_logits = arena_calloc(arena, rows, sizeof *r->next_logits, err);
    r->top_ids = arena_calloc(arena, rows * r->top_k, sizeof *r->top_ids, err);
    r->top_logits = arena_calloc(arena, rows * r->top_k, sizeof *r->top_logits, err);
    return r->tokens && r->logsumexp && r->tail && r->next_logits && r->top_ids && r->top_logits
               ? 0
               : -1;
}

static int is_possible(uint64_t n_sequences, uint64_t sequence, uint64_t vocab_size)
{
    return n_sequences > 0 && n_sequences <= INT32_MAX && sequence > 1 && sequence <= INT32_MAX &&
           vocab_size > 1 && vocab_size <= REFERENCE_MAX_VOCAB &&
           reference_memory(n_sequences, sequence, vocab_size) <= MAX_FILE;
}

int reference_init(struct reference *r, const uint32_t *tokens, uint64_t n_sequences,
                   uint64_t sequence, uint64_t vocab_size, struct arena *arena,
                   struct prep_error *err)
{
    *r = (struct reference){.n_sequences = n_sequences, .sequence = sequence};
    if (!is_possible(n_sequences, sequence, vocab_size))
        return prep_fail(err, PREP_EUSAGE,
                         "a reference of %" PRIu64 " sequences of %" PRIu64
                         " tokens out of %" PRIu64
                         ": want at least 1, 2 and 2, and less than 1 TiB",
                         n_sequences, sequence, vocab_size);
    r->vocab_size = (uint32_t)vocab_size;
    r->top_k = vocab_size < REFERENCE_TOP ? (uint32_t)vocab_size : REFERENCE_TOP;
    if (make_arrays(r, arena, err))
        return -1;
    memcpy(r->tokens, tokens, (size_t)(n_sequences * sequence) * sizeof *tokens);
    return 0;
}

/* ---- rows ---- */

static void sort_row(uint32_t *ids, const float *logits, size_t k)
{
    /* Insertion: k is small, and equal logits stay in the order of their ids. */
    for (size_t i = 1; i < k; i++) {
        const uint32_t id = ids[i];
        size_t j = i;
        for (; j > 0 && logits[ids[j - 1]] < logits[id]; j--)
            ids[j] = ids[j - 1];
        ids[j] = id;
    }
}

int reference_set_row(struct reference *r, const struct logits_kernels *k, uint64_t s, uint64_t at,
                      const float *logits, struct prep_error *err)
{
    const size_t row = (size_t)(s * r->sequence + at), n = r->top_k;
    uint32_t *ids = r->top_ids + row * n;
    for (uint32_t i = 0; i < r->vocab_size; i++)
        if (!isfinite(logits[i]))
            return prep_fail_tag(err, PREP_EDATA, "NONFINITE",
                                 "sequence %" PRIu64 ", position %" PRIu64
                                 ": the logit of token %" PRIu32 " is %g",
                                 s, at, i, (double)logits[i]);
    const double max = (double)k->max(logits, r->vocab_size);
    const double all = k->sum_exp(logits, max, r->vocab_size);
    forward_kernels(cpu_isa())->top_k(ids, logits, r->vocab_size, n);
    r->logsumexp[row] = max + prep_log(all);
    r->tail[row] = kl_sum_outside(k, logits, max, r->vocab_size, ids, n) / all;
    sort_row(ids, logits, n);
    for (size_t i = 0; i < n; i++)
        r->top_logits[row * n + i] = logits[ids[i]];
    if (at + 1 < r->sequence)
        r->next_logits[s * (r->sequence - 1) + at] = logits[r->tokens[row + 1]];
    return 0;
}

struct reference_row reference_row(const struct reference *r, uint64_t s, uint64_t at)
{
    const size_t row = (size_t)(s * r->sequence + at), k = r->top_k;
    struct reference_row out = {.token = r->tokens[row],
                                .ids = r->top_ids + row * k,
                                .logits = r->top_logits + row * k,
                                .logsumexp = r->logsumexp[row],
                                .tail = r->tail[row],
                                .has_next = at + 1 < r->sequence};
    if (out.has_next) {
        out.next_token = r->tokens[row + 1];
        out.next_logit = r->next_logits[s * (r->sequence - 1) + at];
    }
    return out;
}

/* ---- writing ---- */

static void tokens_sha256(const struct reference *r, char hex[SHA256_HEX])
{
    unsigned char bytes[4 * HASHED_AT_ONCE], digest[SHA256_BYTES];
    struct sha256 h;
    sha256_init(&h);
    for (uint64_t at = 0, n, all = r->n_sequences * r->sequence; at < all; at += n) {
        n = all - at < HASHED_AT_ONCE ? all - at : HASHED_AT_ONCE;
        for (size_t i = 0; i < n; i++)
            store_le32(bytes + 4 * i, r->tokens[at + i]);
        sha256_update(&h, bytes, 4 * (size_t)n);
    }
    sha256_final(&h, digest);
    sha256_to_hex(digest, hex);
}

static void put_f32(unsigned char *p, const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &v[i], sizeof u);
        store_le32(p + 4 * i, u);
    }
}

static void put_f64(unsigned char *p, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t u;
        memcpy(&u, &v[i], sizeof u);
        store_le64(p + 8 * i, u);
    }
}

static void put_u32(unsigned char *p, const uint32_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        store_le32(p + 4 * i, v[i]);
}

static void put_data(unsigned char *file, const struct tensor_info t[N_TENSORS],
                     const struct reference *r)
{
    const size_t rows = (size_t)(r->n_sequences * r->sequence);
    put_f64(file + t[LOGSUMEXP].offset, r->logsumexp, rows);
    put_f64(file + t[TAIL].offset, r->tail, rows);
    put_f32(file + t[TOP_LOGITS].offset, r->top_logits, rows * r->top_k);
    put_f32(file + t[NEXT_LOGITS].offset, r->next_logits, rows - (size_t)r->n_sequences);
    put_u32(file + t[TOP_IDS].offset, r->top_ids, rows * r->top_k);
    put_u32(file + t[TOKENS].offset, r->tokens, rows);
}

static int own_metadata(struct metadata_pair out[N_OWN], const struct reference *r,
                        struct arena *arena, struct prep_error *err)
{
    char hex[SHA256_HEX];
    tokens_sha256(r, hex);
    const struct metadata_pair own[N_OWN] = {
        {"format", "prep-reference"},
        {"version", "1"},
        {"model_shape", r->identity.shape},
        {"final_norm_sha256", r->identity.final_norm_sha256},
        {"tokenizer_sha256", r->identity.tokenizer_sha256},
        {"text_sha256", arena_strndup(arena, hex, SHA256_HEX - 1, err)},
        {"vocab_size", arena_printf(arena, err, "%" PRIu32, r->vocab_size)},
        {"top_k", arena_printf(arena, err, "%" PRIu32, r->top_k)},
        {"sequences", arena_printf(arena, err, "%" PRIu64, r->n_sequences)},
        {"sequence", arena_printf(arena, err, "%" PRIu64, r->sequence)},
        {"tokens", arena_printf(arena, err, "%" PRIu64, r->n_sequences * r->sequence)},
    };
    memcpy(out, own, sizeof own);
    for (size_t i = 0; i < N_OWN; i++)
        if (!own[i].value)
            return -1;
    return 0;
}

int reference_write(struct span *out, const struct reference *r, struct arena *arena,
                    struct prep_error *err)
{
    struct tensor_info tensors[N_TENSORS];
    struct span header;
    struct metadata_pair *metadata =
        arena_calloc(arena, r->n_metadata + N_OWN, sizeof *metadata, err);
    if (!metadata || own_metadata(metadata, r, arena, err))
        return -1;
    if (r->n_metadata)
        memcpy(metadata + N_OWN, r->metadata, r->n_metadata * sizeof *metadata);
    for (int i = 0; i < N_TENSORS; i++) {
        shape_of(&tensors[i], i, r);
        if (tensor_bytes(layout[i].dtype, tensors[i].shape, tensors[i].n_dims, &tensors[i].bytes))
            return prep_fail(err, PREP_EBUG, "%s: too many rows", layout[i].name);
    }
    if (safetensors_layout(tensors, N_TENSORS, metadata, r->n_metadata + N_OWN, arena, &header,
                           err))
        return -1;
    const size_t n = (size_t)(tensors[N_TENSORS - 1].offset + tensors[N_TENSORS - 1].bytes);
    unsigned char *file = arena_alloc(arena, n, err);
    if (!file)
        return -1;
    memcpy(file, header.p, header.n);
    put_data(file, tensors, r);
    *out = (struct span){file, n};
    return 0;
}

/* ---- reading ---- */

struct source_file {
    const struct io *io;
    const char *path;
    int fd;
    struct safetensors st;
    struct arena *arena;
};

static int read_number(uint64_t *out, const struct reference *r, const char *key, const char *path,
                       struct prep_error *err)
{
    const char *text = reference_metadata(r, key);
    size_t n = text ? strspn(text, "0123456789") : 0;
    if (n == 0 || n > 15 || text[n])
        return bad(err, "%s: metadata has %s \"%.40s\", want a count", path, key, text ? text : "");
    *out = strtoull(text, NULL, 10);
    return 0;
}

static int read_text(char *out, size_t size, const struct reference *r, const char *key,
                     const char *path, struct prep_error *err)
{
    const char *text = reference_metadata(r, key);
    if (!text || !*text || strlen(text) >= size)
        return bad(err, "%s: metadata has %s \"%.40s\", want a text of 1 to %zu bytes", path, key,
                   text ? text : "", size - 1);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int read_metadata(struct reference *r, const struct source_file *f, struct prep_error *err)
{
    uint64_t vocab_size, top_k;
    r->metadata = f->st.metadata;
    r->n_metadata = f->st.n_metadata;
    const char *format = reference_metadata(r, "format"), *version;
    version = reference_metadata(r, "version");
    if (!format || strcmp(format, "prep-reference") != 0 || !version || strcmp(version, "1") != 0)
        return bad(err,
                   "%s: metadata has format \"%.40s\" version \"%.40s\", want \"prep-reference\" "
                   "version \"1\"",
                   f->path, format ? format : "", version ? version : "");
    if (read_number(&vocab_size, r, "vocab_size", f->path, err) ||
        read_number(&top_k, r, "top_k", f->path, err) ||
        read_number(&r->n_sequences, r, "sequences", f->path, err) ||
        read_number(&r->sequence, r, "sequence", f->path, err) ||
        read_text(r->identity.shape, REFERENCE_SHAPE, r, "model_shape", f->path, err) ||
        read_text(r->identity.final_norm_sha256, SHA256_HEX, r, "final_norm_sha256", f->path,
                  err) ||
        read_text(r->identity.tokenizer_sha256, SHA256_HEX, r, "tokenizer_sha256", f->path, err))
        return -1;
    if (!is_possible(r->n_sequences, r->sequence, vocab_size) ||
        top_k != (vocab_size < REFERENCE_TOP ? vocab_size : REFERENCE_TOP))
        return bad(err,
                   "%s: metadata has %" PRIu64 " sequences of %" PRIu64 " tokens out of %" PRIu64
                   " and the largest %" PRIu64 ", which cannot be",
                   f->path, r->n_sequences, r->sequence, vocab_size, top_k);
    r->vocab_size = (uint32_t)vocab_size;
    r->top_k = (uint32_t)top_k;
    return 0;
}

/* The data of a tensor, which must be as the metadata says. */
static int load(unsigned char **bytes, const struct source_file *f, const struct reference *r,
                int which, struct prep_error *err)
{
    const struct tensor_info *t = NULL;
    struct tensor_info want;
    shape_of(&want, which, r);
    for (size_t i = 0; i < f->st.n_tensors; i++)
        if (strcmp(f->st.tensors[i].name, want.name) == 0)
            t = &f->st.tensors[i];
    if (!t)
        return bad(err, "%s: no tensor \"%s\"", f->path, want.name);
    if (t->dtype != want.dtype || t->n_dims != want.n_dims ||
        memcmp(t->shape, want.shape, want.n_dims * sizeof *want.shape) != 0)
        return bad(err,
                   "%s: %s is %s with %d dimensions and %" PRIu64 " bytes, not as the "
                   "metadata says",
                   f->path, want.name, dtype_name((enum dtype)t->dtype), t->n_dims, t->bytes);
    *bytes = arena_alloc(f->arena, (size_t)t->bytes, err);
    if (!*bytes)
        return -1;
    return io_read_exact(f->io, f->fd, *bytes, (size_t)t->bytes, t->offset, f->path, err);
}

static int load_u32(uint32_t **out, const struct source_file *f, const struct reference *r,
                    int which, size_t n, struct prep_error *err)
{
    unsigned char *bytes;
    if (load(&bytes, f, r, which, err))
        return -1;
    *out = (uint32_t *)(void *)bytes; /* arena memory is aligned; decoded in place */
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = load_le32(bytes + 4 * i);
        if (id >= r->vocab_size)
            return bad(err, "%s: %s[%zu] is %" PRId32 ", want an id from 0 to %" PRIu32, f->path,
                       layout[which].name, i, (int32_t)id, r->vocab_size - 1);
        (*out)[i] = id;
    }
    return 0;
}

static int load_f32(float **out, const struct source_file *f, const struct reference *r, int which,
                    size_t n, struct prep_error *err)
{
    unsigned char *bytes;
    if (load(&bytes, f, r, which, err))
        return -1;
    *out = (float *)(void *)bytes;
    for (size_t i = 0; i < n; i++) {
        const uint32_t u = load_le32(bytes + 4 * i);
        float v;
        memcpy(&v, &u, sizeof v);
        if (!isfinite(v))
            return bad(err, "%s: %s[%zu] is %g, want a finite number", f->path, layout[which].name,
                       i, (double)v);
        (*out)[i] = v;
    }
    return 0;
}

static int load_f64(double **out, const struct source_file *f, const struct reference *r, int which,
                    size_t n, struct prep_error *err)
{
    unsigned char *bytes;
    if (load(&bytes, f, r, which, err))
        return -1;
    *out = (double *)(void *)bytes;
    for (size_t i = 0; i < n; i++) {
        const uint64_t u = load_le64(bytes + 8 * i);
        double v;
        memcpy(&v, &u, sizeof v);
        if (!isfinite(v))
            return bad(err, "%s: %s[%zu] is %g, want a finite number", f->path, layout[which].name,
                       i, v);
        (*out)[i] = v;
    }
    return 0;
}

/* What is wrong with a row, or NULL. seen[id] holds the number of the row that had it last. */
static const char *row_fault(const struct reference *r, const struct reference_row *row,
                             uint32_t *seen, uint32_t stamp)
{
    double sum = row->tail;
    for (size_t i = 0; i < r->top_k; i++) {
        const uint32_t id = row->ids[i];
        const float x = row->logits[i];
        if (seen[id] == stamp)
            return "names a token twice";
        seen[id] = stamp;
        if (i && (x > row->logits[i - 1] || (x == row->logits[i - 1] && id < row->ids[i - 1])))
            return "is not sorted by falling logit and rising id";
        if (row->has_next && id == row->next_token && x != row->next_logit)
            return "gives the next token two logits";
        sum += prep_exp((double)x - row->logsumexp);
    }
    if (row->has_next && seen[row->next_token] != stamp &&
        row->next_logit > row->logits[r->top_k - 1])
        return "leaves out the next token, whose logit is larger";
    if (row->tail < 0 || (r->top_k == r->vocab_size && row->tail > 0))
        return "has an impossible tail";
    return fabs(sum - 1) <= SUM_TOLERANCE ? NULL : "has probabilities that do not add up to 1";
}

static int judge_rows(const struct reference *r, const struct source_file *f,
                      struct prep_error *err)
{
    uint32_t *seen = arena_calloc(f->arena, r->vocab_size, sizeof *seen, err), stamp = 0;
    if (!seen)
        return -1;
    for (uint64_t s = 0; s < r->n_sequences; s++)
        for (uint64_t at = 0; at < r->sequence; at++) {
            const struct reference_row row = reference_row(r, s, at);
            if (++stamp == 0) { /* 2^32 rows: the old stamps mean nothing any more */
                memset(seen, 0, r->vocab_size * sizeof *seen);
                stamp = 1;
            }
            const char *fault = row_fault(r, &row, seen, stamp);
            if (fault)
                return bad(err, "%s: sequence %" PRIu64 ", position %" PRIu64 ": the row %s",
                           f->path, s, at, fault);
        }
    return 0;
}

static int check_hash(const struct reference *r, const struct source_file *f,
                      struct prep_error *err)
{
    char hex[SHA256_HEX];
    const char *want = reference_metadata(r, "text_sha256");
    tokens_sha256(r, hex);
    if (want && strcmp(hex, want) == 0)
        return 0;
    return bad(err, "%s: tokens have the hash %s, the file says %.64s", f->path, hex,
               want ? want : "nothing");
}

static int read_open(struct reference *r, struct source_file *f, uint64_t bytes,
                     struct prep_error *err)
{
    if (bytes > MAX_FILE)
        return bad(err, "%s: has more than 1 TiB", f->path);
    if (safetensors_read(&f->st, f->io, f->fd, bytes, f->path, f->arena, err) ||
        read_metadata(r, f, err))
        return -1;
    if (f->st.n_tensors != N_TENSORS)
        return bad(err, "%s: has %zu tensors, want %d", f->path, f->st.n_tensors, (int)N_TENSORS);
    /* What the data take is in the file: the sizes are no promise. */
    const size_t rows = (size_t)(r->n_sequences * r->sequence);
    return load_f64(&r->logsumexp, f, r, LOGSUMEXP, rows, err) ||
                   load_f64(&r->tail, f, r, TAIL, rows, err) ||
                   load_f32(&r->top_logits, f, r, TOP_LOGITS, rows * r->top_k, err) ||
                   load_f32(&r->next_logits, f, r, NEXT_LOGITS, rows - (size_t)r->n_sequences,
                            err) ||
                   load_u32(&r->top_ids, f, r, TOP_IDS, rows * r->top_k, err) ||
                   load_u32(&r->tokens, f, r, TOKENS, rows, err) || check_hash(r, f, err) ||
                   judge_rows(r, f, err)
               ? -1
               : 0;
}

int reference_read(struct reference *r, const struct io *io, const char *path, struct arena *arena,
                   struct prep_error *err)
{
    struct source_file f = {.io = io, .path = path, .fd = -1, .arena = arena};
    struct io_stat st;
    *r = (struct reference){0};
    int rc = io_open_read(io, path, &f.fd, &st, err) || read_open(r, &f, st.size, err);
    io_close_read(io, f.fd);
    return rc ? -1 : 0;
}

int reference_check(const struct reference *r, const struct reference_identity *have,
                    const char *path, const char *model, struct prep_error *err)
{
    const struct reference_identity *want = &r->identity;
    if (strcmp(want->shape, have->shape) != 0)
        return prep_fail_tag(err, PREP_EDATA, "REFERENCE_MODEL",
                             "%s: made from another model (%s) than %s (%s)", path, want->shape,
                             model, have->shape);
    if (strcmp(want->tokenizer_sha256, have->tokenizer_sha256) != 0)
        return prep_fail_tag(err, PREP_EDATA, "REFERENCE_TOKENIZER",
                             "%s: made with another tokenizer (tokenizer.json %.16s) than that of "
                             "%s (%.16s)",
                             path, want->tokenizer_sha256, model, have->tokenizer_sha256);
    if (strcmp(want->final_norm_sha256, have->final_norm_sha256) != 0)
        return prep_fail_tag(err, PREP_EDATA, "REFERENCE_MODEL",
                             "%s: made from another model of this shape than %s: model.norm has "
                             "other values (%.16s, not %.16s)",
                             path, model, have->final_norm_sha256, want->final_norm_sha256);
    return 0;
}
