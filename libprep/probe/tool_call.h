/* SPDX-License-Identifier: MIT */
/*
 * tool_call.h - is what a model wrote a tool call, and a sound one?
 *
 *   text <tool_call>NAME<arg_key>K</arg_key><arg_value>V</arg_value>...</tool_call> more calls
 *
 * GLM's format, with line feeds between the parts (4.5, 4.6) or without. Thinking does not count
 * (answer.h). A call is held against the tools of the conversation: its name is one of theirs, its
 * keys are among the properties and hold all that are required, values have the type and are among
 * the "enum". A value is JSON unless a string is wanted; strings are raw.
 *
 * Ownership  results point into the text; parsed lists are freed by the caller
 * Errors     PREP_ENOMEM; faults of the text are results
 * Threads    pure functions
 */
#ifndef PREP_PROBE_TOOL_CALL_H
#define PREP_PROBE_TOOL_CALL_H

#include "libprep/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tool_fault {
    TOOL_SOUND,
    TOOL_UNFINISHED,  /* a tag is not closed */
    TOOL_STRAY,       /* text or a tag where none belongs, inside a call */
    TOOL_TEXT_BEHIND, /* text behind the last call */
    TOOL_NO_NAME,
    TOOL_UNKNOWN_NAME,
    TOOL_UNKNOWN_KEY,
    TOOL_REPEATED_KEY,
    TOOL_MISSING_KEY,
    TOOL_WRONG_TYPE,
    TOOL_NOT_IN_ENUM,
    TOOL_N_FAULTS
};

/* "a value has the wrong type" and the like. */
const char *tool_fault_text(enum tool_fault fault);

struct tool_argument {
    struct span key, value;
};

struct tool_call {
    struct span name;
    size_t first, n; /* of its arguments */
};

struct tool_calls {
    struct tool_call *calls;
    struct tool_argument *arguments;
    size_t n, cap, n_arguments, cap_arguments;
    struct span text; /* what stands before the first call */
    enum tool_fault fault;
};

/* Find the calls of an answer; none is no fault. */
PREP_MUST_CHECK int tool_calls_parse(struct tool_calls *out, const char *text, size_t n,
                                     struct prep_error *err);
void tool_calls_free(struct tool_calls *calls);

/*
 * The first fault of the calls: that of the format, else held against `tools`, a list of objects
 * {"type": "function", "function": {"name", "parameters"}} or of the inner ones.
 */
PREP_MUST_CHECK int tool_calls_check(enum tool_fault *fault, const struct tool_calls *calls,
                                     const struct json *tools, uint32_t list,
                                     struct prep_error *err);

/* Is a raw value the same as a node: the text of a string, else equal JSON? 1, 0 or -1. */
PREP_MUST_CHECK int tool_value_is(struct span value, const struct json *d, uint32_t node,
                                  struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
