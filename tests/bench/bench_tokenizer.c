/* SPDX-License-Identifier: MIT */
/*
 * Encode and decode the texts of a JSON-lines file on one thread; print the best and the median.
 *
 *   bench_tokenizer TOKENIZER FILE.jsonl [ROUNDS]
 *
 * Every round begins with a new encoder, so that words are new to it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libprep/base/json.h"
#include "libprep/model/tokenizer.h"

struct texts {
    struct span *items;
    size_t n, cap;
    uint64_t bytes;
    struct arena arena;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_tokenizer: %s\n", what);
    exit(1);
}

static void read_texts(struct texts *t, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span file;
    struct json doc;
    if (io_read_file(&io_posix, path, 1u << 30, &t->arena, &file, &err))
        die(err.msg);
    const char *s = (const char *)file.p, *end = s + file.n;
    while (s < end) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        size_t n = stop ? (size_t)(stop - s) : (size_t)(end - s);
        if (json_parse(&doc, s, n, path, &err) ||
            prep_grow(&t->items, &t->cap, t->n, sizeof *t->items, &err))
            die(err.msg);
        struct span *item = &t->items[t->n++];
        item->p = (const unsigned char *)json_string(&doc, json_get(&doc, 0, "text"), &t->arena,
                                                     &item->n, &err);
        if (!item->p)
            die(err.msg);
        t->bytes += item->n;
        json_free(&doc);
        s += n + 1;
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_rate(const char *what, double *seconds, int rounds, uint64_t bytes)
{
    qsort(seconds, (size_t)rounds, sizeof *seconds, ascending);
    printf("%s: median %.1f MB/s, best %.1f MB/s of %d\n", what,
           (double)bytes * 1e-6 / seconds[rounds / 2], (double)bytes * 1e-6 / seconds[0], rounds);
}

static double encode_round(const struct tokenizer *t, const struct texts *texts,
                           struct token_ids *ids)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer_encoder *e;
    double begin = now();
    if (tokenizer_encoder_new(&e, t, &err))
        die(err.msg);
    ids->n = 0;
    for (size_t i = 0; i < texts->n; i++)
        if (tokenizer_encode(ids, e, TOKENIZER_ALL, (const char *)texts->items[i].p,
                             texts->items[i].n, &err))
            die(err.msg);
    tokenizer_encoder_free(e);
    return now() - begin;
}

static double decode_round(const struct tokenizer *t, const struct token_ids *ids,
                           struct token_text *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    double begin = now();
    text->n = 0;
    if (tokenizer_decode(text, t, ids->ids, ids->n, 0, &err))
        die(err.msg);
    return now() - begin;
}

int main(int argc, char **argv)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    struct texts texts = {0};
    struct token_ids ids = {0};
    struct token_text text = {0};
    double seconds[100];
    int rounds = argc > 3 ? atoi(argv[3]) : 9;
    if (argc < 3 || rounds < 1 || rounds > 100)
        die("usage: bench_tokenizer TOKENIZER FILE.jsonl [ROUNDS]");
    double begin = now();
    if (tokenizer_open(&t, &io_posix, argv[1], NULL, &err))
        die(err.msg);
    double opened = now() - begin;
    arena_init(&texts.arena, 0);
    read_texts(&texts, argv[2]);
    for (int i = 0; i < rounds; i++)
        seconds[i] = encode_round(t, &texts, &ids);
    printf("%zu texts, %llu bytes, %zu tokens; opened in %.1f ms\n", texts.n,
           (unsigned long long)texts.bytes, ids.n, opened * 1e3);
    print_rate("encode", seconds, rounds, texts.bytes);
    for (int i = 0; i < rounds; i++)
        seconds[i] = decode_round(t, &ids, &text);
    print_rate("decode", seconds, rounds, texts.bytes);
    token_text_free(&text);
    token_ids_free(&ids);
    arena_fini(&texts.arena);
    free(texts.items);
    tokenizer_free(t);
    return 0;
}
