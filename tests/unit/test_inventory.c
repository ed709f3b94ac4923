/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/check.h"
#include "libprep/model/inventory.h"
#include "libprep/store/checkpoint.h"
#include "tests/support/support.h"

/* A checkpoint's headers, to be broken in one place, and its config. */
struct table {
    struct config config;
    struct checkpoint *ckpt;
    struct tensor_info *t;
    size_t n, cap;
    struct arena arena;
    struct findings found;
};

static struct prep_error err;

static void open_table(struct table *b, const char *dir)
{
    *b = (struct table){.n = 0};
    arena_init(&b->arena, 0);
    prep_error_clear(&err);
    dir = test_path("%s/%s", test_data(), dir);
    if (checkpoint_open(&b->ckpt, &io_posix, dir, NULL, &err) ||
        config_load(&b->config, &io_posix, dir, NULL, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < b->ckpt->n_tensors; i++) {
        assert_int_equal(prep_grow(&b->t, &b->cap, b->n, sizeof *b->t, &err), 0);
        b->t[b->n++] = b->ckpt->tensors[i].info;
    }
}

static void close_table(struct table *b)
{
    findings_fini(&b->found);
    config_free(&b->config);
    checkpoint_close(b->ckpt);
    arena_fini(&b->arena);
    free(b->t);
}

static struct tensor_info *find(struct table *b, const char *name)
{
    for (size_t i = 0; i < b->n; i++)
        if (strcmp(b->t[i].name, name) == 0)
            return &b->t[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void drop(struct table *b, const char *name)
{
    struct tensor_info *t = find(b, name);
    *t = b->t[--b->n];
}

/* Every tensor whose name contains the text. */
static void drop_all(struct table *b, const char *text)
{
    for (size_t i = b->n; i-- > 0;)
        if (strstr(b->t[i].name, text))
            b->t[i] = b->t[--b->n];
}

static struct tensor_info *add(struct table *b, const char *name, enum dtype dtype, int n_dims,
                               uint64_t d0, uint64_t d1)
{
    assert_int_equal(prep_grow(&b->t, &b->cap, b->n, sizeof *b->t, &err), 0);
    struct tensor_info *t = &b->t[b->n++];
    *t = (struct tensor_info){.n_dims = (uint8_t)n_dims, .dtype = (uint8_t)dtype};
    t->name = arena_strndup(&b->arena, name, strlen(name), &err);
    t->shape[0] = d0;
    t->shape[1] = d1;
    return t;
}

static void check(struct table *b)
{
    const struct tensor_info **list = malloc((b->n + 1) * sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < b->n; i++)
        list[i] = &b->t[i];
    findings_fini(&b->found);
    findings_init(&b->found);
    if (check_inventory(&b->found, &b->config, list, b->n, &err) ||
        findings_finish(&b->found, &err))
        fail_msg("%s", err.msg);
    free(list);
}

/* Exactly one finding, of this code; its place and text contain these. */
static void assert_one(struct table *b, const char *code, const char *place, const char *text)
{
    check(b);
    for (size_t i = 0; i < b->found.n; i++) {
        const struct finding *f = &b->found.items[i];
        if (b->found.n != 1 || strcmp(f->code, code) != 0 || !strstr(f->place, place) ||
            !strstr(f->text, text))
            fail_msg("%s %s: %s", f->code, f->place, f->text);
    }
    assert_int_equal(b->found.n, 1);
    assert_int_equal(b->found.n_errors + b->found.n_warnings, 1);
}

static void assert_clean(struct table *b)
{
    check(b);
    if (b->found.n)
        fail_msg("%s %s: %s", b->found.items[0].code, b->found.items[0].place,
                 b->found.items[0].text);
}

#define EXPERT(l, e) "model.layers." #l ".mlp.experts." #e "."

static void lists_exactly_what_nano_stores(void **state)
{
    (void)state;
    struct table b;
    struct inventory_iter it;
    const struct tensor_spec *s;
    int expert;
    size_t n = 0;
    uint64_t last = 0;
    char name[INVENTORY_NAME_BYTES];
    open_table(&b, "glm-nano");
    inventory_begin(&it, &b.config, 1);
    while ((s = inventory_next(&it, &expert)) != NULL) {
        const struct tensor_info *t = find(&b, inventory_name(s, "model.", expert, name));
        const struct name_parts p = name_parse(name, strlen(name));
        assert_int_equal(p.role, s->role);
        assert_int_equal(p.part, s->part);
        assert_int_equal(p.expert, expert);
        assert_true(name_order(&p) == inventory_order(s, expert));
        assert_true(n == 0 || name_order(&p) > last);
        last = name_order(&p);
        assert_int_equal(t->dtype, s->dtype);
        assert_int_equal(t->n_dims, s->n_dims);
        assert_true(t->shape[0] == s->rows && (s->n_dims == 1 || t->shape[1] == s->cols));
        n++;
    }
    assert_int_equal(n, 309);
    assert_int_equal(n, b.n);
    n = 0;
    inventory_begin(&it, &b.config, 0);
    while (inventory_next(&it, &expert))
        n++;
    assert_int_equal(n, 238);
    close_table(&b);
}

static void finds_nothing_wrong_with_good_checkpoints_of_every_format(void **state)
{
    (void)state;
    static const char *const dirs[] = {
        "glm-nano",
        "observations/rand32/checkpoint",
        "fp8/mini",
        "nvfp4/tiny_glm/bf16",
        "nvfp4/tiny_glm/modelopt_default",
        "nvfp4/tiny_glm/ct_all",
        "nvfp4/tiny_glm/autoround_0.16.1",
        "nvfp4/tiny_glm/autoround_0.12.2_unequal_gate_up",
    };
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        struct table b;
        open_table(&b, dirs[i]);
        assert_clean(&b);
        close_table(&b);
    }
}

static void misses_the_mtp_layer_that_a_peer_dropped(void **state)
{
    (void)state;
    struct table b;
    if (!test_exists(test_path("%s/gptq/nano-autoround", test_data())))
        skip(); /* not carried in the project */
    open_table(&b, "gptq/nano-autoround");
    assert_one(&b, "MTP_MISSING", "layer 5", "stitch-mtp");
    close_table(&b);
    open_table(&b, "glm-nano");
    drop_all(&b, "layers.5.");
    assert_int_equal(b.n, 238);
    assert_one(&b, "MTP_MISSING", "layer 5", "num_nextn_predict_layers is 1");
    close_table(&b);
}

static void accepts_copies_kv_scales_any_prefix_and_absent_shared_indexers(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    add(&b, "model.layers.5.embed_tokens.weight", DTYPE_BF16, 2, 2048, 256);
    add(&b, "model.layers.5.shared_head.head.weight", DTYPE_BF16, 2, 2048, 256);
    add(&b, "model.layers.3.self_attn.k_proj.k_scale", DTYPE_F32, 0, 0, 0);
    add(&b, "model.layers.3.self_attn.v_proj.v_scale", DTYPE_F32, 0, 0, 0);
    b.config.full_indexer[4] = 0;
    drop_all(&b, "layers.4.self_attn.indexer.");
    assert_clean(&b);
    drop(&b, "model.layers.2.self_attn.indexer.wk.weight");
    assert_one(&b, "TENSOR_MISSING", "model.layers.2.self_attn.indexer.wk.weight", "layer 2");
    close_table(&b);

    open_table(&b, "glm-nano");
    for (size_t i = 0; i < b.n; i++) /* "model." becomes "language_model.model." */
        if (strncmp(b.t[i].name, "model.", 6) == 0)
            b.t[i].name = arena_printf(&b.arena, &err, "language_model.%s", b.t[i].name);
    assert_clean(&b);
    drop(&b, "language_model.model.layers.3.mlp.experts.3.down_proj.weight");
    assert_one(&b, "EXPERT_INCOMPLETE",
               "language_model.model.layers.3.mlp.experts.3.down_proj.weight", "layer 3, expert 3");
    close_table(&b);
}

static void counts_experts_against_the_config(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    for (int e = 12; e < 16; e++) /* the MTP layer keeps its 16 */
        for (int l = 2; l < 5; l++)
            drop_all(&b, test_path("layers.%d.mlp.experts.%d.", l, e));
    for (int l = 2; l < 6; l++)
        b.config.n_experts[l] = 12;
    b.config.n_routed_experts = 12;
    for (int l = 2; l < 5; l++) {
        find(&b, test_path("model.layers.%d.mlp.gate.weight", l))->shape[0] = 12;
        find(&b, test_path("model.layers.%d.mlp.gate.e_score_correction_bias", l))->shape[0] = 12;
    }
    assert_one(&b, "EXPERT_COUNT", "layer 5", "16 experts in the tensors, 12 in the config");
    /* now the bias of layer 3 as before pruning, and a matching MTP layer */
    for (int e = 12; e < 16; e++)
        drop_all(&b, test_path("layers.5.mlp.experts.%d.", e));
    find(&b, "model.layers.5.mlp.gate.weight")->shape[0] = 12;
    find(&b, "model.layers.5.mlp.gate.e_score_correction_bias")->shape[0] = 12;
    assert_clean(&b);
    find(&b, "model.layers.3.mlp.gate.e_score_correction_bias")->shape[0] = 16;
    assert_one(&b, "ROUTER_SHAPE", "model.layers.3.mlp.gate.e_score_correction_bias",
               "shape [16], want [12]");
    find(&b, "model.layers.3.mlp.gate.e_score_correction_bias")->shape[0] = 12;
    for (int l = 2; l < 6; l++)
        b.config.n_experts[l] = 16; /* a config left behind */
    b.config.n_routed_experts = 16;
    assert_one(&b, "EXPERT_COUNT", "config.json", "16 in the config, 12 in the tensors of all 4");
    close_table(&b);
}

static void finds_gaps_in_expert_ids(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    static const char *const parts[] = {"gate", "up", "down"};
    for (int i = 0; i < 3; i++)
        find(&b, test_path(EXPERT(4, 15) "%s_proj.weight", parts[i]))->name =
            test_path(EXPERT(4, 20) "%s_proj.weight", parts[i]);
    assert_one(&b, "EXPERT_IDS", "layer 4", "ids 0..14, 20, want 0..15");
    close_table(&b);
}

static void finds_single_faults_of_plain_tensors(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    find(&b, "model.layers.2.mlp.gate.e_score_correction_bias")->dtype = DTYPE_BF16;
    assert_one(&b, "BIAS_DTYPE", "model.layers.2.", "BF16, want F32");
    find(&b, "model.layers.2.mlp.gate.e_score_correction_bias")->dtype = DTYPE_F32;

    find(&b, "model.layers.0.self_attn.o_proj.weight")->shape[1] = 500;
    assert_one(&b, "TENSOR_SHAPE", "model.layers.0.self_attn.o_proj.weight",
               "shape [256,500], want [256,512]");
    find(&b, "model.layers.0.self_attn.o_proj.weight")->shape[1] = 512;

    find(&b, "model.norm.weight")->dtype = DTYPE_I8;
    assert_one(&b, "TENSOR_DTYPE", "model.norm.weight", "dtype I8, want BF16");
    find(&b, "model.norm.weight")->dtype = DTYPE_BF16;

    add(&b, EXPERT(2, 0) "up_proj.weight_bf16", DTYPE_BF16, 2, 256, 256);
    assert_one(&b, "TENSOR_UNKNOWN", EXPERT(2, 0) "up_proj.weight_bf16", "suffix");
    drop(&b, EXPERT(2, 0) "up_proj.weight_bf16");

    add(&b, "layers.0.self_attn.o_proj.weight", DTYPE_BF16, 2, 256, 512);
    assert_one(&b, "TENSOR_UNKNOWN", "layers.0.self_attn.o_proj.weight", "twice");
    drop(&b, "layers.0.self_attn.o_proj.weight");

    add(&b, "model.layers.1.mlp.experts.0.up_proj.weight", DTYPE_BF16, 2, 256, 256);
    assert_one(&b, "TENSOR_UNKNOWN", "layers.1.mlp.experts.0", "dense layer");
    drop(&b, "model.layers.1.mlp.experts.0.up_proj.weight");

    add(&b, "model.rotary.inv_freq", DTYPE_F32, 1, 16, 0);
    assert_one(&b, "TENSOR_UNKNOWN", "model.rotary.inv_freq", "family");
    drop(&b, "model.rotary.inv_freq");

    drop(&b, "lm_head.weight");
    assert_one(&b, "LM_HEAD_MISSING", "lm_head.weight", "tie_word_embeddings is false");
    b.config.tie_word_embeddings = 1;
    assert_clean(&b);
    drop_all(&b, "layers.3.");
    assert_one(&b, "TENSOR_MISSING", "layer 3", "whole layer");
    close_table(&b);
}

static void counts_mtp_layers_and_names_stray_ones(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    b.config.n_layers = 5;
    b.config.num_nextn_predict_layers = 0;
    assert_one(&b, "STRAY_LAYER", "layer 5", "71 tensors; the config has 5 layers and 0 MTP");
    assert_int_equal(b.found.n_warnings, 1);
    close_table(&b);
}

/* An expert linear of [256,256] as modelopt stores it. */
static void quantize(struct table *b, const char *module)
{
    char name[INVENTORY_NAME_BYTES];
    snprintf(name, sizeof name, "%s.weight", module);
    struct tensor_info *t = find(b, name);
    t->dtype = DTYPE_U8;
    t->shape[1] /= 2;
    const uint64_t rows = t->shape[0], cols = t->shape[1] * 2;
    add(b, test_path("%s.weight_scale", module), DTYPE_F8_E4M3, 2, rows, cols / 16);
    add(b, test_path("%s.weight_scale_2", module), DTYPE_F32, 0, 0, 0);
    add(b, test_path("%s.input_scale", module), DTYPE_F32, 0, 0, 0);
}

/* The 144 routed linears of the main layers. */
static void quantize_experts(struct table *b)
{
    static const char *const parts[] = {"gate", "up", "down"};
    for (int l = 2; l < 5; l++)
        for (int e = 0; e < 16; e++)
            for (int i = 0; i < 3; i++)
                quantize(b, test_path("model.layers.%d.mlp.experts.%d.%s_proj", l, e, parts[i]));
}

static void finds_faults_of_nvfp4_modules(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    quantize_experts(&b);
    assert_clean(&b);

    drop(&b, EXPERT(3, 5) "up_proj.input_scale");
    assert_one(&b, "SCALE_MISSING", EXPERT(3, 5) "up_proj.input_scale", "the other 143 linears");
    drop_all(&b, "input_scale"); /* a weight-only checkpoint */
    assert_clean(&b);

    drop(&b, EXPERT(3, 5) "up_proj.weight_scale_2");
    assert_one(&b, "SCALE_MISSING", EXPERT(3, 5) "up_proj.weight_scale_2", "modelopt");
    add(&b, EXPERT(3, 5) "up_proj.weight_scale_2", DTYPE_F32, 1, 1, 0);
    assert_clean(&b);

    find(&b, EXPERT(4, 0) "gate_proj.weight_scale")->shape[0] = 384;
    assert_one(&b, "SCALE_SHAPE", EXPERT(4, 0) "gate_proj.weight_scale",
               "shape [384,16], want [256,16]: padded rows are a load-time layout");
    find(&b, EXPERT(4, 0) "gate_proj.weight_scale")->shape[0] = 256;

    find(&b, EXPERT(3, 2) "gate_proj.weight")->dtype = DTYPE_BF16;
    find(&b, EXPERT(3, 2) "gate_proj.weight")->shape[1] = 256;
    drop(&b, EXPERT(3, 2) "gate_proj.weight_scale");
    drop(&b, EXPERT(3, 2) "gate_proj.weight_scale_2");
    assert_one(&b, "EXPERT_FORMATS_MIXED", "layer 3, expert 2", "gate_proj is unquantized");
    close_table(&b);
}

static void finds_faults_of_fp8_modules(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "fp8/mini");
    drop(&b, EXPERT(1, 0) "gate_proj.weight_scale_inv");
    assert_one(&b, "SRC_FP8_SCALE_MISSING", EXPERT(1, 0) "gate_proj.weight_scale_inv", "FP8");
    add(&b, EXPERT(1, 0) "gate_proj.weight_scale_inv", DTYPE_F32, 2, 2, 2);
    find(&b, EXPERT(1, 0) "gate_proj.weight")->dtype = DTYPE_BF16;
    check(&b);
    assert_int_equal(findings_count(&b.found, "SRC_FP8_SCALE_ORPHAN"), 1);
    find(&b, EXPERT(1, 0) "gate_proj.weight")->dtype = DTYPE_F8_E4M3;

    struct tensor_info *t =
        find(&b, "model.layers.1.self_attn.kv_a_proj_with_mqa.weight_scale_inv");
    t->shape[0] = 2;
    t->shape[1] = 3;
    assert_one(&b, "SRC_FP8_SCALE_SHAPE", "kv_a_proj_with_mqa", "transposed");
    t->shape[0] = 3;
    t->shape[1] = 2;
    t->dtype = DTYPE_F16;
    assert_one(&b, "SRC_FP8_SCALE_DTYPE", "kv_a_proj_with_mqa", "F16");
    t->dtype = DTYPE_F32;
    b.config.quant_block[0] = b.config.quant_block[1] = 0;
    assert_one(&b, "SRC_FP8_CONFIG", "config.json", "weight_block_size");
    close_table(&b);
}

static void finds_faults_of_gptq_modules(void **state)
{
    (void)state;
    struct table b;
    if (!test_exists(test_path("%s/gptq/nano-autoround", test_data())))
        skip(); /* not carried in the project */
    open_table(&b, "gptq/nano-autoround");
    b.config.num_nextn_predict_layers = 0; /* this export has no MTP layer */
    b.config.n_layers = 5;
    assert_clean(&b);
    b.config.quant_group_size = 64;
    assert_one(&b, "GROUP_SIZE", "config.json", "group_size is 64 in the config, 128");
    b.config.quant_group_size = 128;
    drop_all(&b, "g_idx");
    assert_clean(&b);
    drop(&b, EXPERT(2, 1) "down_proj.scales");
    assert_one(&b, "SCALE_MISSING", EXPERT(2, 1) "down_proj.scales", "GPTQ");
    drop_all(&b, EXPERT(2, 1) "down_proj.");
    assert_one(&b, "EXPERT_INCOMPLETE", EXPERT(2, 1) "down_proj.qweight", "layer 2, expert 1");
    close_table(&b);
}

static void judges_fused_experts_by_their_first_dimension(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    drop_all(&b, "layers.3.mlp.experts.");
    struct tensor_info *t =
        add(&b, "model.layers.3.mlp.experts.gate_up_proj", DTYPE_BF16, 3, 16, 512);
    t->shape[2] = 256;
    t = add(&b, "model.layers.3.mlp.experts.down_proj", DTYPE_BF16, 3, 16, 256);
    t->shape[2] = 256;
    assert_clean(&b);
    find(&b, "model.layers.3.mlp.experts.gate_up_proj")->shape[0] = 12;
    find(&b, "model.layers.3.mlp.experts.down_proj")->shape[0] = 12;
    assert_one(&b, "EXPERT_COUNT", "layer 3", "12 experts in the tensors, 16 in the config");
    close_table(&b);
}

static void stays_short_however_much_is_wrong(void **state)
{
    (void)state;
    struct table b;
    open_table(&b, "glm-nano");
    b.config.hidden_size = 128;
    check(&b);
    assert_true(b.found.n_errors > 250);
    assert_true(b.found.n < 80);
    assert_int_equal(b.found.n_errors, findings_count(&b.found, "TENSOR_SHAPE") +
                                           findings_count(&b.found, "ROUTER_SHAPE"));
    b.n = 0; /* and of nothing */
    check(&b);
    assert_true(b.found.n_errors > 0 && b.found.n < 30);
    close_table(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_exactly_what_nano_stores),
        cmocka_unit_test(finds_nothing_wrong_with_good_checkpoints_of_every_format),
        cmocka_unit_test(misses_the_mtp_layer_that_a_peer_dropped),
        cmocka_unit_test(accepts_copies_kv_scales_any_prefix_and_absent_shared_indexers),
        cmocka_unit_test(counts_experts_against_the_config),
        cmocka_unit_test(finds_gaps_in_expert_ids),
        cmocka_unit_test(finds_single_faults_of_plain_tensors),
        cmocka_unit_test(counts_mtp_layers_and_names_stray_ones),
        cmocka_unit_test(finds_faults_of_nvfp4_modules),
        cmocka_unit_test(finds_faults_of_fp8_modules),
        cmocka_unit_test(finds_faults_of_gptq_modules),
        cmocka_unit_test(judges_fused_experts_by_their_first_dimension),
        cmocka_unit_test(stays_short_however_much_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
