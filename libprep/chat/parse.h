/* SPDX-License-Identifier: MIT */
/*
 * parse.h - tokens, and what the files that parse share. For libprep/chat only.
 *
 * lex.c makes tokens of the text, parse.c (statements), parse_value.c and parse_expr.c make nodes
 * of the tokens, scope.c looks at what came out.
 *
 * Ownership  tokens are freed by the caller, nodes live in the template's arena
 * Errors     PREP_EDATA tag TPL_SYNTAX, PREP_EUNSUP tag TPL_UNSUPPORTED, with name and line
 * Threads    a parser belongs to one thread
 */
#ifndef PREP_CHAT_PARSE_H
#define PREP_CHAT_PARSE_H

#include "libprep/chat/ast.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tpl_token_kind {
    TPL_T_END,
    TPL_T_DATA,
    TPL_T_BLOCK_BEGIN,
    TPL_T_BLOCK_END,
    TPL_T_PRINT_BEGIN,
    TPL_T_PRINT_END,
    TPL_T_NAME,
    TPL_T_STRING,
    TPL_T_INTEGER,
    TPL_T_FLOAT,
    TPL_T_OPERATOR, /* text is the operator */
};

struct tpl_token {
    enum tpl_token_kind kind;
    uint32_t line;
    const char *p; /* text; of a string what stands between the quotes, still escaped */
    size_t n;
};

struct tpl_tokens {
    struct tpl_token *items;
    size_t n, cap;
};

/* Lines end in LF, one at the end is dropped. The tokens are freed by the caller. */
PREP_MUST_CHECK int tpl_lex(struct tpl_tokens *out, const char *name, const char *text, size_t n,
                            struct prep_error *err);
/* The value of a string token, in the arena. */
PREP_MUST_CHECK int tpl_unescape(struct arena *arena, const char *name, const struct tpl_token *t,
                                 const char **p, size_t *n, struct prep_error *err);

struct tpl_parser {
    struct chat_template *t;
    const struct tpl_token *at;
    struct prep_error *err;
    int depth, loops, macros; /* nesting; loops since the last macro; macros */
    int captures;             /* set blocks since the last loop */
};

/* Raise at the current token; -1. */
int tpl_syntax(struct tpl_parser *p, const char *wanted);
int tpl_refuse(struct tpl_parser *p, uint32_t line, const char *fmt, ...) PREP_PRINTF(3, 4);
struct tpl_node *tpl_node_new(struct tpl_parser *p, enum tpl_node_kind kind, uint32_t line,
                              size_t n);
int tpl_is(const struct tpl_parser *p, enum tpl_token_kind kind, const char *text);
int tpl_skip_if(struct tpl_parser *p, enum tpl_token_kind kind, const char *text);
PREP_MUST_CHECK int tpl_expect(struct tpl_parser *p, enum tpl_token_kind kind, const char *text);
PREP_MUST_CHECK int tpl_intern(struct tpl_parser *p, uint32_t *name, const char *s, size_t n);

/* Each returns NULL with the error set. */
struct tpl_node *tpl_parse_expression(struct tpl_parser *p, int conditional);
struct tpl_node *tpl_parse_primary(struct tpl_parser *p, int target);
enum { TPL_TARGET = 1, TPL_PLAIN = 2, TPL_PAREN = 4, TPL_NS = 8 };
/* Expressions separated by commas: a tuple, or the only one. `stop`: a name that ends it. */
struct tpl_node *tpl_parse_tuple(struct tpl_parser *p, int how, const char *stop);

PREP_MUST_CHECK int tpl_parse_template(struct chat_template *t, const struct tpl_tokens *tokens,
                                       struct prep_error *err);
PREP_MUST_CHECK int tpl_find_scopes(struct chat_template *t, struct prep_error *err);

/* Nodes that are collected while they are read, each with the name of an argument, or NULL. */
struct tpl_nodes {
    struct tpl_node **items;
    const struct tpl_str **names;
    size_t n, cap, cap_names;
};

/* Fails when the node is NULL. */
PREP_MUST_CHECK int tpl_push(struct tpl_parser *p, struct tpl_nodes *l, struct tpl_node *node,
                             const struct tpl_str *name);
/* A node of the collected children, which are freed; NULL when `failed`. */
struct tpl_node *tpl_collect(struct tpl_parser *p, struct tpl_nodes *l, int failed,
                             enum tpl_node_kind kind, uint32_t line);
/* One level deeper; the caller lowers p->depth again. */
PREP_MUST_CHECK int tpl_enter(struct tpl_parser *p);
struct tpl_str *tpl_make_str(struct tpl_parser *p, const char *s, size_t n);
struct tpl_node *tpl_parse_number(struct tpl_parser *p);

#ifdef __cplusplus
}
#endif
#endif
