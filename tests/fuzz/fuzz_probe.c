/* SPDX-License-Identifier: MIT */
/*
 * Input: an answer of a model, a line "----", a prompt set. The set is read or refused; the answer
 * is judged by every prompt of it; what is parsed lies inside the answer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/probe/answer.h"
#include "libprep/probe/prompt_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_inside(struct span part, const char *s, size_t n)
{
    const unsigned char *begin = (const unsigned char *)s;
    check(!part.n || (part.p >= begin && part.p + part.n <= begin + n));
}

static void check_answer(const char *s, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct answer_number number;
    struct tool_calls calls;
    struct span visible = answer_visible(s, n);
    size_t at = 0, before = 0;
    check_inside(visible, s, n);
    while (answer_next_number(&number, visible, &at)) {
        check(at > before && at <= visible.n);
        before = at;
    }
    check(tool_calls_parse(&calls, s, n, &err) == 0);
    check_inside(calls.text, s, n);
    for (size_t i = 0; i < calls.n; i++) {
        const struct tool_call *c = &calls.calls[i];
        check(c->first + c->n <= calls.n_arguments && c->name.n > 0);
        check_inside(c->name, s, n);
    }
    for (size_t i = 0; i < calls.n_arguments; i++) {
        check_inside(calls.arguments[i].key, s, n);
        check_inside(calls.arguments[i].value, s, n);
    }
    tool_calls_free(&calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    static const char line[] = "\n----\n";
    const char *s = (const char *)data, *cut = memmem(s, size, line, sizeof line - 1);
    struct prompt_set set;
    size_t n = cut ? (size_t)(cut - s) : size;
    check_answer(s, n);
    if (!cut)
        return 0;
    const char *text = cut + sizeof line - 1;
    if (prompt_set_parse(&set, text, size - (size_t)(text - s), "fuzz", &err)) {
        check(err.code == PREP_EDATA);
        return 0;
    }
    for (size_t i = 0; i < set.n; i++) {
        struct prompt_verdict v;
        struct arena arena;
        struct span request;
        arena_init(&arena, 0);
        check(prompt_try(&v, &set, i, s, n, &err) == 0 && (v.right == 0 || v.right == 1));
        check(prompt_request(&request, &set, i, &arena, &err) == 0);
        arena_fini(&arena);
    }
    prompt_set_close(&set);
    return 0;
}
