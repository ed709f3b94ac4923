/* SPDX-License-Identifier: MIT */
/*
 * unpack - put the packed fixtures where the tests look for them.
 *
 *   unpack tests/data/SHA256SUMS build/data
 *
 * Each archive NAME.tar.zst of the list is checked against its hash and becomes build/data/NAME,
 * by rename, so that a folder with its final name is complete. A stamp holding the hash makes the
 * next run leave it alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libprep/base/hash.h"
#include "libprep/base/io.h"
#include "libprep/format/bundle.h"

enum { READ_BYTES = 1 << 20, MAX_LIST_BYTES = 1 << 20 };

/* Fixtures are ours, but a damaged archive should not fill the disk either. */
static const struct bundle_limits limits = {
    .members = 100000,
    .member_bytes = (uint64_t)1 << 30,
    .total_bytes = (uint64_t)4 << 30,
};

struct unpacking {
    const char *dir; /* files go below it */
    struct arena arena;
    const char *path; /* file being written */
    int fd;
    uint64_t at;
};

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static int remove_tree(const char *path, struct prep_error *err)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
        return io_fail_create(err, errno, path, "remove");
    return 0;
}

static int make_folders(char *path, struct prep_error *err)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        int rc = io_posix.mkdir(NULL, path, 0777);
        if (rc < 0 && rc != -EEXIST)
            return io_fail_create(err, -rc, path, "make folder");
        *p = '/';
    }
    return 0;
}

static int start_file(struct unpacking *u, const char *name, struct prep_error *err)
{
    arena_reset(&u->arena);
    char *path = io_join(&u->arena, u->dir, name, err);
    if (!path || make_folders(path, err))
        return -1;
    u->fd = io_posix.open(NULL, path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (u->fd < 0)
        return io_fail_create(err, -u->fd, path, "create");
    u->path = path;
    u->at = 0;
    return 0;
}

static int write_piece(void *arg, const char *name, const void *p, size_t n, struct prep_error *err)
{
    struct unpacking *u = arg;
    if (u->fd < 0 && start_file(u, name, err))
        return -1;
    if (n) {
        if (io_write_exact(&io_posix, u->fd, p, n, u->at, u->path, err))
            return -1;
        u->at += n;
        return 0;
    }
    int rc = io_posix.close(NULL, u->fd);
    u->fd = -1;
    return rc < 0 ? io_fail_create(err, -rc, u->path, "close") : 0;
}

static int hash_file(const char *path, char hex[SHA256_HEX], struct prep_error *err)
{
    static unsigned char buf[READ_BYTES];
    int fd = -1, rc = -1;
    struct io_stat st;
    struct sha256 h;
    unsigned char digest[SHA256_BYTES];
    if (io_open_read(&io_posix, path, &fd, &st, err))
        return -1;
    sha256_init(&h);
    for (uint64_t at = 0; at < st.size;) {
        uint64_t rest = st.size - at;
        size_t n = rest < sizeof buf ? (size_t)rest : sizeof buf;
        if (io_read_exact(&io_posix, fd, buf, n, at, path, err))
            goto out;
        sha256_update(&h, buf, n);
        at += n;
    }
    sha256_final(&h, digest);
    sha256_to_hex(digest, hex);
    rc = 0;
out:
    io_close_read(&io_posix, fd);
    return rc;
}

/* The stamp of an earlier run says these very bytes were unpacked. */
static int is_done(const char *folder, const char *stamp, const char *want)
{
    char have[SHA256_HEX] = "";
    FILE *f = fopen(stamp, "r");
    size_t n = f ? fread(have, 1, sizeof have - 1, f) : 0;
    if (f)
        fclose(f);
    have[n] = 0;
    return strcmp(have, want) == 0 && access(folder, R_OK) == 0;
}

static int unpack(const char *archive, const char *want, const char *dest, const char *name,
                  struct prep_error *err)
{
    struct arena a;
    struct unpacking u = {.fd = -1};
    char hex[SHA256_HEX];
    int rc = -1;
    arena_init(&a, 0);
    arena_init(&u.arena, 0);
    char *folder = io_join(&a, dest, name, err);
    char *stamp = arena_printf(&a, err, "%s/.%s.sha256", dest, name);
    char *tmp = arena_printf(&a, err, "%s/.%s.partial", dest, name);
    char *inner = arena_printf(&a, err, "%s/.%s.partial/%s", dest, name, name);
    if (err->code != PREP_OK)
        goto out;
    if (is_done(folder, stamp, want)) {
        rc = 0;
        goto out;
    }
    if (hash_file(archive, hex, err))
        goto out;
    if (strcmp(hex, want) != 0) {
        prep_fail(err, PREP_EDATA, "%s: SHA-256 is %s, want %s", archive, hex, want);
        goto out;
    }
    u.dir = tmp;
    if (remove_tree(tmp, err) || remove_tree(folder, err) || make_folders(inner, err) ||
        bundle_each(&io_posix, archive, &limits, write_piece, &u, err))
        goto out;
    if (rename(inner, folder)) {
        io_fail_create(err, errno, folder, "rename into place");
        goto out;
    }
    if (remove_tree(tmp, err) || io_write_file(&io_posix, stamp, want, strlen(want), err))
        goto out;
    printf("  DATA  %s\n", folder);
    rc = 0;
out:
    if (u.fd >= 0)
        io_posix.close(NULL, u.fd);
    arena_fini(&u.arena);
    arena_fini(&a);
    return rc;
}

/* One line of the list: 64 digits, two blanks, NAME.tar.zst. */
static int unpack_line(const char *line, const char *list, const char *dest, struct prep_error *err)
{
    char hash[SHA256_HEX], name[256], archive[4096];
    static const char suffix[] = ".tar.zst";
    if (sscanf(line, "%64[0-9a-f]  %255[a-z0-9.-]", hash, name) != 2 ||
        strlen(hash) != SHA256_HEX - 1 || strlen(name) <= strlen(suffix) ||
        strcmp(name + strlen(name) - strlen(suffix), suffix) != 0)
        return prep_fail(err, PREP_EDATA, "%s: '%s' is no line of hash and NAME%s", list, line,
                         suffix);
    const char *slash = strrchr(list, '/');
    snprintf(archive, sizeof archive, "%.*s%s", slash ? (int)(slash - list + 1) : 0, list, name);
    name[strlen(name) - strlen(suffix)] = 0;
    return unpack(archive, hash, dest, name, err);
}

static int run(const char *list, const char *dest, struct prep_error *err)
{
    struct arena a;
    struct span text;
    int rc = -1;
    arena_init(&a, 0);
    char *inside = io_join(&a, dest, "", err);
    if (!inside || make_folders(inside, err) ||
        io_read_file(&io_posix, list, MAX_LIST_BYTES, &a, &text, err))
        goto out;
    char *lines = arena_strndup(&a, (const char *)text.p, text.n, err), *rest = NULL;
    if (!lines)
        goto out;
    for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (unpack_line(line, list, dest, err))
            goto out;
    rc = 0;
out:
    arena_fini(&a);
    return rc;
}

int main(int argc, char **argv)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (argc != 3) {
        fprintf(stderr, "usage: unpack SHA256SUMS FOLDER\n");
        return 64;
    }
    if (run(argv[1], argv[2], &err)) {
        fprintf(stderr, "unpack: %s%s%s\n", err.tag, *err.tag ? ": " : "", err.msg);
        return prep_exit_code(err.code);
    }
    return 0;
}
