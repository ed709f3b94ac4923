/* SPDX-License-Identifier: MIT */
#include "libprep/calib/pack.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/base/json.h"
#include "libprep/base/random.h"
#include "libprep/calib/pack_parts.h"

enum { SHOWN = 200, N_METADATA = 14 };

static int check_options(const struct pack_options *o, struct prep_error *err)
{
    size_t weighted = 0;
    if (o->n_sources == 0 || o->n_sources > PACK_MAX_SOURCES)
        return prep_fail(err, PREP_EUSAGE, "%zu sources, want 1 to %d", o->n_sources,
                         PACK_MAX_SOURCES);
    if (o->sequence < 2 || o->sequence > PACK_MAX_SEQUENCE)
        return prep_fail(err, PREP_EUSAGE, "sequences of %llu tokens, want 2 to %d",
                         (unsigned long long)o->sequence, PACK_MAX_SEQUENCE);
    for (size_t i = 0; i < o->n_sources; i++) {
        weighted += o->sources[i].weight > 0;
        if (o->sources[i].weight > 0 && o->sources[i].take > 0)
            return prep_fail(err, PREP_EUSAGE, "%s: has both a weight and a number of documents",
                             o->sources[i].name);
    }
    if (weighted && weighted < o->n_sources)
        return prep_fail(err, PREP_EUSAGE, "%zu of %zu sources have a weight, want all or none",
                         weighted, o->n_sources);
    if (weighted && o->n_sequences == 0)
        return prep_fail(err, PREP_EUSAGE,
                         "sources have weights: the number of sequences must be given");
    return 0;
}

/* The separator's id, and the ids of the prefix. */
static int encode_extras(struct packing *p, struct prep_error *err)
{
    const struct pack_options *o = p->o;
    struct tokenizer_encoder *e = NULL;
    p->result->separator = TOKENIZER_NONE;
    if (o->separator[0]) {
        p->result->separator = tokenizer_find(p->t, o->separator, strlen(o->separator));
        if (p->result->separator == TOKENIZER_NONE)
            return prep_fail(err, PREP_EUSAGE,
                             "separator \"%.*s\" is not one token of this tokenizer", SHOWN,
                             o->separator);
    }
    if (!o->prefix[0])
        return 0;
    int rc = -1;
    if (tokenizer_encoder_new(&e, p->t, err) ||
        tokenizer_encode(&p->prefix, e, TOKENIZER_ALL, o->prefix, strlen(o->prefix), err))
        goto out;
    if (p->prefix.n >= o->sequence) {
        prep_fail(err, PREP_EUSAGE, "the prefix has %zu tokens, a sequence %llu", p->prefix.n,
                  (unsigned long long)o->sequence);
        goto out;
    }
    rc = 0;
out:
    tokenizer_encoder_free(e);
    return rc;
}

/* The generator of a source, or of the whole for i = n_sources. */
static struct prep_random random_of(const struct pack_options *o, size_t i)
{
    struct prep_random mixer = {o->seed ^ (uint64_t)i << 32};
    return (struct prep_random){prep_random_u64(&mixer)};
}

/* Tokens that the weight of a source asks for. */
static uint64_t share_of(const struct packing *p, size_t source)
{
    double sum = 0;
    for (size_t i = 0; i < p->o->n_sources; i++)
        sum += p->o->sources[i].weight;
    double all = (double)p->o->n_sequences * (double)(p->o->sequence - p->prefix.n);
    return (uint64_t)(all * (p->o->sources[source].weight / sum)) + 1;
}

/* Leave at most `room` tokens of a document; it keeps its separator. */
static void cut_to_share(struct packing *p, struct pack_document *d, uint64_t room)
{
    if (d->n <= room)
        return;
    d->n = room;
    if (p->result->separator != TOKENIZER_NONE)
        p->ids.ids[d->begin + room - 1] = p->result->separator;
}

/* Choose among documents [begin, end), which are all of one source. */
static int choose_from(struct packing *p, size_t source, size_t begin, size_t end,
                       struct report *report, struct prep_error *err)
{
    const struct pack_source *s = &p->o->sources[source];
    struct pack_source_result *r = &p->result->sources[source];
    size_t *list = p->chosen + p->n_chosen, n = end - begin, k = 0;
    struct prep_random random = random_of(p->o, source);
    uint64_t want = s->weight > 0 ? share_of(p, source) : 0;
    for (size_t i = 0; i < n; i++)
        list[i] = begin + i;
    if (p->o->shuffle)
        prep_random_shuffle(&random, list, n);
    for (; k < n; k++) {
        if ((want && r->tokens >= want) || (s->take && k == s->take))
            break;
        cut_to_share(p, &p->documents[list[k]], want ? want - r->tokens : UINT64_MAX);
        r->tokens += p->documents[list[k]].n;
    }
    r->taken = k;
    p->n_chosen += k;
    if (k < s->take)
        return prep_fail_tag(err, PREP_EDATA, "PACK_SHORT",
                             "%s: has %zu documents with text, %llu are asked for", s->name, k,
                             (unsigned long long)s->take);
    if (r->tokens < want)
        report_warn(report, "PACK_SHORT", "%s: has %llu tokens, its weight asks for %llu", s->name,
                    (unsigned long long)r->tokens, (unsigned long long)want);
    return 0;
}

static int choose(struct packing *p, struct report *report, struct prep_error *err)
{
    const size_t n = p->n_documents;
    p->chosen = calloc(n ? n : 1, sizeof *p->chosen);
    if (!p->chosen)
        return prep_fail(err, PREP_ENOMEM, "out of memory choosing from %zu documents", n);
    for (size_t i = 0, begin = 0, end; i < p->o->n_sources; i++, begin = end) {
        end = begin;
        while (end < n && p->documents[end].source == i)
            end++;
        if (choose_from(p, i, begin, end, report, err))
            return -1;
    }
    struct prep_random random = random_of(p->o, p->o->n_sources);
    if (p->o->shuffle)
        prep_random_shuffle(&random, p->chosen, p->n_chosen);
    return 0;
}

/* How many sequences there will be. */
static int count_sequences(struct packing *p, struct prep_error *err)
{
    const struct pack_options *o = p->o;
    const uint64_t room = o->sequence - p->prefix.n;
    uint64_t all = 0;
    for (size_t i = 0; i < o->n_sources; i++)
        all += p->result->sources[i].tokens;
    uint64_t full = all / room, want = o->n_sequences ? o->n_sequences : 1;
    if (full < want)
        return prep_fail_tag(err, PREP_EDATA, "PACK_SHORT",
                             "%llu tokens fill %llu sequences of %llu, %llu are asked for",
                             (unsigned long long)all, (unsigned long long)full,
                             (unsigned long long)o->sequence, (unsigned long long)want);
    p->result->packed.n_sequences = o->n_sequences ? o->n_sequences : full;
    p->result->packed.sequence = o->sequence;
    p->result->left_over = all - p->result->packed.n_sequences * room;
    return 0;
}

/* Lay the chosen documents out over the rows, each begun with the prefix. */
static int lay_out(struct packing *p, struct arena *arena, struct prep_error *err)
{
    struct packed_tokens *out = &p->result->packed;
    const uint64_t all = out->n_sequences * out->sequence;
    uint64_t at = 0;
    if (pack_check_memory(p, 4 * all, err))
        return -1;
    out->ids = arena_calloc(arena, (size_t)all, sizeof *out->ids, err);
    out->documents = arena_calloc(arena, p->n_chosen, sizeof *out->documents, err);
    if (!out->ids || !out->documents)
        return -1;
    for (size_t i = 0; i < p->n_chosen && at < all; i++) {
        const struct pack_document *d = &p->documents[p->chosen[i]];
        for (uint64_t k = 0; k < d->n && at < all; k++) {
            for (size_t j = 0; at % out->sequence == 0 && j < p->prefix.n; j++)
                out->ids[at + j] = p->prefix.ids[j];
            at += at % out->sequence == 0 ? p->prefix.n : 0;
            if (k == 0)
                out->documents[out->n_documents++] =
                    (struct packed_document){at, d->record, d->source};
            out->ids[at++] = p->ids.ids[d->begin + k];
        }
    }
    return 0;
}

/* The sources as JSON text. */
static const char *describe_sources(const struct packing *p, struct arena *arena,
                                    struct prep_error *err)
{
    struct json_out o;
    struct span text;
    const char *copy = NULL;
    json_out_init(&o, JSON_COMPACT);
    json_out_open(&o, '[');
    for (size_t i = 0; i < p->o->n_sources; i++) {
        const struct pack_source_result *r = &p->result->sources[i];
        json_out_open(&o, '{');
        json_out_key(&o, "name");
        json_out_string(&o, p->o->sources[i].name);
        json_out_key(&o, "sha256");
        json_out_string(&o, r->stats.sha256);
        json_out_key(&o, "bytes");
        json_out_u64(&o, r->stats.bytes);
        json_out_key(&o, "documents");
        json_out_u64(&o, r->documents);
        json_out_key(&o, "taken");
        json_out_u64(&o, r->taken);
        json_out_key(&o, "tokens");
        json_out_u64(&o, r->tokens);
        json_out_close(&o);
    }
    json_out_close(&o);
    if (json_out_finish(&o, &text, err) == 0)
        copy = arena_strndup(arena, (const char *)text.p, text.n - 1, err); /* no line end */
    json_out_free(&o);
    return copy;
}

static int put(struct packed_tokens *t, const char *key, const char *value)
{
    t->metadata[t->n_metadata++] = (struct metadata_pair){key, value};
    return value ? 0 : -1;
}

static const char *number(struct arena *arena, uint64_t v, struct prep_error *err)
{
    return arena_printf(arena, err, "%llu", (unsigned long long)v);
}

static int put_metadata(struct packing *p, struct arena *arena, struct prep_error *err)
{
    static const char *const modes[] = {"all", "nospecial", "raw"};
    const struct pack_options *o = p->o;
    struct packed_tokens *t = &p->result->packed;
    t->metadata = arena_calloc(arena, N_METADATA, sizeof *t->metadata, err);
    if (!t->metadata)
        return -1;
    const char *seed = o->shuffle ? number(arena, o->seed, err) : "none";
    const char *separator =
        p->result->separator == TOKENIZER_NONE ? "none" : number(arena, p->result->separator, err);
    return put(t, "format", "prep-tokens") || put(t, "version", "1") ||
                   put(t, "tokenizer_sha256", tokenizer_sha256(p->t)) ||
                   put(t, "sequences", number(arena, t->n_sequences, err)) ||
                   put(t, "sequence", number(arena, t->sequence, err)) ||
                   put(t, "tokens", number(arena, t->n_sequences * t->sequence, err)) ||
                   put(t, "separator", separator) || put(t, "prefix", o->prefix) ||
                   put(t, "mode", modes[o->mode]) || put(t, "seed", seed) ||
                   put(t, "mix_sha256", o->mix_sha256 ? o->mix_sha256 : "none") ||
                   put(t, "sources", describe_sources(p, arena, err)) ||
                   put(t, "tool", "pack-calibration") || put(t, "tool_version", PREP_VERSION)
               ? -1
               : 0;
}

int pack_documents(struct pack_result *result, const struct pack_options *options,
                   const struct tokenizer *t, const struct io *io, struct arena *arena,
                   struct report *report, struct prep_error *err)
{
    struct packing p = {.o = options, .t = t, .io = io, .result = result};
    int rc = -1;
    *result = (struct pack_result){0};
    if (check_options(options, err))
        return -1;
    result->sources = arena_calloc(arena, options->n_sources, sizeof *result->sources, err);
    if (!result->sources)
        return -1;
    if (encode_extras(&p, err) || pack_tokenize(&p, err) || choose(&p, report, err) ||
        count_sequences(&p, err) || lay_out(&p, arena, err) || put_metadata(&p, arena, err))
        goto out;
    rc = 0;
out:
    token_ids_free(&p.ids);
    token_ids_free(&p.prefix);
    free(p.documents);
    free(p.chosen);
    return rc;
}
