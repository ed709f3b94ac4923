/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/calib/pack_parts.h"

enum { BATCH_BYTES = 8 << 20 };

/* A text waiting to be encoded. */
struct waiting {
    size_t at, n; /* in the batch's text */
    uint64_t record;
};

/* One of the workers' shares of a batch. */
struct share {
    struct tokenizer_encoder *encoder;
    struct token_ids ids;
    size_t begin, end; /* documents */
    size_t *ends;      /* where the ids of each end; room for every document of a batch */
    size_t cap_ends;
};

struct batch {
    struct packing *p;
    uint32_t source;
    unsigned how;
    char *text;
    size_t n_text, cap_text;
    struct waiting *items;
    size_t n_items, cap_items;
    struct share *shares;
    int n_shares;
};

int pack_check_memory(const struct packing *p, uint64_t more, struct prep_error *err)
{
    uint64_t need = 8 * (uint64_t)p->ids.n + p->n_documents * sizeof *p->documents + more;
    if (need <= p->o->mem)
        return 0;
    return prep_fail(err, PREP_ENOMEM,
                     "%zu tokens so far need %llu bytes of memory to pack, --mem allows %llu",
                     p->ids.n, (unsigned long long)need, (unsigned long long)p->o->mem);
}

static int encode_share(size_t i, void *arg, struct prep_error *err)
{
    struct batch *b = arg;
    struct share *s = &b->shares[i];
    s->ids.n = 0;
    for (size_t k = s->begin; k < s->end; k++) {
        const struct waiting *w = &b->items[k];
        if (prep_grow(&s->ends, &s->cap_ends, k - s->begin, sizeof *s->ends, err))
            return -1;
        if (tokenizer_encode(&s->ids, s->encoder, b->how, b->text + w->at, w->n, err))
            return prep_note(err, "%s: document %llu", b->p->o->sources[b->source].name,
                             (unsigned long long)w->record);
        s->ends[k - s->begin] = s->ids.n;
    }
    return 0;
}

/* Documents in order, about the same bytes for each. */
static void deal_shares(struct batch *b)
{
    size_t k = 0;
    for (int i = 0; i < b->n_shares; i++) {
        struct share *s = &b->shares[i];
        size_t until = b->n_text / (size_t)b->n_shares * (size_t)(i + 1);
        s->begin = k;
        while (k < b->n_items && (b->items[k].at < until || i == b->n_shares - 1))
            k++;
        s->end = k;
    }
}

/* One encoded document, behind those before it. */
static int keep_document(struct batch *b, uint64_t record, const uint32_t *ids, size_t n,
                         struct prep_error *err)
{
    struct packing *p = b->p;
    struct pack_source_result *r = &p->result->sources[b->source];
    r->documents++;
    if (n == 0) {
        r->empty++;
        return 0;
    }
    struct pack_document d = {p->ids.n, n, record, b->source};
    for (size_t i = 0; i < n; i++)
        if (token_ids_push(&p->ids, ids[i], err))
            return -1;
    if (p->result->separator != TOKENIZER_NONE) {
        if (token_ids_push(&p->ids, p->result->separator, err))
            return -1;
        d.n++;
    }
    if (prep_grow(&p->documents, &p->cap_documents, p->n_documents, sizeof *p->documents, err))
        return -1;
    p->documents[p->n_documents++] = d;
    return 0;
}

static int flush(struct batch *b, struct prep_error *err)
{
    deal_shares(b);
    if (prep_parallel_for((size_t)b->n_shares, b->n_shares, encode_share, b, err))
        return -1;
    for (int i = 0; i < b->n_shares; i++) {
        const struct share *s = &b->shares[i];
        for (size_t k = s->begin, from = 0; k < s->end; k++) {
            size_t to = s->ends[k - s->begin];
            if (keep_document(b, b->items[k].record, s->ids.ids + from, to - from, err))
                return -1;
            from = to;
        }
    }
    b->n_items = 0;
    b->n_text = 0;
    return pack_check_memory(b->p, 0, err);
}

/* A document_fn. */
static int gather(void *arg, uint64_t record, const char *text, size_t n, struct prep_error *err)
{
    struct batch *b = arg;
    if (n > b->cap_text - b->n_text) {
        size_t cap = b->n_text + n > 2 * b->cap_text ? b->n_text + n : 2 * b->cap_text;
        char *bigger = NULL;
        if (pack_check_memory(b->p, cap, err))
            return -1;
        bigger = realloc(b->text, cap);
        if (!bigger)
            return prep_fail(err, PREP_ENOMEM, "out of memory for %zu bytes of text", cap);
        b->text = bigger;
        b->cap_text = cap;
    }
    if (prep_grow(&b->items, &b->cap_items, b->n_items, sizeof *b->items, err))
        return -1;
    b->items[b->n_items++] = (struct waiting){b->n_text, n, record};
    if (n)
        memcpy(b->text + b->n_text, text, n);
    b->n_text += n;
    return b->n_text < BATCH_BYTES ? 0 : flush(b, err);
}

static int make_shares(struct batch *b, struct prep_error *err)
{
    int n = b->p->o->n_threads > 0 ? b->p->o->n_threads : prep_default_threads();
    b->shares = calloc((size_t)n, sizeof *b->shares);
    if (!b->shares)
        return prep_fail(err, PREP_ENOMEM, "out of memory for %d text encoders", n);
    b->n_shares = n;
    for (int i = 0; i < n; i++)
        if (tokenizer_encoder_new(&b->shares[i].encoder, b->p->t, err))
            return -1;
    return 0;
}

static void free_batch(struct batch *b)
{
    for (int i = 0; i < b->n_shares; i++) {
        tokenizer_encoder_free(b->shares[i].encoder);
        token_ids_free(&b->shares[i].ids);
        free(b->shares[i].ends);
    }
    free(b->shares);
    free(b->items);
    free(b->text);
}

static uint64_t file_size(const struct io *io, const char *path)
{
    struct io_stat st;
    return io->stat(io->self, path, &st) < 0 ? 0 : st.size;
}

int pack_tokenize(struct packing *p, struct prep_error *err)
{
    const struct pack_options *o = p->o;
    struct progress progress = {.phase = "tokenize", .total_files = o->n_sources};
    struct batch b = {.p = p};
    int rc = -1;
    for (size_t i = 0; i < o->n_sources; i++)
        progress.total_bytes += file_size(p->io, o->sources[i].documents.path);
    if (make_shares(&b, err))
        goto out;
    for (size_t i = 0; i < o->n_sources; i++) {
        const struct pack_source *s = &o->sources[i];
        struct document_stats *stats = &p->result->sources[i].stats;
        b.source = (uint32_t)i;
        b.how = (unsigned)(s->mode < 0 ? o->mode : s->mode) | (o->lossy ? TOKENIZER_LOSSY : 0u);
        if (documents_read(&s->documents, p->io, gather, &b, stats, err) || flush(&b, err))
            goto out;
        progress.done_bytes += stats->bytes;
        progress.done_files++;
        if (o->progress)
            o->progress(o->progress_arg, &progress);
    }
    rc = 0;
out:
    free_batch(&b);
    return rc;
}
