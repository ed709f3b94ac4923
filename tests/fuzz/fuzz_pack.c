/* SPDX-License-Identifier: MIT */
/*
 * Calibration inputs: first byte 0: a mix file; 1: a packed token file; 2: JSON lines; 3: .gz;
 * others: an archive.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/calib/mix.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int on_document(void *arg, uint64_t record, const char *text, size_t n,
                       struct prep_error *err)
{
    uint64_t *next = arg;
    (void)err;
    check(record >= *next);
    *next = record + 1;
    /* Touch every byte. */
    for (size_t i = 0; i < n; i++)
        *(volatile const char *)&text[i];
    return 0;
}

/* One file of these bytes; all the structs are locals of the caller. */
struct served {
    struct memory_part part;
    struct memory_file file;
    struct memory_io memory;
};

static const struct io *serve(struct served *s, const char *name, struct span bytes)
{
    s->part = (struct memory_part){bytes.p, 0, bytes.n};
    s->file = (struct memory_file){name, &s->part, 1, 0};
    memory_io_init(&s->memory, &s->file, 1);
    return &s->memory.io;
}

static void try_documents(const char *name, struct span bytes)
{
    struct served served;
    const struct io *io = serve(&served, name, bytes);
    struct prep_error err = PREP_ERROR_INIT;
    const struct document_source source = {.path = name};
    struct document_stats stats;
    uint64_t next = 0;
    if (documents_read(&source, io, on_document, &next, &stats, &err))
        check(err.code == PREP_EDATA || err.code == PREP_ENOMEM);
}

static void try_tokens(struct span file, struct arena *arena)
{
    struct served first, second;
    struct prep_error err = PREP_ERROR_INIT;
    struct packed_tokens t, again;
    struct span bytes;
    if (tokens_read(&t, serve(&first, "fuzz", file), "fuzz", arena, &err)) {
        check(err.code == PREP_EDATA || err.code == PREP_EUNSUP);
        return;
    }
    if (tokens_metadata(&t, "text_sha256"))
        return; /* it would be there twice */
    check(tokens_write(&bytes, &t, arena, &err) == 0);
    check(tokens_read(&again, serve(&second, "again", bytes), "again", arena, &err) == 0);
    check(again.n_sequences == t.n_sequences && again.n_documents == t.n_documents);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"", "", "a.jsonl", "a.txt.gz", "a.tar"};
    struct prep_error err = PREP_ERROR_INIT;
    struct pack_options o = {.mode = 0};
    struct arena arena;
    if (size == 0)
        return 0;
    const struct span file = {data + 1, size - 1};
    arena_init(&arena, 0);
    if (data[0] == 0)
        check(mix_parse(&o, (const char *)file.p, file.n, "mix", ".", &arena, &err) == 0 ||
              err.code == PREP_EDATA);
    else if (data[0] == 1)
        try_tokens(file, &arena);
    else
        try_documents(names[data[0] < 4 ? data[0] : 4], file);
    arena_fini(&arena);
    return 0;
}
