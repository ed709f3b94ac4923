/* SPDX-License-Identifier: MIT */
#include "libprep/release/lint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/release/lint_job.h"

enum { TEXT_BYTES = 1200 };

/* ---- findings ---- */

static void out_of_memory(struct lint *l)
{
    l->failed = 1;
}

static struct lint_count *count_of(struct lint *l, const struct lint_rule *rule, const char *code)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    for (size_t i = 0; i < l->n_counts; i++)
        if (strcmp(l->counts[i].code, code) == 0)
            return &l->counts[i];
    if (prep_grow(&l->counts, &l->cap_counts, l->n_counts, sizeof *l->counts, &ignored)) {
        out_of_memory(l);
        return NULL;
    }
    l->counts[l->n_counts] = (struct lint_count){rule, code, 0};
    return &l->counts[l->n_counts++];
}

/* The same thing said of two engines is one finding. */
static int merged(struct lint *l, const char *code, unsigned engines, const char *place,
                  const char *text)
{
    for (size_t i = 0; i < l->n; i++) {
        struct lint_finding *f = &l->items[i];
        if (strcmp(f->code, code) == 0 && strcmp(f->place, place) == 0 &&
            strcmp(f->text, text) == 0) {
            f->engines |= engines;
            return 1;
        }
    }
    return 0;
}

/* Names come from files: no control byte may reach a terminal. */
static const char *printable(struct lint *l, const char *s)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    char *copy = arena_strndup(&l->arena, s, strlen(s), &ignored);
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return copy;
}

static void append(struct lint *l, const struct lint_rule *rule, const char *code, unsigned engines,
                   const char *place, const char *text)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    struct lint_count *count = count_of(l, rule, code);
    if (!count || merged(l, count->code, engines, place, text))
        return;
    count->n++;
    l->n_notes += rule->note;
    l->n_faults += !rule->note;
    if (count->n > LINT_PER_CODE)
        return;
    const char *p = printable(l, place), *t = printable(l, text);
    if (!p || !t || prep_grow(&l->items, &l->cap, l->n, sizeof *l->items, &ignored)) {
        out_of_memory(l);
        return;
    }
    l->items[l->n++] = (struct lint_finding){rule, count->code, engines, p, t};
}

void lint_add(struct lint *l, const char *code, unsigned engines, const char *place,
              const char *fmt, ...)
{
    const struct lint_rule *rule = lint_rule(code);
    char text[TEXT_BYTES];
    va_list ap;
    engines &= rule->engines & l->engines;
    if (!engines)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    append(l, rule, code, engines, place, text);
}

void lint_add_more(struct lint *l, const char *code, size_t n)
{
    const struct lint_rule *rule = lint_rule(code);
    struct lint_count *count = rule->engines & l->engines ? count_of(l, rule, code) : NULL;
    if (!count)
        return;
    count->n += n;
    l->n_notes += rule->note ? n : 0;
    l->n_faults += rule->note ? 0 : n;
}

size_t lint_count(const struct lint *l, const char *code)
{
    for (size_t i = 0; i < l->n_counts; i++)
        if (strcmp(l->counts[i].code, code) == 0)
            return l->counts[i].n;
    return 0;
}

void lint_fini(struct lint *l)
{
    free(l->items);
    free(l->counts);
    arena_fini(&l->arena);
    *l = (struct lint){0};
}

/* ---- engines ---- */

static const struct {
    unsigned engine;
    const char *name;
} engine_names[] = {{LINT_SGLANG, "sglang"},
                    {LINT_VLLM, "vllm"},
                    {LINT_TRANSFORMERS, "transformers"},
                    {LINT_LLAMA, "llama.cpp"}};

enum { N_ENGINES = sizeof engine_names / sizeof *engine_names };

const char *lint_engines_text(unsigned engines, char buf[LINT_ENGINE_TEXT])
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < N_ENGINES; i++)
        if (engines & engine_names[i].engine)
            at += (size_t)snprintf(buf + at, LINT_ENGINE_TEXT - at, "%s%s", at ? "," : "",
                                   engine_names[i].name);
    return buf;
}

static unsigned engine_of(const char *word, size_t n)
{
    for (int i = 0; i < N_ENGINES; i++)
        if (strlen(engine_names[i].name) == n && memcmp(engine_names[i].name, word, n) == 0)
            return engine_names[i].engine;
    return 0;
}

int lint_engines_parse(unsigned *engines, const char *text)
{
    *engines = 0;
    for (;;) {
        size_t n = strcspn(text, ",");
        unsigned one = engine_of(text, n);
        if (!one)
            return -1;
        *engines |= one;
        if (!text[n])
            return 0;
        text += n + 1;
    }
}

/* ---- what the readers say ---- */

/* "path: text": the place is the last part of the path. */
static void add_message(struct lint *l, const char *code, const char *message)
{
    const char *colon = strstr(message, ": "), *slash = message;
    if (!colon) {
        lint_add(l, code, LINT_ENGINES, "", "%s", message);
        return;
    }
    for (const char *p = message; p < colon; p++)
        if (*p == '/' && p + 1 < colon)
            slash = p + 1;
    char place[256];
    snprintf(place, sizeof place, "%.*s", (int)(colon - slash), slash);
    lint_add(l, code, LINT_ENGINES, place, "%s", colon + 2);
}

/* A code that outlives the error or report it came from. */
static const char *kept(struct lint *l, const char *tag)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    const struct lint_rule *rule = lint_rule(tag);
    if (rule->code)
        return rule->code;
    const char *copy = arena_strndup(&l->arena, tag, strlen(tag), &ignored);
    if (!copy)
        out_of_memory(l);
    return copy ? copy : "UNREADABLE";
}

static void add_fault(struct lint *l, const struct prep_error *e)
{
    if (e->code != PREP_OK)
        add_message(l, kept(l, *e->tag ? e->tag : "UNREADABLE"), e->msg);
}

/* transformers takes the ids to stop at from generation_config.json. */
static int is_single_eos(const struct warning *w)
{
    return strcmp(w->tag, "EOS_IDS") == 0 && strstr(w->text, "is one id") != NULL;
}

static void add_warnings(struct lint *l, const struct report *r)
{
    for (size_t i = 0; i < r->n_warnings; i++) {
        unsigned all = l->engines;
        if (is_single_eos(&r->warnings[i]))
            l->engines &= ~(unsigned)LINT_TRANSFORMERS;
        add_message(l, kept(l, r->warnings[i].tag), r->warnings[i].text);
        l->engines = all;
    }
}

/* Is it the checkpoint that is at fault, or the command? */
static int is_finding(const struct prep_error *e)
{
    static const char *const not_ours[] = {"GGUF", "UNKNOWN_KIND", "NO_CHECKPOINT", ""};
    if (e->code != PREP_EDATA && e->code != PREP_ENOINPUT && e->code != PREP_EUNSUP)
        return 0;
    if (e->sys != 0 && e->sys != ENOENT && e->sys != ENOTDIR && e->sys != ELOOP)
        return 0; /* it may be there, and right */
    for (size_t i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
        if (strcmp(e->tag, not_ours[i]) == 0)
            return 0;
    return 1;
}

/* ---- the run ---- */

static int run_rules(struct lint_job *j, struct prep_error *err)
{
    if (lint_files(j, err))
        return -1;
    if (!j->it->has_config)
        return 0;
    if (lint_build_modules(j, err) || lint_inventory(j, err) || lint_quant_config(j, err) ||
        lint_scales(j, err) || lint_routers(j, err) || lint_lists(j, err))
        return -1;
    lint_forms(j);
    lint_ranks(j);
    return 0;
}

static int lint_opened(struct lint *out, const struct inspected *it, const struct io *io,
                       const struct lint_options *opt, struct prep_error *err)
{
    struct lint_job j = {.out = out, .opt = opt, .io = io, .it = it};
    if (it->kind == KIND_OBSERVATION || it->kind == KIND_KEEP_MAP || it->kind == KIND_MANIFEST)
        return prep_fail(err, PREP_EUSAGE, "%s: is a %s, lint wants a checkpoint", it->path,
                         inspect_kind_name(it->kind));
    if (it->kind != KIND_CHECKPOINT)
        return 0;
    if (it->config_fault.code != PREP_OK && !is_finding(&it->config_fault)) {
        *err = it->config_fault;
        return -1;
    }
    add_fault(out, &it->index_fault);
    add_fault(out, &it->config_fault);
    j.ckpt = it->ckpt;
    j.c = &it->config;
    arena_init(&j.arena, 0);
    int rc = run_rules(&j, err);
    arena_fini(&j.arena);
    return rc;
}

int lint_run(struct lint *out, const struct io *io, const char *path,
             const struct lint_options *opt, struct prep_error *err)
{
    struct inspected it = {0};
    struct report report;
    struct prep_error why = PREP_ERROR_INIT;
    int rc = 0;
    *out = (struct lint){.engines = opt->engines ? opt->engines : LINT_ENGINES};
    arena_init(&out->arena, 0);
    report_init(&report);
    if (inspect_open_past_index(&it, io, path, &report, &why)) {
        if (is_finding(&why)) {
            add_fault(out, &why);
        } else {
            *err = why;
            rc = -1;
        }
    }
    add_warnings(out, &report);
    if (!rc && why.code == PREP_OK)
        rc = lint_opened(out, &it, io, opt, err);
    if (!rc)
        rc = report_ok(&report, err);
    if (!rc && out->failed)
        rc = prep_fail(err, PREP_ENOMEM, "out of memory while listing findings");
    report_fini(&report);
    inspect_close(&it);
    return rc;
}

/* ---- facts ---- */

static int add_text(cJSON *object, const char *key, const char *text)
{
    return cJSON_AddStringToObject(object, key, text) ? 0 : -1;
}

static int finding_fact(cJSON *list, const struct lint_finding *f)
{
    char engines[LINT_ENGINE_TEXT];
    cJSON *o = cJSON_CreateObject();
    if (!o || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return -1;
    }
    return add_text(o, "code", f->code) ||
           add_text(o, "engines", lint_engines_text(f->engines, engines)) ||
           add_text(o, "place", f->place) || add_text(o, "text", f->text) ||
           add_text(o, "will", f->rule->will) || add_text(o, "mend", f->rule->mend) ||
           !cJSON_AddBoolToObject(o, "repair", f->rule->repairs) ||
           !cJSON_AddBoolToObject(o, "note", f->rule->note);
}

int lint_facts(cJSON *object, const struct lint *l, struct prep_error *err)
{
    cJSON *list = cJSON_AddArrayToObject(object, "findings");
    cJSON *counts = cJSON_AddObjectToObject(object, "counts");
    int rc = !list || !counts;
    for (size_t i = 0; i < l->n && !rc; i++)
        rc = finding_fact(list, &l->items[i]);
    for (size_t i = 0; i < l->n_counts && !rc; i++)
        report_u64(counts, l->counts[i].code, l->counts[i].n);
    report_u64(object, "faults", l->n_faults);
    report_u64(object, "notes", l->n_notes);
    return rc ? prep_fail(err, PREP_ENOMEM, "out of memory while listing findings") : 0;
}
