/* SPDX-License-Identifier: MIT */
#include "tests/support/support.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Strings handed out and folders made, given back when the process that made them ends. */
struct kept {
    struct kept *next;
    int is_folder;
    char text[];
};

static struct kept *all_kept;
static pid_t keeper;

static void release_all(void)
{
    /* A forked child inherits the list but owns nothing on it. */
    int ours = getpid() == keeper;
    while (all_kept) {
        struct kept *k = all_kept;
        all_kept = k->next;
        if (k->is_folder && ours)
            test_remove_tree(k->text);
        free(k);
    }
}

static char *keep(const char *text, int is_folder)
{
    size_t n = strlen(text) + 1;
    struct kept *k = malloc(sizeof *k + n);
    if (!k) {
        fail_msg("out of memory");
        return NULL;
    }
    if (!keeper) {
        keeper = getpid();
        atexit(release_all);
    }
    *k = (struct kept){all_kept, is_folder};
    memcpy(k->text, text, n);
    all_kept = k;
    return k->text;
}

const char *test_path(const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_in_range(n, 0, sizeof text - 1);
    return keep(text, 0);
}

const char *test_data(void)
{
    const char *dir = getenv("PREP_TEST_DATA");
    if (!dir || !*dir)
        dir = "build/data";
    if (!test_exists(dir))
        fail_msg("%s: no fixtures there; run 'make data' or set PREP_TEST_DATA", dir);
    return dir;
}

int test_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

const char *test_temp_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/prep-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_in_range(n, 0, sizeof path - 1);
    if (!mkdtemp(path))
        fail_msg("%s: %s", path, strerror(errno));
    return keep(path, 1);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

void test_remove_tree(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct test_bytes test_read(const char *path)
{
    struct test_bytes b = {NULL, 0};
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) || !S_ISREG(st.st_mode))
        fail_msg("%s: %s", path, f ? "not a regular file" : strerror(errno));
    b.n = (size_t)st.st_size;
    b.p = malloc(b.n + 1);
    if (!b.p || fread(b.p, 1, b.n, f) != b.n)
        fail_msg("%s: cannot read %zu bytes", path, b.n);
    b.p[b.n] = 0;
    fclose(f);
    return b;
}

void test_mkdirs(const char *path)
{
    char part[4096];
    assert_true(strlen(path) < sizeof part);
    memcpy(part, path, strlen(path) + 1);
    for (char *p = part + 1;; p++) {
        char c = *p;
        if (c != '/' && c)
            continue;
        *p = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            fail_msg("%s: %s", part, strerror(errno));
        *p = c;
        if (!c)
            return;
    }
}

void test_write(const char *path, const void *bytes, size_t n)
{
    const char *slash = strrchr(path, '/');
    if (slash && slash > path)
        test_mkdirs(test_path("%.*s", (int)(slash - path), path));
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f))
        fail_msg("%s: cannot write: %s", path, strerror(errno));
}

/* Sorted names without "." and ".."; scandir's array. */
static int not_dots(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void free_names(struct dirent **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static int is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

void test_copy_tree(const char *from, const char *to)
{
    if (!is_folder(from)) {
        struct test_bytes b = test_read(from);
        test_write(to, b.p, b.n);
        free(b.p);
        return;
    }
    struct dirent **names = NULL;
    int n = scandir(from, &names, not_dots, by_name);
    if (n < 0)
        fail_msg("%s: %s", from, strerror(errno));
    test_mkdirs(to);
    for (int i = 0; i < n; i++)
        test_copy_tree(test_path("%s/%s", from, names[i]->d_name),
                       test_path("%s/%s", to, names[i]->d_name));
    free_names(names, n);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

struct test_bytes test_base64(const char *text)
{
    struct test_bytes b = {malloc(strlen(text) / 4 * 3 + 4), 0};
    assert_non_null(b.p);
    unsigned bits = 0;
    int n_bits = 0;
    for (; *text && *text != '='; text++) {
        int d = base64_digit(*text);
        if (d < 0)
            fail_msg("'%c' is no base64 digit", *text);
        bits = bits << 6 | (unsigned)d;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            b.p[b.n++] = (unsigned char)(bits >> n_bits);
        }
    }
    b.p[b.n] = 0;
    return b;
}

static const char *file_difference(const char *a, const char *b)
{
    struct test_bytes x = test_read(a), y = test_read(b);
    const char *why = NULL;
    size_t i = 0;
    if (x.n != y.n) {
        why = test_path("%s has %zu bytes, %s has %zu", a, x.n, b, y.n);
    } else if (x.n && memcmp(x.p, y.p, x.n) != 0) {
        while (x.p[i] == y.p[i])
            i++;
        why = test_path("%s and %s differ at byte %zu: %02x, %02x", a, b, i, x.p[i], y.p[i]);
    }
    free(x.p);
    free(y.p);
    return why;
}

static int ignored(const struct dirent *e, const char *ignore)
{
    return ignore && strcmp(e->d_name, ignore) == 0;
}

static const char *listed_difference(const char *a, struct dirent **x, int n_x, const char *b,
                                     struct dirent **y, int n_y, const char *ignore)
{
    for (int i = 0, j = 0; i < n_x || j < n_y; i++, j++) {
        while (i < n_x && ignored(x[i], ignore))
            i++;
        while (j < n_y && ignored(y[j], ignore))
            j++;
        if (i >= n_x && j >= n_y)
            break;
        int order = i >= n_x ? 1 : j >= n_y ? -1 : strcmp(x[i]->d_name, y[j]->d_name);
        if (order < 0)
            return test_path("%s/%s is missing in %s", a, x[i]->d_name, b);
        if (order > 0)
            return test_path("%s/%s is missing in %s", b, y[j]->d_name, a);
        const char *why = test_folder_difference(test_path("%s/%s", a, x[i]->d_name),
                                                 test_path("%s/%s", b, y[j]->d_name), ignore);
        if (why)
            return why;
    }
    return NULL;
}

const char *test_folder_difference(const char *a, const char *b, const char *ignore)
{
    if (is_folder(a) != is_folder(b))
        return test_path("only one of %s and %s is a folder", a, b);
    if (!is_folder(a))
        return file_difference(a, b);
    struct dirent **x = NULL, **y = NULL;
    int n_x = scandir(a, &x, not_dots, by_name), n_y = scandir(b, &y, not_dots, by_name);
    const char *why = n_x < 0 || n_y < 0 ? test_path("%s: cannot list", n_x < 0 ? a : b)
                                         : listed_difference(a, x, n_x, b, y, n_y, ignore);
    free_names(x, n_x);
    free_names(y, n_y);
    return why;
}

void test_random_init(struct test_random *r)
{
    const char *text = getenv("PREP_TEST_SEED");
    r->state = text && *text ? strtoull(text, NULL, 0) : 20250601;
    printf("# PREP_TEST_SEED=%llu\n", (unsigned long long)r->state);
    fflush(stdout);
}

uint64_t test_random_u64(struct test_random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t test_random_below(struct test_random *r, uint64_t n)
{
    return test_random_u64(r) % n; /* n is small: the bias does not matter */
}
