/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <time.h>

#include "libprep/engine/weights.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

/* Vectors of these lengths: one is held, one is large, one fits where the large one was. */
enum { PINNED, LARGE, SMALL, N_MODULES };
static const int LENGTHS[N_MODULES] = {16, 4096, 64};

/* Reads through here take their time while `slow` is set. */
static atomic_int slow;

static ssize_t slow_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    if (atomic_load(&slow)) {
        const struct timespec t = {.tv_nsec = 100 * 1000 * 1000};
        nanosleep(&t, NULL);
    }
    return io_posix.pread(self, fd, buf, n, offset);
}

struct world {
    struct tiny_checkpoint tiny;
    struct io io;
    struct checkpoint *ckpt;
    struct source source;
    struct weights *w;
    uint32_t ids[N_MODULES];
};

static void world_open(struct world *world)
{
    static const char *const NAMES[N_MODULES] = {"pinned", "large", "small"};
    struct prep_error err = PREP_ERROR_INIT;
    tiny_init(&world->tiny);
    for (int i = 0; i < N_MODULES; i++)
        tiny_add(&world->tiny, DTYPE_F32, LENGTHS[i], -1, "%s", NAMES[i]);
    world->io = io_posix;
    world->io.pread = slow_pread;
    assert_int_equal(checkpoint_open(&world->ckpt, &world->io,
                                     tiny_write(&world->tiny, tiny_config(0, "")), NULL, &err),
                     0);
    world->source = (struct source){.checkpoint = world->ckpt};
    assert_int_equal(weights_new(&world->w, &world->source, &err), 0);
    for (int i = 0; i < N_MODULES; i++) {
        const struct checkpoint_tensor *t = checkpoint_find(world->ckpt, NAMES[i]);
        assert_non_null(t);
        const struct weight module = {.name = NAMES[i],
                                      .vector = &t->info,
                                      .tensor = (uint32_t)(t - world->ckpt->tensors),
                                      .count = (uint64_t)LENGTHS[i]};
        assert_int_equal(weights_add(world->w, &module, &world->ids[i], &err), 0);
    }
}

static void world_close(struct world *world)
{
    weights_free(world->w);
    checkpoint_close(world->ckpt);
    tiny_fini(&world->tiny);
}

/*
 * The user waits for room that the reader's module takes; when that is in, the reader drops it for
 * the one that is announced now, which is the user's.
 */
static void a_module_that_the_reader_brings_meanwhile_is_read_once(void **state)
{
    (void)state;
    struct world world;
    struct prep_error err = PREP_ERROR_INIT;
    const struct weight *pinned, *small;
    struct weights_stats stats;
    world_open(&world);
    weights_limit(world.w, weights_bytes(world.w, world.ids[PINNED]) +
                               weights_bytes(world.w, world.ids[LARGE]));
    assert_int_equal(weights_get(world.w, world.ids[PINNED], &pinned, &err), 0);

    atomic_store(&slow, 1);
    assert_int_equal(weights_announce(world.w, &world.ids[LARGE], 1, &err), 0);
    do /* until the reader has begun */
        weights_stats(world.w, &stats);
    while (stats.held_bytes == weights_bytes(world.w, world.ids[PINNED]));
    assert_int_equal(weights_announce(world.w, &world.ids[SMALL], 1, &err), 0);
    assert_int_equal(weights_get(world.w, world.ids[SMALL], &small, &err), 0);
    atomic_store(&slow, 0);

    weights_stats(world.w, &stats);
    assert_int_equal(stats.read_bytes,
                     sizeof(float) * (size_t)(LENGTHS[PINNED] + LENGTHS[LARGE] + LENGTHS[SMALL]));
    weights_put(world.w, world.ids[SMALL]);
    weights_put(world.w, world.ids[PINNED]);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_that_the_reader_brings_meanwhile_is_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
