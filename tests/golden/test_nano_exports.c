/* SPDX-License-Identifier: MIT */
/*
 * Exports of the peers, byte for byte: the nano model against manifests of hashes, the tiny one
 * against whole checkpoints. Input scales come from a forward pass that is not repeated: the
 * maxima are fed back from the scales recorded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "tests/support/quantized.h"
#include "tests/support/support.h"

/* What a peer wrote: every tensor's hash, and the value of those of one element. */
struct golden {
    const char *name;
    const char *sha256;
    float value;
};

struct export
{
    struct golden *tensors;
    size_t n;
    struct arena arena;
};

static void check(int rc, const struct prep_error *err)
{
    if (rc)
        fail_msg("%s", err->msg);
}

static void read_manifest(struct export *e, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_bytes text = test_read(path);
    struct json d;
    arena_init(&e->arena, 0);
    check(json_parse(&d, (char *)text.p, text.n, path, &err), &err);
    e->tensors = arena_calloc(&e->arena, json_count(&d, 0), sizeof *e->tensors, &err);
    assert_non_null(e->tensors);
    for (uint32_t k = json_first(&d, 0), v; k != JSON_NONE; k = json_next(&d, v)) {
        double value = 0;
        v = json_next(&d, k);
        struct golden *g = &e->tensors[e->n++];
        uint32_t number = json_get(&d, v, "value");
        if (number != JSON_NONE)
            json_f64(&d, number, &value);
        *g = (struct golden){json_string(&d, k, &e->arena, NULL, &err),
                             json_string(&d, json_get(&d, v, "sha256"), &e->arena, NULL, &err),
                             (float)value};
    }
    json_free(&d);
    free(text.p);
}

static unsigned char *tensor_bytes_of(const struct checkpoint *c, const struct checkpoint_tensor *t)
{
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char *p = malloc((size_t)t->info.bytes + 1);
    assert_non_null(p);
    check(checkpoint_read(c, t, 0, p, (size_t)t->info.bytes, &err), &err);
    return p;
}

static const char *hash_of(const struct checkpoint *c, const struct checkpoint_tensor *t,
                           char hex[SHA256_HEX])
{
    unsigned char *p = tensor_bytes_of(c, t);
    sha256_hex(p, (size_t)t->info.bytes, hex);
    free(p);
    return hex;
}

static void read_checkpoint(struct export *e, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct checkpoint *c;
    arena_init(&e->arena, 0);
    check(checkpoint_open(&c, &io_posix, path, NULL, &err), &err);
    e->tensors = arena_calloc(&e->arena, c->n_tensors, sizeof *e->tensors, &err);
    assert_non_null(e->tensors);
    for (; e->n < c->n_tensors; e->n++) {
        const struct checkpoint_tensor *t = &c->tensors[e->n];
        char hex[SHA256_HEX];
        unsigned char *p = tensor_bytes_of(c, t);
        struct golden *g = &e->tensors[e->n];
        g->name = arena_strndup(&e->arena, t->info.name, strlen(t->info.name), &err);
        g->sha256 = arena_strndup(&e->arena, hash_of(c, t, hex), 64, &err);
        if (t->info.bytes == 4)
            memcpy(&g->value, p, 4);
        free(p);
    }
    checkpoint_close(c);
}

static size_t ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n > s && strcmp(name + n - s, suffix) == 0 ? n - s : 0;
}

static const char *amax_of(const struct export *e, enum quant_layout layout, int n_experts)
{
    const char *suffix = layout == QUANT_MODELOPT ? ".input_scale" : ".input_global_scale";
    struct amax_entry *entries = calloc(e->n, sizeof *entries);
    size_t n = 0;
    for (size_t i = 0; i < e->n; i++) {
        size_t module = ends_in(e->tensors[i].name, suffix);
        if (module)
            entries[n++] = (struct amax_entry){test_path("%.*s", (int)module, e->tensors[i].name),
                                               quantized_amax(layout, e->tensors[i].value), 0};
    }
    assert_true(n > 0);
    const char *path = quantized_amax_file(entries, n, n_experts);
    free(entries);
    return path;
}

/* Every tensor of the export is in our folder with the same bytes; ours has n_more. */
static void expect_tensors(const struct export *e, const char *dir, size_t n_more)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct checkpoint *c;
    check(checkpoint_open(&c, &io_posix, dir, NULL, &err), &err);
    for (size_t i = 0; i < e->n; i++) {
        char hex[SHA256_HEX];
        const struct checkpoint_tensor *t = checkpoint_find(c, e->tensors[i].name);
        if (!t)
            fail_msg("%s is missing", e->tensors[i].name);
        if (strcmp(hash_of(c, t, hex), e->tensors[i].sha256) != 0)
            fail_msg("%s has other bytes", e->tensors[i].name);
    }
    assert_int_equal(c->n_tensors, e->n + n_more);
    checkpoint_close(c);
}

/* ---- configs ---- */

static cJSON *read_json(const char *path)
{
    struct test_bytes text = test_read(path);
    cJSON *j = cJSON_Parse((char *)text.p);
    free(text.p);
    assert_non_null(j);
    return j;
}

/* Our entries for the MTP layer that the peers lose; all must be there. */
static void remove_entries(cJSON *list, const char *const *entries, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        int found = 0;
        for (int i = 0; i < cJSON_GetArraySize(list); i++) {
            if (strcmp(cJSON_GetArrayItem(list, i)->valuestring, entries[k]) != 0)
                continue;
            cJSON_DeleteItemFromArray(list, i);
            found = 1;
            break;
        }
        if (!found)
            fail_msg("no entry %s", entries[k]);
    }
}

static void expect_equal_json(cJSON *ours, cJSON *theirs, const char *what)
{
    cJSON_DeleteItemFromObject(ours, "version");
    cJSON_DeleteItemFromObject(theirs, "version");
    cJSON_DeleteItemFromObject(cJSON_GetObjectItem(ours, "producer"), "version");
    cJSON_DeleteItemFromObject(cJSON_GetObjectItem(theirs, "producer"), "version");
    if (!cJSON_Compare(ours, theirs, 1))
        fail_msg("%s:\n%s\nwant\n%s", what, cJSON_Print(ours), cJSON_Print(theirs));
}

static const char *const modelopt_mtp[] = {"model.layers.5*", "*shared_head*"};
static const char *const compressed_mtp[] = {"re:.*layers\\.5\\..*", "re:model\\.decoder\\..*",
                                             "re:.*shared_head.*"};

struct example {
    const char *source, *folder;
    enum quant_layout layout;
    const char *modules;
    int same_input, per_expert;
    struct quant_rule rule;
    int n_experts;
    size_t n_mtp_tensors; /* that the peer loses */
    int is_checkpoint;    /* the fixture is one, not a manifest */
};

static void expect_configs(const struct example *x, const char *dir)
{
    const char *golden = test_path("%s/nvfp4/%s", test_data(), x->folder);
    cJSON *ours = read_json(test_path("%s/config.json", dir));
    cJSON *theirs = read_json(test_path("%s/config.json", golden));
    cJSON *q = cJSON_GetObjectItem(ours, "quantization_config");
    int modelopt = x->layout == QUANT_MODELOPT;
    const char *const *mtp = modelopt ? modelopt_mtp : compressed_mtp;
    size_t n_mtp = !x->n_mtp_tensors ? 0 : modelopt ? 2 : 3;
    remove_entries(cJSON_GetObjectItem(q, "ignore"), mtp, n_mtp);
    expect_equal_json(q, cJSON_GetObjectItem(theirs, "quantization_config"), "config.json");
    cJSON_Delete(ours);
    cJSON_Delete(theirs);
    if (!modelopt)
        return;
    ours = read_json(test_path("%s/hf_quant_config.json", dir));
    theirs = read_json(test_path("%s/hf_quant_config.json", golden));
    q = cJSON_GetObjectItem(ours, "quantization");
    remove_entries(cJSON_GetObjectItem(q, "exclude_modules"), mtp, n_mtp);
    expect_equal_json(ours, theirs, "hf_quant_config.json");
    cJSON_Delete(ours);
    cJSON_Delete(theirs);
}

static void run_example(const struct example *x)
{
    const char *golden = test_path("%s/nvfp4/%s", test_data(), x->folder);
    struct export e = {0};
    if (x->is_checkpoint)
        read_checkpoint(&e, golden);
    else
        read_manifest(&e, test_path("%s/manifest.json", golden));
    const char *amax = amax_of(&e, x->layout, x->n_experts);
    struct quantize_job job = quantized_job(test_path("%s/%s", test_data(), x->source));
    job.layout = x->layout;
    job.modules = x->modules;
    job.same_input = x->same_input;
    job.per_expert = x->per_expert;
    job.rules = &x->rule;
    job.n_rules = x->rule.pattern != NULL;
    job.amax = &amax;
    job.n_amax = 1;
    const char *dir = quantized_run(&job);
    expect_tensors(&e, dir, x->n_mtp_tensors);
    expect_configs(x, dir);
    arena_fini(&e.arena);
}

static void nano_experts_are_modelopts(void **state)
{
    (void)state;
    run_example(&(struct example){.source = "glm-nano",
                                  .folder = "nano/modelopt_experts",
                                  .layout = QUANT_MODELOPT,
                                  .modules = "experts",
                                  .n_experts = 16,
                                  .n_mtp_tensors = 71});
}

static void nano_all_is_modelopts_default(void **state)
{
    (void)state;
    run_example(&(struct example){.source = "glm-nano",
                                  .folder = "nano/modelopt_default",
                                  .layout = QUANT_MODELOPT,
                                  .modules = "all",
                                  .same_input = 1,
                                  .n_experts = 16,
                                  .n_mtp_tensors = 71});
}

static void nano_experts_are_compressed_tensors(void **state)
{
    (void)state;
    run_example(&(struct example){.source = "glm-nano",
                                  .folder = "nano/ct_experts",
                                  .layout = QUANT_COMPRESSED_TENSORS,
                                  .modules = "experts",
                                  .per_expert = 1,
                                  .n_experts = 16,
                                  .n_mtp_tensors = 71});
}

static void tiny_all_is_modelopts_default(void **state)
{
    (void)state;
    run_example(&(struct example){.source = "nvfp4/tiny_glm/bf16",
                                  .folder = "tiny_glm/modelopt_default",
                                  .layout = QUANT_MODELOPT,
                                  .modules = "all",
                                  .same_input = 1,
                                  .n_experts = 8,
                                  .is_checkpoint = 1});
}

static void tiny_but_indexer_weights_is_compressed_tensors(void **state)
{
    (void)state;
    run_example(&(struct example){.source = "nvfp4/tiny_glm/bf16",
                                  .folder = "tiny_glm/ct_all",
                                  .layout = QUANT_COMPRESSED_TENSORS,
                                  .modules = "all",
                                  .per_expert = 1,
                                  .rule = {"*.indexer.weights_proj", 0},
                                  .n_experts = 8,
                                  .is_checkpoint = 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nano_experts_are_modelopts),
        cmocka_unit_test(nano_all_is_modelopts_default),
        cmocka_unit_test(nano_experts_are_compressed_tensors),
        cmocka_unit_test(tiny_all_is_modelopts_default),
        cmocka_unit_test(tiny_but_indexer_weights_is_compressed_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
