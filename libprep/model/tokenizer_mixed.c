/* SPDX-License-Identifier: MIT */
#include "libprep/model/tokenizer_parts.h"

struct mixed {
    struct token_ids *out;
    struct tokenizer_encoder *e;
    const struct tokenizer *t;
    unsigned how;
    const char *s;
    const struct tokenizer_part *parts;
    size_t n_parts;
    struct prep_error *err;
};

/* The first part that ends behind `at`. */
static size_t part_at(const struct mixed *x, size_t at)
{
    size_t low = 0, high = x->n_parts;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (x->parts[mid].end <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The next added token that lies in one trusted part, within from..end of the text. */
static int find_trusted(const struct mixed *x, const struct added_set *set, size_t from, size_t end,
                        struct added_match *m)
{
    for (size_t i = part_at(x, from); i < x->n_parts && from < end; from = x->parts[i++].end) {
        size_t stop = x->parts[i].end < end ? x->parts[i].end : end;
        if (!x->parts[i].data && added_find(set, x->s, stop, from, m))
            return 1;
    }
    return 0;
}

/* As encode_stretch() of the plain encoder: pass 2 is what has no trusted token left. */
static int encode(const struct mixed *x, int pass, size_t from, size_t end)
{
    struct added_walk walk = {0, 0};
    struct added_match m = {NULL, 0, 0};
    size_t at = from;
    if (pass == 2)
        return tokenizer_encode(x->out, x->e, x->how, x->s + from, end - from, x->err);
    while (find_trusted(x, &x->t->added[pass], at, end, &m)) {
        at = m.end;
        m.start -= from; /* a stretch knows nothing of what is around it */
        m.end -= from;
        if (!added_accept(x->t, &m, x->s + from, end - from, &walk))
            continue;
        if ((m.start > walk.done && encode(x, pass + 1, from + walk.done, from + m.start)) ||
            token_ids_push(x->out, m.token->id, x->err))
            return -1;
        walk.done = m.end;
    }
    return from + walk.done < end ? encode(x, pass + 1, from + walk.done, end) : 0;
}

int tokenizer_encode_mixed(struct token_ids *out, struct tokenizer_encoder *e, unsigned how,
                           const char *text, const struct tokenizer_part *parts, size_t n_parts,
                           struct prep_error *err)
{
    size_t before = out->n, n = n_parts ? parts[n_parts - 1].end : 0;
    struct mixed x = {out, e, tokenizer_of(e), how, text, parts, n_parts, err};
    for (size_t i = 1; i < n_parts; i++)
        if (parts[i].end < parts[i - 1].end)
            return prep_fail(err, PREP_EBUG, "parts of a text overlap");
    if (how & TOKENIZER_WRAP)
        return prep_fail(err, PREP_EBUG, "text in parts is not wrapped");
    if (encode(&x, 0, 0, n)) {
        out->n = before;
        return -1;
    }
    return 0;
}
