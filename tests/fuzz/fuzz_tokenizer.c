/* SPDX-License-Identifier: MIT */
/*
 * A tokenizer.json, a zero byte, and a text: what is accepted encodes the text in every mode, and
 * decoding gives the text again where no token swallows white space; in pieces as at once.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_stream(const struct tokenizer *t, const struct token_ids *ids,
                         const struct token_text *want)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_stream s = {.t = t};
    struct token_text got = {0};
    for (size_t i = 0; i < ids->n; i++) {
        check(tokenizer_stream_push(&got, &s, ids->ids[i], &err) == 0);
        check(utf8_valid(got.p, got.n) == got.n);
    }
    check(tokenizer_stream_end(&got, &s, &err) == 0);
    check(got.n == want->n && (!got.n || memcmp(got.p, want->p, got.n) == 0));
    token_text_free(&got);
}

static void try_mode(struct tokenizer_encoder *e, const struct tokenizer *t, unsigned how,
                     const char *text, size_t n, int exact)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_ids ids = {0};
    struct token_text back = {0};
    if (tokenizer_encode(&ids, e, how | TOKENIZER_LOSSY, text, n, &err)) {
        check(strcmp(err.tag, "TOK_REGEX") == 0 && ids.n == 0);
        token_ids_free(&ids);
        return;
    }
    for (size_t i = 0; i < ids.n; i++)
        check(ids.ids[i] < tokenizer_size(t));
    check(tokenizer_decode(&back, t, ids.ids, ids.n, 0, &err) == 0);
    check(back.unknown == 0);
    if (exact && utf8_valid(text, n) == n)
        check(back.n == n && (!n || memcmp(back.p, text, n) == 0));
    check_stream(t, &ids, &back);
    token_text_free(&back);
    token_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct tokenizer *t;
    struct tokenizer_encoder *e;
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t n_file = zero ? (size_t)(zero - data) : size;
    const char *text = (const char *)data + (zero ? n_file + 1 : n_file);
    size_t n = size - (size_t)(text - (const char *)data);
    report_init(&report);
    if (tokenizer_parse(&t, (const char *)data, n_file, "fuzz", 0, &report, &err)) {
        check((err.code == PREP_EDATA || err.code == PREP_EUNSUP) && err.tag[0] && !t);
        report_fini(&report);
        return 0;
    }
    check(tokenizer_encoder_new(&e, t, &err) == 0);
    /* Only lstrip and rstrip lose text. */
    int exact = !memmem(data, n_file, "strip", 5);
    try_mode(e, t, TOKENIZER_ALL, text, n, exact);
    try_mode(e, t, TOKENIZER_NOSPECIAL, text, n, exact);
    try_mode(e, t, TOKENIZER_RAW, text, n, 1);
    try_mode(e, t, TOKENIZER_ALL | TOKENIZER_WRAP, text, n, 0);
    tokenizer_encoder_free(e);
    tokenizer_free(t);
    report_fini(&report);
    return 0;
}
