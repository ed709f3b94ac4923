/* SPDX-License-Identifier: MIT */
/* Every folder of hostile/index.json: verdict, class, exit code, warnings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/store/checkpoint.h"
#include "tests/support/support.h"

enum { MAX_TENSORS = 16 };

struct fixture {
    struct test_bytes text;
    struct json doc;
    struct arena arena;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct prep_error err = PREP_ERROR_INIT;
    assert_non_null(f);
    arena_init(&f->arena, 0);
    f->text = test_read(test_path("%s/hostile/index.json", test_data()));
    if (json_parse(&f->doc, (char *)f->text.p, f->text.n, "index.json", &err))
        fail_msg("%s", err.msg);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    json_free(&f->doc);
    arena_fini(&f->arena);
    free(f->text.p);
    free(f);
    return 0;
}

static char *decoded(struct fixture *f, uint32_t node)
{
    struct prep_error err = PREP_ERROR_INIT;
    char *s = json_string(&f->doc, node, &f->arena, NULL, &err);
    assert_non_null(s);
    return s;
}

static const char *text_of(struct fixture *f, uint32_t object, const char *key)
{
    uint32_t node = json_get(&f->doc, object, key);
    return node == JSON_NONE ? NULL : decoded(f, node);
}

/* {"name": [dtype, shape]}: header, then zeros. */
static void write_shard(struct fixture *f, const char *path, uint32_t tensors)
{
    struct tensor_info t[MAX_TENSORS] = {0};
    struct prep_error err = PREP_ERROR_INIT;
    struct span header;
    size_t n = 0;
    uint64_t bytes = 0;
    for (uint32_t k = json_first(&f->doc, tensors); k != JSON_NONE; n++) {
        uint32_t value = json_next(&f->doc, k), dtype = json_first(&f->doc, value);
        uint32_t shape = json_next(&f->doc, dtype);
        const char *name = decoded(f, dtype);
        assert_true(n < MAX_TENSORS);
        t[n].name = decoded(f, k);
        t[n].dtype = (uint8_t)dtype_from_name(name, strlen(name));
        for (uint32_t d = json_first(&f->doc, shape); d != JSON_NONE; d = json_next(&f->doc, d))
            assert_int_equal(json_u64(&f->doc, d, &t[n].shape[t[n].n_dims++]), 0);
        assert_int_equal(tensor_bytes((enum dtype)t[n].dtype, t[n].shape, t[n].n_dims, &t[n].bytes),
                         0);
        bytes += t[n].bytes;
        k = json_next(&f->doc, value);
    }
    assert_int_equal(safetensors_layout(t, n, NULL, 0, &f->arena, &header, &err), 0);
    unsigned char *file = calloc(1, header.n + bytes);
    assert_non_null(file);
    memcpy(file, header.p, header.n);
    test_write(path, file, header.n + bytes);
    free(file);
}

/* The node as written in the fixture, without white space outside strings. */
static void write_json(struct fixture *f, const char *path, uint32_t node)
{
    const struct json_node *k = &f->doc.nodes[node];
    char *out = malloc(k->end - k->start);
    size_t n = 0;
    int quoted = 0;
    assert_non_null(out);
    for (uint32_t i = k->start; i < k->end; i++) {
        char c = f->doc.text[i];
        if (c == '"' && f->doc.text[i - 1] != '\\')
            quoted = !quoted;
        if (quoted || (c != ' ' && c != '\n'))
            out[n++] = c;
    }
    test_write(path, out, n);
    free(out);
}

static void make_file(struct fixture *f, const char *folder, const char *name, uint32_t file)
{
    const struct json *doc = &f->doc;
    const char *path = test_path("%s/%s", folder, name), *link = text_of(f, file, "symlink");
    uint32_t content;
    if (link) {
        assert_int_equal(symlink(link, path), 0);
        path = test_path("%s/%s", folder, link);
    }
    content = json_get(doc, file, "safetensors");
    if (content != JSON_NONE)
        write_shard(f, path, json_get(doc, content, "tensors"));
    content = json_get(doc, file, "json");
    if (content != JSON_NONE)
        write_json(f, path, content);
    content = json_get(doc, file, "text");
    if (content != JSON_NONE)
        test_write(path, decoded(f, content), strlen(decoded(f, content)));
    if (json_get(doc, file, "dir") != JSON_NONE)
        assert_int_equal(mkdir(path, 0777), 0);
    if (json_get(doc, file, "fifo") != JSON_NONE)
        assert_int_equal(mkfifo(path, 0666), 0);
}

/* Two folders deep, so that ../../blobs stays inside the temporary one. */
static const char *make_folder(struct fixture *f, uint32_t c)
{
    const char *folder = test_path("%s/snapshots/x", test_temp_dir());
    uint32_t files = json_get(&f->doc, c, "files");
    test_mkdirs(folder);
    for (uint32_t k = json_first(&f->doc, files); k != JSON_NONE;) {
        uint32_t file = json_next(&f->doc, k);
        make_file(f, folder, decoded(f, k), file);
        k = json_next(&f->doc, file);
    }
    return folder;
}

static void check_lint(struct fixture *f, uint32_t c, const char *name, const struct report *report)
{
    uint32_t list = json_get(&f->doc, c, "lint");
    for (uint32_t i = json_first(&f->doc, list); i != JSON_NONE; i = json_next(&f->doc, i))
        if (!report_has(report, decoded(f, i)))
            fail_msg("%s: want the warning %s", name, decoded(f, i));
    for (size_t w = 0; w < report->n_warnings; w++) {
        uint32_t i = json_first(&f->doc, list);
        while (i != JSON_NONE && !json_equal(&f->doc, i, report->warnings[w].tag))
            i = json_next(&f->doc, i);
        if (i == JSON_NONE)
            fail_msg("%s: unexpected warning %s: %s", name, report->warnings[w].tag,
                     report->warnings[w].text);
    }
}

/* What the reason of a case asks the message to say. */
static const struct {
    const char *name, *words;
} said[] = {
    {"index_lfs_pointer", "not downloaded"},
    {"shard_lfs_pointer", "not downloaded"},
    {"shard_link_dangling", "download is not"},
    {"partial_shard", "interrupted"},
    {"shards_without_index", "no model.safetensors.index.json"},
    {"shard_link_loop", "back to itself"},
};

static void check_rejection(struct fixture *f, uint32_t c, const char *name, int rc,
                            const char *folder, const struct prep_error *err)
{
    uint64_t exit_code = 0;
    const char *class = text_of(f, c, "class");
    if (rc == 0)
        fail_msg("%s: accepted, want %s", name, class);
    assert_int_equal(json_u64(&f->doc, json_get(&f->doc, c, "exit"), &exit_code), 0);
    if (strcmp(err->tag, class) != 0 || prep_exit_code(err->code) != (int)exit_code)
        fail_msg("%s: %s (exit %d) \"%s\", want %s (exit %d)", name, err->tag,
                 prep_exit_code(err->code), err->msg, class, (int)exit_code);
    if (!strstr(err->msg, folder))
        fail_msg("%s: \"%s\" does not name the file", name, err->msg);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (strcmp(said[i].name, name) == 0 && !strstr(err->msg, said[i].words))
            fail_msg("%s: \"%s\" does not say \"%s\"", name, err->msg, said[i].words);
}

static void run_case(struct fixture *f, uint32_t c)
{
    const char *name = text_of(f, c, "name"), *folder = make_folder(f, c);
    struct checkpoint *ckpt;
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    report_init(&report);
    int rc = checkpoint_open(&ckpt, &io_posix, folder, &report, &err);
    if (strcmp(text_of(f, c, "ours"), "accept") == 0) {
        if (rc)
            fail_msg("%s: %s \"%s\", want it accepted", name, err.tag, err.msg);
        check_lint(f, c, name, &report);
    } else {
        check_rejection(f, c, name, rc, folder, &err);
    }
    checkpoint_close(ckpt);
    report_fini(&report);
}

static void judges_every_folder_as_listed(void **state)
{
    struct fixture *f = *state;
    uint32_t cases = json_get(&f->doc, 0, "cases");
    size_t n = 0;
    for (uint32_t c = json_first(&f->doc, cases); c != JSON_NONE; c = json_next(&f->doc, c)) {
        run_case(f, c);
        n++;
    }
    assert_true(n >= 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(judges_every_folder_as_listed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
