/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/model/tokenizer_parts.h"

void token_text_free(struct token_text *text)
{
    free(text->p);
    *text = (struct token_text){NULL, 0, 0, 0};
}

static int make_room(struct token_text *text, size_t n, struct prep_error *err)
{
    uint64_t need, cap = text->cap ? text->cap : 256;
    if (prep_add(&need, text->n, n))
        return prep_fail(err, PREP_ENOMEM, "out of memory decoding text");
    while (cap < need)
        cap = cap < need / 2 ? need : cap * 2;
    if (cap == text->cap)
        return 0;
    char *p = realloc(text->p, (size_t)cap);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "out of memory decoding %zu bytes of text", text->n);
    text->p = p;
    text->cap = (size_t)cap;
    return 0;
}

/*
 * Is what is left, up to the end of what is known, to be held back? Beside the beginnings of
 * characters this is the beginning of an encoded surrogate, ED A0..BF: the library's stream waits
 * for its third byte before it replaces all three.
 */
static int held_back(const char *s, const char *end, size_t subpart, int cut)
{
    return cut || (subpart == 1 && end - s == 2 && s[0] == '\xed' && (unsigned char)s[1] >= 0xa0 &&
                   (unsigned char)s[1] <= 0xbf);
}

int tokenizer_stream_push(struct token_text *out, struct tokenizer_stream *s, uint32_t id,
                          struct prep_error *err)
{
    const struct token *k = tokenizer_token(s->t, id);
    if (!k || (k->special && s->skip_special)) {
        out->unknown += !k;
        return 0;
    }
    size_t n = s->n_pending + (size_t)k->n;
    if (make_room(out, 4 * n, err))
        return -1;
    /* The raw bytes wait where no repaired text, at most three times as long, can reach them. */
    char *o = out->p + out->n, *raw = o + 3 * n, *end = raw + n;
    memcpy(raw, s->pending, s->n_pending);
    memcpy(raw + s->n_pending, k->bytes, k->n);
    s->n_pending = 0;
    while (raw < end) {
        size_t good = utf8_valid(raw, (size_t)(end - raw));
        memmove(o, raw, good);
        o += good;
        raw += good;
        if (raw == end)
            break;
        int cut;
        size_t subpart = utf8_subpart(raw, end, &cut);
        if (held_back(raw, end, subpart, cut)) {
            s->n_pending = (unsigned char)(end - raw);
            memcpy(s->pending, raw, s->n_pending);
            break;
        }
        memcpy(o, UTF8_REPLACEMENT, 3);
        o += 3;
        raw += subpart;
    }
    out->n = (size_t)(o - out->p);
    return 0;
}

int tokenizer_stream_end(struct token_text *out, struct tokenizer_stream *s, struct prep_error *err)
{
    if (make_room(out, 3 * (size_t)s->n_pending, err))
        return -1;
    out->n += utf8_repair(s->pending, s->n_pending, out->p + out->n);
    s->n_pending = 0;
    return 0;
}

int tokenizer_decode(struct token_text *out, const struct tokenizer *t, const uint32_t *ids,
                     size_t n, int skip_special, struct prep_error *err)
{
    struct tokenizer_stream s = {.t = t, .skip_special = skip_special};
    for (size_t i = 0; i < n; i++)
        if (tokenizer_stream_push(out, &s, ids[i], err))
            return -1;
    return tokenizer_stream_end(out, &s, err);
}
