/* SPDX-License-Identifier: MIT */
#include "tests/support/synth_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/inventory.h"

/* Every tensor in order; shard i holds those from first[i] on. */
struct listing {
    struct tensor_info *tensors;
    size_t n, cap;
    size_t *first;
    size_t n_shards, cap_shards;
    struct arena names;
};

static int list_tensor(struct listing *l, const struct tensor_spec *spec, int expert,
                       struct prep_error *err)
{
    char buf[INVENTORY_NAME_BYTES];
    const char *name = inventory_name(spec, "model.", expert, buf);
    if (prep_grow(&l->tensors, &l->cap, l->n, sizeof *l->tensors, err))
        return -1;
    struct tensor_info *t = &l->tensors[l->n];
    *t = (struct tensor_info){.shape = {spec->rows, spec->cols},
                              .n_dims = spec->n_dims,
                              .dtype = spec->dtype,
                              .bytes =
                                  spec_elements(spec) * dtype_bits((enum dtype)spec->dtype) / 8};
    if (spec->n_dims == 1)
        t->shape[1] = 0;
    t->name = arena_strndup(&l->names, name, strlen(name), err);
    if (!t->name)
        return -1;
    l->n++;
    return 0;
}

static int list_model(struct listing *l, const struct config *c, struct prep_error *err)
{
    struct inventory_iter it;
    int expert;
    inventory_begin(&it, c, 1);
    for (const struct tensor_spec *s; (s = inventory_next(&it, &expert)) != NULL;)
        if (spec_is_stored(c, s) && list_tensor(l, s, expert, err))
            return -1;
    return 0;
}

static int cut(struct listing *l, uint64_t shard_bytes, struct prep_error *err)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0 && bytes + l->tensors[i].bytes <= shard_bytes) {
            bytes += l->tensors[i].bytes;
            continue;
        }
        if (prep_grow(&l->first, &l->cap_shards, l->n_shards, sizeof *l->first, err))
            return -1;
        l->first[l->n_shards++] = i;
        bytes = l->tensors[i].bytes;
    }
    return 0;
}

static int add_shards(struct synth *s, struct listing *l, struct prep_error *err)
{
    for (size_t i = 0; i < l->n_shards; i++) {
        char name[64];
        size_t end = i + 1 < l->n_shards ? l->first[i + 1] : l->n;
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, l->n_shards);
        if (synth_add_shard(s, name, l->tensors + l->first[i], end - l->first[i], err))
            return -1;
    }
    return synth_add_index(s, err);
}

static int add_texts(struct synth *s, const struct config *c, struct prep_error *err)
{
    static const char generation[] = "{\n  \"do_sample\": true\n}\n";
    static const char tokenizer[] = "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n";
    return synth_add_text(s, "config.json", c->text.p, c->text.n, err) ||
                   synth_add_text(s, "generation_config.json", generation, sizeof generation - 1,
                                  err) ||
                   synth_add_text(s, "tokenizer_config.json", tokenizer, sizeof tokenizer - 1, err)
               ? -1
               : 0;
}

int synth_model_new(struct synth **out, const char *dir, const struct config *c,
                    uint64_t shard_bytes, struct prep_error *err)
{
    struct synth *s = NULL;
    struct listing l = {0};
    arena_init(&l.names, 0);
    int rc = synth_new(&s, dir, err) || list_model(&l, c, err) ||
             cut(&l, shard_bytes ? shard_bytes : SYNTH_MODEL_SHARD_BYTES, err) ||
             add_texts(s, c, err) || add_shards(s, &l, err);
    free(l.tensors);
    free(l.first);
    arena_fini(&l.names);
    if (rc)
        synth_free(s);
    else
        *out = s;
    return rc ? -1 : 0;
}
