/* SPDX-License-Identifier: MIT */
/*
 * hostile/checkpoints-broken.md: thirty checkpoints, each a good one with one change, and four good
 * ones under options that do not suit them. The linter finds each, names code and place, and finds
 * nothing else; before the change nothing is found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/release/repair.h"
#include "libprep/store/executor.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/parents.h"

#define ALL LINT_ENGINES
#define TWO (LINT_SGLANG | LINT_VLLM)

enum { MAX_WORDS = 4, EXPERTS = 16, PRUNED = 12, HIDDEN = 256 };

static struct prep_error err = PREP_ERROR_INIT;

/* ---- the changes ---- */

#define EXPERT(l, e, p) "model.layers." #l ".mlp.experts." #e "." p

static float read_f32(struct edit *e, struct edit_tensor *t)
{
    return f32_from_bits(load_le32(edit_bytes(e, t)));
}

static void write_f32(struct edit *e, struct edit_tensor *t, float v)
{
    store_le32(edit_bytes(e, t), f32_bits(v));
}

static void scale_by(struct edit *e, const char *name, float factor)
{
    struct edit_tensor *t = edit_get(e, "%s", name);
    write_f32(e, t, read_f32(e, t) * factor);
}

/* An element of a JSON list, with the comma before it, or after it when it is the first. */
static void drop_entry(struct edit *e, const char *file, const char *entry)
{
    char quoted[200];
    snprintf(quoted, sizeof quoted, "\"%s\"", entry);
    char *text = strdup(edit_text(e, file)), *at = strstr(text, quoted);
    assert_non_null(at);
    char *from = at, *to = at + strlen(quoted);
    while (from > text && strchr(" \n\t", from[-1]))
        from--;
    if (from[-1] == ',')
        from--;
    else
        to += strspn(to, " \n\t,");
    memmove(from, to, strlen(to) + 1);
    edit_set_text(e, file, text);
    free(text);
}

static void input_scale_missing(struct edit *e)
{
    edit_remove(e, EXPERT(3, 5, "up_proj.input_scale"));
}

static void gate_up_scale_unequal(struct edit *e)
{
    scale_by(e, EXPERT(2, 7, "up_proj.weight_scale_2"), 1.5f);
}

static void ct_gate_up_scale_unequal(struct edit *e)
{
    scale_by(e, EXPERT(4, 0, "gate_proj.weight_global_scale"), 2);
}

static void scale_nan(struct edit *e)
{
    edit_bytes(e, edit_get(e, EXPERT(2, 0, "down_proj.weight_scale")))[0] = 0x7f;
}

static void global_scale_zero(struct edit *e)
{
    write_f32(e, edit_get(e, EXPERT(4, 15, "gate_proj.weight_scale_2")), 0);
}

static void scale_padded_rows(struct edit *e)
{
    static const uint64_t padded[] = {128, 16};
    struct edit_tensor *t =
        edit_get(e, "model.layers.0.self_attn.indexer.weights_proj.weight_scale");
    unsigned char *bytes = calloc(128, 16);
    assert_non_null(bytes);
    assert_int_equal(t->info.bytes, 4 * 16);
    memcpy(bytes, edit_bytes(e, t), 4 * 16);
    edit_set(e, t, DTYPE_F8_E4M3, 2, padded, bytes);
    free(bytes);
}

/* A tensor of N under the name `as`. */
static void from_nano(struct edit *e, const char *beside, const char *name, const char *as)
{
    struct edit n;
    edit_open(&n, make_parent(PARENT_N));
    struct edit_tensor *t = edit_get(&n, "%s", name);
    edit_add(e, beside, as, (enum dtype)t->info.dtype, t->info.n_dims, t->info.shape,
             edit_bytes(&n, t));
    edit_close(&n);
}

static void back_to_bf16(struct edit *e, const char *module)
{
    static const char *const parts[] = {"weight_scale", "weight_scale_2", "input_scale"};
    const char *weight = test_path("%s.weight", module), *plain = test_path("%s.plain", module);
    from_nano(e, weight, weight, plain);
    edit_remove(e, weight);
    edit_rename(e, plain, weight);
    for (int i = 0; i < 3; i++)
        edit_remove(e, test_path("%s.%s", module, parts[i]));
}

static void one_expert_bf16(struct edit *e)
{
    back_to_bf16(e, EXPERT(3, 2, "gate_proj"));
}

static void weight_twice(struct edit *e)
{
    const char *weight = EXPERT(2, 0, "up_proj.weight");
    from_nano(e, weight, weight, EXPERT(2, 0, "up_proj.weight_bf16"));
}

static void exclude_fused_only(struct edit *e)
{
    edit_replace(e, "config.json", "\"model.layers.2.mlp.shared_experts.gate_proj\"",
                 "\"model.layers.2.mlp.shared_experts.gate_up_proj\"");
    drop_entry(e, "config.json", "model.layers.2.mlp.shared_experts.up_proj");
}

static const char *const modelopt_files[] = {"config.json", "hf_quant_config.json"};

static void exclude_gate_glob(struct edit *e)
{
    for (int i = 0; i < 2; i++) {
        edit_replace(e, modelopt_files[i], "\"model.layers.2.mlp.gate\"", "\"*mlp.gate*\"");
        drop_entry(e, modelopt_files[i], "model.layers.3.mlp.gate");
        drop_entry(e, modelopt_files[i], "model.layers.4.mlp.gate");
    }
}

static void mtp_not_excluded(struct edit *e)
{
    for (int i = 0; i < 2; i++)
        drop_entry(e, modelopt_files[i], "model.layers.5*");
}

static void ct_mtp_decoder_not_excluded(struct edit *e)
{
    drop_entry(e, "config.json", "re:model\\\\.decoder\\\\..*");
}

static void quant_configs_disagree(struct edit *e)
{
    edit_replace(e, "hf_quant_config.json", "\"NVFP4\"", "\"FP8\"");
}

static void fused_qkv_a_split(struct edit *e)
{
    back_to_bf16(e, "model.layers.1.self_attn.kv_a_proj_with_mqa");
    for (int i = 0; i < 2; i++)
        edit_replace(e, modelopt_files[i], "\"lm_head\"",
                     "\"lm_head\", \"model.layers.1.self_attn.kv_a_proj_with_mqa\"");
}

static void nothing(struct edit *e)
{
    (void)e;
}

static void mtp_missing(struct edit *e)
{
    size_t n = 0;
    for (size_t i = e->n; i-- > 0;) {
        if (strncmp(e->tensors[i].info.name, "model.layers.5.", 15) != 0)
            continue;
        edit_remove(e, e->tensors[i].info.name);
        n++;
    }
    assert_int_equal(n, 71);
}

static int has(const struct edit *e, const char *name)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->tensors[i].info.name, name) == 0)
            return 1;
    return 0;
}

static void take_from_nano(struct edit *e, const char *name)
{
    const char *other = test_path("%s.taken", name);
    from_nano(e, "model.layers.5.enorm.weight", name, other);
    if (has(e, name))
        edit_remove(e, name);
    edit_rename(e, other, name);
}

static void mtp_unpruned(struct edit *e)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    for (int i = 0; i < EXPERTS; i++)
        for (int p = 0; p < 3; p++)
            take_from_nano(e, test_path("model.layers.5.mlp.experts.%d.%s.weight", i, parts[p]));
    take_from_nano(e, "model.layers.5.mlp.gate.weight");
    take_from_nano(e, "model.layers.5.mlp.gate.e_score_correction_bias");
}

static void bias_not_sliced(struct edit *e)
{
    take_from_nano(e, "model.layers.3.mlp.gate.e_score_correction_bias");
}

static void bias_bf16(struct edit *e)
{
    static const uint64_t shape[] = {EXPERTS};
    struct edit_tensor *t = edit_get(e, "model.layers.2.mlp.gate.e_score_correction_bias");
    unsigned char narrow[2 * EXPERTS];
    for (int i = 0; i < EXPERTS; i++) {
        uint16_t v = bf16_from_f32(f32_from_bits(load_le32(edit_bytes(e, t) + 4 * i)));
        narrow[2 * i] = (unsigned char)v;
        narrow[2 * i + 1] = (unsigned char)(v >> 8);
    }
    edit_set(e, t, DTYPE_BF16, 1, shape, narrow);
}

static void gate_rows_swapped(struct edit *e)
{
    enum { ROW = 2 * HIDDEN };
    unsigned char *p = edit_bytes(e, edit_get(e, "model.layers.2.mlp.gate.weight")), row[ROW];
    memcpy(row, p, ROW);
    memcpy(p, p + ROW, ROW);
    memcpy(p + ROW, row, ROW);
}

static void expert_gap(struct edit *e)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    for (int p = 0; p < 3; p++)
        edit_rename(e, test_path("model.layers.4.mlp.experts.11.%s.weight", parts[p]),
                    test_path("model.layers.4.mlp.experts.12.%s.weight", parts[p]));
}

static void expert_incomplete(struct edit *e)
{
    edit_remove(e, EXPERT(3, 3, "down_proj.weight"));
}

static void config_count_stale(struct edit *e)
{
    edit_replace(e, "config.json", "\"n_routed_experts\": 12", "\"n_routed_experts\": 16");
}

static void index_absent_tensor(struct edit *e)
{
    e->extra_entry = EXPERT(2, 16, "up_proj.weight");
}

static void lm_head_missing(struct edit *e)
{
    edit_remove(e, "lm_head.weight");
}

static void eos_ids_disagree(struct edit *e)
{
    edit_replace(e, "generation_config.json", "[\n    1984,\n    1991,\n    1993\n  ]", "0");
}

static void chat_template_missing(struct edit *e)
{
    edit_drop_file(e, "chat_template.jinja");
}

static void qzeros_v2_in_v1(struct edit *e)
{
    struct edit_tensor *t = edit_get(e, EXPERT(2, 1, "gate_proj.qzeros"));
    memset(edit_bytes(e, t), 0x88, (size_t)t->info.bytes);
}

static void group_size_wrong(struct edit *e)
{
    edit_replace(e, "config.json", "\"group_size\": 128", "\"group_size\": 64");
    edit_replace(e, "quantize_config.json", "\"group_size\": 128", "\"group_size\": 64");
}

static void two_mtp_layers(struct edit *e)
{
    edit_replace(e, "config.json", "\"num_nextn_predict_layers\": 1",
                 "\"num_nextn_predict_layers\": 2");
}

/* ---- the table ---- */

enum { WITH_SOURCE = 1, CUT_SHARD = 2, MENDS = 4 };

static const struct broken {
    const char *name;
    enum parent parent;
    void (*change)(struct edit *);
    const char *code;
    unsigned engines; /* whose rules must report it */
    const char *words[MAX_WORDS];
    int how;
} cases[] = {
    {"input_scale_missing",
     PARENT_Q,
     input_scale_missing,
     "SCALE_MISSING",
     ALL,
     {EXPERT(3, 5, "up_proj.input_scale"), "the other 143 linears have one"},
     MENDS},
    {"gate_up_scale_unequal",
     PARENT_Q,
     gate_up_scale_unequal,
     "GATE_UP_SCALE",
     ALL,
     {"layer 2", "expert 7", "ratio 1.5", "prep-inspect repair"},
     MENDS},
    {"ct_gate_up_scale_unequal",
     PARENT_C,
     ct_gate_up_scale_unequal,
     "GATE_UP_SCALE",
     ALL,
     {"layer 4", "expert 0", "ratio 2"},
     MENDS},
    {"scale_nan",
     PARENT_Q,
     scale_nan,
     "SCALE_NONFINITE",
     ALL,
     {EXPERT(2, 0, "down_proj.weight_scale"), "row 0", "block 0"},
     0},
    {"global_scale_zero",
     PARENT_Q,
     global_scale_zero,
     "SCALE_ZERO",
     ALL,
     {EXPERT(4, 15, "gate_proj.weight_scale_2")},
     0},
    {"scale_padded_rows",
     PARENT_A,
     scale_padded_rows,
     "SCALE_SHAPE",
     ALL,
     {"weights_proj.weight_scale", "[128,16]", "[4,16]", "load-time layout in a file"},
     MENDS},
    {"one_expert_bf16",
     PARENT_Q,
     one_expert_bf16,
     "EXPERT_FORMATS_MIXED",
     ALL,
     {"layer 3", "expert 2"},
     0},
    {"weight_twice",
     PARENT_Q,
     weight_twice,
     "TENSOR_UNKNOWN",
     ALL,
     {EXPERT(2, 0, "up_proj.weight_bf16")},
     MENDS},
    {"exclude_fused_only",
     PARENT_C,
     exclude_fused_only,
     "EXCLUDE_LEAF_MISSING",
     LINT_TRANSFORMERS | LINT_VLLM,
     {"model.layers.2.mlp.shared_experts.gate_proj", "model.layers.2.mlp.shared_experts.up_proj"},
     MENDS},
    {"exclude_gate_glob",
     PARENT_A,
     exclude_gate_glob,
     "EXCLUDE_TOO_WIDE",
     TWO,
     {"*mlp.gate*", "model.layers.0.mlp.gate_up_proj"},
     MENDS},
    {"mtp_not_excluded",
     PARENT_Q,
     mtp_not_excluded,
     "MTP_NOT_EXCLUDED",
     LINT_VLLM,
     {"model.layers.5", "add \"model.layers.5*\""},
     MENDS},
    {"ct_mtp_decoder_not_excluded",
     PARENT_C,
     ct_mtp_decoder_not_excluded,
     "MTP_NOT_EXCLUDED",
     LINT_SGLANG,
     {"add \"re:model\\.decoder\\..*\""},
     MENDS},
    {"quant_configs_disagree",
     PARENT_Q,
     quant_configs_disagree,
     "QUANT_CONFIG_DISAGREE",
     ALL,
     {"hf_quant_config.json", "config.json", "FP8", "NVFP4"},
     MENDS},
    {"fused_qkv_a_split",
     PARENT_A,
     fused_qkv_a_split,
     "FUSED_PAIR_SPLIT",
     TWO,
     {"layer 1", "q_a_proj", "kv_a_proj_with_mqa"},
     0},
    {"kv_b_quantized",
     PARENT_A,
     nothing,
     "KV_B_QUANTIZED",
     LINT_SGLANG,
     {"5 layers", "model.layers.0.self_attn.kv_b_proj"},
     0},
    {"mtp_missing", PARENT_N, mtp_missing, "MTP_MISSING", ALL, {"layer 5", "stitch-mtp"}, 0},
    {"mtp_unpruned",
     PARENT_P,
     mtp_unpruned,
     "EXPERT_COUNT",
     ALL,
     {"layer 5", "16 experts in the tensors", "12 in the config"},
     0},
    {"bias_not_sliced",
     PARENT_P,
     bias_not_sliced,
     "ROUTER_SHAPE",
     ALL,
     {"layer 3", "[16]", "[12]"},
     0},
    {"bias_bf16",
     PARENT_N,
     bias_bf16,
     "BIAS_DTYPE",
     ALL,
     {"layer 2", "of 16 values", "are distinct"},
     0},
    {"gate_rows_swapped",
     PARENT_P,
     gate_rows_swapped,
     "ROUTER_ROWS",
     ALL,
     {"layer 2", "new id 0", "new id 1", "original id"},
     WITH_SOURCE},
    {"expert_gap", PARENT_P, expert_gap, "EXPERT_IDS", ALL, {"layer 4", "0..10, 12"}, MENDS},
    {"expert_incomplete",
     PARENT_N,
     expert_incomplete,
     "EXPERT_INCOMPLETE",
     ALL,
     {"layer 3", "expert 3", EXPERT(3, 3, "down_proj.weight")},
     0},
    {"config_count_stale",
     PARENT_P,
     config_count_stale,
     "EXPERT_COUNT",
     ALL,
     {"16 in the config", "12 in the tensors"},
     MENDS},
    {"index_absent_tensor",
     PARENT_N,
     index_absent_tensor,
     "INDEX_MISMATCH",
     ALL,
     {EXPERT(2, 16, "up_proj.weight"), "model-00001-of-00004.safetensors"},
     MENDS},
    {"short_shard",
     PARENT_N,
     nothing,
     "SHORT_DATA",
     ALL,
     {"model-00003-of-00004.safetensors", "9558680 bytes", "9559680"},
     CUT_SHARD},
    {"lm_head_missing", PARENT_N, lm_head_missing, "LM_HEAD_MISSING", ALL, {"lm_head.weight"}, 0},
    {"eos_ids_disagree",
     PARENT_N,
     eos_ids_disagree,
     "EOS_IDS",
     ALL,
     {"generation_config.json", "config.json", "[0]", "[1984, 1991, 1993]"},
     0},
    {"chat_template_missing",
     PARENT_N,
     chat_template_missing,
     "TEMPLATE_MISSING",
     TWO,
     {"chat_template.jinja"},
     0},
    {"qzeros_v2_in_v1",
     PARENT_G,
     qzeros_v2_in_v1,
     "QZEROS_CONVENTION",
     ALL,
     {EXPERT(2, 1, "gate_proj.qzeros"), "0x88888888", "0x77777777"},
     MENDS},
    {"group_size_wrong",
     PARENT_G,
     group_size_wrong,
     "GROUP_SIZE",
     ALL,
     {"64 in the config", "128 by the scales"},
     MENDS},
};

enum { N_CASES = sizeof cases / sizeof *cases };

/* What A is found guilty of as it is: it holds more in NVFP4 than engines load. */
static int is_own(enum parent parent, const char *code)
{
    static const char *const own[] = {"KV_B_QUANTIZED", "INDEXER_QUANTIZED", "LLAMA_NO_SLOT"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (parent == PARENT_A && strcmp(code, own[i]) == 0)
            return 1;
    return 0;
}

static void run_lint(struct lint *l, const char *dir, const struct lint_options *opt)
{
    if (lint_run(l, &io_posix, dir, opt, &err))
        fail_msg("%s: %s", dir, err.msg);
}

static const char *break_it(const struct broken *c)
{
    struct edit e;
    edit_open(&e, make_parent(c->parent));
    c->change(&e);
    const char *dir = edit_write(&e);
    edit_close(&e);
    if (c->how & CUT_SHARD) {
        const char *path = test_path("%s/model-00003-of-00004.safetensors", dir);
        struct test_bytes b = test_read(path);
        assert_int_equal(unlink(path), 0);
        test_write(path, b.p, b.n - 1000);
        free(b.p);
    }
    return dir;
}

/* The finding as the tool prints it says all the words. */
static void check_words(const struct broken *c, const struct lint_finding *f)
{
    const char *line = test_path("%s: %s; %s; %s", f->place, f->text, f->rule->will, f->rule->mend);
    for (int i = 0; i < MAX_WORDS && c->words[i]; i++)
        if (!strstr(line, c->words[i]))
            fail_msg("%s: \"%s\" does not say \"%s\"", c->name, line, c->words[i]);
}

static struct lint_options options_of(const struct broken *c)
{
    return (struct lint_options){
        .source = c->how & WITH_SOURCE ? make_parent(PARENT_N) : NULL,
        .n_threads = 2,
    };
}

static void judge(const struct broken *c, const char *dir)
{
    struct lint l;
    const struct lint_options opt = options_of(c);
    int found = 0;
    run_lint(&l, dir, &opt);
    for (size_t i = 0; i < l.n; i++) {
        const struct lint_finding *f = &l.items[i];
        if (strcmp(f->code, c->code) == 0) {
            if (f->engines != c->engines)
                fail_msg("%s: engines %x, want %x", c->name, f->engines, c->engines);
            check_words(c, f);
            found++;
        } else if (!f->rule->note && !is_own(c->parent, f->code)) {
            fail_msg("%s: also %s %s: %s", c->name, f->code, f->place, f->text);
        }
    }
    if (found != 1)
        fail_msg("%s: %d findings of %s, want one", c->name, found, c->code);
    lint_fini(&l);
}

static void finds_each_broken_checkpoint_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(N_CASES, 30);
    for (int i = 0; i < N_CASES; i++)
        judge(&cases[i], break_it(&cases[i]));
}

static void finds_it_whichever_engine_of_its_own_is_asked_for(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        const char *dir = break_it(&cases[i]);
        for (unsigned engine = 1; engine <= LINT_LLAMA; engine <<= 1) {
            struct lint l;
            struct lint_options opt = options_of(&cases[i]);
            opt.engines = engine;
            run_lint(&l, dir, &opt);
            const size_t want = cases[i].engines & engine ? 1 : 0;
            if (lint_count(&l, cases[i].code) != want)
                fail_msg("%s, engine %x: %zu findings", cases[i].name, engine,
                         lint_count(&l, cases[i].code));
            lint_fini(&l);
        }
    }
}

static void parents_are_clean(void **state)
{
    (void)state;
    for (int p = 0; p < N_PARENTS; p++) {
        struct lint l;
        struct lint_options opt = {.engines = p == PARENT_A ? LINT_TRANSFORMERS : ALL};
        opt.source = p == PARENT_P ? make_parent(PARENT_N) : NULL;
        run_lint(&l, make_parent((enum parent)p), &opt);
        if (l.n_faults)
            fail_msg("parent %d: %s %s: %s", p, l.items[0].code, l.items[0].place, l.items[0].text);
        lint_fini(&l);
    }
}

/* ---- repair ---- */

static const char *repair_it(const char *dir, struct repair_result *r)
{
    const struct repair_job job = {.io = &io_posix, .source = dir, .n_threads = 2};
    const char *out = test_path("%s/out", test_temp_dir());
    const struct exec_options opt = {.io = &io_posix, .dir = out, .n_threads = 2};
    struct report report;
    struct exec_result result;
    report_init(&report);
    if (repair_job_run(r, &job, &report, &err))
        fail_msg("%s: %s", dir, err.msg);
    report_fini(&report);
    if (!r->plan)
        return NULL;
    if (plan_execute(r->plan, &opt, &result, &err))
        fail_msg("%s: %s", dir, err.msg);
    return out;
}

static void repair_mends_what_needs_no_source(void **state)
{
    (void)state;
    int n = 0;
    for (int i = 0; i < N_CASES; i++) {
        const struct broken *c = &cases[i];
        struct repair_result r;
        struct lint l;
        if (!(c->how & MENDS))
            continue;
        const char *out = repair_it(break_it(c), &r);
        if (!out)
            fail_msg("%s: nothing was mended", c->name);
        assert_int_equal(r.n_mends, 1);
        assert_string_equal(r.mends[0].code, c->code);
        run_lint(&l, out, &(struct lint_options){.n_threads = 2});
        for (size_t k = 0; k < l.n; k++)
            if (!l.items[k].rule->note && !is_own(c->parent, l.items[k].code))
                fail_msg("%s: left %s %s: %s", c->name, l.items[k].code, l.items[k].place,
                         l.items[k].text);
        lint_fini(&l);
        repair_result_free(&r);
        n++;
    }
    assert_int_equal(n, 15);
}

static void what_cannot_be_mended_is_not_written(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        struct repair_result r;
        if (cases[i].how & (MENDS | WITH_SOURCE | CUT_SHARD))
            continue;
        if (repair_it(break_it(&cases[i]), &r))
            fail_msg("%s: mended %s", cases[i].name, r.mends[0].code);
        repair_result_free(&r);
    }
}

/* What a mend undoes is the parent again, tensor by tensor and text by text. */
static void mends_restore_the_parent(void **state)
{
    (void)state;
    static const char *const exact[] = {
        "weight_twice",     "expert_gap",         "input_scale_missing",
        "qzeros_v2_in_v1",  "scale_padded_rows",  "index_absent_tensor",
        "mtp_not_excluded", "config_count_stale", "group_size_wrong"};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        const struct broken *c = cases;
        while (strcmp(c->name, exact[i]) != 0)
            c++;
        struct repair_result r;
        struct edit a, b;
        const char *out = repair_it(break_it(c), &r);
        edit_open(&a, make_parent(c->parent));
        edit_open(&b, out);
        assert_int_equal(a.n, b.n);
        for (size_t t = 0; t < a.n; t++) {
            struct edit_tensor *x = &a.tensors[t], *y = edit_get(&b, "%s", x->info.name);
            if (x->info.bytes != y->info.bytes || x->info.dtype != y->info.dtype ||
                memcmp(edit_bytes(&a, x), edit_bytes(&b, y), (size_t)x->info.bytes) != 0)
                fail_msg("%s: %s differs", c->name, x->info.name);
        }
        assert_string_equal(edit_text(&a, "config.json"), edit_text(&b, "config.json"));
        edit_close(&b);
        edit_close(&a);
        repair_result_free(&r);
    }
}

static void says_which_ranks_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        struct broken c;
        struct lint_options opt;
    } wrong[] = {
        {{"ep",
          PARENT_P10,
          nothing,
          "EP_DIVISIBILITY",
          LINT_VLLM,
          {"10 experts", "4 ranks", "1, 2, 5, 10"},
          0},
         {.engines = LINT_VLLM, .ep = 4}},
        {{"tp", PARENT_N, nothing, "TP_DIVISIBILITY", LINT_SGLANG, {"8 heads", "3 ranks"}, 0},
         {.engines = LINT_SGLANG, .tp = 3}},
        {{"tp_group",
          PARENT_G,
          nothing,
          "TP_GROUP",
          LINT_VLLM,
          {"expert width 256 / 4 = 64 is half a group of 128"},
          0},
         {.engines = LINT_VLLM, .tp = 4}},
        {{"mtp_count",
          PARENT_N,
          two_mtp_layers,
          "MTP_COUNT",
          LINT_LLAMA,
          {"2 in the config", "1 in the tensors"},
          0},
         {.engines = LINT_LLAMA}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct lint l;
        run_lint(&l, break_it(&wrong[i].c), &wrong[i].opt);
        for (size_t k = 0; k < l.n; k++) {
            if (strcmp(l.items[k].code, wrong[i].c.code) != 0 && !l.items[k].rule->note)
                fail_msg("%s: also %s", wrong[i].c.name, l.items[k].code);
            if (k == 0)
                check_words(&wrong[i].c, &l.items[k]);
        }
        assert_true(lint_count(&l, wrong[i].c.code) > 0);
        lint_fini(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parents_are_clean),
        cmocka_unit_test(finds_each_broken_checkpoint_and_nothing_else),
        cmocka_unit_test(finds_it_whichever_engine_of_its_own_is_asked_for),
        cmocka_unit_test(repair_mends_what_needs_no_source),
        cmocka_unit_test(what_cannot_be_mended_is_not_written),
        cmocka_unit_test(mends_restore_the_parent),
        cmocka_unit_test(says_which_ranks_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
