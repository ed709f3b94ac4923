/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/source.h"
#include "tests/support/fault_io.h"
#include "tests/support/tiny_checkpoint.h"

enum { ROWS = 700, COLS = 20000, BYTES = 2 * ROWS * COLS };

struct world {
    struct tiny_checkpoint tiny;
    struct fault_io io;
    struct checkpoint *ckpt;
    struct source source;
    size_t tensor;
    unsigned char *all;
};

static void world_open(struct world *w)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct source_reader r;
    tiny_init(&w->tiny);
    tiny_add(&w->tiny, DTYPE_BF16, ROWS, COLS, "w");
    fault_io_init(&w->io);
    if (checkpoint_open(&w->ckpt, &w->io.io, tiny_write(&w->tiny, tiny_config(0, "")), NULL, &err))
        fail_msg("%s", err.msg);
    w->source = (struct source){.checkpoint = w->ckpt};
    const struct checkpoint_tensor *t = checkpoint_find(w->ckpt, "w");
    assert_non_null(t);
    w->tensor = (size_t)(t - w->ckpt->tensors);
    w->all = malloc(BYTES);
    assert_non_null(w->all);
    source_reader_init(&r, &w->source);
    assert_int_equal(source_read(&r, w->tensor, 0, w->all, BYTES, &err), 0);
    source_reader_fini(&r);
}

static void world_close(struct world *w)
{
    checkpoint_close(w->ckpt);
    fault_io_fini(&w->io);
    tiny_fini(&w->tiny);
    free(w->all);
}

/* Rows far apart, close together, touching the end; one piece; rows longer than what is read. */
static const struct linear_piece PIECES[] = {
    {0, 1, 0, BYTES},
    {4, 1, 0, 1000},
    {20, 700, 40000, 30000},
    {20, 700, 40000, 64},
    {39000, 700, 40000, 1000},
    {0, 1400, 20000, 9000},
    {12000, 1400, 20000, 8000},
    {3, 28000, 1000, 997},
    {500000, 20, 1000000, 999999},
    {500000, 2, 14000000, 13500000},
};

static void pieces_come_one_after_the_other(void **state)
{
    (void)state;
    struct world w;
    struct prep_error err = PREP_ERROR_INIT;
    world_open(&w);
    for (size_t i = 0; i < sizeof PIECES / sizeof *PIECES; i++) {
        const struct linear_piece *p = &PIECES[i];
        struct source_reader r;
        unsigned char *have = malloc(p->n * p->bytes);
        assert_non_null(have);
        source_reader_init(&r, &w.source);
        if (source_read_pieces(&r, w.tensor, p, have, &err))
            fail_msg("case %zu: %s", i, err.msg);
        for (uint64_t k = 0; k < p->n; k++)
            assert_memory_equal(have + k * p->bytes, w.all + p->offset + k * p->stride, p->bytes);
        /* Gaps are read only where they are small. */
        assert_true(r.read_bytes >= p->n * p->bytes);
        assert_true(r.read_bytes <= p->n * (p->bytes + (16 << 10)));
        source_reader_fini(&r);
        free(have);
    }
    world_close(&w);
}

static void a_read_that_fails_is_an_error(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    unsigned char *have = malloc(BYTES);
    assert_non_null(have);
    for (size_t i = 2; i < 4; i++) {
        int failed = 1;
        for (uint64_t n = 1; failed; n += 97) {
            struct prep_error err = PREP_ERROR_INIT;
            struct source_reader r;
            source_reader_init(&r, &w.source);
            fault_io_fail(&w.io, FAULT_BIT(FAULT_PREAD), n, EIO);
            failed = source_read_pieces(&r, w.tensor, &PIECES[i], have, &err) != 0;
            assert_int_equal(err.code, failed ? PREP_EIO : PREP_OK);
            source_reader_fini(&r);
        }
    }
    struct prep_error err = PREP_ERROR_INIT;
    struct source_reader r;
    const struct linear_piece outside = {20, 700, 40000, 39999};
    source_reader_init(&r, &w.source);
    fault_io_fail(&w.io, 0, 1, 0);
    assert_int_equal(source_read_pieces(&r, w.tensor, &outside, have, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    source_reader_fini(&r);
    free(have);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_come_one_after_the_other),
        cmocka_unit_test(a_read_that_fails_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
