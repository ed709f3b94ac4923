/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_text.h"

#include <inttypes.h>
#include <string.h>

#include "libprep/calib/documents.h"
#include "libprep/format/tokens.h"
#include "libprep/format/windows.h"

static const char separator[] = "<|endoftext|>";

uint64_t judge_text_number(const struct judge_text *text, uint64_t i)
{
    return i * text->n_available / text->n_windows;
}

int judge_text_take(struct judge_text *text, uint32_t *tokens, uint64_t n, uint64_t window,
                    uint64_t max_windows, struct arena *arena, struct prep_error *err)
{
    *text =
        (struct judge_text){.tokens = tokens, .n_windows = n, .window = window, .n_available = n};
    if (n == 0 || window < 2)
        return prep_fail_tag(err, PREP_EDATA, "JUDGE_TEXT",
                             "%" PRIu64 " windows of %" PRIu64 " tokens: want at least one of two",
                             n, window);
    if (n > INT32_MAX || window > INT32_MAX)
        return prep_fail_tag(err, PREP_EDATA, "JUDGE_TEXT",
                             "%" PRIu64 " windows of %" PRIu64 " tokens: want less than 2^31", n,
                             window);
    if (max_windows && max_windows < n) {
        text->n_windows = max_windows;
        text->tokens = arena_alloc(arena, (size_t)(max_windows * window) * sizeof *tokens, err);
        if (!text->tokens)
            return -1;
        for (uint64_t i = 0; i < max_windows; i++)
            memcpy(text->tokens + i * window, tokens + judge_text_number(text, i) * window,
                   (size_t)window * sizeof *tokens);
    }
    const struct packed_tokens packed = {
        .n_sequences = text->n_windows, .sequence = window, .ids = text->tokens};
    tokens_text_sha256(&packed, text->sha256);
    return 0;
}

/* ---- texts ---- */

struct encoding {
    struct tokenizer_encoder *encoder;
    struct token_ids ids;
    uint32_t separator;
};

/* A document_fn. */
static int encode(void *arg, uint64_t record, const char *text, size_t n, struct prep_error *err)
{
    struct encoding *e = arg;
    if (tokenizer_encode(&e->ids, e->encoder, TOKENIZER_ALL, text, n, err))
        return prep_note(err, "document %" PRIu64, record);
    return e->separator == TOKENIZER_NONE ? 0 : token_ids_push(&e->ids, e->separator, err);
}

static int encode_all(struct encoding *e, const struct judge_text_request *r,
                      const struct tokenizer *t, const struct io *io, struct prep_error *err)
{
    e->separator = tokenizer_find(t, separator, sizeof separator - 1);
    if (tokenizer_encoder_new(&e->encoder, t, err))
        return -1;
    for (size_t i = 0; i < r->n_texts; i++) {
        const struct document_source source = {.path = r->texts[i]};
        struct document_stats stats;
        if (documents_read(&source, io, encode, e, &stats, err))
            return prep_note(err, "%s", r->texts[i]);
    }
    return r->memory.n ? encode(e, 0, (const char *)r->memory.p, r->memory.n, err) : 0;
}

static int read_texts(struct judge_text *text, const struct judge_text_request *r,
                      const struct tokenizer *t, const struct io *io, struct arena *arena,
                      struct prep_error *err)
{
    struct encoding e = {0};
    uint32_t *tokens = NULL;
    int rc = -1;
    if (encode_all(&e, r, t, io, err))
        goto out;
    const uint64_t window = e.ids.n < r->window ? e.ids.n : r->window;
    tokens = arena_alloc(arena, e.ids.n * sizeof *tokens, err);
    if (!tokens)
        goto out;
    if (e.ids.n)
        memcpy(tokens, e.ids.ids, e.ids.n * sizeof *tokens);
    rc = judge_text_take(text, tokens, window ? e.ids.n / window : 0, window, r->max_windows, arena,
                         err);
out:
    tokenizer_encoder_free(e.encoder);
    token_ids_free(&e.ids);
    return rc;
}

static int read_windows(struct judge_text *text, const struct judge_text_request *r,
                        const struct io *io, struct arena *arena, struct prep_error *err)
{
    struct token_windows w;
    return windows_read(&w, io, r->windows, r->part ? r->part : "evaluation", arena, err) ||
                   judge_text_take(text, w.tokens, w.n_windows, w.length, r->max_windows, arena,
                                   err)
               ? -1
               : 0;
}

static int read_tokens(struct judge_text *text, const struct judge_text_request *r,
                       const struct tokenizer *t, const struct io *io, struct arena *arena,
                       struct prep_error *err)
{
    struct packed_tokens p;
    if (tokens_read(&p, io, r->tokens, arena, err))
        return -1;
    const char *made_with = tokens_metadata(&p, "tokenizer_sha256");
    if (t && made_with && strcmp(made_with, tokenizer_sha256(t)) != 0)
        return prep_fail_tag(err, PREP_EDATA, "JUDGE_TEXT",
                             "%s: packed with another tokenizer (tokenizer.json %.16s) than the "
                             "model's (%.16s)",
                             r->tokens, made_with, tokenizer_sha256(t));
    return judge_text_take(text, p.ids, p.n_sequences, p.sequence, r->max_windows, arena, err)
               ? prep_note(err, "%s", r->tokens)
               : 0;
}

int judge_text_read(struct judge_text *text, const struct judge_text_request *r,
                    const struct tokenizer *t, const struct io *io, struct arena *arena,
                    struct prep_error *err)
{
    const int kinds =
        (r->n_texts > 0) + (r->windows != NULL) + (r->tokens != NULL) + (r->memory.n > 0);
    if (kinds != 1)
        return prep_fail(err, PREP_EUSAGE, "%s: want texts, windows or packed tokens",
                         kinds ? "more than one kind of text to judge on" : "no text to judge on");
    if (r->windows)
        return read_windows(text, r, io, arena, err);
    if (r->tokens)
        return read_tokens(text, r, t, io, arena, err);
    if (!t)
        return prep_fail(err, PREP_EUSAGE, "a text needs the model's tokenizer.json");
    return read_texts(text, r, t, io, arena, err);
}
