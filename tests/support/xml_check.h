/* SPDX-License-Identifier: MIT */
/*
 * xml_check.h - is a page well-formed, and complete in itself?
 *
 * Checked: one root element, tags that match, attributes quoted and given once, references that XML
 * knows, no stray < or &, no control characters, well-formed UTF-8, ids given once, aria-labelledby
 * and "#..." that point to an id, no other target of any src, href, url() or @import, no script.
 *
 * Shapes     a NUL follows the n bytes
 * Ownership  the text is borrowed; the fault is a text in static storage until the next call
 * Errors     the first fault, in words with its byte; NULL when there is none
 * Threads    one at a time
 */
#ifndef PREP_TESTS_XML_CHECK_H
#define PREP_TESTS_XML_CHECK_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

const char *xml_fault(const char *text, size_t n);

#ifdef __cplusplus
}
#endif
#endif
