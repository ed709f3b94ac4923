/* SPDX-License-Identifier: MIT */
/* A forward pass whose n-th read, write or allocation fails, for every n. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/schedule.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/support.h"

enum { WORDS = 64, TOKENS = 5, SEQUENCES = 2 };

static const char *dir; /* the model */

static const uint32_t TEXT[SEQUENCES * TOKENS] = {1, 60, 3, 7, 0, 9, 9, 33, 2, 63};

/* What a run says; logits of all rows. */
static int listen_to(void *arg, const struct schedule_logits *l, struct prep_error *err)
{
    float *out = arg;
    (void)err;
    memcpy(out + (l->first_sequence * TOKENS + l->first_row) * WORDS, l->logits[0],
           l->n_rows * WORDS * sizeof *out);
    return 0;
}

/* FP8 blocks, BF16 and F32; layer-major through a spill file, so that there is something to
 * write. */
static int forward(float *logits, const struct io *io, const char *spill, uint64_t mem,
                   struct prep_error *err)
{
    struct checkpoint *ckpt = NULL;
    struct config config = {0};
    struct runtime *r = NULL;
    const struct runtime_options options = {.mem = mem, .n_threads = 2, .isa = N_ISA - 1};
    int rc = checkpoint_open(&ckpt, io, dir, NULL, err) || config_load(&config, io, dir, NULL, err);
    const struct runtime_source source = {.checkpoint = ckpt, .config = &config};
    rc = rc || runtime_open(&r, &source, &options, NULL, err);
    if (!rc) {
        const struct lane lane = {r, -1, -1, NULL, NULL};
        const struct sequence s[SEQUENCES] = {{.tokens = TEXT, .n = TOKENS},
                                              {.tokens = TEXT + TOKENS, .n = TOKENS}};
        const struct schedule schedule = {.sequences = s,
                                          .n_sequences = SEQUENCES,
                                          .unit_sequences = 1,
                                          .lanes = &lane,
                                          .n_lanes = 1,
                                          .layer_major = 1,
                                          .io = io,
                                          .spill = spill,
                                          .visitor = {.arg = logits, .logits = listen_to}};
        rc = schedule_run(&schedule, err);
    }
    runtime_close(r);
    config_free(&config);
    checkpoint_close(ckpt);
    return rc ? -1 : 0;
}

static void any_call_may_fail(void **state)
{
    static const int kinds[] = {FAULT_OPEN, FAULT_PREAD, FAULT_FSTAT, FAULT_PWRITE};
    const char *spill = test_path("%s/spill", test_temp_dir());
    float want[SEQUENCES * TOKENS * WORDS], have[SEQUENCES * TOKENS * WORDS];
    struct prep_error none = PREP_ERROR_INIT;
    (void)state;
    assert_int_equal(forward(want, &io_posix, spill, 0, &none), 0);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (uint64_t n = 1, more = 1; more; n++) {
            struct prep_error err = PREP_ERROR_INIT;
            struct fault_io f;
            fault_io_init(&f);
            fault_io_fail(&f, FAULT_BIT(kinds[k]), n, EIO);
            int rc = forward(have, &f.io, spill, 4 << 20, &err);
            more = f.fired != 0;
            if (rc)
                assert_true(err.code == PREP_EIO || err.code == PREP_ENOINPUT ||
                            err.code == PREP_ECREATE);
            else /* no fault, or in what was read ahead and not needed */
                assert_memory_equal(have, want, sizeof want);
            assert_true(more || rc == 0);
            assert_false(test_exists(spill));
            fault_io_fini(&f);
        }
    }
}

static void reads_may_be_short(void **state)
{
    float want[SEQUENCES * TOKENS * WORDS], have[SEQUENCES * TOKENS * WORDS];
    struct prep_error err = PREP_ERROR_INIT;
    (void)state;
    assert_int_equal(forward(want, &io_posix, NULL, 0, &err), 0);
    for (uint64_t n = 1, more = 1; more; n += 3) {
        struct fault_io f;
        fault_io_init(&f);
        fault_io_short(&f, FAULT_BIT(FAULT_PREAD), n, 1);
        assert_int_equal(forward(have, &f.io, NULL, 0, &err), 0);
        assert_memory_equal(have, want, sizeof want);
        more = f.fired != 0;
        fault_io_fini(&f);
    }
}

/* Opening allocates per tensor and is much the same again and again: not every one of them. */
static void any_allocation_may_fail(void **state)
{
    float want[SEQUENCES * TOKENS * WORDS], have[SEQUENCES * TOKENS * WORDS];
    struct prep_error none = PREP_ERROR_INIT;
    (void)state;
    fault_alloc_at(0);
    assert_int_equal(forward(want, &io_posix, NULL, 0, &none), 0);
    const uint64_t total = fault_alloc_stop();
    for (uint64_t n = 1; n <= total; n += n + 200 < total ? 7 : 1) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = forward(have, &io_posix, NULL, 0, &err);
        (void)fault_alloc_stop();
        if (rc)
            assert_int_equal(err.code, PREP_ENOMEM);
        else
            assert_memory_equal(have, want, sizeof want);
    }
}

static int find_model(void **state)
{
    (void)state;
    dir = test_path("%s/fp8/mini", test_data());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(reads_may_be_short),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, find_model, NULL);
}
