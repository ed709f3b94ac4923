/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/observation.h"
#include "libprep/format/safetensors.h"
#include "tests/support/memory_io.h"

/* A run made from one file in memory, and what was said about it. */
struct reading {
    struct obs_run run;
    struct report report;
    struct prep_error err;
};

static void read_bytes(struct reading *r, const char *path, struct span bytes, const char *suffix)
{
    const struct memory_part part = {.p = bytes.p, .n = bytes.n};
    const struct memory_file f = {.path = path, .parts = &part, .n_parts = 1};
    struct memory_io m;
    memory_io_init(&m, &f, 1);
    *r = (struct reading){.err = PREP_ERROR_INIT};
    report_init(&r->report);
    int rc = obs_run_read(&r->run, &m.io, path, suffix, &r->report, &r->err);
    assert_int_equal(rc, r->err.code == PREP_OK ? 0 : -1);
    assert_int_equal(m.n_open, 0);
}

static void read_text(struct reading *r, const char *path, const char *text)
{
    read_bytes(r, path, (struct span){(const unsigned char *)text, strlen(text)}, NULL);
}

static void done(struct reading *r)
{
    obs_run_free(&r->run);
    report_fini(&r->report);
}

static void expect_fault(const char *path, const char *text, const char *tag, const char *word)
{
    struct reading r;
    read_text(&r, path, text);
    if (strcmp(r.err.tag, tag) != 0 || !strstr(r.err.msg, word))
        fail_msg("%s: [%s] %s, want [%s] %s", text, r.err.tag, r.err.msg, tag, word);
    done(&r);
}

/* ---- JSON ---- */

static void reads_a_bare_json_file_with_means(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, "dir/run-x.json",
              "{\"layers\":{\"10\":{\"expert_frequency\":[3,0],\"reap\":[0.5,0]},"
              "\"3\":{\"total_tokens\":16000000000,\"expert_frequency\":[15999999999,1],"
              "\"ean_mean\":[1.25,2],\"weighted_ean_sum\":[1e-300,2.5],\"note\":\"x\"}}}");
    assert_string_equal(r.err.msg, "");
    assert_string_equal(r.run.label, "run-x");
    assert_string_equal(r.run.id_space, "base");
    assert_null(r.run.gate_semantics);
    assert_true(r.run.tokens == 16000000000);
    assert_int_equal(r.run.n_layers, 2);
    const struct obs_layer *a = &r.run.layers[0], *b = &r.run.layers[1];
    assert_int_equal(a->layer, 3);
    assert_int_equal(b->layer, 10);
    assert_ptr_equal(obs_run_layer(&r.run, 10), b);
    assert_null(obs_run_layer(&r.run, 4));
    assert_true(a->expert_frequency[0] == 15999999999);
    assert_true(a->ean_sum[0] == 1.25 * 15999999999.0);
    assert_true(a->weighted_ean_sum[0] == 1e-300);
    assert_true(a->ean_sum_from_mean && !a->weighted_ean_sum_from_mean);
    assert_true(b->weighted_ean_sum[0] == 1.5 && b->weighted_ean_sum_from_mean);
    assert_null(b->ean_sum);
    assert_false(b->has_total_tokens);
    assert_int_equal(r.report.n_warnings, 1);
    assert_true(report_has(&r.report, "OBS_SUM_FROM_MEAN"));
    done(&r);
}

static void takes_the_metadata_of_a_json_file(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, "x.obs.json",
              "{\"format\":\"reap-obs\",\"version\":1,\"metadata\":{\"run\":\"code\",\"tokens\":"
              "\"77\",\"gate_semantics\":\"routed\",\"id_space\":\"keep-map\","
              "\"keep_map_sha256\":\"ab\",\"model\":\"m\",\"config_sha256\":\"c\","
              "\"index_sha256\":\"i\",\"n_routed_experts\":\"2\",\"num_experts_per_tok\":\"1\","
              "\"tool\":\"t\"},\"layers\":{}}");
    assert_string_equal(r.err.msg, "");
    assert_string_equal(r.run.label, "code");
    assert_string_equal(r.run.gate_semantics, "routed");
    assert_string_equal(r.run.id_space, "keep-map");
    assert_string_equal(r.run.keep_map_sha256, "ab");
    assert_string_equal(r.run.model, "m");
    assert_string_equal(r.run.config_sha256, "c");
    assert_string_equal(r.run.index_sha256, "i");
    assert_int_equal(r.run.n_routed_experts, 2);
    assert_int_equal(r.run.num_experts_per_tok, 1);
    assert_int_equal(r.run.tokens, 77);
    assert_int_equal(r.run.n_metadata, 11);
    done(&r);
}

static void rejects_json_of_another_shape(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tag, *word;
    } cases[] = {
        {"", "JSON", ""},
        {"[]", "OBS_SHAPE", "layers"},
        {"{}", "OBS_SHAPE", "layers"},
        {"{\"layers\":[]}", "OBS_SHAPE", "layers"},
        {"{\"format\":\"reap-keep-map\",\"layers\":{}}", "OBS_SHAPE", "reap-obs"},
        {"{\"version\":2,\"layers\":{}}", "OBS_SHAPE", "version 1"},
        {"{\"metadata\":[],\"layers\":{}}", "OBS_SHAPE", "metadata"},
        {"{\"metadata\":{\"tokens\":5},\"layers\":{}}", "OBS_SHAPE", "strings"},
        {"{\"metadata\":{\"tokens\":\"5 \"},\"layers\":{}}", "OBS_SHAPE", "tokens"},
        {"{\"metadata\":{\"tokens\":\"\"},\"layers\":{}}", "OBS_SHAPE", "tokens"},
        {"{\"metadata\":{\"tokens\":\"18446744073709551616\"},\"layers\":{}}", "OBS_SHAPE",
         "tokens"},
        {"{\"metadata\":{\"n_routed_experts\":\"65537\"},\"layers\":{}}", "OBS_SHAPE", "65536"},
        {"{\"metadata\":{\"id_space\":\"mine\"},\"layers\":{}}", "OBS_SHAPE", "keep-map"},
        {"{\"metadata\":{\"run\":\"a\\u0000b\"},\"layers\":{}}", "OBS_SHAPE", "NUL"},
        {"{\"metadata\":{\"n_routed_experts\":\"1\"},\"layers\":{\"3\":{\"ean_sum\":[1,2]}}}",
         "OBS_EXPERT_COUNT", "layer 3"},
        {"{\"layers\":{\"03\":{}}}", "OBS_SHAPE", "layer index"},
        {"{\"layers\":{\"-1\":{}}}", "OBS_SHAPE", "layer index"},
        {"{\"layers\":{\"1024\":{}}}", "OBS_SHAPE", "layer index"},
        {"{\"layers\":{\"3\":[]}}", "OBS_SHAPE", "object"},
        {"{\"layers\":{\"3\":{}}}", "OBS_SHAPE", "layer 3"},
        {"{\"layers\":{\"3\":{\"total_tokens\":1.0}}}", "OBS_SHAPE", "64-bit"},
        {"{\"layers\":{\"3\":{\"ean_sum\":5}}}", "OBS_SHAPE", "array"},
        {"{\"layers\":{\"3\":{\"ean_sum\":[]}}}", "OBS_SHAPE", "0 experts"},
        {"{\"layers\":{\"3\":{\"ean_sum\":[\"1\"]}}}", "OBS_SHAPE", "number"},
        {"{\"layers\":{\"3\":{\"ean_sum\":[[1]]}}}", "OBS_SHAPE", "ean_sum"},
        {"{\"layers\":{\"3\":{\"expert_frequency\":[1.5]}}}", "OBS_SHAPE", "64-bit"},
        {"{\"layers\":{\"3\":{\"expert_frequency\":[1,2],\"reap\":[1]}}}", "OBS_SHAPE",
         "layer 3: reap"},
        {"{\"layers\":{\"3\":{\"pairwise_expert_frequency\":[[1,2],[3]]}}}", "OBS_SHAPE", "rows"},
        {"{\"layers\":{\"3\":{\"pairwise_expert_frequency\":[[1,2]]}}}", "OBS_SHAPE", "pairwise"},
        {"{\"layers\":{\"3\":{\"routed_output_sum\":[1,2]}}}", "OBS_SHAPE", "hidden"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_fault("x.json", cases[i].text, cases[i].tag, cases[i].word);
}

static void names_the_lowest_faulty_layer_first(void **state)
{
    (void)state;
    expect_fault("x.json",
                 "{\"layers\":{\"20\":{\"ean_sum\":5},\"9\":{\"ean_sum\":[1],\"reap\":[1,2]},"
                 "\"10\":{}}}",
                 "OBS_SHAPE", "layer 9");
}

/* ---- per-sample JSONL ---- */

static void adds_up_the_samples_of_a_jsonl_file(void **state)
{
    (void)state;
    struct reading r;
    read_text(&r, "dir/code.jsonl",
              "{\"id\":1,\"observation\":{\"layers\":{\"4\":{\"expert_frequencies\":[2,1],"
              "\"reap_score\":[0.1,0.25],\"activation_norms\":[3,5],\"seqlen\":3,"
              "\"gate_weights\":[0.5,0.5]}}}}\n"
              "\n"
              "{\"observation\":{\"layers\":{\"4\":{\"expert_frequencies\":[3.0,0],"
              "\"reap_score\":[0.7,0.0],\"activation_norms\":[1,0.0],\"seqlen\":4}}}}");
    assert_string_equal(r.err.msg, "");
    assert_int_equal(r.run.n_layers, 1);
    const struct obs_layer *l = &r.run.layers[0];
    assert_int_equal(l->total_tokens, 7);
    assert_int_equal(l->expert_frequency[0], 5);
    assert_int_equal(l->expert_frequency[1], 1);
    assert_true(l->weighted_ean_sum[0] == 2 * 0.1 + 3 * 0.7);
    assert_true(l->weighted_ean_sum[1] == 0.25);
    assert_true(l->ean_sum[0] == 9 && l->ean_sum[1] == 5);
    assert_null(l->reap);
    assert_true(report_has(&r.report, "OBS_SUM_FROM_MEAN"));
    assert_string_equal(r.run.label, "code");
    done(&r);
}

#define SAMPLE(n, reap, norm, len)                                                                 \
    "{\"observation\":{\"layers\":{\"4\":{\"expert_frequencies\":" n ",\"reap_score\":" reap       \
    ",\"activation_norms\":" norm ",\"seqlen\":" len "}}}}\n"

static void rejects_samples_that_do_not_fit(void **state)
{
    (void)state;
    expect_fault("x.jsonl", "{}\n", "OBS_SHAPE", "observation");
    expect_fault("x.jsonl", "{\"observation\":{\"layers\":{\"4\":[]}}}", "OBS_SHAPE", "object");
    expect_fault("x.jsonl", SAMPLE("[1]", "[1,2]", "[1]", "1"), "OBS_SHAPE", "reap_score");
    expect_fault("x.jsonl", SAMPLE("[1.5]", "[1]", "[1]", "1"), "OBS_SHAPE", "count");
    expect_fault("x.jsonl", SAMPLE("[-1]", "[1]", "[1]", "1"), "OBS_SHAPE", "count");
    expect_fault("x.jsonl", SAMPLE("[1]", "[null]", "[1]", "1"), "OBS_SHAPE", "numbers");
    expect_fault("x.jsonl", SAMPLE("[1]", "[1]", "[1]", "-1"), "OBS_SHAPE", "seqlen");
    expect_fault("x.jsonl", SAMPLE("[]", "[]", "[]", "1"), "OBS_SHAPE", "0 experts");
    expect_fault("x.jsonl", SAMPLE("[1]", "[1]", "[1]", "1") SAMPLE("[1,1]", "[1,1]", "[1,1]", "1"),
                 "OBS_SHAPE", "earlier samples 1");
    expect_fault("x.jsonl", SAMPLE("[1]", "[1]", "[1]", "1") "{\"observation\"\n", "JSON",
                 "line 2");
    expect_fault("x.jsonl",
                 SAMPLE("[9223372036854775807]", "[1]", "[1]", "1")
                     SAMPLE("[1]", "[1]", "[1]", "1"),
                 "OBS_SHAPE", "added");
}

/* ---- native files ---- */

enum { MAX_TENSORS = 16, EXPERTS = 2 };

/* Tensors of one layer with two experts; each holds what `fill` puts there. */
struct native {
    struct tensor_info tensors[MAX_TENSORS];
    size_t n;
    struct metadata_pair metadata[4];
    size_t n_metadata;
};

static void add_tensor(struct native *f, const char *name, enum dtype dtype, int n_dims,
                       uint64_t rows)
{
    struct tensor_info t = {.name = name, .dtype = (uint8_t)dtype, .n_dims = (uint8_t)n_dims};
    for (int i = 0; i < n_dims; i++)
        t.shape[i] = rows;
    assert_int_equal(tensor_bytes(dtype, t.shape, n_dims, &t.bytes), 0);
    assert_true(f->n < MAX_TENSORS);
    f->tensors[f->n++] = t;
}

static void make_native(struct native *f)
{
    *f = (struct native){.metadata = {{"format", "reap-obs"}, {"version", "1"}}, .n_metadata = 2};
    add_tensor(f, "layers.7.total_tokens", DTYPE_I64, 1, 1);
    add_tensor(f, "layers.7.expert_frequency", DTYPE_I64, 1, EXPERTS);
    add_tensor(f, "layers.7.ean_sum", DTYPE_F64, 1, EXPERTS);
    add_tensor(f, "layers.7.weighted_ean_sum", DTYPE_F64, 1, EXPERTS);
    add_tensor(f, "layers.7.weighted_expert_frequency_sum", DTYPE_F64, 1, EXPERTS);
    add_tensor(f, "layers.7.max_activations", DTYPE_F32, 1, EXPERTS);
}

/* The file with all data zero; suffix as for obs_run_read(). */
static void read_native(struct reading *r, struct native *f, const char *suffix)
{
    struct arena arena;
    struct span header;
    struct prep_error err = PREP_ERROR_INIT;
    uint64_t bytes = 0;
    arena_init(&arena, 0);
    assert_int_equal(
        safetensors_layout(f->tensors, f->n, f->metadata, f->n_metadata, &arena, &header, &err), 0);
    for (size_t i = 0; i < f->n; i++)
        bytes += f->tensors[i].bytes;
    unsigned char *file = calloc(header.n + bytes + 1, 1);
    assert_non_null(file);
    memcpy(file, header.p, header.n);
    read_bytes(r, "n.obs.safetensors", (struct span){file, header.n + bytes}, suffix);
    free(file);
    arena_fini(&arena);
}

static void expect_native(struct native *f, const char *suffix, const char *tag, const char *word)
{
    struct reading r;
    read_native(&r, f, suffix);
    if (strcmp(r.err.tag, tag) != 0 || !strstr(r.err.msg, word))
        fail_msg("[%s] %s, want [%s] %s", r.err.tag, r.err.msg, tag, word);
    done(&r);
}

static void passes_over_tensors_it_does_not_know(void **state)
{
    (void)state;
    struct native f;
    make_native(&f);
    add_tensor(&f, "layers.7.coactivation", DTYPE_I64, 2, EXPERTS);
    add_tensor(&f, "layers.7.ean_sum.some_other_rule", DTYPE_F64, 1, EXPERTS);
    add_tensor(&f, "layers.x.ean_sum", DTYPE_F64, 1, 9);
    add_tensor(&f, "other", DTYPE_U8, 1, 9);
    expect_native(&f, NULL, "", "");
}

static void reads_the_optional_vectors_of_a_native_file(void **state)
{
    (void)state;
    struct native f;
    struct reading r;
    make_native(&f);
    add_tensor(&f, "layers.7.max_norm", DTYPE_F32, 1, EXPERTS);
    add_tensor(&f, "layers.7.weighted_ean_sumsq", DTYPE_F64, 1, EXPERTS);
    add_tensor(&f, "layers.7.routed_output_sum", DTYPE_F64, 2, EXPERTS);
    read_native(&r, &f, NULL);
    assert_string_equal(r.err.msg, "");
    const struct obs_layer *l = &r.run.layers[0];
    assert_non_null(l->max_norm);
    assert_non_null(l->weighted_ean_sumsq);
    assert_non_null(l->routed_output);
    assert_true(l->routed_output_is_sum);
    assert_int_equal(l->hidden, EXPERTS);
    assert_string_equal(r.run.label, "n");
    done(&r);
}

static void rejects_native_files_that_lack_something(void **state)
{
    (void)state;
    static const char *const names[] = {"total_tokens",
                                        "expert_frequency",
                                        "ean_sum",
                                        "weighted_ean_sum",
                                        "weighted_expert_frequency_sum",
                                        "max_activations"};
    struct native f;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        make_native(&f);
        f.tensors[i] = f.tensors[--f.n];
        expect_native(&f, NULL, "OBS_METRIC_MISSING", names[i]);
    }
    make_native(&f);
    f.n_metadata = 0;
    expect_native(&f, NULL, "OBS_SHAPE", "format");
    make_native(&f);
    f.metadata[0].value = "reap-amax";
    expect_native(&f, NULL, "OBS_SHAPE", "reap-amax");
}

static void rejects_native_vectors_of_another_type_or_shape(void **state)
{
    (void)state;
    struct native f;
    make_native(&f);
    f.n--;
    add_tensor(&f, "layers.7.max_activations", DTYPE_F64, 1, EXPERTS);
    expect_native(&f, NULL, "OBS_SHAPE", "want F32");
    make_native(&f);
    f.n--;
    add_tensor(&f, "layers.7.max_activations", DTYPE_F32, 1, EXPERTS + 1);
    expect_native(&f, NULL, "OBS_SHAPE", "max_activations: has 3 experts, the layer has 2");
    make_native(&f);
    f.n--;
    add_tensor(&f, "layers.7.max_activations", DTYPE_F32, 2, EXPERTS);
    expect_native(&f, NULL, "OBS_SHAPE", "2 dimensions");
    make_native(&f);
    f.tensors[0].shape[0] = 2;
    f.tensors[0].bytes = 16;
    expect_native(&f, NULL, "OBS_SHAPE", "total_tokens");
}

static void takes_the_vectors_of_the_gate_rule_asked_for(void **state)
{
    (void)state;
    struct native f;
    struct reading r;
    make_native(&f);
    expect_native(&f, "my_rule", "OBS_METRIC_MISSING", "");
    add_tensor(&f, "layers.7.expert_frequency.my_rule", DTYPE_I64, 1, EXPERTS);
    add_tensor(&f, "layers.7.ean_sum.my_rule", DTYPE_F64, 1, EXPERTS);
    add_tensor(&f, "layers.7.weighted_ean_sum.my_rule", DTYPE_F64, 1, EXPERTS);
    expect_native(&f, "my_rule", "OBS_METRIC_MISSING", "weighted_expert_frequency_sum.my_rule");
    add_tensor(&f, "layers.7.weighted_expert_frequency_sum.my_rule", DTYPE_F64, 1, EXPERTS);
    read_native(&r, &f, "my_rule");
    assert_string_equal(r.err.msg, "");
    assert_string_equal(r.run.gate_semantics, "my-rule");
    assert_null(r.run.layers[0].max_activations);
    done(&r);
    const char *text = "{\"layers\":{\"3\":{\"ean_sum\":[1],\"expert_frequency.my_rule\":[1],"
                       "\"ean_sum.my_rule\":[2],\"weighted_ean_sum.my_rule\":[3],"
                       "\"weighted_expert_frequency_sum.my_rule\":[4]}}}";
    read_bytes(&r, "x.json", (struct span){(const unsigned char *)text, strlen(text)}, "my_rule");
    assert_string_equal(r.err.msg, "");
    assert_true(r.run.layers[0].ean_sum[0] == 2);
    done(&r);
    read_bytes(&r, "x.pt", (struct span){(const unsigned char *)text, strlen(text)}, "my_rule");
    assert_string_equal(r.err.tag, "OBS_METRIC_MISSING");
    done(&r);
}

/* ---- checks ---- */

static const int layers[] = {3, 4}, experts[] = {2, 2}, parents[] = {1, 2};

/* The tag of what the checks say of one JSON file, "" when all is well. */
static const char *check(struct reading *r, const char *text, int lenient)
{
    const struct obs_expect expect = {layers, experts, parents, 2, 2};
    read_text(r, "x.json", text);
    assert_string_equal(r->err.msg, "");
    (void)!(obs_run_check_structure(&r->run, &expect, &r->report, &r->err) ||
            obs_run_check_values(&r->run, &expect, lenient, &r->report, &r->err));
    return r->err.tag;
}

static void expect_verdict(const char *text, const char *tag, const char *word)
{
    struct reading r;
    check(&r, text, 0);
    if (strcmp(r.err.tag, tag) != 0 || !strstr(r.err.msg, word))
        fail_msg("%s: [%s] %s, want [%s] %s", text, r.err.tag, r.err.msg, tag, word);
    done(&r);
}

#define LAYER(id, rest) "{\"layers\":{\"" id "\":{" rest "}}}"
#define COUNTS "\"total_tokens\":5,\"expert_frequency\":[4,6]"

static void accepts_what_adds_up(void **state)
{
    (void)state;
    expect_verdict(LAYER("3", COUNTS ",\"ean_sum\":[1,0],\"pairwise_expert_frequency\":"
                                     "[[8,10],[10,12]],\"reap\":[0.5,-0.0]"),
                   "", "");
    expect_verdict(LAYER("3", "\"ean_sum\":[1,0]"), "", "");
    expect_verdict(LAYER("3", "\"expert_frequency\":[4]"), "", ""); /* the parent's count */
}

static void rejects_values_that_cannot_be(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tag, *word;
    } cases[] = {
        {LAYER("4", "\"expert_frequency\":[4]"), "OBS_EXPERT_COUNT", "layer 4"},
        {LAYER("3", "\"expert_frequency\":[4,1,1]"), "OBS_EXPERT_COUNT", "has 1 and its base 2"},
        {LAYER("3", "\"total_tokens\":-1,\"ean_sum\":[1,2]"), "OBS_NEGATIVE", "total_tokens"},
        {LAYER("3", "\"total_tokens\":0,\"expert_frequency\":[0,0]"), "OBS_ZERO_TOKENS", "layer 3"},
        {LAYER("3", "\"expert_frequency\":[0,0]"), "OBS_ZERO_TOKENS", "layer 3"},
        {LAYER("3", "\"total_tokens\":1,\"expert_frequency\":[3,-1]"), "OBS_NEGATIVE", "expert 1"},
        {LAYER("3", "\"total_tokens\":5,\"expert_frequency\":[4,5]"), "OBS_COUNT_MISMATCH", "9"},
        {LAYER("3", "\"total_tokens\":9223372036854775807,\"expert_frequency\":"
                    "[9223372036854775807,9223372036854775807]"),
         "", ""},
        {LAYER("3", COUNTS ",\"pairwise_expert_frequency\":[[8,10],[10,13]]"), "OBS_COUNT_MISMATCH",
         "experts 1 and 1"},
        {LAYER("3", COUNTS ",\"ean_sum\":[1e999,1]"), "OBS_NONFINITE", "ean_sum: expert 0"},
        {LAYER("3", COUNTS ",\"weighted_ean_sum\":[1,-1]"), "OBS_NEGATIVE", "expert 1"},
        {LAYER("3", COUNTS ",\"ean_mean\":[1e39,1]"), "OBS_NONFINITE", "ean_mean"},
        {LAYER("3", COUNTS ",\"reap\":[1,-1e-9]"), "OBS_NEGATIVE", "reap: expert 1"},
        {LAYER("3", COUNTS ",\"max_activations\":[1,-1]"), "OBS_NEGATIVE", "max_activations"},
        {LAYER("3", COUNTS ",\"routed_output_sum\":[[-1,0],[0,1e999]]"), "OBS_NONFINITE",
         "expert 1"},
        {LAYER("3", "\"total_tokens\":5,\"expert_frequency\":[10,0],\"ean_sum\":[1,0.5]"),
         "OBS_COUNT_MISMATCH", "expert 1 is 0.5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_verdict(cases[i].text, cases[i].tag, cases[i].word);
}

/* The faults below are in the order of precedence; each line lacks the first of the line above. */
static void reports_the_first_fault_by_precedence(void **state)
{
    (void)state;
    expect_verdict("{\"layers\":{\"3\":{\"total_tokens\":0,\"ean_sum\":[1,1]},\"4\":{\"ean_sum\":"
                   "[1]}}}",
                   "OBS_EXPERT_COUNT", "layer 4");
    expect_verdict("{\"layers\":{\"4\":{\"total_tokens\":0,\"ean_sum\":[1,1]},\"3\":{\"reap\":"
                   "[-1,1]}}}",
                   "OBS_NEGATIVE", "layer 3");
    expect_verdict(LAYER("3", "\"reap\":[-1,1],\"max_activations\":[-1,1],\"ean_sum\":[1,-1]"),
                   "OBS_NEGATIVE", "ean_sum: expert 1");
}

static void a_rebuilt_sum_is_blamed_on_its_mean(void **state)
{
    (void)state;
    expect_verdict(LAYER("3", COUNTS ",\"reap\":[1,1e39]"), "OBS_NONFINITE", "reap: expert 1");
}

static void lenient_lets_counts_differ(void **state)
{
    (void)state;
    struct reading r;
    assert_string_equal(check(&r, LAYER("3", "\"total_tokens\":5,\"expert_frequency\":[4,5]"), 1),
                        "");
    assert_true(report_has(&r.report, "OBS_COUNT_MISMATCH"));
    done(&r);
    assert_string_equal(check(&r, LAYER("3", "\"expert_frequency\":[9,0],\"ean_sum\":[1,2]"), 1),
                        "OBS_COUNT_MISMATCH");
    done(&r);
}

static void warns_of_unknown_layers_and_idle_experts(void **state)
{
    (void)state;
    struct reading r;
    assert_string_equal(check(&r,
                              "{\"layers\":{\"3\":{\"total_tokens\":1,\"expert_frequency\":[2,0]},"
                              "\"9\":{\"total_tokens\":0,\"ean_sum\":[-1,1]}}}",
                              0),
                        "");
    assert_true(report_has(&r.report, "OBS_LAYER_UNKNOWN"));
    assert_true(report_has(&r.report, "OBS_NEVER_ROUTED"));
    assert_int_equal(r.report.n_warnings, 2);
    done(&r);
}

static void writes_no_number_that_json_cannot_spell(void **state)
{
    (void)state;
    struct reading r;
    struct arena arena;
    struct span out;
    arena_init(&arena, 0);
    read_text(&r, "x.json", LAYER("3", "\"ean_sum\":[1,1e999]"));
    assert_int_equal(obs_run_write_json(&r.run, &arena, &out, &r.err), -1);
    assert_string_equal(r.err.tag, "OBS_NONFINITE");
    arena_fini(&arena);
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_bare_json_file_with_means),
        cmocka_unit_test(takes_the_metadata_of_a_json_file),
        cmocka_unit_test(rejects_json_of_another_shape),
        cmocka_unit_test(names_the_lowest_faulty_layer_first),
        cmocka_unit_test(adds_up_the_samples_of_a_jsonl_file),
        cmocka_unit_test(rejects_samples_that_do_not_fit),
        cmocka_unit_test(passes_over_tensors_it_does_not_know),
        cmocka_unit_test(reads_the_optional_vectors_of_a_native_file),
        cmocka_unit_test(rejects_native_files_that_lack_something),
        cmocka_unit_test(rejects_native_vectors_of_another_type_or_shape),
        cmocka_unit_test(takes_the_vectors_of_the_gate_rule_asked_for),
        cmocka_unit_test(accepts_what_adds_up),
        cmocka_unit_test(rejects_values_that_cannot_be),
        cmocka_unit_test(reports_the_first_fault_by_precedence),
        cmocka_unit_test(a_rebuilt_sum_is_blamed_on_its_mean),
        cmocka_unit_test(lenient_lets_counts_differ),
        cmocka_unit_test(warns_of_unknown_layers_and_idle_experts),
        cmocka_unit_test(writes_no_number_that_json_cannot_spell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
