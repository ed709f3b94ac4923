/* SPDX-License-Identifier: MIT */
/* Quantization as a whole, on the nano model: statistics, odd weights, what the steps leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "libprep/store/executor.h"
#include "libprep/store/manifest.h"
#include "tests/support/quantized.h"
#include "tests/support/support.h"

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

static void check(int rc, const struct prep_error *err)
{
    if (rc)
        fail_msg("%s: %s", err->tag, err->msg);
}

/* ---- looking at what was written ---- */

static unsigned char *bytes_of(const char *dir, const char *name, uint64_t *n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct checkpoint *c;
    check(checkpoint_open(&c, &io_posix, dir, NULL, &err), &err);
    const struct checkpoint_tensor *t = checkpoint_find(c, name);
    if (!t)
        fail_msg("%s has no %s", dir, name);
    unsigned char *p = malloc((size_t)t->info.bytes + 1);
    assert_non_null(p);
    check(checkpoint_read(c, t, 0, p, (size_t)t->info.bytes, &err), &err);
    *n = t->info.bytes;
    checkpoint_close(c);
    return p;
}

static float scalar(const char *dir, const char *name)
{
    uint64_t n;
    float v;
    unsigned char *p = bytes_of(dir, name, &n);
    assert_int_equal(n, 4);
    memcpy(&v, p, 4);
    free(p);
    return v;
}

static double noted(const char *dir, const char *linear, const char *key)
{
    cJSON *m;
    struct test_bytes text = test_read(test_path("%s/prep-manifest.json", dir));
    m = cJSON_Parse((char *)text.p);
    const cJSON *q = cJSON_GetObjectItem(cJSON_GetObjectItem(m, "run"), "quantization");
    const cJSON *l = cJSON_GetObjectItem(cJSON_GetObjectItem(q, "linears"), linear);
    const cJSON *v = cJSON_GetObjectItem(l, key);
    if (!v)
        fail_msg("%s: the manifest has no %s", linear, key);
    double d = v->valuedouble;
    cJSON_Delete(m);
    free(text.p);
    return d;
}

/* ---- activation maxima ---- */

/* Expert e of layer l saw e + 1 as its largest input, plus ten for down_proj. */
static size_t expert_maxima(struct amax_entry *e, int n_experts, int leave_out)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    size_t n = 0;
    for (int layer = 2; layer < 5; layer++)
        for (int x = 0; x < n_experts; x++)
            for (int p = 0; p < 3 && x != leave_out; p++)
                e[n++] = (struct amax_entry){
                    test_path("model.layers.%d.mlp.experts.%d.%s", layer, x, parts[p]),
                    (float)(x + 1 + (p == 2 ? 10 : 0)), 0};
    return n;
}

static float input(float amax)
{
    return nvfp4_global(NVFP4_MAX, amax, NVFP4_BF16);
}

static void experts_take_the_largest_of_their_layer(void **state)
{
    (void)state;
    struct amax_entry e[144];
    const char *path = quantized_amax_file(e, expert_maxima(e, 16, -1), 16);
    struct quantize_job job = quantized_job(nano());
    job.amax = &path;
    job.n_amax = 1;
    const char *dir = quantized_run(&job);
    assert_true(scalar(dir, "model.layers.2.mlp.experts.0.up_proj.input_scale") == input(16));
    assert_true(scalar(dir, "model.layers.2.mlp.experts.0.down_proj.input_scale") == input(26));
    job.per_expert = 1;
    dir = quantized_run(&job);
    assert_true(scalar(dir, "model.layers.2.mlp.experts.0.up_proj.input_scale") == input(1));
    assert_true(scalar(dir, "model.layers.2.mlp.experts.3.down_proj.input_scale") == input(14));
    job.min_tokens = 1001; /* nobody has that many */
    dir = quantized_run(&job);
    assert_true(scalar(dir, "model.layers.2.mlp.experts.3.down_proj.input_scale") == input(26));
}

static void an_expert_that_saw_nothing_falls_back_and_is_reported(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct amax_entry e[144];
    struct report report;
    struct quantize_result r;
    const char *path = quantized_amax_file(e, expert_maxima(e, 16, 5), 16);
    struct quantize_job job = quantized_job(nano());
    job.amax = &path;
    job.n_amax = 1;
    job.per_expert = 1;
    report_init(&report);
    check(quantize_job_run(&r, &job, &report, &err), &err);
    assert_true(report_has(&report, "AMAX_FALLBACK"));
    assert_int_equal(r.inputs.count[INPUT_FALLBACK], 9);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(report.facts, "input_scale_fallbacks")),
                     9);
    quantize_result_free(&r);
    report_fini(&report);
}

static void maxima_of_the_base_follow_the_keep_map(void **state)
{
    (void)state;
    struct amax_entry e[144];
    const char *path = quantized_amax_file(e, expert_maxima(e, 16, -1), 16);
    static const char text[] = "{\"2\":[0,1,2,3,4,5,6,7,8,9,11,13],"
                               "\"3\":[0,1,2,3,4,5,6,7,8,9,10,12],"
                               "\"4\":[1,2,3,4,5,6,7,8,9,10,11,12]}";
    const char *map = test_path("%s/map.json", test_temp_dir());
    test_write(map, text, sizeof text - 1);
    struct quantize_job job = quantized_job(nano());
    job.amax = &path;
    job.n_amax = 1;
    job.per_expert = 1;
    job.keep_map = map;
    const char *once = quantized_run(&job);
    assert_true(scalar(once, "model.layers.2.mlp.experts.11.up_proj.input_scale") == input(14));
    assert_true(scalar(once, "model.layers.4.mlp.experts.0.up_proj.input_scale") == input(2));
    job.per_expert = 0; /* the largest of those that stay */
    const char *layer = quantized_run(&job);
    assert_true(scalar(layer, "model.layers.2.mlp.experts.0.up_proj.input_scale") == input(14));

    /* Pruned first: the checkpoint's own keep-map says the same. */
    struct prep_error err = PREP_ERROR_INIT;
    struct prune_job prune = {.io = &io_posix, .source = nano(), .keep_map = map};
    struct prune_result pruned;
    struct exec_result done;
    struct report report;
    report_init(&report);
    check(prune_job_run(&pruned, &prune, 1, &report, &err), &err);
    const char *dir = test_path("%s/pruned", test_temp_dir());
    struct exec_options opt = {.io = &io_posix, .dir = dir, .n_threads = 2};
    check(plan_execute(pruned.plan, &opt, &done, &err), &err);
    prune_result_free(&pruned);
    report_fini(&report);
    job.keep_map = NULL;
    job.source = dir;
    const char *fault = test_folder_difference(layer, quantized_run(&job), "prep-manifest.json");
    if (fault)
        fail_msg("%s", fault);
}

static void maxima_of_another_model_are_refused(void **state)
{
    (void)state;
    struct amax_entry e[145];
    size_t n = expert_maxima(e, 16, -1);
    struct quantize_job job = quantized_job(nano());
    const char *path = quantized_amax_file(e, n, 24);
    job.amax = &path;
    job.n_amax = 1;
    assert_string_equal(quantized_refusal(&job), "OBS_EXPERT_COUNT");
    e[n] = (struct amax_entry){"model.layers.7.mlp.experts.0.up_proj", 1, 0};
    path = quantized_amax_file(e, n + 1, 16);
    assert_string_equal(quantized_refusal(&job), "OBS_LAYER_UNKNOWN");
    e[n].module = "model.layers.2.mlp.experts.16.up_proj";
    path = quantized_amax_file(e, n + 1, 16);
    assert_string_equal(quantized_refusal(&job), "OBS_LAYER_UNKNOWN");
    e[n].module = "model.layers.2.self_attn.qkv_proj";
    path = quantized_amax_file(e, n + 1, 16);
    assert_string_equal(quantized_refusal(&job), "OBS_LAYER_UNKNOWN");
}

static void a_linear_without_a_maximum_is_refused_unless_one_is_assumed(void **state)
{
    (void)state;
    struct amax_entry e[144];
    const char *path = quantized_amax_file(e, expert_maxima(e, 16, -1), 16);
    struct quantize_job job = quantized_job(nano());
    job.modules = "portable";
    job.amax = &path;
    job.n_amax = 1;
    assert_string_equal(quantized_refusal(&job), "AMAX_MISSING");
    job.assume_amax = 4;
    const char *dir = quantized_run(&job);
    assert_true(scalar(dir, "model.layers.0.self_attn.o_proj.input_scale") == input(4));
    assert_true(scalar(dir, "model.layers.2.mlp.experts.0.up_proj.input_scale") == input(16));
}

/* ---- importance ---- */

static const char *importance_file(uint64_t width, int n_experts)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tensor_info infos[16];
    struct metadata_pair metadata[] = {{"format", "reap-importance"},
                                       {"n_routed_experts", test_path("%d", n_experts)},
                                       {"version", "1"}};
    struct arena arena;
    struct span header;
    arena_init(&arena, 0);
    for (int i = 0; i < 16; i++)
        infos[i] = (struct tensor_info){
            .name = test_path("model.layers.3.mlp.experts.%d.down_proj.importance", i),
            .shape = {width},
            .n_dims = 1,
            .dtype = DTYPE_F32,
            .bytes = 4 * width};
    check(safetensors_layout(infos, 16, metadata, 3, &arena, &header, &err), &err);
    size_t n = header.n + 16 * 4 * (size_t)width;
    unsigned char *p = arena_alloc(&arena, n, &err);
    assert_non_null(p);
    memcpy(p, header.p, header.n);
    for (size_t i = 0; i < 16 * width; i++) {
        float v = i % 7 == 0 ? 100 : 0.5f; /* a few inputs matter most */
        memcpy(p + header.n + 4 * i, &v, 4);
    }
    const char *path = test_path("%s/importance.safetensors", test_temp_dir());
    test_write(path, p, n);
    arena_fini(&arena);
    return path;
}

static void importance_lowers_the_weighted_error(void **state)
{
    (void)state;
    static const char linear[] = "model.layers.3.mlp.experts.2.down_proj";
    static const char other[] = "model.layers.2.mlp.experts.2.down_proj";
    struct quantize_job job = quantized_job(nano());
    double max = noted(quantized_run(&job), linear, "nmse");
    job.scales = "sweep";
    const char *plain = quantized_run(&job);
    double sweep = noted(plain, linear, "nmse");
    assert_true(sweep < 0.85 * max);
    job.scales = "auto";
    job.importance = importance_file(256, 16);
    const char *dir = quantized_run(&job);
    double weighted = noted(dir, linear, "weighted_nmse");
    assert_true(weighted < noted(dir, linear, "nmse"));
    assert_true(noted(dir, linear, "nmse") > sweep);
    assert_true(noted(dir, other, "nmse") == noted(plain, other, "nmse"));
}

static void importance_of_another_model_is_refused(void **state)
{
    (void)state;
    struct quantize_job job = quantized_job(nano());
    job.importance = importance_file(128, 16);
    assert_string_equal(quantized_refusal(&job), "IMPORTANCE");
    job.importance = importance_file(256, 24);
    assert_string_equal(quantized_refusal(&job), "OBS_EXPERT_COUNT");
}

/* ---- odd weights ---- */

/* The nano with some BF16 values of a tensor set. */
static const char *patched(const char *name, uint64_t first, uint64_t n, uint16_t value)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct checkpoint *c;
    const char *dir = test_path("%s/nano", test_temp_dir());
    test_copy_tree(nano(), dir);
    check(checkpoint_open(&c, &io_posix, dir, NULL, &err), &err);
    const struct checkpoint_tensor *t = checkpoint_find(c, name);
    assert_non_null(t);
    const char *path = test_path("%s/%s", dir, c->files[t->file].name);
    struct test_bytes b = test_read(path);
    for (uint64_t i = first; i < first + n; i++)
        memcpy(b.p + t->info.offset + 2 * i, &value, 2);
    test_write(path, b.p, b.n);
    free(b.p);
    checkpoint_close(c);
    return dir;
}

static void expect_nonfinite(const char *dir, enum quant_layout layout)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct quantize_job job = quantized_job(dir);
    struct quantize_result r;
    struct exec_result done;
    struct report report;
    if (layout == QUANT_GPTQ) {
        job.layout = layout;
        job.group_size = 128;
        job.scales = "signed";
    }
    report_init(&report);
    check(quantize_job_run(&r, &job, &report, &err), &err);
    struct exec_options opt = {.io = &io_posix, .dir = test_path("%s/out", test_temp_dir())};
    assert_int_equal(plan_execute(r.plan, &opt, &done, &err), -1);
    assert_string_equal(err.tag, "NONFINITE");
    assert_non_null(strstr(err.msg, "model.layers.3.mlp.experts.9.up_proj.weight: row 200, column "
                                    "17 "));
    quantize_result_free(&r);
    report_fini(&report);
}

static void weights_that_are_no_numbers_are_refused_by_place(void **state)
{
    (void)state;
    static const char name[] = "model.layers.3.mlp.experts.9.up_proj.weight";
    const char *nan = patched(name, 200 * 256 + 17, 1, 0x7FC0);
    expect_nonfinite(nan, QUANT_MODELOPT);
    expect_nonfinite(nan, QUANT_GPTQ);
    expect_nonfinite(patched(name, 200 * 256 + 17, 1, 0xFF80), QUANT_MODELOPT);
}

static void a_tensor_of_zeros_is_defined(void **state)
{
    (void)state;
    const char *dir =
        patched("model.layers.3.mlp.experts.9.down_proj.weight", 0, (uint64_t)256 * 256, 0);
    struct quantize_job job = quantized_job(dir);
    const char *out = quantized_run(&job);
    static const char linear[] = "model.layers.3.mlp.experts.9.down_proj";
    uint64_t n;
    assert_true(scalar(out, test_path("%s.weight_scale_2", linear)) > 0);
    unsigned char *codes = bytes_of(out, test_path("%s.weight", linear), &n);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(codes[i], 0);
    free(codes);
    unsigned char *scales = bytes_of(out, test_path("%s.weight_scale", linear), &n);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(scales[i], 0x38);
    free(scales);
    assert_true(noted(out, linear, "nmse") == 0);
}

/* ---- W4A16 ---- */

static void gptq_has_the_layout_of_version_one(void **state)
{
    (void)state;
    struct quantize_job job = quantized_job(nano());
    job.layout = QUANT_GPTQ;
    job.modules = "portable";
    job.group_size = 128;
    job.scales = "signed";
    const char *dir = quantized_run(&job);
    static const char linear[] = "model.layers.3.mlp.experts.9.up_proj";
    uint64_t n;
    unsigned char *zeros = bytes_of(dir, test_path("%s.qzeros", linear), &n);
    assert_int_equal(n, 2 * (256 / 8) * 4);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(zeros[i], 0x77);
    free(zeros);
    unsigned char *g_idx = bytes_of(dir, test_path("%s.g_idx", linear), &n);
    assert_int_equal(n, 256 * 4);
    for (uint64_t i = 0; i < n / 4; i++)
        assert_int_equal(g_idx[4 * i], i / 128);
    free(g_idx);

    /* The first weight of row 7, from word 0, scale 0 of that row. */
    unsigned char *q = bytes_of(dir, test_path("%s.qweight", linear), &n);
    assert_int_equal(n, 256 / 8 * 256 * 4);
    unsigned char *s = bytes_of(dir, test_path("%s.scales", linear), &n);
    assert_int_equal(n, 2 * 256 * 2);
    uint16_t scale, w;
    memcpy(&scale, s + 2 * 7, 2);
    unsigned char *bf16 = bytes_of(nano(), test_path("%s.weight", linear), &n);
    memcpy(&w, bf16 + 2 * 7 * 256, 2);
    float d = f32_from_f16(scale), got = (float)((q[4 * 7] & 15) - 8) * d;
    float off = got - f32_from_bf16(w);
    assert_true((off < 0 ? -off : off) <= (d < 0 ? -d : d) / 2);
    free(q);
    free(s);
    free(bf16);
    assert_true(noted(dir, linear, "nmse") < 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_take_the_largest_of_their_layer),
        cmocka_unit_test(an_expert_that_saw_nothing_falls_back_and_is_reported),
        cmocka_unit_test(maxima_of_the_base_follow_the_keep_map),
        cmocka_unit_test(maxima_of_another_model_are_refused),
        cmocka_unit_test(a_linear_without_a_maximum_is_refused_unless_one_is_assumed),
        cmocka_unit_test(importance_lowers_the_weighted_error),
        cmocka_unit_test(importance_of_another_model_is_refused),
        cmocka_unit_test(weights_that_are_no_numbers_are_refused_by_place),
        cmocka_unit_test(a_tensor_of_zeros_is_defined),
        cmocka_unit_test(gptq_has_the_layout_of_version_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
