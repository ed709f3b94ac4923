/* SPDX-License-Identifier: MIT */
/* Pickles are written by hand here, opcode by opcode; pickletools would print what they mean. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/pt.h"
#include "tests/support/zip_build.h"

enum { MAX_PROGRAM = 16 << 20 };

/* A program in the making, and the storage members beside it. */
struct program {
    unsigned char *p;
    size_t n;
    struct zip_build_member members[8];
    size_t n_members;
    struct span file; /* of the last run */
    struct pt pt;
    struct prep_error err;
};

static int set_up(void **state)
{
    struct program *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->p = malloc(MAX_PROGRAM);
    assert_non_null(g->p);
    *state = g;
    return 0;
}

static int tear_down(void **state)
{
    struct program *g = *state;
    pt_free(&g->pt);
    free((void *)g->file.p);
    free(g->p);
    free(g);
    return 0;
}

static void put(struct program *g, const void *bytes, size_t n)
{
    assert_true(g->n + n <= MAX_PROGRAM);
    memcpy(g->p + g->n, bytes, n);
    g->n += n;
}

#define PUT(g, literal) put((g), (literal), sizeof(literal) - 1)

static void put_string(struct program *g, const char *s)
{
    const unsigned char head[] = {'X', (unsigned char)strlen(s), 0, 0, 0};
    put(g, head, sizeof head);
    put(g, s, strlen(s));
}

static void add_member(struct program *g, const char *name, const void *bytes, size_t n)
{
    assert_true(g->n_members < 7);
    g->members[g->n_members++] = (struct zip_build_member){name, {bytes, n}, ZIP_BUILD_DESCRIPTOR};
}

static const char *run_whole(struct program *g, const unsigned char *p, size_t n)
{
    struct zip_build_member members[8];
    pt_free(&g->pt);
    free((void *)g->file.p);
    prep_error_clear(&g->err);
    members[0] = (struct zip_build_member){"x/data.pkl", {p, n}, ZIP_BUILD_DESCRIPTOR};
    memcpy(members + 1, g->members, g->n_members * sizeof *members);
    g->file = zip_build(members, g->n_members + 1, 0, "");
    int rc = pt_read(&g->pt, g->file, "x.pt", &g->err);
    assert_int_equal(rc, g->err.code == PREP_OK ? 0 : -1);
    return g->err.tag;
}

static const char *run(struct program *g)
{
    const char *tag = run_whole(g, g->p, g->n);
    g->n = 0;
    return tag;
}

#define RUN(g, literal) (PUT((g), "\x80\2" literal), run(g))

#define FORBIDDEN "OBS_PICKLE_FORBIDDEN"
#define CORRUPT "OBS_PICKLE_CORRUPT"
#define LIMIT "OBS_PICKLE_LIMIT"
#define BOUNDS "OBS_STORAGE_BOUNDS"

static void expect_int(struct program *g, int64_t v)
{
    assert_string_equal(g->err.msg, "");
    assert_int_equal(g->pt.root->type, PT_INT);
    assert_true(g->pt.root->i == v);
}

static void reads_integers_of_every_width(void **state)
{
    struct program *g = *state;
    RUN(g, "K\xff.");
    expect_int(g, 255);
    RUN(g, "M\x01\x02.");
    expect_int(g, 513);
    RUN(g, "J\xff\xff\xff\xff.");
    expect_int(g, -1);
    RUN(g, "\x8a\x00.");
    expect_int(g, 0);
    RUN(g, "\x8a\x01\xff.");
    expect_int(g, -1);
    RUN(g, "\x8a\x05\x00\xe4\x0b\x54\x02.");
    expect_int(g, 10000000000);
    RUN(g, "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.");
    expect_int(g, INT64_MIN);
    assert_string_equal(RUN(g, "\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."), LIMIT);
}

static void reads_constants_floats_and_strings(void **state)
{
    struct program *g = *state;
    RUN(g, "G\x3f\xf8\x00\x00\x00\x00\x00\x00.");
    assert_int_equal(g->pt.root->type, PT_FLOAT);
    assert_true(g->pt.root->f == 1.5);
    RUN(g, "\x88.");
    assert_int_equal(g->pt.root->type, PT_BOOL);
    assert_int_equal(g->pt.root->i, 1);
    RUN(g, "\x89.");
    assert_int_equal(g->pt.root->i, 0);
    RUN(g, "N.");
    assert_int_equal(g->pt.root->type, PT_NONE);
    RUN(g, "X\6\0\0\0h\xc3\xa9llo.");
    assert_true(pt_string_is(g->pt.root, "h\xc3\xa9llo"));
    assert_false(pt_string_is(g->pt.root, "hello"));
}

static void reads_containers(void **state)
{
    struct program *g = *state;
    RUN(g, "]K\1a(K\2K\3e."); /* [1, 2, 3] */
    assert_int_equal(g->pt.root->type, PT_LIST);
    assert_int_equal(g->pt.root->n, 3);
    assert_int_equal(g->pt.root->items[2]->i, 3);
    RUN(g, "}K\1K\2s(K\3K\4K\5K\6u."); /* {1: 2, 3: 4, 5: 6} */
    assert_int_equal(g->pt.root->type, PT_DICT);
    assert_int_equal(g->pt.root->n, 6);
    assert_int_equal(g->pt.root->items[5]->i, 6);
    RUN(g, "(K\1\x85K\2K\3\x86K\4K\5K\6\x87)t."); /* ((1,), (2, 3), (4, 5, 6), ()) */
    assert_int_equal(g->pt.root->type, PT_TUPLE);
    assert_int_equal(g->pt.root->n, 4);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(g->pt.root->items[i]->n, i + 1);
    assert_int_equal(g->pt.root->items[2]->items[2]->i, 6);
    assert_int_equal(g->pt.root->items[3]->n, 0);
}

static void finds_dictionary_entries_by_string(void **state)
{
    struct program *g = *state;
    RUN(g, "}(X\1\0\0\0aK\7K\1K\x08u.");
    assert_int_equal(pt_get(g->pt.root, "a")->i, 7);
    assert_null(pt_get(g->pt.root, "b"));
    assert_null(pt_get(pt_get(g->pt.root, "a"), "a"));
}

static void shares_values_through_the_memo(void **state)
{
    struct program *g = *state;
    RUN(g, "(]q\1h\1r\xe8\3\0\0j\xe8\3\0\0t.");
    assert_int_equal(g->pt.root->n, 3);
    assert_ptr_equal(g->pt.root->items[0], g->pt.root->items[1]);
    assert_ptr_equal(g->pt.root->items[0], g->pt.root->items[2]);
    assert_string_equal(RUN(g, "h\7."), CORRUPT);
    assert_string_equal(RUN(g, "j\7\0\0\0."), CORRUPT);
    assert_string_equal(RUN(g, "q\7."), CORRUPT);
    assert_string_equal(RUN(g, "K\1r\xff\xff\x0f\0j\xff\xff\x0f\0\x86."), "");
    assert_string_equal(RUN(g, "Nr\0\0\x10\0."), LIMIT);
    assert_string_equal(RUN(g, "Nr\xff\xff\xff\xff."), LIMIT);
}

static void put_int(struct program *g, int64_t v)
{
    const uint32_t u = (uint32_t)v;
    const unsigned char op[] = {'J', (unsigned char)u, (unsigned char)(u >> 8),
                                (unsigned char)(u >> 16), (unsigned char)(u >> 24)};
    put(g, op, sizeof op);
}

static void put_tuple(struct program *g, int n, const int *v)
{
    PUT(g, "(");
    for (int i = 0; i < n; i++)
        put_int(g, v[i]);
    PUT(g, "t");
}

static void put_storage(struct program *g, const char *kind, const char *key, int count)
{
    PUT(g, "(");
    put_string(g, "storage");
    PUT(g, "ctorch\n");
    put(g, kind, strlen(kind));
    PUT(g, "Storage\n");
    put_string(g, key);
    put_string(g, "cuda:0");
    put_int(g, count);
    PUT(g, "tQ");
}

/* A view into storage "0". */
struct view {
    const char *kind;
    int count, offset, n_dims, shape[PT_MAX_DIMS + 1], stride[PT_MAX_DIMS + 1];
};

static void put_tensor(struct program *g, const struct view *v)
{
    PUT(g, "ctorch._utils\n_rebuild_tensor_v2\n(");
    put_storage(g, v->kind, "0", v->count);
    put_int(g, v->offset);
    put_tuple(g, v->n_dims, v->shape);
    put_tuple(g, v->n_dims, v->stride);
    PUT(g, "\x89"
           "ccollections\nOrderedDict\n)RtR");
}

static const char *run_tensor(struct program *g, const struct view *v)
{
    PUT(g, "\x80\2");
    put_tensor(g, v);
    PUT(g, ".");
    return run(g);
}

/* Compared with Python's struct.unpack() of the same 8 bytes. */
static void reads_elements_of_every_type(void **state)
{
    struct program *g = *state;
    static const unsigned char bytes[8] = {0x00, 0xc2, 0x40, 0xc0, 0x01, 0x80, 0x80, 0x7f};
    static const struct {
        const char *kind;
        int count;
        double first, last;
    } cases[] = {
        {"Double", 1, 0x1.08001c040c2p+1017, 0x1.08001c040c2p+1017},
        {"Float", 2, -0x1.8184p+1, NAN},
        {"Half", 4, -3, NAN},
        {"BFloat16", 4, -32, INFINITY},
        {"Half", 3, -3, -0x1p-24},
        {"Long", 1, 9187483984844603904.0, 9187483984844603904.0},
        {"Int", 2, -1069497856, 2139127809},
        {"Short", 4, -15872, 32640},
        {"Char", 8, 0, 127},
        {"Byte", 2, 0, 194},
        {"Char", 2, 0, -62},
        {"Bool", 8, 0, 127},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct view v = {cases[i].kind, cases[i].count, 0, 1, {cases[i].count}, {1}};
        double f[8] = {0};
        int64_t n[8] = {0};
        unsigned size = (unsigned[]){8, 4, 2, 2, 2, 8, 4, 2, 1, 1, 1, 1}[i];
        g->n_members = 0;
        add_member(g, "x/data/0", bytes, size * (unsigned)cases[i].count);
        assert_string_equal(run_tensor(g, &v), "");
        const struct pt_tensor *t = g->pt.root->tensor;
        assert_int_equal(pt_tensor_f64(t, f), i < 5 ? 0 : -1);
        assert_int_equal(pt_tensor_i64(t, n), i < 5 ? -1 : 0);
        for (uint64_t k = 0; i >= 5 && k < t->n; k++)
            f[k] = (double)n[k];
        double last = f[t->n - 1];
        assert_true(f[0] == cases[i].first);
        assert_true(last == cases[i].last || (isnan(last) && isnan(cases[i].last)));
    }
}

static const unsigned char twelve[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void expect_elements(struct program *g, const struct view *v, int n, const int *want)
{
    int64_t got[16];
    assert_string_equal(run_tensor(g, v), "");
    assert_int_equal(g->pt.root->tensor->n, n);
    assert_int_equal(pt_tensor_i64(g->pt.root->tensor, got), 0);
    for (int i = 0; i < n; i++)
        assert_int_equal(got[i], want[i]);
}

static void walks_strided_views_in_row_major_order(void **state)
{
    struct program *g = *state;
    add_member(g, "x/data/0", twelve, sizeof twelve);
    expect_elements(g, &(struct view){"Byte", 12, 1, 1, {4}, {3}}, 4, (int[]){1, 4, 7, 10});
    expect_elements(g, &(struct view){"Byte", 12, 0, 2, {3, 2}, {1, 6}}, 6,
                    (int[]){0, 6, 1, 7, 2, 8});
    expect_elements(g, &(struct view){"Byte", 12, 2, 3, {2, 2, 2}, {5, 0, 1}}, 8,
                    (int[]){2, 3, 2, 3, 7, 8, 7, 8});
    expect_elements(g, &(struct view){"Byte", 12, 11, 0, {0}, {0}}, 1, (int[]){11});
    expect_elements(g, &(struct view){"Byte", 12, 99, 2, {3, 0}, {9, 9}}, 0, NULL);
}

static void rejects_views_that_pass_their_storage(void **state)
{
    struct program *g = *state;
    static const struct view bad[] = {
        {"Byte", 12, 12, 0, {0}, {0}},
        {"Byte", 12, 0, 1, {13}, {1}},
        {"Byte", 12, 1, 1, {12}, {1}},
        {"Byte", 12, 0, 2, {3, 4}, {5, 1}},
        {"Byte", 12, -1, 1, {1}, {1}},
        {"Byte", 12, 0, 1, {-1}, {1}},
        {"Byte", 12, 0, 1, {2}, {-1}},
        {"Byte", 12, 0, 1, {13}, {0}}, /* expanded */
        {"Byte", 12, 0, 3, {INT32_MAX, INT32_MAX, INT32_MAX}, {0, 0, 0}},
        {"Byte", 12, 0, 3, {INT32_MAX, INT32_MAX, 9}, {INT32_MAX, INT32_MAX, INT32_MAX}},
        {"Byte", 11, 0, 1, {1}, {1}},
        {"Byte", 13, 0, 1, {1}, {1}},
        {"Long", 2, 0, 1, {1}, {1}},
        {"Long", INT32_MAX, 0, 1, {1}, {1}},
    };
    add_member(g, "x/data/0", twelve, sizeof twelve);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(run_tensor(g, &bad[i]), BOUNDS);
    const struct view deep = {"Byte", 12, 0, PT_MAX_DIMS + 1, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {0}};
    assert_string_equal(run_tensor(g, &deep), LIMIT);
}

static const char *run_storage(struct program *g, const char *kind, const char *key, int count)
{
    PUT(g, "\x80\2");
    put_storage(g, kind, key, count);
    PUT(g, ".");
    return run(g);
}

static void judges_persistent_ids(void **state)
{
    struct program *g = *state;
    add_member(g, "x/data/0", twelve, sizeof twelve);
    assert_string_equal(run_storage(g, "Byte", "0", 12), "");
    assert_string_equal(run_storage(g, "Byte", "1", 12), "OBS_STORAGE_MISSING");
    assert_string_equal(run_storage(g, "Byte", "", 12), CORRUPT);
    assert_string_equal(run_storage(g, "Byte", "../0", 12), CORRUPT);
    assert_string_equal(run_storage(g, "Byte", "123456789012345678901", 12), CORRUPT);
    assert_string_equal(run_storage(g, "Byte", "0", -1), CORRUPT);
    assert_string_equal(run_storage(g, "ComplexFloat", "0", 1), FORBIDDEN);
    assert_string_equal(RUN(g, "K\1Q."), CORRUPT);
    assert_string_equal(RUN(g, ")Q."), CORRUPT);
    assert_string_equal(RUN(g, "(X\7\0\0\0storagectorch\nSize\nX\1\0\0\0"
                               "0X\0\0\0\0K\1tQ."),
                        CORRUPT);
}

static void takes_an_object_by_its_attributes(void **state)
{
    struct program *g = *state;
    RUN(g, "creap.metrics\nOnlineStatsTracker\n)\x81}(X\4\0\0\0meanK\7ub.");
    assert_string_equal(g->err.msg, "");
    assert_int_equal(g->pt.root->type, PT_OBJECT);
    assert_int_equal(pt_get(g->pt.root, "mean")->i, 7);
    assert_null(pt_get(g->pt.root, "count"));
}

static void interprets_the_allowed_calls(void **state)
{
    struct program *g = *state;
    add_member(g, "x/data/0", twelve, sizeof twelve);
    RUN(g, "ccollections\nOrderedDict\n)RK\1K\2s.");
    assert_int_equal(g->pt.root->type, PT_DICT);
    RUN(g, "ctorch\nSize\nK\2K\3\x86\x85R.");
    assert_int_equal(g->pt.root->type, PT_TUPLE);
    assert_int_equal(g->pt.root->n, 2);
    RUN(g, "ctorch\ndevice\nX\3\0\0\0cpu\x85R.");
    assert_int_equal(g->pt.root->type, PT_NONE);
    RUN(g, "ctorch\nfloat32\n.");
    assert_int_equal(g->pt.root->type, PT_GLOBAL);
    PUT(g, "\x80\2"
           "ctorch._utils\n_rebuild_parameter\n");
    put_tensor(g, &(struct view){"Byte", 12, 0, 1, {3}, {1}});
    PUT(g, "\x89)\x87R.");
    assert_string_equal(run(g), "");
    assert_int_equal(g->pt.root->type, PT_TENSOR);
}

static void rejects_calls_with_other_arguments(void **state)
{
    struct program *g = *state;
    assert_string_equal(RUN(g, "ccollections\nOrderedDict\n]\x85R."), CORRUPT);
    assert_string_equal(RUN(g, "ccollections\nOrderedDict\n]R."), CORRUPT);
    assert_string_equal(RUN(g, "ctorch\nSize\n)R."), CORRUPT);
    assert_string_equal(RUN(g, "ctorch\nfloat32\n)R."), CORRUPT);
    assert_string_equal(RUN(g, "ctorch\nLongStorage\n)R."), CORRUPT);
    assert_string_equal(RUN(g, "creap.metrics\nOnlineStatsTracker\n)R."), CORRUPT);
    assert_string_equal(RUN(g, "ctorch._utils\n_rebuild_tensor_v2\n)R."), CORRUPT);
    assert_string_equal(RUN(g, "ctorch._utils\n_rebuild_parameter\nNNN\x87R."), CORRUPT);
    assert_string_equal(RUN(g, "N)R."), CORRUPT);
    assert_string_equal(RUN(g, "ctorch\nSize\n)\x81."), CORRUPT);
    assert_string_equal(RUN(g, "creap.metrics\nOnlineStatsTracker\nN\x81."), CORRUPT);
    assert_string_equal(RUN(g, "N}b."), CORRUPT);
    assert_string_equal(RUN(g, "}Nb."), CORRUPT);
}

static void refuses_every_opcode_not_on_the_list(void **state)
{
    struct program *g = *state;
    static const char allowed[] = "\x80}])(qrhjKMJ\x8aGX\x88\x89Nct\x85\x86\x87QR\x81"
                                  "bsuae.";
    int refused = 0;
    for (int op = 1; op < 256; op++) {
        if (strchr(allowed, op))
            continue;
        const unsigned char program[] = {0x80, 2, (unsigned char)op, '.'};
        assert_string_equal(run_whole(g, program, sizeof program), FORBIDDEN);
        refused++;
    }
    assert_int_equal(refused, 255 - 32);
    assert_string_equal(run_whole(g, (const unsigned char *)"\x80\2\0.", 4), FORBIDDEN);
    assert_string_equal(run_whole(g, (const unsigned char *)"\x80\4N.", 4), FORBIDDEN);
}

static void refuses_every_global_not_on_the_list(void **state)
{
    struct program *g = *state;
    static const char *const names[] = {"posix\nsystem\n",
                                        "os\nsystem\n",
                                        "builtins\neval\n",
                                        "__builtin__\neval\n",
                                        "torch\n_utils\n",
                                        "torch._utils\n_rebuild_tensor\n",
                                        "torch._utils\n_rebuild_tensor_v3\n",
                                        "torch\nsize\n",
                                        "torch.storage\nUntypedStorage\n",
                                        "\n\n",
                                        "torch\nsizeSize\n",
                                        "reap.metrics\nOnlineStatsTracker2\n",
                                        "torch\nuint8\n",
                                        "torch \nSize\n",
                                        "collections\norderedDict\n"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        PUT(g, "\x80\2"
               "c");
        put(g, names[i], strlen(names[i]));
        PUT(g, ".");
        assert_string_equal(run(g), FORBIDDEN);
        assert_non_null(strstr(g->err.msg, "byte 2"));
    }
    assert_string_equal(RUN(g, "cposix"), CORRUPT);
    assert_string_equal(RUN(g, "cposix\nsystem"), CORRUPT);
}

static void rejects_programs_that_make_no_sense(void **state)
{
    struct program *g = *state;
    assert_string_equal(RUN(g, ""), CORRUPT);
    assert_string_equal(RUN(g, "."), CORRUPT);
    assert_string_equal(RUN(g, "N"), CORRUPT);
    assert_string_equal(RUN(g, "NN."), CORRUPT);
    assert_string_equal(RUN(g, "(N."), CORRUPT);
    assert_string_equal(RUN(g, "N.N"), CORRUPT);
    assert_string_equal(RUN(g, "R."), CORRUPT);
    assert_string_equal(RUN(g, "t."), CORRUPT);
    assert_string_equal(RUN(g, "N(\x85."), CORRUPT); /* what is below a mark is out of reach */
    assert_string_equal(RUN(g, "N(q\1t."), CORRUPT);
    assert_string_equal(RUN(g, "]e."), CORRUPT);
    assert_string_equal(RUN(g, "(e."), CORRUPT);
    assert_string_equal(RUN(g, "]N(Ne."), CORRUPT);
    assert_string_equal(RUN(g, "}(Nu."), CORRUPT); /* a key without a value */
    assert_string_equal(RUN(g, "}Na."), CORRUPT);
    assert_string_equal(RUN(g, "]NNs."), CORRUPT);
    assert_string_equal(RUN(g, "X\4\0\0\0abc"), CORRUPT);
    assert_string_equal(RUN(g, "J\1\2"), CORRUPT);
}

/* A container may only grow while it is part of nothing: no cycles, and depth is known. */
static void rejects_cycles(void **state)
{
    struct program *g = *state;
    assert_string_equal(RUN(g, "]q\1h\1a."), CORRUPT);
    assert_string_equal(RUN(g, "]q\1]q\2h\1ah\2a."), CORRUPT);
    assert_string_equal(RUN(g, "]q\1\x85h\1Na\x86."), CORRUPT);
    assert_string_equal(RUN(g, "}q\1K\1h\1s."), CORRUPT);
}

static void limits_the_depth_of_nesting(void **state)
{
    struct program *g = *state;
    for (int depth = PT_MAX_DEPTH; depth <= PT_MAX_DEPTH + 1; depth++) {
        const char *tag = depth == PT_MAX_DEPTH ? "" : LIMIT;
        PUT(g, "\x80\2)");
        for (int i = 1; i < depth; i++)
            PUT(g, "\x85");
        PUT(g, ".");
        assert_string_equal(run(g), tag);
        PUT(g, "\x80\2");
        for (int i = 0; i < depth; i++)
            PUT(g, "]");
        for (int i = 1; i < depth; i++)
            PUT(g, "a");
        PUT(g, ".");
        assert_string_equal(run(g), tag);
    }
}

static void limits_strings_stack_and_opcodes(void **state)
{
    struct program *g = *state;
    assert_string_equal(RUN(g, "X\1\0\x10\0."), LIMIT);
    assert_string_equal(RUN(g, "X\xff\xff\xff\xff."), LIMIT);
    assert_string_equal(RUN(g, "X\0\0\x10\0."), CORRUPT); /* the longest, but not there */
    for (int mark = 0; mark < 2; mark++) {
        PUT(g, "\x80\2Nq\1");
        memset(g->p + g->n, '(', 2 * PT_MAX_STACK);
        for (size_t i = 0; !mark && i < PT_MAX_STACK; i++)
            memcpy(g->p + g->n + 2 * i, "h\1", 2);
        g->n += 2 * PT_MAX_STACK;
        assert_string_equal(run(g), LIMIT);
    }
    PUT(g, "\x80\2N");
    for (size_t i = 0; i < PT_MAX_OPCODES; i++)
        PUT(g, "q\1");
    PUT(g, ".");
    assert_string_equal(run(g), LIMIT);
}

static void rejects_every_truncation_of_a_program(void **state)
{
    struct program *g = *state;
    unsigned char whole[1024];
    add_member(g, "x/data/0", twelve, sizeof twelve);
    PUT(g, "\x80\2}q\0(X\3\0\0\0sum");
    put_tensor(g, &(struct view){"Byte", 12, 0, 2, {3, 4}, {4, 1}});
    PUT(g, "K\1\x8a\3\1\2\3K\2G\0\0\0\0\0\0\0\0K\3(NNNtK\4M\1\1u.");
    size_t n = g->n;
    assert_true(n < sizeof whole);
    memcpy(whole, g->p, n);
    assert_string_equal(run(g), "");
    for (size_t i = 0; i < n; i++)
        assert_string_equal(run_whole(g, whole, i), CORRUPT);
}

static void survives_every_changed_byte_of_a_program(void **state)
{
    struct program *g = *state;
    unsigned char whole[1024];
    add_member(g, "x/data/0", twelve, sizeof twelve);
    PUT(g, "\x80\2}q\0(X\3\0\0\0sum");
    put_tensor(g, &(struct view){"Byte", 12, 0, 2, {3, 4}, {4, 1}});
    PUT(g, "K\1creap.metrics\nOnlineStatsTracker\n)\x81}K\1K\1sbh\0u.");
    size_t n = g->n;
    assert_true(n < sizeof whole);
    memcpy(whole, g->p, n);
    for (size_t i = 0; i < n; i++) {
        for (unsigned v = 1; v < 256; v++) {
            whole[i] ^= (unsigned char)v;
            run_whole(g, whole, n);
            whole[i] ^= (unsigned char)v;
        }
    }
}

/* The archive as it is, without the x/data.pkl that run() adds. */
static const char *read_archive(struct program *g, const struct zip_build_member *m, size_t n)
{
    struct span file = zip_build(m, n, 0, "");
    pt_free(&g->pt);
    prep_error_clear(&g->err);
    (void)!pt_read(&g->pt, file, "x.pt", &g->err);
    pt_free(&g->pt);
    free((void *)file.p);
    return g->err.tag;
}

#define TEXT(s)                                                                                    \
    {                                                                                              \
        (const unsigned char *)(s), sizeof(s) - 1                                                  \
    }

static void judges_the_container(void **state)
{
    struct program *g = *state;
    const struct zip_build_member pkl = {"any/prefix/data.pkl", TEXT("\x80\2N."), 0};
    const struct zip_build_member other = {"b/data.pkl", TEXT("\x80\2N."), 0};
    const struct zip_build_member little = {"any/prefix/byteorder", TEXT("little"), 0};
    const struct zip_build_member big = {"any/prefix/byteorder", TEXT("big"), 0};
    const struct zip_build_member outside = {"any/readme", TEXT("hello"), 0};
    const struct zip_build_member bare = {"data.pkl", TEXT("\x80\2N."), 0};
    assert_string_equal(read_archive(g, (struct zip_build_member[]){pkl}, 1), "");
    assert_string_equal(read_archive(g, (struct zip_build_member[]){pkl, little}, 2), "");
    assert_string_equal(read_archive(g, (struct zip_build_member[]){pkl, big}, 2), "OBS_BYTEORDER");
    assert_string_equal(read_archive(g, (struct zip_build_member[]){pkl, other}, 2),
                        "OBS_ZIP_CORRUPT");
    assert_string_equal(read_archive(g, (struct zip_build_member[]){pkl, outside}, 2),
                        "OBS_ZIP_CORRUPT");
    assert_string_equal(read_archive(g, (struct zip_build_member[]){outside}, 1), "OBS_NOT_PT");
    assert_string_equal(read_archive(g, (struct zip_build_member[]){bare}, 1), "OBS_NOT_PT");
}

static void names_the_container_before_the_pickle(void **state)
{
    struct program *g = *state;
    static const unsigned char legacy[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                           0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
    const struct zip_build_member two[] = {{"x/data.pkl", TEXT("\x80\2i."), 0},
                                           {"x/data/0", TEXT("damaged"), 0}};
    struct span z = zip_build(two, 2, 0, "");
    size_t second = zip_build_find(z, 3, 4, 1);
    ((unsigned char *)z.p)[second + 30 + 8 + 6] ^= 1;
    pt_free(&g->pt);
    assert_int_equal(pt_read(&g->pt, z, "x.pt", &g->err), -1);
    assert_string_equal(g->err.tag, "OBS_ZIP_CRC");
    free((void *)z.p);
    pt_free(&g->pt);
    prep_error_clear(&g->err);
    assert_int_equal(pt_read(&g->pt, (struct span){legacy, sizeof legacy}, "x.pt", &g->err), -1);
    assert_string_equal(g->err.tag, "OBS_LEGACY_FORMAT");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_integers_of_every_width),
        TEST(reads_constants_floats_and_strings),
        TEST(reads_containers),
        TEST(finds_dictionary_entries_by_string),
        TEST(shares_values_through_the_memo),
        TEST(reads_elements_of_every_type),
        TEST(walks_strided_views_in_row_major_order),
        TEST(rejects_views_that_pass_their_storage),
        TEST(judges_persistent_ids),
        TEST(takes_an_object_by_its_attributes),
        TEST(interprets_the_allowed_calls),
        TEST(rejects_calls_with_other_arguments),
        TEST(refuses_every_opcode_not_on_the_list),
        TEST(refuses_every_global_not_on_the_list),
        TEST(rejects_programs_that_make_no_sense),
        TEST(rejects_cycles),
        TEST(limits_the_depth_of_nesting),
        TEST(limits_strings_stack_and_opcodes),
        TEST(rejects_every_truncation_of_a_program),
        TEST(survives_every_changed_byte_of_a_program),
        TEST(judges_the_container),
        TEST(names_the_container_before_the_pickle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
