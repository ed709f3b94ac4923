/* SPDX-License-Identifier: MIT */
#include "tests/support/plan_world.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "libprep/store/executor.h"
#include "libprep/store/manifest.h"

/* Every output byte is a mix of all input bytes at its place; work memory must be usable. */
static int mix_inputs(const struct step_memory *m, const void *arg, struct prep_error *err)
{
    const uint32_t *n_outputs = arg;
    (void)err;
    unsigned char *work = m->work;
    for (size_t i = 0; i < 256; i++)
        work[i] = (unsigned char)(i * 7);
    for (uint32_t o = 0; o < *n_outputs; o++)
        for (uint64_t i = 0; i < m->output_bytes[o]; i++)
            m->outputs[o][i] = (unsigned char)(m->inputs[0].p[i % m->inputs[0].n] ^
                                               m->inputs[1].p[i % m->inputs[1].n] ^ work[o]);
    *(unsigned char *)m->note = m->inputs[0].p[0];
    return 0;
}

static int list_notes(void *arg, const unsigned char *notes, struct json_out *o,
                      struct prep_error *err)
{
    const struct plan *p = arg;
    (void)err;
    json_out_key(o, "notes");
    json_out_open(o, '[');
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].note_bytes)
            json_out_u64(o, notes[p->steps[i].note_at]);
    json_out_close(o);
    return 0;
}

static const uint32_t two_outputs = 2;

struct maker {
    struct plan_world *w;
    struct test_random rnd;
    struct prep_error err;
};

static struct plan_range random_range(struct maker *m, uint64_t most)
{
    uint64_t n = 1 + test_random_below(&m->rnd, most);
    return (struct plan_range){(uint32_t)test_random_below(&m->rnd, WORLD_SOURCES),
                               test_random_below(&m->rnd, WORLD_SOURCE_BYTES - n), n};
}

static void want_bytes(struct maker *m, size_t file, const unsigned char *p, size_t n)
{
    struct test_bytes *b = &m->w->want[file];
    b->p = realloc(b->p, b->n + n + 1);
    assert_non_null(b->p);
    memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

static void append(struct maker *m, uint32_t step, uint64_t bytes)
{
    assert_int_equal(plan_append(m->w->plan, step, bytes, &m->err), 0);
}

static void add_copy(struct maker *m, size_t file)
{
    struct plan_range r[3];
    uint64_t total = 0;
    size_t n = 1 + test_random_below(&m->rnd, 3);
    for (size_t i = 0; i < n; i++) {
        r[i] = random_range(m, 9000);
        want_bytes(m, file, m->w->source[r[i].source] + r[i].offset, (size_t)r[i].bytes);
        total += r[i].bytes;
    }
    uint32_t step;
    assert_int_equal(plan_add_copy(m->w->plan, r, n, &step, &m->err), 0);
    assert_int_equal(plan_tensor_here(m->w->plan, test_path("copied.%zu", m->w->plan->n_tensors),
                                      n == 1 ? "origin" : NULL, total, &m->err),
                     0);
    append(m, step, total);
}

static void add_bytes(struct maker *m, size_t file, const char *text)
{
    uint32_t step;
    assert_int_equal(plan_add_bytes(m->w->plan, text, strlen(text), &step, &m->err), 0);
    append(m, step, strlen(text));
    want_bytes(m, file, (const unsigned char *)text, strlen(text));
}

struct pending {
    uint32_t step;
    struct plan_range r[2];
};

static struct pending add_call(struct maker *m)
{
    struct pending p = {0, {random_range(m, 4000), random_range(m, 4000)}};
    assert_int_equal(
        plan_add_call(m->w->plan, mix_inputs, &two_outputs, 300, p.r, 2, &p.step, &m->err), 0);
    assert_int_equal(plan_note(m->w->plan, 1, &m->err), 0);
    m->w->want_notes[m->w->n_calls++] = m->w->source[p.r[0].source][p.r[0].offset];
    return p;
}

static void add_output(struct maker *m, size_t file, const struct pending *p, unsigned output)
{
    uint64_t n = 1 + test_random_below(&m->rnd, 7000);
    assert_int_equal(plan_tensor_here(m->w->plan, test_path("computed.%zu", m->w->plan->n_tensors),
                                      NULL, n, &m->err),
                     0);
    append(m, p->step, n);
    const unsigned char *a = m->w->source[p->r[0].source] + p->r[0].offset;
    const unsigned char *b = m->w->source[p->r[1].source] + p->r[1].offset;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char v = (unsigned char)(a[i % p->r[0].bytes] ^ b[i % p->r[1].bytes] ^
                                          (unsigned char)(output * 7));
        want_bytes(m, file, &v, 1);
    }
}

static void add_file(struct maker *m, size_t file, const char *name, enum file_stage stage)
{
    m->w->names[file] = name;
    m->w->want[file].p = calloc(1, 1);
    assert_non_null(m->w->want[file].p);
    assert_int_equal(plan_add_file(m->w->plan, name, stage, &m->err), 0);
}

static void make_sources(struct maker *m, const struct io *io)
{
    struct plan_world *w = m->w;
    w->source_dir = test_temp_dir();
    for (size_t i = 0; i < WORLD_SOURCES; i++) {
        w->source[i] = malloc(WORLD_SOURCE_BYTES);
        assert_non_null(w->source[i]);
        for (size_t k = 0; k < WORLD_SOURCE_BYTES; k++)
            w->source[i][k] = (unsigned char)test_random_u64(&m->rnd);
        const char *path = test_path("%s/source-%zu.bin", w->source_dir, i);
        test_write(path, w->source[i], WORLD_SOURCE_BYTES);
        struct io_stat st;
        assert_int_equal(io->stat(io->self, path, &st), 0);
        w->files[i] = (struct source_file){.name = test_path("source-%zu.bin", i),
                                           .path = path,
                                           .bytes = st.size,
                                           .dev = st.dev,
                                           .ino = st.ino,
                                           .mtime_ns = st.mtime_ns};
    }
    w->ckpt.io = io;
    w->ckpt.dir = w->source_dir;
    w->ckpt.files = w->files;
    w->ckpt.n_files = WORLD_SOURCES;
}

void plan_world_init(struct plan_world *w, const struct io *io, uint64_t seed)
{
    *w = (struct plan_world){0};
    struct maker m = {w, {seed}, PREP_ERROR_INIT};
    uint32_t first;
    make_sources(&m, io);
    assert_int_equal(plan_new(&w->plan, "plan-world", "1", &m.err), 0);
    assert_int_equal(
        plan_option(w->plan, "seed", test_path("%llu", (unsigned long long)seed), &m.err), 0);
    assert_int_equal(plan_add_checkpoint(w->plan, &w->ckpt, &first, &m.err), 0);
    struct pending across = add_call(&m), inside[3];
    add_file(&m, 0, "model-00001-of-00003.safetensors", PLAN_SHARD);
    add_bytes(&m, 0, "header of the first shard");
    add_output(&m, 0, &across, 0);
    for (int i = 0; i < 8; i++)
        add_copy(&m, 0);
    add_file(&m, 1, "model-00002-of-00003.safetensors", PLAN_SHARD);
    for (int i = 0; i < 3; i++) {
        inside[i] = add_call(&m);
        add_output(&m, 1, &inside[i], 0);
        add_copy(&m, 1);
        add_output(&m, 1, &inside[i], 1);
    }
    add_file(&m, 2, "model-00003-of-00003.safetensors", PLAN_SHARD);
    add_copy(&m, 2);
    add_output(&m, 2, &across, 1);
    add_file(&m, 3, "tokenizer.json", PLAN_SIDECAR);
    add_copy(&m, 3);
    add_file(&m, 4, "config.json", PLAN_CONFIG);
    add_bytes(&m, 4, "{}");
    add_file(&m, 5, "model.safetensors.index.json", PLAN_INDEX);
    add_bytes(&m, 5, "{\"weight_map\":{}}");
    w->plan->manifest = list_notes;
    w->plan->manifest_arg = w->plan;
    assert_int_equal(plan_finish(w->plan, &m.err), 0);
}

uint64_t plan_world_floor(const struct plan_world *w)
{
    struct exec_options opt = {.io = &io_posix, .dir = test_path("%s/none", w->source_dir)};
    struct exec_result result;
    struct prep_error err = PREP_ERROR_INIT;
    if (plan_check(w->plan, &opt, &result, &err))
        fail_msg("%s", err.msg);
    return result.floor_bytes;
}

void plan_world_fini(struct plan_world *w)
{
    plan_free(w->plan);
    for (size_t i = 0; i < WORLD_SOURCES; i++)
        free(w->source[i]);
    for (size_t i = 0; i < WORLD_FILES; i++)
        free(w->want[i].p);
    *w = (struct plan_world){0};
}

static const char *check_file(const struct plan_world *w, const char *dir, const char *name)
{
    for (size_t i = 0; i < WORLD_FILES; i++) {
        if (strcmp(w->names[i], name) != 0)
            continue;
        struct test_bytes got = test_read(test_path("%s/%s", dir, name));
        int same = got.n == w->want[i].n && memcmp(got.p, w->want[i].p, got.n) == 0;
        free(got.p);
        return same ? NULL : test_path("%s has other bytes", name);
    }
    return strcmp(name, EXEC_MANIFEST) == 0 ? NULL : test_path("%s is not of the plan", name);
}

static const char *check_folder(const struct plan_world *w, const char *dir, size_t *n)
{
    const char *fault = NULL;
    DIR *d = opendir(dir);
    *n = 0;
    for (struct dirent *e; d && !fault && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (e->d_name[0] == '.' || (len > 8 && strcmp(e->d_name + len - 8, ".partial") == 0))
            continue;
        fault = check_file(w, dir, e->d_name);
        (*n)++;
    }
    if (d)
        closedir(d);
    return fault;
}

const char *plan_world_check_unfinished(const struct plan_world *w, const char *dir)
{
    size_t n;
    return check_folder(w, dir, &n);
}

/* The manifest has the note of every call, whichever run it ran in. */
static const char *check_notes(const struct plan_world *w, const char *dir)
{
    struct test_bytes text = test_read(test_path("%s/%s", dir, EXEC_MANIFEST));
    struct manifest m;
    struct json doc;
    struct prep_error err = PREP_ERROR_INIT;
    if (manifest_parse(&m, (char *)text.p, text.n, EXEC_MANIFEST, &err) ||
        json_parse(&doc, (const char *)m.run.p, m.run.n, "run", &err))
        fail_msg("%s", err.msg);
    size_t n = 0;
    const char *fault = NULL;
    for (uint32_t v = json_first(&doc, json_get(&doc, 0, "notes")); v != JSON_NONE;
         v = json_next(&doc, v)) {
        uint64_t got;
        if (json_u64(&doc, v, &got) || n >= w->n_calls || got != w->want_notes[n++])
            fault = test_path("note %zu is not as it should be", n);
    }
    if (n != w->n_calls)
        fault = test_path("%zu notes, want %zu", n, w->n_calls);
    json_free(&doc);
    manifest_free(&m);
    free(text.p);
    return fault;
}

const char *plan_world_check(const struct plan_world *w, const char *dir)
{
    size_t n;
    const char *fault = check_folder(w, dir, &n);
    if (!fault && n != WORLD_FILES + 1)
        return test_path("%zu files, want %d and a manifest", n, WORLD_FILES);
    if (!fault && test_exists(test_path("%s/%s", dir, EXEC_STATE_DIR)))
        return "the state folder is still there";
    return fault ? fault : check_notes(w, dir);
}
