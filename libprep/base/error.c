/* SPDX-License-Identifier: MIT */
#include "libprep/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Messages quote names from hostile files: no control byte may reach a terminal. */
static void make_printable(char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f)
            *s = '?';
    }
}

/* A message that did not fit says so. */
static void mark_cut(char *s, size_t size)
{
    memcpy(s + size - 4, "...", 4);
}

int prep_raise(struct prep_error *err, enum prep_code code, int sys, const char *tag,
               const char *file, int line, const char *fmt, ...)
{
    if (err->code != PREP_OK)
        return -1;
    err->code = code;
    err->sys = sys;
    err->tag = tag;
    err->file = file;
    err->line = line;

    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n < 0)
        err->msg[0] = 0;
    size_t len = strlen(err->msg);
    if (sys > 0 && len + 3 < sizeof err->msg) {
        char text[128] = "";
        /* strerror_r has two incompatible prototypes; strerrordesc_np is thread-safe and plain. */
        const char *desc = strerrordesc_np(sys);
        snprintf(text, sizeof text, "%s", desc ? desc : "unknown error");
        int m = snprintf(err->msg + len, sizeof err->msg - len, ": %s", text);
        n = m < 0 ? n : n + m;
    }
    if (n >= (int)sizeof err->msg)
        mark_cut(err->msg, sizeof err->msg);
    make_printable(err->msg);
    return -1;
}

int prep_note(struct prep_error *err, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -1;
    if (n >= (int)sizeof text)
        mark_cut(text, sizeof text);
    make_printable(text);

    size_t head = strlen(text), tail = strlen(err->msg);
    if (head + 2 + tail + 1 > sizeof err->msg) {
        if (head + 2 + 4 > sizeof err->msg)
            return -1;
        tail = sizeof err->msg - head - 3;
        err->msg[tail] = 0;
        mark_cut(err->msg, tail + 1);
    }
    memmove(err->msg + head + 2, err->msg, tail + 1);
    memcpy(err->msg, text, head);
    memcpy(err->msg + head, ": ", 2);
    return -1;
}

void prep_error_clear(struct prep_error *err)
{
    *err = (struct prep_error)PREP_ERROR_INIT;
}

int prep_exit_code(enum prep_code code)
{
    switch (code) {
    case PREP_OK:
        return 0;
    case PREP_EVERIFY:
        return 1;
    case PREP_EUSAGE:
        return 64;
    case PREP_EDATA:
        return 65;
    case PREP_ENOINPUT:
        return 66;
    case PREP_EUNSUP:
    case PREP_EDEVICE:
        return 69;
    case PREP_EBUG:
        return 70;
    case PREP_ENOMEM:
        return 71;
    case PREP_ECREATE:
        return 73;
    case PREP_EIO:
        return 74;
    case PREP_ESTOPPED:
        return 75;
    case PREP_ERECIPE:
        return 78;
    }
    return 70;
}
