/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "libprep/model/check.h"
#include "libprep/release/lint_job.h"

/* model/check.h judges the table; here its findings get the linter's form. */
int lint_inventory(struct lint_job *j, struct prep_error *err)
{
    const struct checkpoint *c = j->ckpt;
    struct findings found;
    int rc = -1;
    findings_init(&found);
    const struct tensor_info **list = arena_calloc(&j->arena, c->n_tensors, sizeof *list, err);
    if (!list)
        goto out;
    for (size_t i = 0; i < c->n_tensors; i++)
        list[i] = &c->tensors[i].info;
    if (check_inventory(&found, j->c, list, c->n_tensors, err))
        goto out;
    for (size_t i = 0; i < found.n; i++) {
        const struct finding *f = &found.items[i];
        if (strcmp(f->code, "BIAS_DTYPE") == 0)
            continue; /* lint_routers() reads the values and says more */
        const char *slash = strrchr(f->place, '/');
        lint_add(j->out, f->code, LINT_ENGINES, slash ? slash + 1 : f->place, "%s", f->text);
    }
    for (size_t i = 0; i < found.n_codes; i++)
        if (found.codes[i].n > FINDINGS_PER_CODE)
            lint_add_more(j->out, found.codes[i].code, found.codes[i].n - FINDINGS_PER_CODE);
    rc = found.failed ? prep_fail(err, PREP_ENOMEM, "out of memory while listing findings") : 0;
out:
    findings_fini(&found);
    return rc;
}
