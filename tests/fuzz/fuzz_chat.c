/* SPDX-License-Identifier: MIT */
/*
 * Input: a template, a line "----", a conversation. Whatever both are, a run ends: with a text that
 * is UTF-8 and whose parts cover it, or with one error that names a line.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/chat/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_error(const struct prep_error *err)
{
    check(err->code == PREP_EDATA || err->code == PREP_EUNSUP);
    check(strncmp(err->tag, "TPL_", 4) == 0);
    check(strncmp(err->tag, "TPL_SYNTAX", 10) == 0 || strcmp(err->tag, "TPL_LIMIT") == 0 ||
          strstr(err->msg, "line ") != NULL);
}

static void check_text(const struct chat_text *t)
{
    size_t at = 0;
    check(utf8_valid(t->p, t->n) == t->n);
    for (size_t i = 0; i < t->n_parts; i++) {
        check(t->parts[i].end > at && (!i || t->parts[i].data != t->parts[i - 1].data));
        at = t->parts[i].end;
    }
    check(at == t->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    static const char line[] = "\n----\n";
    const char *s = (const char *)data, *cut = memmem(s, size, line, sizeof line - 1);
    struct chat_template *t;
    struct chat_text text;
    struct chat c;
    if (!cut)
        return 0;
    const char *messages = cut + sizeof line - 1;
    if (chat_template_parse(&t, s, (size_t)(cut - s), "fuzz", &err)) {
        check_error(&err);
        return 0;
    }
    if (chat_open(&c, messages, size - (size_t)(messages - s), "messages",
                  CHAT_PARSE_ARGUMENTS | CHAT_EMPTY_CONTENT, NULL, &err)) {
        check(err.code == PREP_EDATA);
        chat_template_free(t);
        return 0;
    }
    if (chat_render(&text, &c, t, NULL, 0, 1, &err) == 0)
        check_text(&text);
    else
        check_error(&err);
    chat_text_free(&text);
    chat_close(&c);
    chat_template_free(t);
    return 0;
}
