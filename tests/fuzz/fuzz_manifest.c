/* SPDX-License-Identifier: MIT */
/* A manifest that parses: what it names is found again, hashes have their digits, nothing is torn.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/store/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_digits(const char *hex, size_t n)
{
    check(!hex || (strlen(hex) == n && strspn(hex, "0123456789abcdef") == n));
}

static void check_names(const struct manifest *m)
{
    for (size_t i = 0; i < m->n_files; i++) {
        const struct manifest_file *f = manifest_find_file(m, m->files[i].name);
        check(f && strcmp(f->name, m->files[i].name) == 0);
        check_digits(m->files[i].sha256, 64);
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        check(manifest_find(m, m->tensors[i].name) == &m->tensors[i]);
        check_digits(m->tensors[i].xxh3, 32);
    }
}

/* What a tool said is JSON by itself. */
static void check_run(const struct manifest *m)
{
    struct json doc = {0};
    struct prep_error err = PREP_ERROR_INIT;
    if (m->run.n)
        check(json_parse(&doc, (const char *)m->run.p, m->run.n, "run", &err) == 0);
    json_free(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m = {0};
    struct prep_error err = PREP_ERROR_INIT;
    if (manifest_parse(&m, (const char *)data, size, "prep-manifest.json", &err) == 0) {
        check_names(&m);
        check_run(&m);
    } else {
        check(err.code != PREP_OK);
    }
    manifest_free(&m);
    return 0;
}
