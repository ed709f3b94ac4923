/* SPDX-License-Identifier: MIT */
/*
 * Metadata that is accepted tiles its file, and laid out again it is read back the same. The input
 * is the file up to the end of its metadata; as much data follows as a first reading asks for.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/gguf.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int read_bytes(struct gguf *g, const uint8_t *p, size_t n, uint64_t claimed,
                      struct prep_error *err)
{
    const struct memory_part parts[] = {{.p = p, .n = n}, {.n = claimed - n}};
    const struct memory_file file = {.path = "f", .parts = parts, .n_parts = claimed > n ? 2 : 1};
    struct memory_io m;
    memory_io_init(&m, &file, 1);
    int rc = gguf_read(g, &m.io, 0, claimed, "f", err);
    check(rc == 0 || (err->code == PREP_EDATA && err->tag[0]));
    check(rc || g->arena.used <= (64u << 20) + 4 * (uint64_t)n);
    return rc;
}

static void check_value(const struct gguf_kv *kv)
{
    uint64_t u;
    double d;
    int b;
    struct span sum = {kv->bytes.p, 0};
    size_t at = 0;
    for (uint64_t i = 0; kv->type == GGUF_ARRAY && i < kv->count; i++)
        sum.n += gguf_element(kv, &at).n;
    check(at == (kv->type == GGUF_ARRAY ? kv->bytes.n : 0));
    check((gguf_as_u64(kv, &u) == 0) <= (gguf_as_f64(kv, &d) == 0));
    check((gguf_as_bool(kv, &b) == 0) == (kv->type == GGUF_BOOL));
}

static void check_tensors(const struct gguf *g)
{
    uint64_t end = g->data_start;
    for (size_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor_info *t = &g->tensors[i];
        check(t->offset == end && t->bytes > 0 && t->bytes <= g->file_bytes - end);
        check(gguf_find_tensor(g, t->name) == t);
        end = gguf_pad(end + t->bytes, g->alignment);
    }
}

static void check_layout(struct gguf *g)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct gguf_keys keys = {.arena = &g->arena};
    struct gguf again;
    struct span out;
    uint64_t bytes;
    for (size_t i = 0; i < g->n_kvs; i++) {
        check_value(&g->kvs[i]);
        check(gguf_set(&keys, &g->kvs[i], &err) == 0);
    }
    check(gguf_layout(&out, &bytes, &keys, g->tensors, g->n_tensors, &g->arena, &err) == 0);
    check(read_bytes(&again, out.p, out.n, bytes, &err) == 0);
    check(again.n_tensors == g->n_tensors && again.n_kvs == g->n_kvs);
    for (size_t i = 0; i < g->n_tensors; i++)
        check(strcmp(again.tensors[i].name, g->tensors[i].name) == 0 &&
              again.tensors[i].offset == g->tensors[i].offset &&
              again.tensors[i].bytes == g->tensors[i].bytes);
    for (size_t i = 0; i < g->n_kvs; i++)
        check(again.kvs[i].bytes.n == g->kvs[i].bytes.n &&
              memcmp(again.kvs[i].bytes.p, g->kvs[i].bytes.p, g->kvs[i].bytes.n) == 0);
    gguf_keys_free(&keys);
    gguf_free(&again);
}

/* "...ends at byte N": the data that would make the file whole, as far as one tensor says. */
static uint64_t wanted(const struct prep_error *err)
{
    const char *s = strstr(err->msg, "ends at byte ");
    return s ? strtoull(s + strlen("ends at byte "), NULL, 10) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct gguf g;
    uint64_t claimed = size;
    int rc = read_bytes(&g, data, size, size, &err);
    for (int turn = 0; rc && strcmp(err.tag, "SHORT_DATA") == 0 && turn < 64; turn++) {
        check(wanted(&err) > claimed);
        claimed = wanted(&err);
        prep_error_clear(&err);
        rc = read_bytes(&g, data, size, claimed, &err);
    }
    if (!rc) {
        struct gguf_split s;
        check_tensors(&g);
        check_layout(&g);
        if (gguf_split_of(&s, &g, "f", &err) == 0)
            check(s.no < s.count);
        gguf_free(&g);
    }
    return 0;
}
