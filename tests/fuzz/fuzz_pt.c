/* SPDX-License-Identifier: MIT */
/*
 * The input is a torch file; or, when it does not begin like a ZIP archive, the pickle inside one
 * whose CRC is right, with a storage of 64 bytes under each of the keys 0 to 3.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "libprep/base/hash.h"
#include "libprep/format/pt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

struct archive {
    unsigned char *p;
    size_t n;
};

static void put(struct archive *a, const void *p, size_t n)
{
    memcpy(a->p + a->n, p, n);
    a->n += n;
}

/* Local and central headers share everything from the flags to the extra length. */
static void put_header(struct archive *a, int central, const char *name, const uint8_t *p, size_t n,
                       size_t at)
{
    unsigned char h[46] = {'P', 'K', 3, 4, 20};
    unsigned char *shared = h + (central ? 8 : 6);
    if (central)
        memcpy(h, "PK\1\2", 4);
    store_le32(shared + 8, (uint32_t)crc32(0, p, (uInt)n));
    store_le32(shared + 12, (uint32_t)n);
    store_le32(shared + 16, (uint32_t)n);
    shared[20] = (unsigned char)strlen(name);
    if (central)
        store_le32(h + 42, (uint32_t)at);
    put(a, h, central ? 46 : 30);
    put(a, name, strlen(name));
}

static struct span wrap(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"p/data.pkl", "p/data/0", "p/data/1", "p/data/2",
                                        "p/data/3"};
    static const uint8_t zeros[64];
    struct archive a = {malloc(size + 2048), 0};
    size_t at[5], start;
    unsigned char end[22] = {'P', 'K', 5, 6, 0, 0, 0, 0, 5, 0, 5};
    check(a.p != NULL);
    for (int i = 0; i < 5; i++) {
        const uint8_t *p = i ? zeros : data;
        size_t n = i ? sizeof zeros : size;
        at[i] = a.n;
        put_header(&a, 0, names[i], p, n, 0);
        if (n)
            put(&a, p, n);
    }
    start = a.n;
    for (int i = 0; i < 5; i++)
        put_header(&a, 1, names[i], i ? zeros : data, i ? sizeof zeros : size, at[i]);
    store_le32(end + 12, (uint32_t)(a.n - start));
    store_le32(end + 16, (uint32_t)start);
    put(&a, end, sizeof end);
    return (struct span){a.p, a.n};
}

/* Every element of every tensor one level down is inside its storage. */
static void read_tensors(const struct pt_value *root)
{
    if (root->type != PT_DICT && root->type != PT_LIST && root->type != PT_TUPLE)
        return;
    for (uint32_t i = 0; i < root->n; i++) {
        const struct pt_value *v = root->items[i];
        if (v->type != PT_TENSOR)
            continue;
        check(v->tensor->n <= v->tensor->storage->n);
        double *f = malloc((size_t)v->tensor->n * sizeof *f + 1);
        check(f != NULL);
        if (pt_tensor_f64(v->tensor, f))
            check(pt_tensor_i64(v->tensor, (int64_t *)(void *)f) == 0);
        free(f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct pt pt;
    int is_zip = size >= 4 && memcmp(data, "PK", 2) == 0;
    struct span file = is_zip ? (struct span){data, size} : wrap(data, size);
    if (pt_read(&pt, file, "x.pt", &err))
        check(err.code == PREP_EDATA && strncmp(err.tag, "OBS_", 4) == 0);
    else
        read_tensors(pt.root);
    pt_free(&pt);
    if (!is_zip)
        free((void *)file.p);
    return 0;
}
