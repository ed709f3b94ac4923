/* SPDX-License-Identifier: MIT */
/*
 * error.h - one error, carried upward, printed once by the tool.
 *
 * A fallible function returns 0 or -1 and takes a struct prep_error last. The first error
 * raised sticks; prep_note() prefixes context on the way up; success leaves it untouched, so
 * calls chain with ||. Raising never allocates.
 *
 * Shapes     none
 * Ownership  the struct is caller memory; `tag` and `file` point to string literals
 * Errors     every code maps to one process exit code (prep_exit_code)
 * Threads    a prep_error belongs to one thread at a time
 */
#ifndef PREP_BASE_ERROR_H
#define PREP_BASE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define PREP_MUST_CHECK __attribute__((warn_unused_result))
#define PREP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum prep_code {
    PREP_OK = 0,
    PREP_EUSAGE,   /* 64: an option asks the impossible */
    PREP_EDATA,    /* 65: bad data */
    PREP_ENOINPUT, /* 66: an input file is missing or unreadable */
    PREP_EUNSUP,   /* 69: valid, but not implemented or no device */
    PREP_EDEVICE,  /* 69: the accelerator failed */
    PREP_EBUG,     /* 70: our own invariant broke */
    PREP_ENOMEM,   /* 71 */
    PREP_ECREATE,  /* 73: output cannot be created, is locked, finished or in the way */
    PREP_EIO,      /* 74 */
    PREP_ESTOPPED, /* 75: stopped cleanly by a signal; the next run goes on */
    PREP_ERECIPE,  /* 78 */
    PREP_EVERIFY,  /* 1: a check ran and found faults or differences */
};

struct prep_error {
    enum prep_code code;
    int sys;          /* errno or CUDA status behind it, else 0 */
    const char *tag;  /* class of the fault as in the docs ("OBS_ZIP_CRC"), or "" */
    const char *file; /* where it was raised */
    int line;
    char msg[960]; /* one line, control bytes replaced; ends in "..." when cut */
};

#define PREP_ERROR_INIT                                                                            \
    {                                                                                              \
        PREP_OK, 0, "", "", 0, ""                                                                  \
    }

/* Raise: returns -1. Does nothing but return -1 when an error is already set. */
#define prep_fail(err, code, ...) prep_raise((err), (code), 0, "", __FILE__, __LINE__, __VA_ARGS__)
/* Raise with a documented class name, a string literal. */
#define prep_fail_tag(err, code, tag, ...)                                                         \
    prep_raise((err), (code), 0, (tag), __FILE__, __LINE__, __VA_ARGS__)
/* Raise with an errno value; its text is appended to the message. */
#define prep_fail_sys(err, code, sys, ...)                                                         \
    prep_raise((err), (code), (sys), "", __FILE__, __LINE__, __VA_ARGS__)

int prep_raise(struct prep_error *err, enum prep_code code, int sys, const char *tag,
               const char *file, int line, const char *fmt, ...) PREP_PRINTF(7, 8);

/* Prefix "context: " to the message; returns -1. */
int prep_note(struct prep_error *err, const char *fmt, ...) PREP_PRINTF(2, 3);

/* Forget the error, so that the struct can be used again. */
void prep_error_clear(struct prep_error *err);

/* The process exit code of style.md section 9. */
int prep_exit_code(enum prep_code code);

#ifdef __cplusplus
}
#endif
#endif
