/* SPDX-License-Identifier: MIT */
#include "tests/support/archive_build.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OVERHEAD = 64 << 10 };

static void add_member(struct archive *a, const struct archive_build_member *m)
{
    static const unsigned types[] = {[ARCHIVE_BUILD_FILE] = AE_IFREG,
                                     [ARCHIVE_BUILD_FOLDER] = AE_IFDIR,
                                     [ARCHIVE_BUILD_SYMLINK] = AE_IFLNK,
                                     [ARCHIVE_BUILD_HARDLINK] = AE_IFREG,
                                     [ARCHIVE_BUILD_FIFO] = AE_IFIFO};
    struct archive_entry *e = archive_entry_new();
    assert_non_null(e);
    archive_entry_set_pathname(e, m->name);
    archive_entry_set_filetype(e, types[m->kind]);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)m->bytes.n);
    if (m->kind == ARCHIVE_BUILD_SYMLINK)
        archive_entry_set_symlink(e, "target");
    if (m->kind == ARCHIVE_BUILD_HARDLINK)
        archive_entry_set_hardlink(e, "target");
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    if (m->bytes.n)
        assert_int_equal(archive_write_data(a, m->bytes.p, m->bytes.n), m->bytes.n);
    archive_entry_free(e);
}

struct span archive_build(const char *ending, const struct archive_build_member *members, size_t n)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    assert_true(utf8 != (locale_t)0);
    locale_t before = uselocale(utf8);
    struct archive *a = archive_write_new();
    size_t room = OVERHEAD, used = 0;
    assert_non_null(a);
    for (size_t i = 0; i < n; i++)
        room += members[i].bytes.n + OVERHEAD / 8;
    unsigned char *p = malloc(room);
    assert_non_null(p);
    int rc = strcmp(ending, "zip") == 0   ? archive_write_set_format_zip(a)
             : strcmp(ending, "pax") == 0 ? archive_write_set_format_pax(a)
                                          : archive_write_set_format_ustar(a);
    assert_int_equal(rc, ARCHIVE_OK);
    if (strcmp(ending, "tar.gz") == 0)
        assert_int_equal(archive_write_add_filter_gzip(a), ARCHIVE_OK);
    if (strcmp(ending, "tar.zst") == 0)
        assert_int_equal(archive_write_add_filter_zstd(a), ARCHIVE_OK);
    assert_int_equal(archive_write_set_bytes_in_last_block(a, 1), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, p, room, &used), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++)
        add_member(a, &members[i]);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    uselocale(before);
    freelocale(utf8);
    return (struct span){p, used};
}
