/* SPDX-License-Identifier: MIT */
/* A model split over ranks, which are threads here, beside the same model alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "libprep/engine/generate.h"
#include "libprep/engine/runtime_parts.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/forward.h"
#include "tests/support/ranks_threads.h"

enum { MOST_RANKS = 8, SEQUENCES = 2, LENGTH = 70, TOKENS = SEQUENCES * LENGTH, VOCAB = 2048 };
enum { N_NEW = 12, LAYERS = 5, PER_TOKEN = 4, TOP_K = 64, WIDE = 256 };

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

/* What a rank says of the whole text. */
struct said {
    float logits[TOKENS * VOCAB], mtp[TOKENS * VOCAB];
    int32_t experts[LAYERS][TOKENS * PER_TOKEN];
    uint32_t selected[LAYERS][TOKENS * TOP_K];
    float z[TOKENS * WIDE];
    uint32_t text[N_NEW];
    size_t n_text;
    struct runtime_stats stats;
};

struct task {
    const char *dir;
    const uint32_t *tokens;
    int with_mtp;
    int n_threads[MOST_RANKS]; /* 0: 1 */
    uint64_t mem[MOST_RANKS];  /* above the floor; 0: no bound */
    struct said *said;         /* [ranks] */
};

static void keep_choices(struct said *s, const struct batch *b, int layer)
{
    for (size_t t = 0; t < TOKENS; t++) {
        const int32_t *experts = batch_experts(b, t);
        size_t n;
        const uint32_t *selected = batch_selected(b, t, &n);
        if (experts)
            memcpy(&s->experts[layer][t * PER_TOKEN], experts, PER_TOKEN * sizeof *experts);
        if (selected)
            memcpy(&s->selected[layer][t * TOP_K], selected, n * sizeof *selected);
    }
}

static int run_mtp(struct runtime *r, struct said *s, const struct task *task,
                   struct prep_error *err)
{
    static const int layer = LAYERS;
    const struct sequence q = {.tokens = task->tokens + 1, .n = LENGTH - 1};
    struct batch *b = NULL;
    float *z = malloc(LENGTH * WIDE * sizeof *z);
    int rc = !z || batch_new(&b, r, &q, 1, err) ||
             runtime_mtp_embed(r, layer, b, s->z, NULL, err) ||
             runtime_layer(r, layer, b, NULL, err) ||
             runtime_final(r, layer, b, 0, LENGTH - 1, z, err) ||
             runtime_logits(r, z, LENGTH - 1, s->mtp, NULL, err);
    batch_free(b);
    free(z);
    return rc ? -1 : 0;
}

static int run_text(struct runtime *r, struct said *s, const struct task *task,
                    struct prep_error *err)
{
    struct sequence q[SEQUENCES];
    struct batch *b = NULL;
    for (size_t i = 0; i < SEQUENCES; i++)
        q[i] = (struct sequence){.tokens = task->tokens + i * LENGTH, .n = LENGTH};
    int rc = batch_new(&b, r, q, SEQUENCES, err) || runtime_embed(r, b, err);
    for (int layer = 0; layer < LAYERS && !rc; layer++) {
        rc = runtime_layer(r, layer, b, NULL, err);
        keep_choices(s, b, layer);
    }
    rc = rc || runtime_final(r, -1, b, 0, TOKENS, s->z, err) ||
         runtime_logits(r, s->z, TOKENS, s->logits, NULL, err);
    batch_free(b);
    return rc ? -1 : 0;
}

/* Drafts where there is an MTP layer: they change nothing. */
static int go_on(struct runtime *r, struct said *s, const struct task *task, struct prep_error *err)
{
    const struct generate_request q = {
        .prompt = task->tokens, .n_prompt = 32, .n_new = N_NEW, .sampling = SAMPLING_GREEDY};
    const struct generate g = {
        .runtime = r, .requests = &q, .n = 1, .kv = KV_BF16, .draft = task->with_mtp ? 2 : 0};
    struct generate_result result = {0};
    const int rc = generate_run(&result, NULL, &g, err);
    if (!rc) {
        s->n_text = result.tokens.n;
        memcpy(s->text, result.tokens.ids, s->n_text * sizeof *s->text);
    }
    generate_results_free(&result, 1);
    return rc;
}

static int run_rank(struct ranks *r, void *arg, struct prep_error *err)
{
    const struct task *task = arg;
    struct said *s = &task->said[r->rank];
    struct test_model m = {0};
    struct runtime_options options = test_model_options();
    options.ranks = r;
    options.n_threads = task->n_threads[r->rank] ? task->n_threads[r->rank] : 1;
    options.without_mtp = !task->with_mtp;
    int rc = test_model_try(&m, task->dir, &options, err);
    if (!rc && task->mem[r->rank]) {
        options.mem = runtime_floor(m.runtime, TOKENS, LENGTH) + task->mem[r->rank];
        test_model_close(&m);
        rc = test_model_try(&m, task->dir, &options, err);
    }
    rc = rc || run_text(m.runtime, s, task, err) ||
         (task->with_mtp && run_mtp(m.runtime, s, task, err));
    rc = rc || go_on(m.runtime, s, task, err);
    if (!rc)
        runtime_stats(m.runtime, &s->stats);
    test_model_close(&m);
    return rc ? -1 : 0;
}

static struct said *run_ranks(struct task *task, int n)
{
    struct prep_error errs[MOST_RANKS];
    task->said = calloc((size_t)n, sizeof *task->said);
    assert_non_null(task->said);
    ranks_run_threads(n, run_rank, task, errs);
    for (int i = 0; i < n; i++)
        if (errs[i].code != PREP_OK)
            fail_msg("rank %d of %d: %s", i, n, errs[i].msg);
    return task->said;
}

/* All that must be the same bits on every rank, and in every run. */
static void assert_same(const struct said *a, const struct said *b)
{
    assert_memory_equal(a->logits, b->logits, sizeof a->logits);
    assert_memory_equal(a->mtp, b->mtp, sizeof a->mtp);
    assert_memory_equal(a->experts, b->experts, sizeof a->experts);
    assert_memory_equal(a->selected, b->selected, sizeof a->selected);
    assert_memory_equal(a->text, b->text, sizeof a->text);
}

static int same_choices(const struct said *a, const struct said *b, size_t token)
{
    for (int l = 0; l < LAYERS; l++) {
        const size_t e = token * PER_TOKEN, s = token * TOP_K;
        if (memcmp(&a->experts[l][e], &b->experts[l][e], PER_TOKEN * sizeof(int32_t)) != 0 ||
            memcmp(&a->selected[l][s], &b->selected[l][s], TOP_K * sizeof(uint32_t)) != 0)
            return 0;
    }
    return 1;
}

/* docs/numerics.md: at most 2e-4 where the choices are the same. */
static double largest_difference(const struct said *a, const struct said *b, size_t *n_same)
{
    double most = 0;
    *n_same = 0;
    for (size_t t = 0; t < TOKENS; t++) {
        if (!same_choices(a, b, t))
            continue;
        ++*n_same;
        for (size_t i = 0; i < VOCAB; i++) {
            const double d = fabs((double)a->logits[t * VOCAB + i] - b->logits[t * VOCAB + i]);
            most = d > most ? d : most;
        }
    }
    return most;
}

static void ranks_say_what_one_process_says(void **state)
{
    (void)state;
    uint32_t *tokens = test_reference_tokens();
    struct task task = {.dir = nano(), .tokens = tokens, .with_mtp = 1};
    struct said *alone = run_ranks(&task, 1);
    for (int n = 2; n <= MOST_RANKS; n *= 4) {
        struct said *split = run_ranks(&task, n);
        size_t n_same;
        const double d = largest_difference(alone, split, &n_same);
        if (!(d <= 2e-4) || d == 0 || n_same < TOKENS - 4)
            fail_msg("%d ranks: logits differ by %g on %zu rows with the same choices", n, d,
                     n_same);
        assert_int_equal(split->n_text, N_NEW);
        assert_memory_equal(alone->text, split->text, sizeof alone->text);
        for (int i = 1; i < n; i++)
            assert_same(&split[0], &split[i]);
        free(split);
    }
    free(alone);
    free(tokens);
}

static void neither_threads_nor_memory_change_a_bit(void **state)
{
    (void)state;
    uint32_t *tokens = test_reference_tokens();
    struct task task = {.dir = nano(), .tokens = tokens};
    struct said *first = run_ranks(&task, 2);
    struct task other = task;
    other.n_threads[0] = 3;
    other.mem[0] = 1;
    other.mem[1] = 700000;
    struct said *second = run_ranks(&other, 2);
    assert_same(first, second);
    assert_true(second->stats.read_bytes > first->stats.read_bytes); /* weights came and went */
    free(first);
    free(second);
    free(tokens);
}

static void shares_of_all_ranks_hold_the_model_once(void **state)
{
    (void)state;
    uint32_t *tokens = test_reference_tokens();
    struct task task = {.dir = nano(), .tokens = tokens};
    struct said *alone = run_ranks(&task, 1), *split = run_ranks(&task, 4);
    const uint64_t whole = alone->stats.stored_bytes, share = split->stats.stored_bytes;
    for (int i = 1; i < 4; i++)
        assert_int_equal(split[i].stats.stored_bytes, share);
    /* Four shares are the model and three more copies of what is replicated. */
    assert_true(share > whole / 4 && (4 * share - whole) % 3 == 0);
    assert_true(share < whole / 2);
    free(alone);
    free(split);
    free(tokens);
}

/* What goes wrong */

static const char *with_bad_value(const char *name, size_t element)
{
    struct edit e;
    edit_open(&e, nano());
    struct edit_tensor *t = edit_get(&e, "%s", name);
    store_u16_at(edit_bytes(&e, t), element, 0x7FC0);
    const char *dir = edit_write(&e);
    edit_close(&e);
    return dir;
}

static void check_failure(const char *dir, int n, const char *text)
{
    uint32_t *tokens = test_reference_tokens();
    struct prep_error errs[MOST_RANKS];
    struct task task = {.dir = dir, .tokens = tokens};
    task.said = calloc((size_t)n, sizeof *task.said);
    assert_non_null(task.said);
    ranks_run_threads(n, run_rank, &task, errs);
    for (int i = 0; i < n; i++) {
        if (errs[i].code != PREP_EDATA || !strstr(errs[i].msg, text))
            fail_msg("rank %d: %d: %s", i, (int)errs[i].code, errs[i].msg);
        assert_string_equal(errs[i].msg, errs[0].msg);
    }
    free(task.said);
    free(tokens);
}

/* The last rows and columns of a matrix are the last rank's. */
static void what_fails_on_one_rank_fails_on_all(void **state)
{
    (void)state;
    const char *gate = "model.layers.0.mlp.gate_proj.weight", *head = "lm_head.weight";
    check_failure(with_bad_value(gate, 512 * 256 - 1), 2, "rank 1: layer 0: ");
    check_failure(with_bad_value(gate, 0), 4, "layer 0: model.layers.0.mlp.gate_proj");
    check_failure(with_bad_value(head, 2048 * 256 - 1), 4, "rank 3: lm_head");
}

static int open_only(struct ranks *r, void *arg, struct prep_error *err)
{
    struct runtime_options options = test_model_options();
    struct test_model m = {0};
    options.ranks = r;
    const int rc = test_model_try(&m, arg, &options, err);
    test_model_close(&m);
    return rc;
}

static void a_model_that_does_not_split_is_refused(void **state)
{
    (void)state;
    struct prep_error errs[MOST_RANKS];
    ranks_run_threads(3, open_only, (void *)(uintptr_t)nano(), errs);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(errs[i].code, PREP_EUSAGE);
        assert_non_null(strstr(errs[i].msg, "8 heads do not split over 3 ranks"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_say_what_one_process_says),
        cmocka_unit_test(neither_threads_nor_memory_change_a_bit),
        cmocka_unit_test(shares_of_all_ranks_hold_the_model_once),
        cmocka_unit_test(what_fails_on_one_rank_fails_on_all),
        cmocka_unit_test(a_model_that_does_not_split_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
