/* SPDX-License-Identifier: MIT */
/* Every case of hostile/safetensors.json: verdict, class, exit code, lint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/hash.h"
#include "libprep/format/safetensors.h"
#include "tests/support/hostile.h"

static void check_hash(const struct io *io, uint64_t bytes, const char *want)
{
    static unsigned char buf[1 << 20];
    struct prep_error err = PREP_ERROR_INIT;
    struct sha256 h;
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256_init(&h);
    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < sizeof buf ? (size_t)(bytes - at) : sizeof buf;
        assert_int_equal(io_read_exact(io, 0, buf, n, at, "case", &err), 0);
        sha256_update(&h, buf, n);
        at += n;
    }
    sha256_final(&h, digest);
    sha256_to_hex(digest, hex);
    assert_string_equal(hex, want);
}

static unsigned lint_of(const struct hostile *f, uint32_t c)
{
    static const char *const names[] = {"HEADER_ALIGNMENT", "HEADER_PADDING",
                                        "HEADER_LEADING_SPACE", "UNKNOWN_FIELD"};
    unsigned lint = 0;
    uint32_t list = json_get(&f->doc, c, "lint");
    for (uint32_t i = json_first(&f->doc, list); i != JSON_NONE; i = json_next(&f->doc, i)) {
        unsigned bit = 0;
        while (bit < 4 && !json_equal(&f->doc, i, names[bit]))
            bit++;
        assert_true(bit < 4);
        lint |= 1u << bit;
    }
    return lint;
}

/* A lying length may be seen as a short file as well. */
static int same_class(const char *got, const char *want)
{
    if (strcmp(got, want) == 0)
        return 1;
    return strcmp(want, "HEADER_LENGTH") == 0 &&
           (strcmp(got, "SHORT_FILE") == 0 || strcmp(got, "SHORT_DATA") == 0);
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
    assert_non_null(strstr(err->msg, "case.safetensors"));
}

static void run_case(struct hostile *f, uint32_t c)
{
    struct memory_part parts[HOSTILE_PARTS];
    struct memory_file file = {.path = "case.safetensors", .parts = parts};
    struct memory_io mem;
    struct safetensors st;
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    const char *name = hostile_text(f, c, "name");
    uint64_t bytes = 0;

    file.n_parts = hostile_parts(f, c, parts);
    memory_io_init(&mem, &file, 1);
    assert_int_equal(json_u64(&f->doc, json_get(&f->doc, c, "bytes"), &bytes), 0);
    assert_true(memory_file_size(&file) == bytes);
    check_hash(&mem.io, bytes, hostile_text(f, c, "sha256"));

    arena_init(&arena, 0);
    int rc = safetensors_read(&st, &mem.io, 0, bytes, file.path, &arena, &err);
    if (strcmp(hostile_text(f, c, "ours"), "accept") == 0) {
        if (rc)
            fail_msg("%s: %s \"%s\", want it accepted", name, err.tag, err.msg);
        if (st.lint != lint_of(f, c))
            fail_msg("%s: lint %u, want %u", name, st.lint, lint_of(f, c));
    } else {
        check_rejection(f, c, name, rc, &err);
    }
    assert_true(arena.used <= (64u << 20) + 4 * bytes);
    arena_fini(&arena);
}

static void judges_every_case_as_listed(void **state)
{
    (void)state;
    struct hostile *f = hostile_open("safetensors.json");
    uint32_t cases = json_get(&f->doc, 0, "cases");
    size_t n = 0;
    for (uint32_t c = json_first(&f->doc, cases); c != JSON_NONE; c = json_next(&f->doc, c)) {
        run_case(f, c);
        n++;
    }
    assert_true(n >= 97);
    hostile_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_every_case_as_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
