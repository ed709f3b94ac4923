/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/chat/parse.h"

/*
 *   text  {%- for x in y %}  text  {{ x }}  text  {# note #}  {% raw %} text {% endraw %}
 *   DATA  BLOCK_BEGIN NAME.. BLOCK_END      PRINT_BEGIN NAME PRINT_END
 *
 * A sign behind an opening or before a closing tag rules the white space there: "-" takes all of
 * it away, "+" leaves it. Without one, blanks and tabs between the start of a line and a block tag
 * go (lstrip_blocks), and so does one line feed behind it (trim_blocks).
 */

enum { MAX_BRACKETS = 256 };

struct lexer {
    struct tpl_tokens *out;
    const char *name, *s;
    size_t n, at;
    size_t counted; /* bytes of which the line feeds are in `line` */
    uint32_t line;
    struct prep_error *err;
    char brackets[MAX_BRACKETS]; /* those that will close what is open */
    int n_brackets;
};

static uint32_t line_at(struct lexer *l, size_t at)
{
    for (; l->counted < at; l->counted++)
        l->line += l->s[l->counted] == '\n';
    return l->line;
}

static int fail(struct lexer *l, size_t at, const char *what)
{
    return prep_fail_tag(l->err, PREP_EDATA, "TPL_SYNTAX", "%s: line %u: %s", l->name,
                         line_at(l, at), what);
}

static int add(struct lexer *l, enum tpl_token_kind kind, size_t at, size_t n)
{
    struct tpl_tokens *out = l->out;
    if (prep_grow(&out->items, &out->cap, out->n, sizeof *out->items, l->err))
        return -1;
    out->items[out->n++] = (struct tpl_token){kind, line_at(l, at), l->s + at, n};
    return 0;
}

static int starts(const struct lexer *l, size_t at, const char *what)
{
    size_t n = strlen(what);
    return at <= l->n && l->n - at >= n && memcmp(l->s + at, what, n) == 0;
}

/* Behind the white space, any of Unicode's, that begins at `at`. */
static size_t skip_space(const struct lexer *l, size_t at)
{
    for (size_t len; at < l->n; at += len)
        if (!tpl_is_space(utf8_decode(l->s + at, &len)))
            break;
    return at;
}

/* Where the white space before `end` begins, no further back than `from`. */
static size_t skip_space_back(const struct lexer *l, size_t from, size_t end)
{
    while (end > from) {
        size_t last = end - 1, len;
        while (last > from && ((unsigned char)l->s[last] & 0xc0) == 0x80)
            last--;
        if (!tpl_is_space(utf8_decode(l->s + last, &len)))
            break;
        end = last;
    }
    return end;
}

/* Text before a tag: cut as the tag's sign, or lstrip_blocks, wants it. */
static int add_text(struct lexer *l, size_t from, size_t end, char sign, int is_print)
{
    if (sign == '-') {
        end = skip_space_back(l, from, end);
    } else if (sign != '+' && !is_print) {
        size_t start = skip_space_back(l, from, end), line = end;
        while (line > from && l->s[line - 1] != '\n')
            line--;
        /* The line must begin here, in this text or just before it. */
        if (start <= line && (line > from || from == 0 || l->s[from - 1] == '\n'))
            end = line;
    }
    return end > from ? add(l, TPL_T_DATA, from, end - from) : 0;
}

static char sign_at(const struct lexer *l, size_t at)
{
    return at < l->n && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at] : 0;
}

/* Behind a closing tag at `at`, with what it takes of the text that follows; 0 when none is here.
 */
static size_t close_tag(const struct lexer *l, size_t at, const char *tag)
{
    if (starts(l, at, tag)) {
        at += 2;
        return tag[0] != '}' && at < l->n && l->s[at] == '\n' ? at + 1 : at;
    }
    if (l->s[at] == '-' && starts(l, at + 1, tag))
        return skip_space(l, at + 3);
    return tag[0] != '}' && l->s[at] == '+' && starts(l, at + 1, tag) ? at + 3 : 0;
}

static int lex_comment(struct lexer *l, size_t from)
{
    for (size_t at = from; at < l->n; at++) {
        size_t end = close_tag(l, at, "#}");
        if (end) {
            l->at = end;
            return 0;
        }
    }
    return fail(l, from, "the comment that begins here has no end");
}

/* Behind the word `word` of a tag that holds nothing else, or 0. */
static size_t lone_word(const struct lexer *l, size_t at, const char *word)
{
    at = skip_space(l, at + 2 + (sign_at(l, at + 2) != 0));
    return starts(l, at, word) ? skip_space(l, at + strlen(word)) : 0;
}

/* {% raw %} at `at`? Then everything up to {% endraw %} is text. 1, 0 or -1. */
static int lex_raw(struct lexer *l, size_t at)
{
    size_t from = lone_word(l, at, "raw");
    if (!from)
        return 0;
    if (starts(l, from, "%}"))
        from += 2;
    else if (starts(l, from, "-%}"))
        from = skip_space(l, from + 3);
    else
        return 0;
    for (size_t end = from; end < l->n; end++) {
        size_t close = starts(l, end, "{%") ? lone_word(l, end, "endraw") : 0;
        close = close && close < l->n ? close_tag(l, close, "%}") : 0;
        if (!close)
            continue;
        l->at = close;
        return add_text(l, from, end, sign_at(l, end + 2), 0) ? -1 : 1;
    }
    return fail(l, at, "the raw block that begins here has no end");
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_name(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Behind digits with single underscores between them. */
static size_t digits(const struct lexer *l, size_t at)
{
    while (at < l->n &&
           (is_digit(l->s[at]) || (l->s[at] == '_' && at + 1 < l->n && is_digit(l->s[at + 1]))))
        at++;
    return at;
}

/* Behind an exponent at `at`, or `at`. */
static size_t exponent(const struct lexer *l, size_t at)
{
    size_t from = at + 1;
    if (at >= l->n || (l->s[at] | 0x20) != 'e')
        return at;
    from += from < l->n && (l->s[from] == '-' || l->s[from] == '+');
    return from < l->n && is_digit(l->s[from]) ? digits(l, from) : at;
}

static int lex_number(struct lexer *l)
{
    size_t from = l->at, end = digits(l, from), fraction = end;
    if (l->s[from] == '0' && from + 1 < l->n && strchr("xXoObB", l->s[from + 1]))
        return prep_fail_tag(l->err, PREP_EUNSUP, "TPL_UNSUPPORTED",
                             "%s: line %u: a number that is not decimal", l->name,
                             line_at(l, from));
    /* Behind a dot a number is a place in a list: x.0.1 */
    int place = from > 0 && l->s[from - 1] == '.';
    if (!place && end + 1 < l->n && l->s[end] == '.' && is_digit(l->s[end + 1]))
        fraction = digits(l, end + 1);
    size_t all = place ? end : exponent(l, fraction);
    l->at = all;
    if (all > end)
        return add(l, TPL_T_FLOAT, from, all - from);
    if (l->s[from] == '0')
        for (size_t i = from; i < end; i++)
            if (l->s[i] != '0' && l->s[i] != '_')
                return fail(l, from, "a number begins with 0");
    return add(l, TPL_T_INTEGER, from, end - from);
}

static int lex_string(struct lexer *l)
{
    size_t from = l->at, at = from + 1;
    while (at < l->n && l->s[at] != l->s[from])
        at += l->s[at] == '\\' ? 2 : 1;
    if (at >= l->n)
        return fail(l, from, "a string has no end");
    l->at = at + 1;
    return add(l, TPL_T_STRING, from + 1, at - from - 1);
}

static int lex_bracket(struct lexer *l, char c)
{
    const char *open = strchr("({[", c);
    if (c && open) {
        if (l->n_brackets == MAX_BRACKETS)
            return fail(l, l->at, "too many brackets are open");
        l->brackets[l->n_brackets++] = ")}]"[open - "({["];
        return 0;
    }
    if (strchr(")}]", c) && (!l->n_brackets || l->brackets[--l->n_brackets] != c))
        return fail(l, l->at, "a bracket closes that is not open");
    return 0;
}

static int lex_operator(struct lexer *l)
{
    static const char *const two[] = {"**", "//", "==", "!=", ">=", "<="};
    char c = l->s[l->at];
    size_t n = 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (starts(l, l->at, two[i]))
            n = 2;
    if (n == 1 && (!c || !strchr("+-/*%~[](){}><=.:|,;", c))) {
        if ((unsigned char)c >= 0x80)
            return prep_fail_tag(l->err, PREP_EUNSUP, "TPL_UNSUPPORTED",
                                 "%s: line %u: a character outside ASCII in a tag", l->name,
                                 line_at(l, l->at));
        return fail(l, l->at, "a character that means nothing in a tag");
    }
    if (n == 1 && strchr("[](){}", c) && lex_bracket(l, c))
        return -1;
    l->at += n;
    return add(l, TPL_T_OPERATOR, l->at - n, n);
}

static int lex_inside(struct lexer *l)
{
    char c = l->s[l->at];
    size_t space = skip_space(l, l->at);
    if (space > l->at) {
        l->at = space;
        return 0;
    }
    if (is_digit(c))
        return lex_number(l);
    if (is_name(c)) {
        size_t from = l->at;
        while (l->at < l->n && is_name(l->s[l->at]))
            l->at++;
        return add(l, TPL_T_NAME, from, l->at - from);
    }
    return c == '"' || c == '\'' ? lex_string(l) : lex_operator(l);
}

/* From behind "{{" or "{%" to behind what closes it. */
static int lex_tag(struct lexer *l, size_t begin, int is_print)
{
    const char *close = is_print ? "}}" : "%}";
    if (add(l, is_print ? TPL_T_PRINT_BEGIN : TPL_T_BLOCK_BEGIN, begin, 2))
        return -1;
    l->n_brackets = 0;
    while (l->at < l->n) {
        size_t end = l->n_brackets ? 0 : close_tag(l, l->at, close);
        if (end) {
            size_t at = l->at;
            l->at = end;
            return add(l, is_print ? TPL_T_PRINT_END : TPL_T_BLOCK_END, at, 2);
        }
        if (lex_inside(l))
            return -1;
    }
    return fail(l, begin, "the tag that begins here has no end");
}

static size_t next_tag(const struct lexer *l, size_t at)
{
    for (; at < l->n; at++)
        if (starts(l, at, "{{") || starts(l, at, "{%") || starts(l, at, "{#"))
            return at;
    return l->n;
}

static int lex_next(struct lexer *l)
{
    size_t from = l->at, begin = next_tag(l, from);
    if (begin == l->n) {
        l->at = begin;
        return begin > from ? add(l, TPL_T_DATA, from, begin - from) : 0;
    }
    char kind = l->s[begin + 1], sign = sign_at(l, begin + 2);
    if (add_text(l, from, begin, sign, kind == '{'))
        return -1;
    l->at = begin + 2 + (sign != 0);
    if (kind == '#')
        return lex_comment(l, l->at);
    int raw = kind == '%' ? lex_raw(l, begin) : 0;
    if (raw)
        return raw < 0 ? -1 : 0;
    return lex_tag(l, begin, kind == '{');
}

int tpl_lex(struct tpl_tokens *out, const char *name, const char *text, size_t n,
            struct prep_error *err)
{
    struct lexer l = {.out = out, .name = name, .s = text, .n = n, .line = 1, .err = err};
    while (l.at < l.n)
        if (lex_next(&l))
            return -1;
    return add(&l, TPL_T_END, n, 0);
}

/* ---- strings ---- */

struct unescaper {
    const char *s, *end;
    char *o;
};

/* The value of up to `max` digits of a base; -1 when there are fewer than `min`. */
static int64_t escape_number(struct unescaper *u, int base, int min, int max)
{
    int64_t v = 0;
    int i = 0;
    for (; i < max && u->s < u->end; i++, u->s++) {
        static const char all[] = "0123456789abcdef";
        char c = *u->s >= 'A' && *u->s <= 'F' ? (char)(*u->s + 32) : *u->s;
        const char *digit = c ? strchr(all, c) : NULL;
        if (!digit || digit - all >= base)
            break;
        v = v * base + (digit - all);
    }
    return i < min ? -1 : v;
}

/* What stands behind a backslash. 0, or -1 when Python refuses it or we do. */
static int unescape_one(struct unescaper *u)
{
    static const char plain[] = "\\'\"abfnrtv", means[] = "\\'\"\a\b\f\n\r\t\v";
    char c = *u->s;
    const char *known = c ? strchr(plain, c) : NULL;
    int64_t v;
    if (known) {
        *u->o++ = means[known - plain];
        u->s++;
        return 0;
    }
    if (c == '\n') {
        u->s++;
        return 0;
    }
    if (c >= '0' && c <= '7') {
        v = escape_number(u, 8, 1, 3);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        int n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        u->s++;
        v = escape_number(u, 16, n, n);
    } else if (c == 'N' || (unsigned char)c >= 0x80) {
        return -1; /* a character by its name; jinja2 garbles the other */
    } else {
        *u->o++ = '\\'; /* not an escape: stays */
        return 0;
    }
    if (v < 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return -1;
    u->o += utf8_encode((uint32_t)v, u->o);
    return 0;
}

int tpl_unescape(struct arena *arena, const char *name, const struct tpl_token *t, const char **p,
                 size_t *n, struct prep_error *err)
{
    char *copy = arena_alloc(arena, t->n + 1, err);
    if (!copy)
        return -1;
    struct unescaper u = {t->p, t->p + t->n, copy};
    while (u.s < u.end) {
        if (*u.s != '\\') {
            *u.o++ = *u.s++;
            continue;
        }
        u.s++;
        if (unescape_one(&u))
            return prep_fail_tag(err, PREP_EUNSUP, "TPL_UNSUPPORTED",
                                 "%s: line %u: an escape in a string that is not supported", name,
                                 t->line);
    }
    *p = copy;
    *n = (size_t)(u.o - copy);
    return 0;
}
