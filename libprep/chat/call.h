/* SPDX-License-Identifier: MIT */
/*
 * call.h - calls of filters, tests, methods, functions and macros. For libprep/chat only.
 *
 * Ownership  results live in the run's arena, arguments are borrowed
 * Errors     those of value.h
 * Threads    a run belongs to one thread
 */
#ifndef PREP_CHAT_CALL_H
#define PREP_CHAT_CALL_H

#include "libprep/chat/value.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tpl_args {
    struct tpl_value *values;
    const struct tpl_str *const *names; /* NULL: positional */
    size_t n;
};

/* Calls. args are those after the value or the receiver. */
PREP_MUST_CHECK int tpl_filter(struct tpl_run *r, struct tpl_value *out, int filter,
                               struct tpl_value v, const struct tpl_args *args);
PREP_MUST_CHECK int tpl_test(struct tpl_run *r, int *out, int test, struct tpl_value v,
                             const struct tpl_args *args);
PREP_MUST_CHECK int tpl_method_call(struct tpl_run *r, struct tpl_value *out,
                                    const struct tpl_method *m, const struct tpl_args *args);
PREP_MUST_CHECK int tpl_function_call(struct tpl_run *r, struct tpl_value *out, int function,
                                      const struct tpl_args *args);
PREP_MUST_CHECK int tpl_loop_attribute(struct tpl_run *r, struct tpl_value *out,
                                       struct tpl_loop *loop, const struct tpl_str *name);
/* Test items until `want` have passed or there are no more. */
PREP_MUST_CHECK int tpl_loop_pull(struct tpl_loop *loop, size_t want);
/* Look for an argument by place or name: 1 and the value, 0, or -1 when both are given. */
int tpl_argument(struct tpl_value *out, const struct tpl_args *args, size_t place,
                 const char *name);
/* Fails when there are more than `places` positional arguments, or names not in the list. */
PREP_MUST_CHECK int tpl_check_args(struct tpl_run *r, const struct tpl_args *args, size_t places,
                                   const char *const *names, const char *what);
PREP_MUST_CHECK int tpl_macro_call(struct tpl_run *r, struct tpl_value *out,
                                   const struct tpl_macro *m, const struct tpl_args *args);
PREP_MUST_CHECK int tpl_to_json(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                                const struct tpl_args *args);

#ifdef __cplusplus
}
#endif
#endif
