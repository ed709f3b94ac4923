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
#include "libprep/prune/recover.h"
#include "libprep/prune/stitch.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

static void open_map(struct keep_map *map, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_bytes text = test_read(path);
    assert_int_equal(keep_map_parse(map, (const char *)text.p, text.n, path, &err), 0);
    free(text.p);
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
    unsigned char *bytes = tiny_gather(v, t);
    sha256_hex(bytes, t->info.bytes, hex);
    free(bytes);
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
static void check_config(const struct tiny_input *in, const struct prune_output *out,
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

static void check_case(const char *checkpoint, const char *set, const char *map_name,
                       const char *tensors, const char *config)
{
    const char *dir = test_path("%s/%s", test_data(), checkpoint);
    const char *expected = test_path("%s/observations/%s/expected", test_data(), set);
    const struct apply_options options = {0};
    struct tiny_input in;
    struct keep_map map;
    struct prune_output out;
    struct prep_error err = PREP_ERROR_INIT;
    tiny_open(&in, dir);
    open_map(&map, test_path("%s/%s", expected, map_name));
    if (prune_apply(&out, in.ckpt, &in.config, &map, &options, NULL, &err))
        fail_msg("%s", err.msg);
    check_tensors(&out.view, test_path("%s/%s", expected, tensors));
    check_config(&in, &out, test_path("%s/%s", expected, config));
    assert_int_equal(out.n_in, out.n_out + out.n_dropped);
    assert_true(out.uniform);
    prune_output_fini(&out);
    keep_map_free(&map);
    tiny_close(&in);
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

/*
 * Cut without the MTP layer and written, then given the layer back from the base: the same
 * tensors as cutting it in one go.
 */
static void rand32_gets_its_mtp_layer_back(void **state)
{
    (void)state;
    const char *expected = test_path("%s/observations/rand32/expected", test_data());
    const struct apply_options options = {.drop_mtp = 1};
    struct tiny_input base, cut;
    struct keep_map map;
    struct prune_output out;
    struct stitched s;
    struct prep_error err = PREP_ERROR_INIT;
    tiny_open(&base, test_path("%s/observations/rand32/checkpoint", test_data()));
    open_map(&map, test_path("%s/keep_map-32-24.json", expected));
    assert_int_equal(prune_apply(&out, base.ckpt, &base.config, &map, &options, NULL, &err), 0);
    tiny_open(&cut, tiny_write_output(&out));
    assert_int_equal(cut.config.num_nextn_predict_layers, 0);

    map.n_layers--; /* the map of a checkpoint without the layer: by proxy */
    const struct stitch_input target = {cut.ckpt, &cut.config}, source = {base.ckpt, &base.config};
    if (stitch_mtp(&s, &target, &source, &map, &(struct stitch_options){0}, NULL, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    check_tensors(&s.out.view, test_path("%s/pruned-32-24.tensors.json", expected));
    check_config(&base, &s.out, test_path("%s/pruned-24.config.json", expected));
    const struct keep_layer *k = keep_map_layer(&s.map, 6), *proxy = keep_map_layer(&map, 5);
    assert_string_equal(k->origin, "proxy:5");
    assert_int_equal(k->n_kept, 24);
    assert_memory_equal(k->kept_source, proxy->kept_source, 24 * sizeof(int));
    assert_int_equal(s.map.num_nextn_predict_layers, 1);
    stitched_fini(&s);
    tiny_close(&cut);
    prune_output_fini(&out);
    keep_map_free(&map);
    tiny_close(&base);
}

/* The second pass on what the first wrote, and the first's map found again from the bytes. */
static void rand32_is_cut_twice_and_its_map_recovered(void **state)
{
    (void)state;
    const char *expected = test_path("%s/observations/rand32/expected", test_data());
    const struct apply_options options = {0};
    struct tiny_input base, first;
    struct keep_map maps[2], found;
    struct prune_output out, second;
    struct prep_error err = PREP_ERROR_INIT;
    tiny_open(&base, test_path("%s/observations/rand32/checkpoint", test_data()));
    open_map(&maps[0], test_path("%s/keep_map-32-24.json", expected));
    open_map(&maps[1], test_path("%s/keep_map-24-20.json", expected));
    assert_int_equal(prune_apply(&out, base.ckpt, &base.config, &maps[0], &options, NULL, &err), 0);
    tiny_open(&first, tiny_write_output(&out));
    assert_int_equal(
        prune_apply(&second, first.ckpt, &first.config, &maps[1], &options, NULL, &err), 0);
    check_tensors(&second.view, test_path("%s/pruned-24-20.tensors.json", expected));
    check_config(&first, &second, test_path("%s/pruned-20.config.json", expected));

    if (recover_keep_map(&found, first.ckpt, &first.config, base.ckpt, &base.config, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    assert_int_equal(found.n_layers, maps[0].n_layers);
    for (size_t i = 0; i < found.n_layers; i++) {
        const struct keep_layer *a = &found.layers[i], *b = &maps[0].layers[i];
        assert_int_equal(a->layer, b->layer);
        assert_int_equal(a->n_kept, b->n_kept);
        assert_int_equal(a->n_parent, b->n_parent);
        assert_memory_equal(a->kept_source, b->kept_source, (size_t)b->n_kept * sizeof(int));
    }
    keep_map_free(&found);
    prune_output_fini(&second);
    tiny_close(&first);
    prune_output_fini(&out);
    keep_map_free(&maps[0]);
    keep_map_free(&maps[1]);
    tiny_close(&base);
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
        for (int k = 0; k < 2; k++)
            open_map(&maps[k], test_path("%s/observations/%s/expected/%s", test_data(), names[i][0],
                                         names[i][k + 1]));
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
        cmocka_unit_test(rand32_gets_its_mtp_layer_back),
        cmocka_unit_test(rand32_is_cut_twice_and_its_map_recovered),
        cmocka_unit_test(maps_of_two_passes_compose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
