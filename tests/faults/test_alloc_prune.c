/* SPDX-License-Identifier: MIT */
/* Pruning, stitching and recovering with the n-th allocation failing, for every n. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "libprep/prune/recover.h"
#include "libprep/prune/stitch.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

static int kept[4] = {0, 2, 5, 7};

/* Two checkpoints: the model, and what is left of it without its MTP layer. */
struct world {
    struct tiny_input base, cut;
    struct keep_layer layers[3];
    struct keep_map map;
};

static const char lists[] =
    ",\n  \"quantization_config\": {\n    \"quant_method\": \"modelopt\",\n"
    "    \"quant_algo\": \"NVFP4\",\n    \"ignore\": [\n"
    "      \"model.layers.1.mlp.experts.5.up_proj\",\n"
    "      \"re:.*layers\\\\.1\\\\.mlp\\\\.experts\\\\.[5-7]\\\\.down.*\"\n    ]\n  }";

static int apply(const struct world *w, struct prune_output *out, int drop_mtp,
                 struct prep_error *err)
{
    const struct apply_options options = {.drop_mtp = drop_mtp, .expand_patterns = 1};
    return prune_apply(out, w->base.ckpt, &w->base.config, &w->map, &options, NULL, err);
}

static int begin(void **state)
{
    static struct world w;
    struct tiny_checkpoint tiny;
    struct prune_output out;
    struct prep_error err = PREP_ERROR_INIT;
    for (int i = 0; i < 3; i++)
        w.layers[i] = (struct keep_layer){
            .layer = i + 1, .n_kept = 4, .kept_parent = kept, .kept_source = kept};
    w.map = (struct keep_map){.layers = w.layers, .n_layers = 3};
    tiny_init(&tiny);
    tiny_add_trunk(&tiny, TINY_MTP + 1);
    tiny_add_experts(&tiny, TINY_MTP + 1);
    tiny_open(&w.base, tiny_write(&tiny, tiny_config(1, lists)));
    assert_int_equal(apply(&w, &out, 1, &err), 0);
    tiny_open(&w.cut, tiny_write_output(&out));
    prune_output_fini(&out);
    tiny_fini(&tiny);
    *state = &w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    tiny_close(&w->base);
    tiny_close(&w->cut);
    return 0;
}

typedef int (*work_fn)(const struct world *w, struct prep_error *err);

static void fail_each(const struct world *w, work_fn work)
{
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = work(w, &err);
        uint64_t seen = fault_alloc_stop();
        if (rc)
            assert_int_equal(err.code, PREP_ENOMEM);
        if (seen >= n)
            continue;
        assert_int_equal(rc, 0);
        assert_true(seen > 0);
        return;
    }
}

static int do_apply(const struct world *w, struct prep_error *err)
{
    struct prune_output out;
    int rc = apply(w, &out, 0, err);
    prune_output_fini(&out);
    return rc;
}

static int do_stitch(const struct world *w, struct prep_error *err)
{
    const struct stitch_input target = {w->cut.ckpt, &w->cut.config};
    const struct stitch_input source = {w->base.ckpt, &w->base.config};
    struct stitched s;
    int rc = stitch_mtp(&s, &target, &source, &w->map, &(struct stitch_options){0}, NULL, err);
    stitched_fini(&s);
    return rc;
}

static int do_recover(const struct world *w, struct prep_error *err)
{
    struct keep_map map;
    int rc =
        recover_keep_map(&map, w->cut.ckpt, &w->cut.config, w->base.ckpt, &w->base.config, err);
    keep_map_free(&map);
    return rc;
}

static void pruning_fails_cleanly(void **state)
{
    fail_each(*state, do_apply);
}

static void stitching_fails_cleanly(void **state)
{
    fail_each(*state, do_stitch);
}

static void recovering_fails_cleanly(void **state)
{
    fail_each(*state, do_recover);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pruning_fails_cleanly),
        cmocka_unit_test(stitching_fails_cleanly),
        cmocka_unit_test(recovering_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
