/* SPDX-License-Identifier: MIT */
/*
 * convert.h - what methods, filters and functions of a template share. For libprep/chat only.
 *
 * Ownership  results live in the run's arena
 * Errors     those of value.h; changing the case of a letter outside ASCII is TPL_UNSUPPORTED
 * Threads    a run belongs to one thread
 */
#ifndef PREP_CHAT_CONVERT_H
#define PREP_CHAT_CONVERT_H

#include "libprep/chat/value.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tpl_case {
    TPL_CASE_UPPER,
    TPL_CASE_LOWER,
    TPL_CASE_CAPITALIZE,
    TPL_CASE_TITLE, /* str.title(): a word begins behind anything but a letter */
    TPL_CASE_WORDS, /* the title filter: behind white space and - ( { [ < */
};

PREP_MUST_CHECK int tpl_change_case(struct tpl_run *r, struct tpl_value *out,
                                    const struct tpl_str *s, enum tpl_case how);
/* most < 0: all. */
PREP_MUST_CHECK int tpl_replace(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s,
                                const struct tpl_str *old, const struct tpl_str *by, int64_t most);
/* convert: items that are no strings are printed; otherwise they are an error. */
PREP_MUST_CHECK int tpl_join(struct tpl_run *r, struct tpl_value *out,
                             const struct tpl_str *between, struct tpl_value list, int convert);
/* The number that a string spells, as Python reads it: an int (`whole`) or a float, none when it
 * spells no such number. */
PREP_MUST_CHECK int tpl_read_number(struct tpl_run *r, struct tpl_value *out,
                                    const struct tpl_str *given, int whole);
/* The filters of these names: `otherwise` where there is no number. */
PREP_MUST_CHECK int tpl_to_float(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                                 struct tpl_value otherwise);
PREP_MUST_CHECK int tpl_to_int(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                               struct tpl_value otherwise);
/* Keys, values or pairs. */
PREP_MUST_CHECK int tpl_dict_items(struct tpl_run *r, struct tpl_value *out,
                                   const struct tpl_dict *d, enum tpl_flavor flavor);

#ifdef __cplusplus
}
#endif
#endif
