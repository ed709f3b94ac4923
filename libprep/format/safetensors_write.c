/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/base/json.h"
#include "libprep/format/safetensors.h"

enum { LENGTH_BYTES = 8, HUB_MAX_HEADER = 25000000, SHOWN_NAME = 200 };

static void put_entry(struct json_out *o, const struct tensor_info *t, uint64_t begin)
{
    json_out_key(o, t->name);
    json_out_open(o, '{');
    json_out_key(o, "dtype");
    json_out_string(o, dtype_name((enum dtype)t->dtype));
    json_out_key(o, "shape");
    json_out_open(o, '[');
    for (int i = 0; i < t->n_dims; i++)
        json_out_u64(o, t->shape[i]);
    json_out_close(o);
    json_out_key(o, "data_offsets");
    json_out_open(o, '[');
    json_out_u64(o, begin);
    json_out_u64(o, begin + t->bytes);
    json_out_close(o);
    json_out_close(o);
}

static void put_metadata(struct json_out *o, const struct metadata_pair *pairs, size_t n)
{
    json_out_key(o, "__metadata__");
    json_out_open(o, '{');
    for (size_t i = 0; i < n; i++) {
        json_out_key(o, pairs[i].key);
        json_out_string(o, pairs[i].value);
    }
    json_out_close(o);
}

static int check_written(const struct tensor_info *t, struct prep_error *err)
{
    const char *fault = tensor_name_fault(t->name, strlen(t->name));
    uint64_t bytes;
    if (t->ggml)
        return prep_fail_tag(err, PREP_EUNSUP, "GGUF_BLOCKS",
                             "%s: blocks of a GGUF file cannot be copied into safetensors; a "
                             "quantizer decodes them",
                             t->name);
    if (fault || strcmp(t->name, "__metadata__") == 0)
        return prep_fail_tag(err, PREP_EDATA, "NAME", "tensor name \"%.*s\" %s, want a plain name",
                             SHOWN_NAME, t->name, fault ? fault : "is reserved");
    if (tensor_bytes((enum dtype)t->dtype, t->shape, t->n_dims, &bytes) || bytes != t->bytes)
        return prep_fail(err, PREP_EBUG, "tensor %.*s: %llu bytes do not fit its shape", SHOWN_NAME,
                         t->name, (unsigned long long)t->bytes);
    return 0;
}

/* Length, JSON, and spaces up to a multiple of 8; data follows, so offsets move by its size. */
static int frame(struct span json, struct tensor_info *tensors, size_t n, struct arena *arena,
                 struct span *header, struct prep_error *err)
{
    size_t h = (json.n + 7) / 8 * 8;
    if (h >= HUB_MAX_HEADER)
        return prep_fail_tag(err, PREP_EDATA, "HEADER_LENGTH",
                             "header would have %zu bytes for %zu tensors, want fewer than %d: use "
                             "more shards",
                             h, n, HUB_MAX_HEADER);
    unsigned char *p = arena_alloc(arena, LENGTH_BYTES + h, err);
    if (!p)
        return -1;
    store_le64(p, h);
    memcpy(p + LENGTH_BYTES, json.p, json.n);
    memset(p + LENGTH_BYTES + json.n, ' ', h - json.n);
    *header = (struct span){p, LENGTH_BYTES + h};
    for (size_t i = 0; i < n; i++)
        tensors[i].offset += header->n;
    return 0;
}

int safetensors_layout(struct tensor_info *tensors, size_t n, const struct metadata_pair *metadata,
                       size_t n_metadata, struct arena *arena, struct span *header,
                       struct prep_error *err)
{
    struct json_out o;
    struct span json;
    int rc = -1;
    uint64_t at = 0;
    json_out_init(&o, JSON_COMPACT);
    json_out_open(&o, '{');
    if (metadata)
        put_metadata(&o, metadata, n_metadata);
    for (size_t i = 0; i < n; i++) {
        if (check_written(&tensors[i], err))
            goto out;
        put_entry(&o, &tensors[i], at);
        tensors[i].offset = at;
        if (prep_add(&at, at, tensors[i].bytes)) {
            prep_fail(err, PREP_EBUG, "tensors of more than 2^64 bytes in one file");
            goto out;
        }
    }
    json_out_close(&o);
    if (json_out_finish(&o, &json, err))
        goto out;
    json.n--; /* the final newline */
    rc = frame(json, tensors, n, arena, header, err);
out:
    json_out_free(&o);
    return rc;
}
