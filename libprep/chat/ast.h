/* SPDX-License-Identifier: MIT */
/*
 * ast.h - a parsed template: values, nodes, scopes. For libprep/chat only.
 *
 * parse.h makes the nodes, scope.c finds the names that a scope hides although they have no value
 * yet. Nothing changes afterwards.
 *
 * Shapes     what the children of a node are is said beside its kind
 * Ownership  everything lives in the template's arena; names are numbers into its table
 * Errors     those of parse.h
 * Threads    const once parsed
 */
#ifndef PREP_CHAT_AST_H
#define PREP_CHAT_AST_H

#include "libprep/base/arena.h"
#include "libprep/base/hash.h"
#include "libprep/base/table.h"
#include "libprep/chat/text.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TPL_MAX_TEMPLATE = 1 << 20, TPL_MAX_NESTING = 100 };

enum tpl_kind {
    TPL_UNDEFINED, /* why: what using it says */
    TPL_NONE,
    TPL_BOOL, /* i is 0 or 1 */
    TPL_INT,
    TPL_BIG, /* s: digits of an integer beyond 64 bits */
    TPL_FLOAT,
    TPL_STRING,
    TPL_MARKUP, /* an escaped string: it can be printed, nothing else */
    TPL_LIST,
    TPL_DICT,
    TPL_NAMESPACE,
    TPL_MACRO,
    TPL_METHOD,
    TPL_FUNCTION, /* i: enum tpl_function */
    TPL_LOOP,
};

struct tpl_value {
    enum tpl_kind kind;
    union {
        int64_t i;
        double f;
        const char *why;
        struct tpl_str *s;
        struct tpl_list *l;
        struct tpl_dict *d;
        struct tpl_macro *macro;
        struct tpl_method *method;
        struct tpl_loop *loop;
    } u;
};

enum tpl_op {
    TPL_ADD,
    TPL_SUB,
    TPL_MUL,
    TPL_DIV,
    TPL_FLOORDIV,
    TPL_MOD,
    TPL_POW,
    TPL_EQ,
    TPL_NE,
    TPL_LT,
    TPL_LE,
    TPL_GT,
    TPL_GE,
    TPL_IN,
    TPL_NOT_IN,
};

enum tpl_node_kind {
    /* Expressions. */
    TPL_N_CONST,   /* value */
    TPL_N_NAME,    /* name */
    TPL_N_GETATTR, /* [object], value: a string */
    TPL_N_GETITEM, /* [object, key] */
    TPL_N_SLICE,   /* [start, stop, step], each may be NULL; only as a key */
    TPL_N_CALL,    /* [what, arguments...], arg_names */
    TPL_N_FILTER,  /* op: which; [value, arguments...], arg_names */
    TPL_N_TEST,    /* same */
    TPL_N_NOT,     /* [value] */
    TPL_N_NEG,
    TPL_N_POS,
    TPL_N_BINARY,  /* op; [left, right] */
    TPL_N_CONCAT,  /* [values...] */
    TPL_N_COMPARE, /* ops; [first, others...] */
    TPL_N_AND,     /* [left, right] */
    TPL_N_OR,
    TPL_N_COND,  /* [test, yes, no or NULL] */
    TPL_N_LIST,  /* [items...] */
    TPL_N_TUPLE, /* [items...]; also a target */
    TPL_N_DICT,  /* [key, value, key...] */
    TPL_N_NSREF, /* name.value, a target */
    /* Statements. */
    TPL_N_BLOCK,     /* [statements...] */
    TPL_N_TEXT,      /* value: a string */
    TPL_N_PRINT,     /* [value] */
    TPL_N_IF,        /* [test, block, test, block..., block of else] */
    TPL_N_FOR,       /* [target, items, test or NULL, body, else or NULL]; scopes */
    TPL_N_SET,       /* [target, value] */
    TPL_N_SET_BLOCK, /* [target, body]; scopes[0] */
    TPL_N_MACRO,     /* name; [body, defaults of the last parameters...]; params; scopes[0] */
    TPL_N_BREAK,
    TPL_N_CONTINUE,
};

/* The scopes of a loop. */
enum { TPL_SCOPE_BODY, TPL_SCOPE_TEST, TPL_SCOPE_ELSE, TPL_N_SCOPES };

/*
 * jinja2 decides before a run where a name lives. One that a scope sets, and that no outer scope
 * mentions, has no value until then, even where a variable of that name was passed.
 */
struct tpl_scope {
    uint32_t *hidden;
    size_t n_hidden;
    int has_macro; /* a macro defined in it may outlive an iteration */
};

struct tpl_node {
    enum tpl_node_kind kind;
    uint32_t line, name, n, n_params;
    int op;
    struct tpl_node **kids;
    struct tpl_value value;
    const struct tpl_str **arg_names; /* n - 1, NULL for a positional one */
    uint8_t *ops;                     /* n - 1 */
    uint32_t *params;
    struct tpl_scope *scopes;
};

struct chat_template {
    struct arena arena;
    char *name;
    struct name_table names;
    const char **name_texts; /* by number */
    size_t n_names, cap_names;
    struct tpl_node *root;
    struct tpl_scope scope;
    char sha256[SHA256_HEX];
};

/* Filters and tests by name: a number, -1 for one jinja2 has and we do not, -2 for none. */
int tpl_find_filter(const char *s, size_t n);
int tpl_find_test(const char *s, size_t n);
int tpl_find_function(const char *s); /* -1 for none */

#ifdef __cplusplus
}
#endif
#endif
