/* SPDX-License-Identifier: MIT */
/*
 * A pruned checkpoint tensor by tensor, as a view: fixtures observations/rand32 and nano16. Bytes
 * are gathered as a writer would and compared by dtype, shape and SHA-256.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/prune/apply.h"
#include "tests/support/support.h"

struct input {
    struct checkpoint *ckpt;
    struct config config;
    struct keep_map map;
    struct prep_error err;
};

static void open_input(struct input *in, const char *dir, const char *map)
{
    *in = (struct input){0};
    assert_int_equal(checkpoint_open(&in->ckpt, &io_posix, dir, NULL, &in->err), 0);
    assert_int_equal(config_load(&in->config, &io_posix, dir, NULL, &in->err), 0);
    struct test_bytes text = test_read(map);
    assert_int_equal(keep_map_parse(&in->map, (const char *)text.p, text.n, map, &in->err), 0);
    free(text.p);
}

static void close_input(struct input *in)
{
    keep_map_free(&in->map);
    config_free(&in->config);
    checkpoint_close(in->ckpt);
}

static void hash_tensor(const struct view *v, const struct view_tensor *t, char hex[SHA256_HEX])
{
    const struct checkpoint_tensor *from = view_source(v, t);
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char *bytes = malloc(from->info.bytes + 1), *out = bytes;
    assert_non_null(bytes);
    assert_int_equal(checkpoint_read(v->sources[t->source], from, 0, bytes, from->info.bytes, &err),
                     0);
    if (t->rows) {
        size_t row = from->info.bytes / from->info.shape[0];
        for (uint32_t i = 0; i < t->n_rows; i++, out += row)
            memmove(out, bytes + (size_t)t->rows[i] * row, row);
    }
    sha256_hex(bytes, t->info.bytes, hex);
    free(bytes);
}

static void check_tensor(const struct view *v, const struct view_tensor *t, const struct json *d)
{
    uint32_t want = json_get(d, 0, t->info.name);
    if (want == JSON_NONE)
        fail_msg("unexpected tensor %s", t->info.name);
    assert_true(json_equal(d, json_get(d, want, "dtype"), dtype_name(t->info.dtype)));
    uint32_t shape = json_get(d, want, "shape");
    assert_int_equal(json_count(d, shape), t->info.n_dims);
    int i = 0;
    for (uint32_t n = json_first(d, shape); n != JSON_NONE; n = json_next(d, n), i++) {
        uint64_t extent;
        assert_int_equal(json_u64(d, n, &extent), 0);
        assert_int_equal(extent, t->info.shape[i]);
    }
    char hex[SHA256_HEX];
    hash_tensor(v, t, hex);
    if (!json_equal(d, json_get(d, want, "sha256"), hex))
        fail_msg("%s: other bytes than expected", t->info.name);
}

static void check_tensors(const struct view *v, const char *expected)
{
    struct test_bytes text = test_read(expected);
    struct prep_error err = PREP_ERROR_INIT;
    struct json d;
    assert_int_equal(json_parse(&d, (const char *)text.p, text.n, expected, &err), 0);
    assert_int_equal(v->n_tensors, json_count(&d, 0));
    for (size_t i = 0; i < v->n_tensors; i++)
        check_tensor(v, &v->tensors[i], &d);
    json_free(&d);
    free(text.p);
}

/* The edited text has the expected value, and only the digits of n_routed_experts differ. */
static void check_config(const struct input *in, const struct prune_output *out,
                         const char *expected)
{
    struct test_bytes text = test_read(expected);
    cJSON *want = cJSON_ParseWithLength((const char *)text.p, text.n);
    const struct span got = out->edited[0].text, old = in->config.text;
    cJSON *value = cJSON_ParseWithLength((const char *)got.p, got.n);
    assert_string_equal(out->edited[0].name, "config.json");
    assert_true(cJSON_Compare(cJSON_GetObjectItem(want, "config"), value, 1));
    assert_int_equal(cJSON_GetObjectItem(want, "tensors")->valuedouble, out->n_out);
    uint64_t total = 0;
    for (size_t i = 0; i < out->view.n_tensors; i++)
        total += out->view.tensors[i].info.bytes;
    assert_int_equal(cJSON_GetObjectItem(want, "total_size")->valuedouble, total);

    const struct json *d = &in->config.json;
    const struct json_node *n = &d->nodes[json_get(d, 0, "n_routed_experts")];
    size_t tail = old.n - n->end;
    assert_memory_equal(got.p, old.p, n->start);
    assert_memory_equal(got.p + got.n - tail, old.p + n->end, tail);
    assert_true(got.n - tail - n->start <= 2);
    cJSON_Delete(value);
    cJSON_Delete(want);
    free(text.p);
}

static void check_case(const char *checkpoint, const char *set, const char *map,
                       const char *tensors, const char *config)
{
    const char *dir = test_path("%s/%s", test_data(), checkpoint);
    const char *expected = test_path("%s/observations/%s/expected", test_data(), set);
    const struct apply_options options = {0};
    struct input in;
    struct prune_output out;
    open_input(&in, dir, test_path("%s/%s", expected, map));
    if (prune_apply(&out, in.ckpt, &in.config, &in.map, &options, NULL, &in.err))
        fail_msg("%s", in.err.msg);
    check_tensors(&out.view, test_path("%s/%s", expected, tensors));
    check_config(&in, &out, test_path("%s/%s", expected, config));
    assert_int_equal(out.n_in, out.n_out + out.n_dropped);
    assert_true(out.uniform);
    prune_output_fini(&out);
    close_input(&in);
}

static void rand32_loses_8_of_32_experts(void **state)
{
    (void)state;
    check_case("observations/rand32/checkpoint", "rand32", "keep_map-32-24.json",
               "pruned-32-24.tensors.json", "pruned-24.config.json");
}

static void rand32_is_cut_to_20_in_one_pass_by_the_map_of_two(void **state)
{
    (void)state;
    check_case("observations/rand32/checkpoint", "rand32", "keep_map-24-20.json",
               "pruned-24-20.tensors.json", "pruned-20.config.json");
}

static void nano16_loses_4_of_16_experts(void **state)
{
    (void)state;
    check_case("glm-nano", "nano16", "keep_map-16-12.json", "pruned-16-12.tensors.json",
               "pruned-12.config.json");
}

static void nano16_is_cut_to_10_in_one_pass_by_the_map_of_two(void **state)
{
    (void)state;
    check_case("glm-nano", "nano16", "keep_map-12-10.json", "pruned-12-10.tensors.json",
               "pruned-10.config.json");
}

/* What the second map keeps of the first map's experts is what it keeps of the base's. */
static void maps_of_two_passes_compose(void **state)
{
    (void)state;
    static const char *const names[][3] = {
        {"rand32", "keep_map-32-24.json", "keep_map-24-20.json"},
        {"nano16", "keep_map-16-12.json", "keep_map-12-10.json"},
    };
    for (size_t i = 0; i < 2; i++) {
        struct keep_map maps[2];
        struct prep_error err = PREP_ERROR_INIT;
        for (int k = 0; k < 2; k++) {
            struct test_bytes text = test_read(test_path(
                "%s/observations/%s/expected/%s", test_data(), names[i][0], names[i][k + 1]));
            assert_int_equal(
                keep_map_parse(&maps[k], (const char *)text.p, text.n, names[i][k + 1], &err), 0);
            free(text.p);
        }
        for (size_t l = 0; l < maps[1].n_layers; l++) {
            const struct keep_layer *b = &maps[1].layers[l];
            const struct keep_layer *a = keep_map_layer(&maps[0], b->layer);
            for (int e = 0; e < b->n_kept; e++)
                assert_int_equal(a->kept_source[b->kept_parent[e]], b->kept_source[e]);
        }
        keep_map_free(&maps[0]);
        keep_map_free(&maps[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rand32_loses_8_of_32_experts),
        cmocka_unit_test(rand32_is_cut_to_20_in_one_pass_by_the_map_of_two),
        cmocka_unit_test(nano16_loses_4_of_16_experts),
        cmocka_unit_test(nano16_is_cut_to_10_in_one_pass_by_the_map_of_two),
        cmocka_unit_test(maps_of_two_passes_compose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
