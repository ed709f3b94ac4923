/* SPDX-License-Identifier: MIT */
#include "libprep/engine/stop.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STRINGS = 64, MAX_STRING = 1024 };

int stop_open(struct stop_stream *s, const struct tokenizer *t, int skip_special,
              const uint32_t *tokens, size_t n_tokens, const char *const *strings, size_t n_strings,
              struct prep_error *err)
{
    *s = (struct stop_stream){.decoder = {.t = t, .skip_special = skip_special},
                              .tokens = tokens,
                              .n_tokens = n_tokens,
                              .strings = strings,
                              .n_strings = n_strings};
    if (n_strings > MAX_STRINGS)
        return prep_fail(err, PREP_EUSAGE, "%zu stop strings, at most %d", n_strings, MAX_STRINGS);
    for (size_t i = 0; i < n_strings; i++)
        if (!*strings[i] || strlen(strings[i]) > MAX_STRING)
            return prep_fail(err, PREP_EUSAGE, "stop string %zu has %zu bytes, want 1 to %d", i,
                             strlen(strings[i]), MAX_STRING);
    return 0;
}

void stop_close(struct stop_stream *s)
{
    token_text_free(&s->held);
}

/* Append the first n held bytes to out and drop them. */
static int show(struct token_text *out, struct stop_stream *s, size_t n, struct prep_error *err)
{
    if (n && out->cap - out->n < n) {
        size_t cap = out->n + n > 2 * out->cap ? out->n + n : 2 * out->cap;
        char *p = realloc(out->p, cap);
        if (!p)
            return prep_fail(err, PREP_ENOMEM, "out of memory for %zu bytes of text", cap);
        out->p = p;
        out->cap = cap;
    }
    if (n) {
        memcpy(out->p + out->n, s->held.p, n);
        memmove(s->held.p, s->held.p + n, s->held.n - n);
    }
    out->n += n;
    s->held.n -= n;
    return 0;
}

/* Does the held text from `at` on begin with a stop string (1), or could it, given more (2)? */
static int match_at(const struct stop_stream *s, size_t at)
{
    int could = 0;
    for (size_t i = 0; i < s->n_strings; i++) {
        size_t n = strlen(s->strings[i]), left = s->held.n - at;
        if (memcmp(s->held.p + at, s->strings[i], n < left ? n : left) != 0)
            continue;
        if (n <= left)
            return 1;
        could = 2;
    }
    return could;
}

/* Show what is neither a stop string nor the beginning of one. */
static int advance(struct token_text *out, struct stop_stream *s, struct prep_error *err)
{
    size_t at = 0;
    int found = 0;
    while (at < s->held.n && !(found = match_at(s, at)))
        at++;
    if (found == 1)
        s->state = STOP_STRING;
    return show(out, s, at, err);
}

int stop_push(struct token_text *out, struct stop_stream *s, uint32_t token, struct prep_error *err)
{
    if (s->state != STOP_NOT_YET)
        return 0;
    for (size_t i = 0; i < s->n_tokens; i++)
        if (s->tokens[i] == token) {
            int rc = stop_finish(out, s, err);
            if (s->state == STOP_NOT_YET)
                s->state = STOP_TOKEN;
            return rc;
        }
    if (tokenizer_stream_push(&s->held, &s->decoder, token, err))
        return -1;
    out->unknown += s->held.unknown;
    s->held.unknown = 0;
    return advance(out, s, err);
}

int stop_finish(struct token_text *out, struct stop_stream *s, struct prep_error *err)
{
    if (s->state != STOP_NOT_YET)
        return 0;
    if (tokenizer_stream_end(&s->held, &s->decoder, err) || advance(out, s, err))
        return -1;
    /* A beginning that nothing follows is text; but a whole string may hide behind it. */
    while (s->state == STOP_NOT_YET && s->held.n)
        if (show(out, s, 1, err) || advance(out, s, err))
            return -1;
    return 0;
}
