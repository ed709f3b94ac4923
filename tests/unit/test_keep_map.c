/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/keep_map.h"
#include "tests/support/support.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A full map of two layers; the three pieces vary. */
static const char *full_text(const char *parent, const char *layers, const char *more)
{
    return test_path("{\"format\":\"reap-keep-map\",\"version\":1,"
                     "\"base\":{\"model\":\"m\",\"n_routed_experts\":8,\"config_sha256\":\"" SHA
                     "\",\"index_sha256\":null},\"parent\":%s,\"n_routed_experts\":2,"
                     "\"num_hidden_layers\":11,\"num_nextn_predict_layers\":1,"
                     "\"layers\":{%s},\"passes\":[%s}",
                     parent, layers, more);
}

#define LAYER10                                                                                    \
    "\"10\":{\"origin\":\"observed\",\"n_parent\":8,\"kept_parent\":[1,7],\"kept_source\":[1,7]}"
#define LAYER3                                                                                     \
    "\"3\":{\"origin\":\"proxy:10\",\"n_parent\":8,\"kept_parent\":[0,2],\"kept_source\":[0,2]}"
#define PASS                                                                                       \
    "{\"from\":8,\"to\":2,\"metric\":\"reap\",\"pool\":\"weights\",\"source\":\"sums\","           \
    "\"gate_semantics\":\"routed\",\"protect\":\"none\",\"weights\":[0.25, 0.75],\"runs\":["       \
    "{\"label\":\"a\",\"sha256\":\"" SHA "\",\"tokens\":12000000000,\"layers\":2}],"               \
    "\"tool_version\":\"1\"}]"

static void parse_ok(struct keep_map *m, const char *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (keep_map_parse(m, text, strlen(text), "map", &err))
        fail_msg("%s", err.msg);
}

static void parse_bad(const char *text, const char *want)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct keep_map m;
    assert_int_equal(keep_map_parse(&m, text, strlen(text), "map", &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_string_equal(err.tag, "KEEP_MAP");
    if (!strstr(err.msg, want))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
    keep_map_free(&m);
}

static void reads_a_bare_list(void **state)
{
    struct keep_map m;
    parse_ok(&m, "{\"10\":[0,5],\"3\":[1]}");
    assert_int_equal(m.full, 0);
    assert_int_equal(m.n_layers, 2);
    assert_int_equal(m.layers[0].layer, 3);
    assert_int_equal(m.layers[1].layer, 10);
    assert_int_equal(m.layers[1].kept_parent[1], 5);
    assert_string_equal(m.layers[1].origin, "explicit");
    assert_null(keep_map_layer(&m, 4));
    assert_ptr_equal(keep_map_layer(&m, 10), &m.layers[1]);
    keep_map_free(&m);
    (void)state;
}

static void reads_a_list_with_its_length(void **state)
{
    struct keep_map m;
    parse_ok(&m, "{\"3\":{\"kept\":[1,4],\"keep\":2,\"note\":\"theirs\"},\"4\":{\"kept\":[0]}}");
    assert_int_equal(m.layers[0].n_kept, 2);
    assert_int_equal(m.layers[1].n_kept, 1);
    keep_map_free(&m);
    (void)state;
}

static void refuses_bad_short_forms(void **state)
{
    parse_bad("[]", "object");
    parse_bad("{", "");
    parse_bad("{}", "layers");
    parse_bad("{\"03\":[1]}", "layer index");
    parse_bad("{\"-1\":[1]}", "layer index");
    parse_bad("{\"1024\":[1]}", "layer index");
    parse_bad("{\"x\":[1]}", "layer index");
    parse_bad("{\"\":[1]}", "layer index");
    parse_bad("{\"3\":[]}", "kept experts");
    parse_bad("{\"3\":[1,1]}", "ascending");
    parse_bad("{\"3\":[2,1]}", "ascending");
    parse_bad("{\"3\":[-1]}", "expert id");
    parse_bad("{\"3\":[1.0]}", "expert id");
    parse_bad("{\"3\":[65536]}", "expert id");
    parse_bad("{\"3\":[99999999999999999999]}", "expert id");
    parse_bad("{\"3\":[\"1\"]}", "expert id");
    parse_bad("{\"3\":7}", "array");
    parse_bad("{\"3\":{\"keep\":2}}", "kept");
    parse_bad("{\"3\":{\"kept\":[1,2],\"keep\":3}}", "length");
    parse_bad("{\"3\":[1],\"3\":[2]}", "");
    (void)state;
}

static void reads_the_full_form(void **state)
{
    struct keep_map m;
    parse_ok(&m, full_text("null", LAYER10 "," LAYER3, PASS ",\"report\":{\"3\":{\"x\":[1,2.5]}}"));
    assert_int_equal(m.full, 1);
    assert_string_equal(m.base_model, "m");
    assert_null(m.base_index_sha256);
    assert_null(m.parent_sha256);
    assert_int_equal(m.layers[0].layer, 3);
    assert_string_equal(m.layers[0].origin, "proxy:10");
    assert_int_equal(m.layers[1].kept_source[1], 7);
    assert_int_equal(m.n_passes, 1);
    assert_true(m.passes[0].runs[0].tokens == UINT64_C(12000000000));
    assert_non_null(m.passes[0].extra.p);
    assert_non_null(m.report.p);
    keep_map_free(&m);
    (void)state;
}

static void refuses_bad_full_forms(void **state)
{
    parse_bad(full_text("null", LAYER10, PASS ",\"extra\":1"), "unknown member");
    parse_bad(full_text("null", LAYER10, PASS ",\"report\":[]"), "report");
    parse_bad(full_text("3", LAYER10, PASS), "parent");
    parse_bad(full_text("{\"keep_map_sha256\":\"ab\",\"n_routed_experts\":4}", LAYER10, PASS),
              "hex");
    parse_bad(full_text("null", "\"11\":{}", PASS), "layer 11");
    parse_bad(full_text("null", "\"3\":[1,2]", PASS), "object");
    parse_bad(full_text("null",
                        "\"3\":{\"origin\":\"proxy:\",\"n_parent\":8,\"kept_parent\":[0,2],"
                        "\"kept_source\":[0,2]}",
                        PASS),
              "origin");
    parse_bad(full_text("null",
                        "\"3\":{\"origin\":\"own\",\"n_parent\":8,\"kept_parent\":[0,2],"
                        "\"kept_source\":[0,3]}",
                        PASS),
              "no parent");
    parse_bad(full_text("null",
                        "\"3\":{\"origin\":\"own\",\"n_parent\":9,\"kept_parent\":[0,2],"
                        "\"kept_source\":[0,2]}",
                        PASS),
              "n_parent");
    parse_bad(full_text("null",
                        "\"3\":{\"origin\":\"own\",\"n_parent\":8,\"kept_parent\":[0,2,3],"
                        "\"kept_source\":[0,2]}",
                        PASS),
              "length");
    parse_bad(full_text("null",
                        "\"3\":{\"origin\":\"own\",\"n_parent\":8,\"kept_parent\":[0],"
                        "\"kept_source\":[0]}",
                        PASS),
              "longest list keeps 1");
    parse_bad(full_text("null",
                        "\"12\":{\"origin\":\"own\",\"n_parent\":8,\"kept_parent\":[0,1],"
                        "\"kept_source\":[0,1]}",
                        PASS),
              "12 layers");
    parse_bad(full_text("null", LAYER10, "{\"from\":0}]"), "pass 1");
    parse_bad(full_text("null", LAYER10, "7]"), "pass 1");
    parse_bad("{\"format\":\"other\"}", "format");
    parse_bad("{\"format\":\"reap-keep-map\",\"version\":2}", "version");
    (void)state;
}

static const char *write_map(const struct keep_map *m, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span out;
    if (keep_map_write(m, arena, &out, &err))
        fail_msg("%s", err.msg);
    return (const char *)out.p;
}

static void writes_the_same_bytes_for_equal_content(void **state)
{
    struct arena arena;
    struct keep_map a, b, c;
    arena_init(&arena, 0);
    parse_ok(&a,
             full_text("null", LAYER10 "," LAYER3,
                       PASS ",\"report\":{\"10\":{\"x\":[1, 2.5]},\"3\":{\"s\":\"a: \\\" b\"}}"));
    parse_ok(&b, full_text("null", LAYER3 "," LAYER10,
                           PASS
                           ",\"report\" : {\"3\": {\"s\":\"a: \\\" b\"},\"10\":{\"x\" :[1,2.5]}}"));
    const char *text = write_map(&a, &arena);
    assert_string_equal(text, write_map(&b, &arena));
    parse_ok(&c, text);
    assert_string_equal(text, write_map(&c, &arena));
    assert_non_null(strstr(text, "\"kept_source\": [1, 7]"));
    assert_non_null(strstr(text, "\"weights\": [0.25, 0.75]"));
    assert_non_null(strstr(text, "\"3\": {\"s\": \"a: \\\" b\"}"));
    assert_true(strstr(text, "\"3\": {") < strstr(text, "\"10\": {"));
    assert_int_equal(text[strlen(text) - 1], '\n');
    keep_map_free(&a);
    keep_map_free(&b);
    keep_map_free(&c);
    arena_fini(&arena);
    (void)state;
}

static void writes_every_member_in_its_order(void **state)
{
    struct arena arena;
    struct keep_map m;
    arena_init(&arena, 0);
    parse_ok(&m, full_text("{\"keep_map_sha256\":\"" SHA "\",\"n_routed_experts\":4}",
                           "\"3\":{\"origin\":\"observed\",\"n_parent\":4,\"kept_parent\":[0,3],"
                           "\"kept_source\":[2,7]}",
                           PASS));
    assert_string_equal(write_map(&m, &arena), "{\n"
                                               "  \"format\": \"reap-keep-map\",\n"
                                               "  \"version\": 1,\n"
                                               "  \"base\": {\n"
                                               "    \"model\": \"m\",\n"
                                               "    \"n_routed_experts\": 8,\n"
                                               "    \"config_sha256\": \"" SHA "\",\n"
                                               "    \"index_sha256\": null\n"
                                               "  },\n"
                                               "  \"parent\": {\n"
                                               "    \"keep_map_sha256\": \"" SHA "\",\n"
                                               "    \"n_routed_experts\": 4\n"
                                               "  },\n"
                                               "  \"n_routed_experts\": 2,\n"
                                               "  \"num_hidden_layers\": 11,\n"
                                               "  \"num_nextn_predict_layers\": 1,\n"
                                               "  \"layers\": {\n"
                                               "    \"3\": {\n"
                                               "      \"origin\": \"observed\",\n"
                                               "      \"n_parent\": 4,\n"
                                               "      \"kept_parent\": [0, 3],\n"
                                               "      \"kept_source\": [2, 7]\n"
                                               "    }\n"
                                               "  },\n"
                                               "  \"passes\": [\n"
                                               "    {\n"
                                               "      \"from\": 8,\n"
                                               "      \"to\": 2,\n"
                                               "      \"metric\": \"reap\",\n"
                                               "      \"pool\": \"weights\",\n"
                                               "      \"source\": \"sums\",\n"
                                               "      \"gate_semantics\": \"routed\",\n"
                                               "      \"protect\": \"none\",\n"
                                               "      \"weights\": [0.25, 0.75],\n"
                                               "      \"runs\": [\n"
                                               "        {\"label\": \"a\", \"sha256\": \"" SHA
                                               "\", \"tokens\": 12000000000, \"layers\": 2}\n"
                                               "      ],\n"
                                               "      \"tool_version\": \"1\"\n"
                                               "    }\n"
                                               "  ]\n"
                                               "}\n");
    keep_map_free(&m);
    arena_fini(&arena);
    (void)state;
}

static void does_not_write_a_short_form(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    struct keep_map m;
    struct span out;
    arena_init(&arena, 0);
    parse_ok(&m, "{\"3\":[1]}");
    assert_int_equal(keep_map_write(&m, &arena, &out, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    keep_map_free(&m);
    arena_fini(&arena);
    (void)state;
}

static void rewrites_the_fixture_maps(void **state)
{
    static const char *const files[] = {
        "rand32/expected/keep_map-32-24.json", "rand32/expected/keep_map-24-20.json",
        "nano16/expected/keep_map-16-12.json", "nano16/expected/keep_map-12-10.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct test_bytes text = test_read(test_path("%s/observations/%s", test_data(), files[i]));
        struct arena arena;
        struct keep_map m, again;
        arena_init(&arena, 0);
        parse_ok(&m, (const char *)text.p);
        const char *written = write_map(&m, &arena);
        parse_ok(&again, written);
        assert_string_equal(written, write_map(&again, &arena));
        assert_int_equal(m.full, 1);
        assert_int_equal(m.n_layers, 4);
        keep_map_free(&m);
        keep_map_free(&again);
        arena_fini(&arena);
        free(text.p);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_bare_list),
        cmocka_unit_test(reads_a_list_with_its_length),
        cmocka_unit_test(refuses_bad_short_forms),
        cmocka_unit_test(reads_the_full_form),
        cmocka_unit_test(refuses_bad_full_forms),
        cmocka_unit_test(writes_the_same_bytes_for_equal_content),
        cmocka_unit_test(writes_every_member_in_its_order),
        cmocka_unit_test(does_not_write_a_short_form),
        cmocka_unit_test(rewrites_the_fixture_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
