/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/recover.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

static int kept[4] = {0, 2, 5, 7};

/* The base and what was cut from it, written to folders. */
struct world {
    struct tiny_input base;
    const char *cut;
    struct prep_error err;
};

static void begin(struct world *w)
{
    struct tiny_checkpoint tiny;
    struct keep_layer layers[3];
    struct keep_map map = {.layers = layers, .n_layers = 3};
    const struct apply_options options = {0};
    struct prune_output out;
    *w = (struct world){0};
    tiny_init(&tiny);
    tiny_add_trunk(&tiny, TINY_MTP + 1);
    tiny_add_experts(&tiny, TINY_MTP + 1);
    tiny_open(&w->base, tiny_write(&tiny, tiny_config(1, "")));
    for (int i = 0; i < 3; i++)
        layers[i] = (struct keep_layer){
            .layer = i + 1, .n_kept = 4, .kept_parent = kept, .kept_source = kept};
    assert_int_equal(
        prune_apply(&out, w->base.ckpt, &w->base.config, &map, &options, NULL, &w->err), 0);
    w->cut = tiny_write_output(&out);
    prune_output_fini(&out);
    tiny_fini(&tiny);
}

/* Change the bytes of a tensor of the cut checkpoint in place. */
static void poke(struct world *w, const char *name, size_t at, const void *bytes, size_t n)
{
    struct tiny_input in;
    tiny_open(&in, w->cut);
    uint64_t offset = checkpoint_find(in.ckpt, name)->info.offset;
    tiny_close(&in);
    struct test_bytes file = test_read(test_path("%s/model.safetensors", w->cut));
    memcpy(file.p + offset + at, bytes, n);
    test_write(test_path("%s/model.safetensors", w->cut), file.p, file.n);
    free(file.p);
}

static int recover(struct world *w, struct keep_map *map)
{
    struct tiny_input in;
    tiny_open(&in, w->cut);
    int rc = recover_keep_map(map, in.ckpt, &in.config, w->base.ckpt, &w->base.config, &w->err);
    tiny_close(&in);
    return rc;
}

static void expect_ambiguous(struct world *w)
{
    struct keep_map map;
    assert_int_equal(recover(w, &map), -1);
    assert_int_equal(w->err.code, PREP_EDATA);
    assert_string_equal(w->err.tag, "PLAN_RECOVER_AMBIGUOUS");
    tiny_close(&w->base);
}

static void finds_every_layer_by_its_router_rows(void **state)
{
    (void)state;
    struct world w;
    struct keep_map map, again;
    struct arena arena;
    struct span text;
    begin(&w);
    if (recover(&w, &map))
        fail_msg("%s", w.err.msg);
    assert_int_equal(map.n_layers, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(map.layers[i].layer, i + 1);
        assert_int_equal(map.layers[i].n_parent, TINY_EXPERTS);
        assert_memory_equal(map.layers[i].kept_source, kept, sizeof kept);
    }
    /* It is a map that can be written and read. */
    arena_init(&arena, 0);
    assert_int_equal(keep_map_write(&map, &arena, &text, &w.err), 0);
    assert_int_equal(keep_map_parse(&again, (const char *)text.p, text.n, "map", &w.err), 0);
    keep_map_free(&again);
    arena_fini(&arena);
    keep_map_free(&map);
    tiny_close(&w.base);
}

static void refuses_a_row_that_the_base_has_not(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    poke(&w, "model.layers.2.mlp.gate.weight", 16, "\x01\x02\x03\x04", 4);
    expect_ambiguous(&w);
}

static void refuses_rows_in_another_order(void **state)
{
    (void)state;
    struct world w;
    unsigned char row[16], next[16];
    begin(&w);
    const struct checkpoint_tensor *t =
        checkpoint_find(w.base.ckpt, "model.layers.1.mlp.gate.weight");
    assert_int_equal(checkpoint_read(w.base.ckpt, t, 16 * 2, row, 16, &w.err), 0);
    assert_int_equal(checkpoint_read(w.base.ckpt, t, 16 * 5, next, 16, &w.err), 0);
    poke(&w, "model.layers.1.mlp.gate.weight", 16, next, 16);
    poke(&w, "model.layers.1.mlp.gate.weight", 32, row, 16);
    expect_ambiguous(&w);
}

static void refuses_a_bias_that_belongs_to_another_expert(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    poke(&w, "model.layers.3.mlp.gate.e_score_correction_bias", 4, "\x00\x00\x80\x3f", 4);
    expect_ambiguous(&w);
}

static void refuses_a_base_that_has_a_row_twice(void **state)
{
    (void)state;
    struct world w;
    struct tiny_input again;
    unsigned char row[16];
    begin(&w);
    const struct checkpoint_tensor *t =
        checkpoint_find(w.base.ckpt, "model.layers.1.mlp.gate.weight");
    uint64_t offset = t->info.offset;
    const char *dir = test_path("%s", w.base.ckpt->dir);
    assert_int_equal(checkpoint_read(w.base.ckpt, t, 16 * 2, row, 16, &w.err), 0);
    tiny_close(&w.base);
    struct test_bytes file = test_read(test_path("%s/model.safetensors", dir));
    memcpy(file.p + offset + 16 * 3, row, 16);
    test_write(test_path("%s/model.safetensors", dir), file.p, file.n);
    free(file.p);
    tiny_open(&again, dir);
    w.base = again;
    expect_ambiguous(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_layer_by_its_router_rows),
        cmocka_unit_test(refuses_a_row_that_the_base_has_not),
        cmocka_unit_test(refuses_rows_in_another_order),
        cmocka_unit_test(refuses_a_bias_that_belongs_to_another_expert),
        cmocka_unit_test(refuses_a_base_that_has_a_row_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
