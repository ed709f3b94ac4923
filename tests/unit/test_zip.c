/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/zip.h"
#include "tests/support/zip_build.h"

#define TEXT(s)                                                                                    \
    {                                                                                              \
        (const unsigned char *)(s), sizeof(s) - 1                                                  \
    }

static const struct zip_build_member two[] = {
    {"p/b", TEXT("second"), 0},
    {"p/a", TEXT("first!!"), 0},
};

/* The tag of what zip_open() says, "" when it succeeds. */
static const char *tag_of(struct span file, struct zip *zip, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    int rc = zip_open(zip, file, "x.pt", arena, &err);
    assert_int_equal(rc, err.code == PREP_OK ? 0 : -1);
    assert_true(err.code == PREP_OK || err.code == PREP_EDATA);
    return err.tag;
}

static void expect_tag(struct span file, const char *tag)
{
    struct arena arena;
    struct zip zip;
    arena_init(&arena, 0);
    assert_string_equal(tag_of(file, &zip, &arena), tag);
    arena_fini(&arena);
}

static void expect_two_members(struct span file)
{
    struct arena arena;
    struct zip zip;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&arena, 0);
    assert_string_equal(tag_of(file, &zip, &arena), "");
    assert_int_equal(zip.n_members, 2);
    const struct zip_member *a = zip_find(&zip, "p/a"), *b = zip_find(&zip, "p/b");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(zip_find(&zip, "p/c"));
    assert_int_equal(a->bytes.n, 7);
    assert_memory_equal(a->bytes.p, "first!!", 7);
    assert_memory_equal(b->bytes.p, "second", 6);
    assert_int_equal(zip_verify(&zip, a, &err), 0);
    assert_int_equal(zip_verify(&zip, b, &err), 0);
    arena_fini(&arena);
}

static void finds_members_by_name(void **state)
{
    (void)state;
    struct span z = zip_build(two, 2, 0, "");
    expect_two_members(z);
    free((void *)z.p);
}

static void reads_every_spelling_of_data_descriptors_and_zip64(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 8; flags++) {
        struct zip_build_member members[2] = {two[0], two[1]};
        members[0].flags = members[1].flags = flags;
        struct span z = zip_build(members, 2, flags & ZIP_BUILD_WIDE ? ZIP_BUILD_END64 : 0, "");
        expect_two_members(z);
        free((void *)z.p);
    }
}

static void passes_over_an_archive_comment(void **state)
{
    (void)state;
    struct span z = zip_build(two, 2, 0, "made by hand, PK\5\6 and all");
    expect_two_members(z);
    free((void *)z.p);
}

static void reads_an_archive_without_members(void **state)
{
    (void)state;
    struct arena arena;
    struct zip zip;
    struct span z = zip_build(two, 0, 0, "");
    arena_init(&arena, 0);
    assert_string_equal(tag_of(z, &zip, &arena), "");
    assert_int_equal(zip.n_members, 0);
    assert_null(zip_find(&zip, "p/a"));
    arena_fini(&arena);
    free((void *)z.p);
}

static void says_when_a_file_is_no_archive(void **state)
{
    (void)state;
    expect_tag((struct span)TEXT(""), "OBS_NOT_PT");
    expect_tag((struct span)TEXT("PK"), "OBS_NOT_PT");
    expect_tag((struct span)TEXT("\x93NUMPY and so on, long enough for an end record"),
               "OBS_NOT_PT");
    expect_tag((struct span)TEXT("PK\3\4 and then nothing of the kind"), "OBS_ZIP_CORRUPT");
}

static void rejects_every_truncation(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 2; flags++) {
        struct span z = zip_build(two, 2, flags, "");
        for (size_t n = 0; n < z.n; n++) {
            unsigned char *cut = malloc(n + 1);
            assert_non_null(cut);
            memcpy(cut, z.p, n);
            expect_tag((struct span){cut, n}, n < 4 ? "OBS_NOT_PT" : "OBS_ZIP_CORRUPT");
            free(cut);
        }
        free((void *)z.p);
    }
}

/* Bytes that readers skip may change: versions, times, attributes, padding. Nothing may crash. */
static void survives_every_changed_byte(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 8; flags++) {
        struct zip_build_member members[2] = {two[0], two[1]};
        members[0].flags = members[1].flags = flags;
        struct span z = zip_build(members, 2, flags & 1, "");
        unsigned char *p = (unsigned char *)z.p;
        for (size_t i = 0; i < 8 * z.n; i++) {
            struct arena arena;
            struct zip zip;
            p[i / 8] ^= (unsigned char)(1 << i % 8);
            arena_init(&arena, 0);
            tag_of(z, &zip, &arena);
            arena_fini(&arena);
            p[i / 8] ^= (unsigned char)(1 << i % 8);
        }
        free(p);
    }
}

/* One 16-bit field of record (a, b), at `field` bytes from its start, gets a new value. */
static void expect_patched(const struct zip_build_member *members, unsigned flags, char a, char b,
                           size_t field, unsigned value, const char *tag)
{
    struct span z = zip_build(members, 2, flags, "");
    unsigned char *p = (unsigned char *)z.p + zip_build_find(z, a, b, 0) + field;
    p[0] = (unsigned char)value;
    p[1] = (unsigned char)(value >> 8);
    expect_tag(z, tag);
    free((void *)z.p);
}

static void rejects_compressed_and_encrypted_members(void **state)
{
    (void)state;
    expect_patched(two, 0, 1, 2, 10, 8, "OBS_ZIP_COMPRESSED");
    expect_patched(two, 0, 1, 2, 8, 1, "OBS_ZIP_CORRUPT");
    expect_patched(two, 0, 1, 2, 8, 1 << 6, "OBS_ZIP_CORRUPT");
    expect_patched(two, 0, 3, 4, 6, 1, "OBS_ZIP_CORRUPT");
}

static void rejects_headers_that_contradict_each_other(void **state)
{
    (void)state;
    struct zip_build_member later[2] = {two[0], two[1]};
    later[0].flags = later[1].flags = ZIP_BUILD_DESCRIPTOR;
    expect_patched(two, 0, 1, 2, 16, 0x1234, "OBS_ZIP_CORRUPT");  /* CRC */
    expect_patched(two, 0, 1, 2, 20, 5, "OBS_ZIP_CORRUPT");       /* packed size */
    expect_patched(two, 0, 3, 4, 8, 8, "OBS_ZIP_CORRUPT");        /* method */
    expect_patched(two, 0, 3, 4, 18, 7, "OBS_ZIP_CORRUPT");       /* packed size */
    expect_patched(two, 0, 3, 4, 22, 7, "OBS_ZIP_CORRUPT");       /* size */
    expect_patched(two, 0, 3, 4, 30, 'q', "OBS_ZIP_CORRUPT");     /* name */
    expect_patched(later, 0, 7, 8, 4, 0x1234, "OBS_ZIP_CORRUPT"); /* CRC in the descriptor */
    expect_patched(later, 0, 7, 8, 8, 9, "OBS_ZIP_CORRUPT");      /* size in the descriptor */
    expect_patched(later, 0, 7, 8, 0, 0, "OBS_ZIP_CORRUPT");      /* its signature */
}

static void rejects_end_records_that_lie(void **state)
{
    (void)state;
    expect_patched(two, 0, 5, 6, 4, 1, "OBS_ZIP_CORRUPT");       /* disk */
    expect_patched(two, 0, 5, 6, 8, 1, "OBS_ZIP_CORRUPT");       /* members here */
    expect_patched(two, 0, 5, 6, 12, 1, "OBS_ZIP_CORRUPT");      /* directory bytes */
    expect_patched(two, 0, 5, 6, 16, 1, "OBS_ZIP_CORRUPT");      /* directory offset */
    expect_patched(two, 0, 5, 6, 20, 1, "OBS_ZIP_CORRUPT");      /* comment length */
    expect_patched(two, 1, 6, 6, 0, 0, "OBS_ZIP_CORRUPT");       /* ZIP64 signature */
    expect_patched(two, 1, 6, 6, 24, 9, "OBS_ZIP_CORRUPT");      /* ZIP64 members */
    expect_patched(two, 1, 6, 6, 54, 0x8000, "OBS_ZIP_CORRUPT"); /* ZIP64 offset */
    expect_patched(two, 1, 6, 7, 8, 0x7fff, "OBS_ZIP_CORRUPT");  /* where the ZIP64 record is */
    expect_patched(two, 1, 5, 6, 12, 3, "OBS_ZIP_CORRUPT");      /* not what ZIP64 says */
}

static void rejects_a_member_count_that_does_not_fit(void **state)
{
    (void)state;
    struct span z = zip_build(two, 2, 0, "");
    unsigned char *end = (unsigned char *)z.p + zip_build_find(z, 5, 6, 0);
    end[8] = end[10] = 1; /* one member in a directory of two */
    expect_tag(z, "OBS_ZIP_CORRUPT");
    end[8] = end[10] = 200;
    expect_tag(z, "OBS_ZIP_CORRUPT");
    free((void *)z.p);
}

static void rejects_names_that_leave_the_archive(void **state)
{
    (void)state;
    static const char *const names[] = {"",      "/etc/passwd", "../x",  "p/../x",  "p//x", "./x",
                                        "p/./x", "p\\x",        "p/\nx", "p/x\x7f", ".",    ".."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct zip_build_member m = {names[i], TEXT("data"), 0};
        struct span z = zip_build(&m, 1, 0, "");
        expect_tag(z, "OBS_ZIP_CORRUPT");
        free((void *)z.p);
    }
}

static void rejects_a_name_given_twice(void **state)
{
    (void)state;
    const struct zip_build_member twice[] = {{"p/a", TEXT("1"), 0}, {"p/a", TEXT("2"), 0}};
    struct span z = zip_build(twice, 2, 0, "");
    expect_tag(z, "OBS_ZIP_CORRUPT");
    free((void *)z.p);
}

/* Both central headers lead to the first local one; the names are made equal, to get that far. */
static void rejects_members_that_overlap(void **state)
{
    (void)state;
    const struct zip_build_member same[] = {{"p/a", TEXT("1"), 0}, {"p/b", TEXT("1"), 0}};
    struct span z = zip_build(same, 2, 0, "");
    unsigned char *second = (unsigned char *)z.p + zip_build_find(z, 1, 2, 1);
    memset(second + 42, 0, 4);
    second[46 + 2] = 'a';
    expect_tag(z, "OBS_ZIP_CORRUPT");
    free((void *)z.p);
}

static void rejects_bytes_with_another_crc(void **state)
{
    (void)state;
    struct arena arena;
    struct zip zip;
    struct prep_error err = PREP_ERROR_INIT;
    struct span z = zip_build(two, 2, 0, "");
    ((unsigned char *)z.p)[30 + 3 + 6] ^= 1; /* the first byte of "second" */
    arena_init(&arena, 0);
    assert_string_equal(tag_of(z, &zip, &arena), "");
    assert_int_equal(zip_verify(&zip, zip_find(&zip, "p/b"), &err), -1);
    assert_string_equal(err.tag, "OBS_ZIP_CRC");
    assert_non_null(strstr(err.msg, "p/b"));
    arena_fini(&arena);
    free((void *)z.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_members_by_name),
        cmocka_unit_test(reads_every_spelling_of_data_descriptors_and_zip64),
        cmocka_unit_test(passes_over_an_archive_comment),
        cmocka_unit_test(reads_an_archive_without_members),
        cmocka_unit_test(says_when_a_file_is_no_archive),
        cmocka_unit_test(rejects_every_truncation),
        cmocka_unit_test(survives_every_changed_byte),
        cmocka_unit_test(rejects_compressed_and_encrypted_members),
        cmocka_unit_test(rejects_headers_that_contradict_each_other),
        cmocka_unit_test(rejects_end_records_that_lie),
        cmocka_unit_test(rejects_a_member_count_that_does_not_fit),
        cmocka_unit_test(rejects_names_that_leave_the_archive),
        cmocka_unit_test(rejects_a_name_given_twice),
        cmocka_unit_test(rejects_members_that_overlap),
        cmocka_unit_test(rejects_bytes_with_another_crc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
