/* SPDX-License-Identifier: MIT */
#include "tests/support/stored.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/memory_io.h"

void stored_open(struct stored *s, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    s->bytes = test_read(path);
    const struct memory_part part = {.p = s->bytes.p, .n = s->bytes.n};
    const struct memory_file file = {.path = path, .parts = &part, .n_parts = 1};
    struct memory_io mem;
    arena_init(&s->arena, 0);
    memory_io_init(&mem, &file, 1);
    if (safetensors_read(&s->st, &mem.io, 0, s->bytes.n, path, &s->arena, &err))
        fail_msg("%s", err.msg);
}

void stored_close(struct stored *s)
{
    arena_fini(&s->arena);
    free(s->bytes.p);
}

const struct tensor_info *stored_find(const struct stored *s, const char *name)
{
    for (size_t i = 0; i < s->st.n_tensors; i++)
        if (strcmp(s->st.tensors[i].name, name) == 0)
            return &s->st.tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

const unsigned char *stored_bytes(const struct stored *s, const char *name)
{
    return s->bytes.p + stored_find(s, name)->offset;
}

int linears_try(struct test_linears *t, const char *dir, struct prep_error *err)
{
    *t = (struct test_linears){0};
    arena_init(&t->arena, 0);
    report_init(&t->report);
    return checkpoint_open(&t->ckpt, &io_posix, dir, NULL, err) ||
                   config_load(&t->config, &io_posix, dir, NULL, err) ||
                   linears_of_checkpoint(&t->all, t->ckpt, &t->config, &t->arena, &t->report, err)
               ? -1
               : 0;
}

void linears_open(struct test_linears *t, const char *dir)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (linears_try(t, dir, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

void linears_close(struct test_linears *t)
{
    checkpoint_close(t->ckpt);
    config_free(&t->config);
    report_fini(&t->report);
    arena_fini(&t->arena);
}

void inputs_read(struct span inputs[LINEAR_PARTS], const struct checkpoint *ckpt,
                 const struct linear *l)
{
    struct prep_error err = PREP_ERROR_INIT;
    for (int i = 0; i < l->n_tensors; i++) {
        const struct checkpoint_tensor *t = &ckpt->tensors[l->tensors[i].index];
        unsigned char *p = malloc(t->info.bytes + 1);
        assert_non_null(p);
        if (checkpoint_read(ckpt, t, 0, p, t->info.bytes, &err))
            fail_msg("%s", err.msg);
        inputs[i] = (struct span){p, t->info.bytes};
    }
}

void inputs_free(struct span inputs[LINEAR_PARTS], const struct linear *l)
{
    for (int i = 0; i < l->n_tensors; i++)
        free((void *)(uintptr_t)inputs[i].p);
}
