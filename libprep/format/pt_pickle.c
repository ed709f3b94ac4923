/* SPDX-License-Identifier: MIT */
/*
 * A pickle is a program for a stack machine: opcode byte, operand, next opcode, until STOP.
 *
 *   80 02  7d  28  4b 03  7d ... 75  2e        {3: {...}}
 *   PROTO 2, EMPTY_DICT, MARK, BININT1 3, EMPTY_DICT, ..., SETITEMS, STOP
 *
 * A container that is part of another one may not change any more. Pickles of data never need
 * that, it keeps the result free of cycles, and depth is known when a value is stored.
 */
#include "libprep/format/pt_pickle.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"

#define CORRUPT "OBS_PICKLE_CORRUPT"
#define FORBIDDEN "OBS_PICKLE_FORBIDDEN"
#define LIMIT "OBS_PICKLE_LIMIT"

#define bad(m, tag, ...) (prep_fail_tag((m)->err, PREP_EDATA, (tag), __VA_ARGS__), note_place(m))

struct machine {
    struct pt *pt;
    const unsigned char *p;
    size_t n, at, op_at; /* bytes of the program, read position, position of the opcode */
    struct pt_value **stack;
    size_t n_stack, cap_stack;
    size_t *marks; /* stack heights */
    size_t n_marks, cap_marks;
    struct pt_value **memo; /* NULL: not set */
    size_t n_memo;
    int stopped;
    struct prep_error *err;
};

enum global_kind { G_TENSOR, G_PARAMETER, G_DICT, G_DEVICE, G_SIZE, G_DTYPE, G_OBJECT, G_STORAGE };

static const struct global {
    const char *module, *name;
    enum global_kind kind;
    enum pt_dtype dtype; /* of a storage class */
} globals[] = {
    {"torch._utils", "_rebuild_tensor_v2", G_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", G_PARAMETER, 0},
    {"collections", "OrderedDict", G_DICT, 0},
    {"torch", "device", G_DEVICE, 0},
    {"torch", "Size", G_SIZE, 0},
    {"torch", "float64", G_DTYPE, 0},
    {"torch", "float32", G_DTYPE, 0},
    {"torch", "float16", G_DTYPE, 0},
    {"torch", "bfloat16", G_DTYPE, 0},
    {"torch", "int64", G_DTYPE, 0},
    {"torch", "int32", G_DTYPE, 0},
    {"reap.metrics", "OnlineStatsTracker", G_OBJECT, 0},
    {"torch", "DoubleStorage", G_STORAGE, PT_F64},
    {"torch", "FloatStorage", G_STORAGE, PT_F32},
    {"torch", "HalfStorage", G_STORAGE, PT_F16},
    {"torch", "BFloat16Storage", G_STORAGE, PT_BF16},
    {"torch", "LongStorage", G_STORAGE, PT_I64},
    {"torch", "IntStorage", G_STORAGE, PT_I32},
    {"torch", "ShortStorage", G_STORAGE, PT_I16},
    {"torch", "CharStorage", G_STORAGE, PT_I8},
    {"torch", "ByteStorage", G_STORAGE, PT_U8},
    {"torch", "BoolStorage", G_STORAGE, PT_BOOL8},
};

static int note_place(const struct machine *m)
{
    return prep_note(m->err, "%s: data.pkl byte %zu", m->pt->path, m->op_at);
}

const enum pt_dtype *pt_storage_class(const struct pt_value *v)
{
    if (v->type != PT_GLOBAL || globals[v->i].kind != G_STORAGE)
        return NULL;
    return &globals[v->i].dtype;
}

/* ---- operands, stack and memo ---- */

/* The next n bytes of the program, or NULL. */
static const unsigned char *take(struct machine *m, size_t n)
{
    if (n > m->n - m->at) {
        bad(m, CORRUPT, "operand of %zu bytes, %zu are left", n, m->n - m->at);
        return NULL;
    }
    const unsigned char *p = m->p + m->at;
    m->at += n;
    return p;
}

static int push(struct machine *m, struct pt_value *v)
{
    if (!v)
        return -1;
    if (m->n_stack + m->n_marks >= PT_MAX_STACK)
        return bad(m, LIMIT, "stack has %d entries, want no more", (int)PT_MAX_STACK);
    if (prep_grow(&m->stack, &m->cap_stack, m->n_stack, sizeof(struct pt_value *), m->err))
        return -1;
    m->stack[m->n_stack++] = v;
    return 0;
}

/* Values below the last mark are out of reach. */
static size_t stack_floor(const struct machine *m)
{
    return m->n_marks ? m->marks[m->n_marks - 1] : 0;
}

static struct pt_value *top(struct machine *m)
{
    if (m->n_stack > stack_floor(m))
        return m->stack[m->n_stack - 1];
    bad(m, CORRUPT, "opcode 0x%02x needs a value, the stack has none", m->p[m->op_at]);
    return NULL;
}

static struct pt_value *pop(struct machine *m)
{
    struct pt_value *v = top(m);
    if (v)
        m->n_stack--;
    return v;
}

/* Take everything above the last mark off the stack; the array is valid until the next push. */
static int pop_mark(struct machine *m, struct pt_value ***items, size_t *n)
{
    if (m->n_marks == 0)
        return bad(m, CORRUPT, "opcode 0x%02x needs a mark, there is none", m->p[m->op_at]);
    size_t at = m->marks[--m->n_marks];
    *items = m->n_stack > at ? m->stack + at : NULL; /* there may be no stack at all yet */
    *n = m->n_stack - at;
    m->n_stack = at;
    return 0;
}

static struct pt_value *new_value(struct machine *m, enum pt_type type)
{
    struct pt_value *v = arena_calloc(&m->pt->arena, 1, sizeof *v, m->err);
    if (!v)
        return NULL;
    v->type = (unsigned char)type;
    v->depth = type == PT_TUPLE || type == PT_LIST || type == PT_DICT || type == PT_OBJECT;
    return v;
}

static int push_new(struct machine *m, enum pt_type type)
{
    return push(m, new_value(m, type));
}

static int push_int(struct machine *m, enum pt_type type, int64_t i)
{
    struct pt_value *v = new_value(m, type);
    if (!v)
        return -1;
    v->i = i;
    return push(m, v);
}

static int memo_put(struct machine *m, size_t i)
{
    struct pt_value *v = top(m);
    if (!v)
        return -1;
    if (i >= PT_MAX_MEMO)
        return bad(m, LIMIT, "memo entry %zu, want less than %d", i, (int)PT_MAX_MEMO);
    if (i >= m->n_memo) {
        size_t n = m->n_memo * 2 > i + 1 ? m->n_memo * 2 : i + 64;
        struct pt_value **grown = realloc(m->memo, n * sizeof(struct pt_value *));
        if (!grown)
            return prep_fail(m->err, PREP_ENOMEM, "out of memory for %zu memo entries", n);
        for (size_t k = m->n_memo; k < n; k++)
            grown[k] = NULL;
        m->memo = grown;
        m->n_memo = n;
    }
    m->memo[i] = v;
    return 0;
}

static int memo_get(struct machine *m, size_t i)
{
    if (i >= m->n_memo || !m->memo[i])
        return bad(m, CORRUPT, "memo entry %zu is not set", i);
    return push(m, m->memo[i]);
}

/* ---- containers ---- */

/* Append n values to a tuple, list or dictionary. */
static int store(struct machine *m, struct pt_value *into, struct pt_value **items, size_t n)
{
    if (into->stored)
        return bad(m, CORRUPT, "%s changes after it was made part of another value",
                   pt_type_name(into));
    if (n > into->cap - into->n) {
        size_t cap = into->cap ? (size_t)into->cap * 2 : 2;
        cap = cap < into->n + n ? into->n + n : cap;
        struct pt_value **grown =
            arena_calloc(&m->pt->arena, cap, sizeof(struct pt_value *), m->err);
        if (!grown)
            return -1;
        if (into->n)
            memcpy(grown, into->items, into->n * sizeof(struct pt_value *));
        into->items = grown;
        into->cap = (uint32_t)cap; /* at most twice PT_MAX_OPCODES */
    }
    for (size_t i = 0; i < n; i++) {
        struct pt_value *v = items[i];
        if (v == into)
            return bad(m, CORRUPT, "%s holds itself", pt_type_name(into));
        if (v->depth >= PT_MAX_DEPTH)
            return bad(m, LIMIT, "values are nested more than %d deep", (int)PT_MAX_DEPTH);
        if (v->depth >= into->depth)
            into->depth = (unsigned char)(v->depth + 1);
        v->stored = 1;
        into->items[into->n++] = v;
    }
    return 0;
}

static int extend(struct machine *m, enum pt_type type, struct pt_value **items, size_t n)
{
    struct pt_value *into = top(m);
    if (!into)
        return -1;
    if (into->type != type)
        return bad(m, CORRUPT, "opcode 0x%02x meets a %s, want a %s", m->p[m->op_at],
                   pt_type_name(into), type == PT_LIST ? "list" : "dictionary");
    if (type == PT_DICT && n % 2)
        return bad(m, CORRUPT, "a dictionary gets a key without a value");
    return store(m, into, items, n);
}

static int push_tuple(struct machine *m, struct pt_value **items, size_t n)
{
    struct pt_value *v = new_value(m, PT_TUPLE);
    return !v || store(m, v, items, n) || push(m, v);
}

static int op_tuple_of(struct machine *m, unsigned n)
{
    struct pt_value *items[3];
    for (unsigned i = n; i-- > 0;) {
        items[i] = pop(m);
        if (!items[i])
            return -1;
    }
    return push_tuple(m, items, n);
}

/* ---- opcodes ---- */

static int op_binpersid(struct machine *m, unsigned arg)
{
    (void)arg;
    struct pt_value *id = pop(m);
    struct pt_value *v = id ? new_value(m, PT_STORAGE) : NULL;
    if (!v)
        return -1;
    v->storage = pt_storage_new(m->pt, id, m->err);
    return v->storage ? push(m, v) : note_place(m);
}

static int rebuild_tensor(struct machine *m, const struct pt_value *args)
{
    struct pt_value *v = new_value(m, PT_TENSOR);
    if (!v)
        return -1;
    v->tensor = pt_tensor_new(m->pt, args, m->err);
    return v->tensor ? push(m, v) : note_place(m);
}

static int op_push(struct machine *m, unsigned type)
{
    return push_new(m, (enum pt_type)type);
}

static int op_bool(struct machine *m, unsigned v)
{
    return push_int(m, PT_BOOL, v);
}

/* An unsigned operand of 1, 2 or 4 bytes. */
static int take_uint(struct machine *m, unsigned width, uint32_t *v)
{
    const unsigned char *p = take(m, width);
    if (!p)
        return -1;
    *v = width == 1 ? p[0] : width == 2 ? load_le16(p) : load_le32(p);
    return 0;
}

static int op_put(struct machine *m, unsigned width)
{
    uint32_t i = 0;
    return take_uint(m, width, &i) || memo_put(m, i);
}

static int op_get(struct machine *m, unsigned width)
{
    uint32_t i = 0;
    return take_uint(m, width, &i) || memo_get(m, i);
}

static int op_uint(struct machine *m, unsigned width)
{
    uint32_t v = 0;
    return take_uint(m, width, &v) || push_int(m, PT_INT, v);
}

static int op_proto(struct machine *m, unsigned arg)
{
    (void)arg;
    const unsigned char *p = take(m, 1);
    if (!p)
        return -1;
    return *p == 2 ? 0 : bad(m, FORBIDDEN, "pickle protocol %u, want 2", *p);
}

static int op_mark(struct machine *m, unsigned arg)
{
    (void)arg;
    if (m->n_stack + m->n_marks >= PT_MAX_STACK)
        return bad(m, LIMIT, "stack has %d entries, want no more", (int)PT_MAX_STACK);
    if (prep_grow(&m->marks, &m->cap_marks, m->n_marks, sizeof *m->marks, m->err))
        return -1;
    m->marks[m->n_marks++] = m->n_stack;
    return 0;
}

static int op_binint(struct machine *m, unsigned arg)
{
    (void)arg;
    const unsigned char *p = take(m, 4);
    return p ? push_int(m, PT_INT, (int32_t)load_le32(p)) : -1;
}

static int op_long1(struct machine *m, unsigned arg)
{
    (void)arg;
    const unsigned char *len = take(m, 1);
    if (!len)
        return -1;
    if (*len > 8)
        return bad(m, LIMIT, "integer of %u bytes, want at most 8", *len);
    const unsigned char *p = take(m, *len);
    if (!p)
        return -1;
    uint64_t v = *len && p[*len - 1] >= 0x80 ? UINT64_MAX : 0;
    for (int i = *len - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return push_int(m, PT_INT, (int64_t)v);
}

static int op_binfloat(struct machine *m, unsigned arg)
{
    (void)arg;
    const unsigned char *p = take(m, 8);
    struct pt_value *v = p ? new_value(m, PT_FLOAT) : NULL;
    if (!v)
        return -1;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    memcpy(&v->f, &bits, sizeof bits);
    return push(m, v);
}

static int op_binunicode(struct machine *m, unsigned arg)
{
    (void)arg;
    const unsigned char *len = take(m, 4);
    if (!len)
        return -1;
    size_t n = load_le32(len);
    if (n > PT_MAX_STRING)
        return bad(m, LIMIT, "string of %zu bytes, want at most %d", n, (int)PT_MAX_STRING);
    const unsigned char *p = take(m, n);
    struct pt_value *v = p ? new_value(m, PT_STRING) : NULL;
    if (!v)
        return -1;
    v->s = (struct span){p, n};
    return push(m, v);
}

/* A name up to the next line feed. */
static int take_line(struct machine *m, struct span *line)
{
    const unsigned char *p = m->p + m->at;
    const unsigned char *end = memchr(p, '\n', m->n - m->at);
    if (!end)
        return bad(m, CORRUPT, "name of a global has no end");
    *line = (struct span){p, (size_t)(end - p)};
    m->at += line->n + 1;
    return 0;
}

static int span_is(struct span s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

static int op_global(struct machine *m, unsigned arg)
{
    (void)arg;
    struct span module, name;
    if (take_line(m, &module) || take_line(m, &name))
        return -1;
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (span_is(module, globals[i].module) && span_is(name, globals[i].name))
            return push_int(m, PT_GLOBAL, (int64_t)i);
    }
    return bad(m, FORBIDDEN, "refers to %.*s.%.*s, which statistics never need",
               (int)(module.n < 100 ? module.n : 100), (const char *)module.p,
               (int)(name.n < 100 ? name.n : 100), (const char *)name.p);
}

static int op_tuple(struct machine *m, unsigned arg)
{
    (void)arg;
    struct pt_value **items = NULL;
    size_t n = 0;
    return pop_mark(m, &items, &n) || push_tuple(m, items, n);
}

static int op_reduce(struct machine *m, unsigned arg)
{
    (void)arg;
    struct pt_value *args = pop(m);
    struct pt_value *fn = args ? pop(m) : NULL;
    if (!fn)
        return -1;
    if (fn->type != PT_GLOBAL || args->type != PT_TUPLE)
        return bad(m, CORRUPT, "REDUCE of a %s with a %s", pt_type_name(fn), pt_type_name(args));
    const struct global *g = &globals[fn->i];
    switch (g->kind) {
    case G_TENSOR:
        return rebuild_tensor(m, args);
    case G_PARAMETER:
        if (args->n == 3 && args->items[0]->type == PT_TENSOR)
            return push(m, args->items[0]);
        break;
    case G_DICT:
        if (args->n == 0)
            return push_new(m, PT_DICT);
        break;
    case G_DEVICE: /* where a tensor once lived means nothing here */
        return push_new(m, PT_NONE);
    case G_SIZE:
        if (args->n == 1 && args->items[0]->type == PT_TUPLE)
            return push(m, args->items[0]);
        break;
    case G_DTYPE:
    case G_OBJECT:
    case G_STORAGE:
        break;
    }
    return bad(m, CORRUPT, "%s.%s is called with arguments it does not take", g->module, g->name);
}

static int op_newobj(struct machine *m, unsigned arg)
{
    (void)arg;
    struct pt_value *args = pop(m);
    struct pt_value *class = args ? pop(m) : NULL;
    if (!class)
        return -1;
    if (args->type != PT_TUPLE || args->n || class->type != PT_GLOBAL ||
        globals[class->i].kind != G_OBJECT)
        return bad(m, CORRUPT, "NEWOBJ wants an allowed class and an empty tuple");
    return push_new(m, PT_OBJECT);
}

static int op_build(struct machine *m, unsigned arg)
{
    (void)arg;
    struct pt_value *state = pop(m);
    struct pt_value *object = state ? top(m) : NULL;
    if (!object)
        return -1;
    if (state->type != PT_DICT || object->type != PT_OBJECT)
        return bad(m, CORRUPT, "BUILD of a %s from a %s", pt_type_name(object),
                   pt_type_name(state));
    return store(m, object, state->items, state->n);
}

/* The last 1 or 2 values, or with n = 0 all above the mark, go into the container below. */
static int extend_by(struct machine *m, unsigned type, size_t n)
{
    struct pt_value *last[2], **items = last;
    for (size_t i = n; i-- > 0;) {
        last[i] = pop(m);
        if (!last[i])
            return -1;
    }
    if (n == 0 && pop_mark(m, &items, &n))
        return -1;
    return extend(m, (enum pt_type)type, items, n);
}

static int op_append(struct machine *m, unsigned n)
{
    return extend_by(m, PT_LIST, n);
}

static int op_setitem(struct machine *m, unsigned n)
{
    return extend_by(m, PT_DICT, n);
}

static int op_stop(struct machine *m, unsigned arg)
{
    (void)arg;
    if (m->n_marks || m->n_stack != 1)
        return bad(m, CORRUPT, "stops with %zu values and %zu marks, want one value", m->n_stack,
                   m->n_marks);
    if (m->at != m->n)
        return bad(m, CORRUPT, "%zu bytes after STOP", m->n - m->at);
    m->pt->root = m->stack[0];
    m->stopped = 1;
    return 0;
}

static const struct opcode {
    int (*run)(struct machine *m, unsigned arg); /* NULL: not on the list */
    unsigned arg;
} opcodes[256] = {
    [0x28] = {op_mark, 0},     [0x29] = {op_push, PT_TUPLE}, [0x2e] = {op_stop, 0},
    [0x47] = {op_binfloat, 0}, [0x4a] = {op_binint, 0},      [0x4b] = {op_uint, 1},
    [0x4d] = {op_uint, 2},     [0x4e] = {op_push, PT_NONE},  [0x51] = {op_binpersid, 0},
    [0x52] = {op_reduce, 0},   [0x58] = {op_binunicode, 0},  [0x5d] = {op_push, PT_LIST},
    [0x61] = {op_append, 1},   [0x62] = {op_build, 0},       [0x63] = {op_global, 0},
    [0x65] = {op_append, 0},   [0x68] = {op_get, 1},         [0x6a] = {op_get, 4},
    [0x71] = {op_put, 1},      [0x72] = {op_put, 4},         [0x73] = {op_setitem, 2},
    [0x74] = {op_tuple, 0},    [0x75] = {op_setitem, 0},     [0x7d] = {op_push, PT_DICT},
    [0x80] = {op_proto, 0},    [0x81] = {op_newobj, 0},      [0x85] = {op_tuple_of, 1},
    [0x86] = {op_tuple_of, 2}, [0x87] = {op_tuple_of, 3},    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},     [0x8a] = {op_long1, 0},
};

static int run(struct machine *m)
{
    for (size_t n_ops = 0; !m->stopped; n_ops++) {
        m->op_at = m->at;
        if (m->at == m->n)
            return bad(m, CORRUPT, "the pickle ends without STOP");
        if (n_ops == PT_MAX_OPCODES)
            return bad(m, LIMIT, "more than %d opcodes", (int)PT_MAX_OPCODES);
        const struct opcode *op = &opcodes[m->p[m->at++]];
        if (!op->run)
            return bad(m, FORBIDDEN, "opcode 0x%02x, which statistics never need", m->p[m->op_at]);
        if (op->run(m, op->arg))
            return -1;
    }
    return 0;
}

int pt_pickle_run(struct pt *pt, struct span pickle, struct prep_error *err)
{
    struct machine m = {.pt = pt, .p = pickle.p, .n = pickle.n, .err = err};
    int rc = run(&m);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    return rc ? -1 : 0;
}
