/* SPDX-License-Identifier: MIT */
#include "libprep/release/smoke_look.h"

#include <stdarg.h>
#include <stdio.h>

#include "libprep/release/inspect_check.h"
#include "libprep/release/lint.h"

static void fail(struct smoke_found *f, const char *fmt, ...) PREP_PRINTF(2, 3);
static void fail(struct smoke_found *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    f->failed = 1;
}

int smoke_error(struct smoke_found *f, const struct prep_error *found, struct prep_error *err)
{
    fail(f, "%s%s%s", found->tag, found->tag[0] ? ": " : "", found->msg);
    if (found->code == PREP_EDATA || found->code == PREP_EUNSUP || found->code == PREP_EVERIFY)
        return 0;
    *err = *found;
    return -1;
}

int smoke_look_open(struct smoke_found *f, int *has_mtp, const struct smoke_look *l,
                    struct prep_error *err)
{
    struct prep_error e = PREP_ERROR_INIT;
    struct inspected it = {0};
    int rc = 0;
    if (inspect_open(&it, l->io, l->path, l->report, &e)) {
        rc = smoke_error(f, &e, err);
    } else {
        f->value = (double)inspect_n_tensors(&it);
        if (it.kind != KIND_CHECKPOINT && it.kind != KIND_GGUF)
            fail(f, "%s is %s, and no checkpoint", l->path, inspect_kind_name(it.kind));
        else if (it.kind == KIND_CHECKPOINT && it.config_fault.code != PREP_OK)
            fail(f, "%s", it.config_fault.msg);
    }
    *has_mtp = it.has_config && it.config.num_nextn_predict_layers > 0;
    inspect_close(&it);
    return rc;
}

int smoke_look_check(struct smoke_found *f, const struct smoke_look *l, struct prep_error *err)
{
    const struct check_options options = {.read_data = 0};
    struct prep_error e = PREP_ERROR_INIT;
    struct inspected it = {0};
    struct findings found = {0};
    int rc = 0;
    if (inspect_open(&it, l->io, l->path, NULL, &e) ||
        inspect_check(&found, &it, &options, NULL, &e))
        rc = smoke_error(f, &e, err);
    f->value = (double)found.n_errors;
    for (size_t i = 0; i < found.n && !f->failed; i++)
        if (found.items[i].severity == FINDING_ERROR)
            fail(f, "%s: %s: %s", found.items[i].code, found.items[i].place, found.items[i].text);
    findings_fini(&found);
    inspect_close(&it);
    return rc;
}

int smoke_look_lint(struct smoke_found *f, const struct smoke_look *l, struct prep_error *err)
{
    const struct lint_options options = {.engines = l->engines, .n_threads = l->n_threads};
    struct prep_error e = PREP_ERROR_INIT;
    struct lint found = {0};
    int rc = 0;
    if (lint_run(&found, l->io, l->path, &options, &e))
        rc = smoke_error(f, &e, err);
    f->value = (double)found.n_faults;
    for (size_t i = 0; i < found.n && !f->failed; i++) {
        const struct lint_finding *x = &found.items[i];
        if (!x->rule->note)
            fail(f, "%s: %s: %s; %s", x->code, x->place, x->text, x->rule->will);
    }
    lint_fini(&found);
    return rc;
}
