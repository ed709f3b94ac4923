/* SPDX-License-Identifier: MIT */
/* Generation whose n-th read or allocation fails, for every n; the model stays usable. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/generate.h"
#include "libprep/engine/runtime_parts.h"
#include "libprep/release/talk.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/support.h"

enum { TEXTS = 2, NEW = 4 };

static const uint32_t PROMPT[] = {17, 900, 3, 44, 1000};

struct world {
    struct fault_io f;
    struct checkpoint *ckpt;
    struct config config;
    struct runtime *r;
};

static void open_world(struct world *w, uint64_t mem)
{
    const struct runtime_options options = {.mem = mem, .n_threads = 2, .isa = N_ISA - 1};
    const char *dir = test_path("%s/glm-nano", test_data());
    struct prep_error err = PREP_ERROR_INIT;
    *w = (struct world){0};
    fault_io_init(&w->f);
    assert_int_equal(checkpoint_open(&w->ckpt, &w->f.io, dir, NULL, &err), 0);
    assert_int_equal(config_load(&w->config, &w->f.io, dir, NULL, &err), 0);
    const struct runtime_source source = {.checkpoint = w->ckpt, .config = &w->config};
    assert_int_equal(runtime_open(&w->r, &source, &options, NULL, &err), 0);
}

static void close_world(struct world *w)
{
    runtime_close(w->r);
    config_free(&w->config);
    checkpoint_close(w->ckpt);
    fault_io_fini(&w->f);
}

/* Two texts with drafts, the second on a memory that has to grow. */
static int generate(struct world *w, struct generate_memory *memory, uint32_t out[TEXTS][NEW],
                    struct prep_error *err)
{
    const struct generate_request q[TEXTS] = {
        {.prompt = PROMPT, .n_prompt = 3, .n_new = NEW, .sampling = SAMPLING_GREEDY},
        {.prompt = PROMPT,
         .n_prompt = 5,
         .n_new = NEW,
         .sampling = {1, 0.9, 0, 1.1, 0, 0},
         .memory = memory}};
    const struct generate g = {
        .runtime = w->r, .requests = q, .n = TEXTS, .draft = 2, .kv = KV_FP8};
    struct generate_result made[TEXTS];
    const int rc = generate_run(made, NULL, &g, err);
    for (size_t i = 0; i < TEXTS && !rc; i++) {
        assert_int_equal(made[i].tokens.n, NEW);
        memcpy(out[i], made[i].tokens.ids, NEW * sizeof **out);
    }
    generate_results_free(made, TEXTS);
    return rc;
}

/* A few tokens on it. */
static struct generate_memory *old_memory(struct world *w)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct generate_memory *m;
    assert_int_equal(generate_memory_new(&m, &err), 0);
    const struct generate_request q = {
        .prompt = PROMPT, .n_prompt = 2, .n_new = 1, .sampling = SAMPLING_GREEDY, .memory = m};
    const struct generate g = {.runtime = w->r, .requests = &q, .n = 1, .draft = 2, .kv = KV_FP8};
    struct generate_result made;
    assert_int_equal(generate_run(&made, NULL, &g, &err), 0);
    generate_results_free(&made, 1);
    return m;
}

static void any_allocation_may_fail(void **state)
{
    uint32_t want[TEXTS][NEW], have[TEXTS][NEW];
    struct prep_error none = PREP_ERROR_INIT;
    struct world w;
    (void)state;
    open_world(&w, 0);
    struct generate_memory *m = old_memory(&w);
    fault_alloc_at(0);
    assert_int_equal(generate(&w, m, want, &none), 0);
    const uint64_t total = fault_alloc_stop();
    generate_memory_free(m);
    for (uint64_t n = 1; n <= total; n += n < 60 || n + 60 > total ? 1 : 5) {
        struct prep_error err = PREP_ERROR_INIT;
        m = old_memory(&w);
        fault_alloc_at(n);
        const int rc = generate(&w, m, have, &err);
        (void)fault_alloc_stop();
        if (rc)
            assert_int_equal(err.code, PREP_ENOMEM);
        else
            assert_memory_equal(have, want, sizeof want);
        if (rc && n % 8 == 1) { /* and the memory still holds what it held */
            prep_error_clear(&err);
            assert_int_equal(generate(&w, m, have, &err), 0);
            assert_memory_equal(have, want, sizeof want);
        }
        generate_memory_free(m);
        assert_int_equal(w.r->reserved, 0);
    }
    close_world(&w);
}

static void any_read_may_fail(void **state)
{
    uint32_t want[TEXTS][NEW], have[TEXTS][NEW];
    struct prep_error none = PREP_ERROR_INIT;
    struct world w;
    (void)state;
    open_world(&w, 0);
    assert_int_equal(generate(&w, NULL, want, &none), 0);
    close_world(&w);
    uint64_t n = 1;
    for (int more = 1; more; n += n < 40 ? 1 : 37) {
        struct prep_error err = PREP_ERROR_INIT;
        open_world(&w, 8 << 20); /* weights come again and again */
        fault_io_fail(&w.f, FAULT_BIT(FAULT_PREAD), n, EIO);
        const int rc = generate(&w, NULL, have, &err);
        more = w.f.fired != 0;
        if (rc)
            assert_int_equal(err.code, PREP_EIO);
        else
            assert_memory_equal(have, want, sizeof want);
        assert_int_equal(w.r->reserved, 0);
        close_world(&w);
    }
    assert_true(n > 200);
}

/* A turn of a conversation, then the same again. */
static int talk(const struct io *io, char *text, size_t room, struct prep_error *err)
{
    const char *dir = test_path("%s/glm-nano", test_data());
    const struct talk_job job = {
        .io = io,
        .model = dir,
        .run = {.n_threads = 2, .isa = N_ISA - 1},
        .kv = KV_BF16,
        .preset = "strict",
        .sampling = {0, 1, 0, 1.05, 0, TALK_UNSET},
        .n_new = 3,
    };
    struct talk_answer a = {0};
    struct talk *t = NULL;
    int rc = talk_open(&t, &job, NULL, err) || talk_turn(t, &a, "Hello", 5, err);
    if (!rc) {
        assert_true(a.text.n < room);
        memcpy(text, a.text.p, a.text.n);
        text[a.text.n] = 0;
    }
    talk_answer_free(&a);
    talk_close(t);
    return rc ? -1 : 0;
}

static void a_conversation_survives_any_call_that_fails(void **state)
{
    char want[200], have[200];
    struct prep_error none = PREP_ERROR_INIT;
    static const int kinds[] = {FAULT_OPEN, FAULT_PREAD};
    (void)state;
    assert_int_equal(talk(&io_posix, want, sizeof want, &none), 0);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        int more = 1;
        for (uint64_t n = 1; more; n += n < 12 ? 1 : 41) {
            struct prep_error err = PREP_ERROR_INIT;
            struct fault_io f;
            fault_io_init(&f);
            fault_io_fail(&f, FAULT_BIT(kinds[k]), n, EIO);
            const int rc = talk(&f.io, have, sizeof have, &err);
            more = f.fired != 0;
            if (rc)
                assert_true(err.code == PREP_EIO || err.code == PREP_ENOINPUT);
            else
                assert_string_equal(have, want);
            assert_true(more || rc == 0);
            fault_io_fini(&f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(any_read_may_fail),
        cmocka_unit_test(a_conversation_survives_any_call_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
