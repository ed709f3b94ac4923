/* SPDX-License-Identifier: MIT */
/*
 * Encode or decode records from stdin, for comparing with other programs.
 *
 *   tokenize TOKENIZER all|nospecial|raw|wrap     in: u32 bytes, text   out: u32 ids, u32 id...
 *   tokenize TOKENIZER decode|decode-skip         in: u32 ids, u32 id...   out: u32 bytes, text
 *
 * All numbers are little-endian.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/model/tokenizer.h"

enum { MAX_RECORD = 1 << 28 };

static void die(const char *what)
{
    fprintf(stderr, "tokenize: %s\n", what);
    exit(1);
}

static void put_u32(uint32_t v)
{
    unsigned char b[4];
    store_le32(b, v);
    fwrite(b, 1, sizeof b, stdout);
}

/* The next record, of n units; 0 at the end. */
static int read_record(char **record, size_t unit, uint32_t *n)
{
    unsigned char b[4];
    if (fread(b, 1, sizeof b, stdin) != sizeof b)
        return 0;
    *n = load_le32(b);
    if (*n > MAX_RECORD / unit)
        die("record too long");
    char *p = realloc(*record, *n * unit + 1);
    if (!p || fread(p, unit, *n, stdin) != *n)
        die("record cut short");
    *record = p;
    return 1;
}

static void encode_all(const struct tokenizer *t, unsigned how)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    struct token_ids ids = {0};
    char *record = NULL;
    uint32_t n;
    if (tokenizer_encoder_new(&e, t, &err))
        die(err.msg);
    while (read_record(&record, 1, &n)) {
        ids.n = 0;
        if (tokenizer_encode(&ids, e, how, record, n, &err))
            die(err.msg);
        put_u32((uint32_t)ids.n);
        for (size_t i = 0; i < ids.n; i++)
            put_u32(ids.ids[i]);
    }
    free(record);
    token_ids_free(&ids);
    tokenizer_encoder_free(e);
}

static void decode_all(const struct tokenizer *t, int skip)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_text text = {0};
    char *record = NULL;
    uint32_t n;
    while (read_record(&record, 4, &n)) {
        uint32_t *ids = malloc((n + 1) * sizeof *ids);
        if (!ids)
            die("out of memory");
        for (uint32_t i = 0; i < n; i++)
            ids[i] = load_le32((unsigned char *)record + (size_t)4 * i);
        text.n = 0;
        if (tokenizer_decode(&text, t, ids, n, skip, &err))
            die(err.msg);
        put_u32((uint32_t)text.n);
        fwrite(text.p, 1, text.n, stdout);
        free(ids);
    }
    free(record);
    token_text_free(&text);
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"all", "nospecial", "raw", NULL, "wrap"};
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    unsigned how = 0;
    if (argc != 3)
        die("usage: tokenize TOKENIZER all|nospecial|raw|wrap|decode|decode-skip");
    if (tokenizer_open(&t, &io_posix, argv[1], NULL, &err))
        die(err.msg);
    if (strncmp(argv[2], "decode", 6) == 0) {
        decode_all(t, strcmp(argv[2], "decode-skip") == 0);
    } else {
        while (how < 5 && (!modes[how] || strcmp(argv[2], modes[how]) != 0))
            how++;
        if (how == 5)
            die("unknown mode");
        encode_all(t, how);
    }
    tokenizer_free(t);
    return ferror(stdout) || fflush(stdout) ? 74 : 0;
}
