/* SPDX-License-Identifier: MIT */
/* Every case of hostile/gguf.json: verdict, class, exit code, lint of the metadata. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/format/gguf.h"
#include "tests/support/hostile.h"

static unsigned lint_of(const struct hostile *f, uint32_t c)
{
    static const char *const names[] = {"UTF8", "RANK_0", "LAST_PADDING", "TRAILING_BYTES",
                                        "NONFINITE"};
    unsigned lint = 0;
    uint32_t list = json_get(&f->doc, c, "lint");
    for (uint32_t i = json_first(&f->doc, list); i != JSON_NONE; i = json_next(&f->doc, i)) {
        unsigned bit = 0;
        while (bit < 5 && !json_equal(&f->doc, i, names[bit]))
            bit++;
        assert_true(bit < 5);
        lint |= 1u << bit;
    }
    return lint & 15; /* values are looked at by who reads the data */
}

/* A lying length may be seen as a short file as well. */
static int same_class(const char *got, const char *want)
{
    return strcmp(got, want) == 0 || ((strcmp(want, "STRING") == 0 || strcmp(want, "ARRAY") == 0) &&
                                      strcmp(got, "SHORT_FILE") == 0);
}

static void check_rejection(struct hostile *f, uint32_t c, const char *name, int rc,
                            const struct prep_error *err)
{
    uint64_t exit_code = 0;
    const char *class = hostile_text(f, c, "class");
    if (rc == 0)
        fail_msg("%s: accepted, want %s", name, class);
    assert_int_equal(json_u64(&f->doc, json_get(&f->doc, c, "exit"), &exit_code), 0);
    if (!same_class(err->tag, class) || prep_exit_code(err->code) != (int)exit_code)
        fail_msg("%s: %s (exit %d) \"%s\", want %s (exit %d)", name, err->tag,
                 prep_exit_code(err->code), err->msg, class, (int)exit_code);
    assert_non_null(strstr(err->msg, "case.gguf"));
}

/* What was read, laid out again, is the metadata that was read. */
static void check_layout(const char *name, const struct gguf *g, const struct memory_part *part)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    arena_init(&arena, 0);
    struct gguf_keys keys = {.arena = &arena};
    struct span out;
    for (size_t i = 0; i < g->n_kvs; i++)
        assert_int_equal(gguf_set(&keys, &g->kvs[i], &err), 0);
    assert_int_equal(gguf_layout(&out, NULL, &keys, g->tensors, g->n_tensors, &arena, &err), 0);
    assert_true(out.n == g->data_start);
    size_t n = out.n < part->n ? out.n : (size_t)part->n; /* without tensors nothing is padded */
    if (memcmp(out.p, part->p, n))
        fail_msg("%s: written otherwise than read", name);
    gguf_keys_free(&keys);
    arena_fini(&arena);
}

static void run_case(struct hostile *f, uint32_t c)
{
    struct memory_part parts[HOSTILE_PARTS];
    struct memory_file file = {.path = "case.gguf", .parts = parts};
    struct memory_io mem;
    struct gguf g;
    char hex[SHA256_HEX];
    struct prep_error err = PREP_ERROR_INIT;
    const char *name = hostile_text(f, c, "name");
    uint64_t bytes = 0;

    file.n_parts = hostile_parts(f, c, parts);
    memory_io_init(&mem, &file, 1);
    assert_int_equal(json_u64(&f->doc, json_get(&f->doc, c, "bytes"), &bytes), 0);
    assert_true(memory_file_size(&file) == bytes);
    assert_true(file.n_parts <= 1);
    sha256_hex(parts[0].p, (size_t)bytes, hex);
    assert_string_equal(hex, hostile_text(f, c, "sha256"));

    int rc = gguf_read(&g, &mem.io, 0, bytes, file.path, &err);
    if (strcmp(hostile_text(f, c, "ours"), "accept") == 0) {
        if (rc)
            fail_msg("%s: %s \"%s\", want it accepted", name, err.tag, err.msg);
        if (g.lint != lint_of(f, c))
            fail_msg("%s: lint %u, want %u", name, g.lint, lint_of(f, c));
        assert_true(g.arena.used <= (64u << 20) + 4 * bytes);
        check_layout(name, &g, parts);
        gguf_free(&g);
    } else {
        check_rejection(f, c, name, rc, &err);
    }
}

static void judges_every_case_as_listed(void **state)
{
    (void)state;
    struct hostile *f = hostile_open("gguf.json");
    uint32_t cases = json_get(&f->doc, 0, "cases");
    size_t n = 0;
    for (uint32_t c = json_first(&f->doc, cases); c != JSON_NONE; c = json_next(&f->doc, c)) {
        run_case(f, c);
        n++;
    }
    assert_true(n >= 69);
    hostile_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_every_case_as_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
