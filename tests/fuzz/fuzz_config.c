/* SPDX-License-Identifier: MIT */
/* config.json from anywhere: read, and everything computed from it when it is accepted. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "libprep/model/check.h"
#include "libprep/release/sizes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void use(struct config *c)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct size_table sizes;
    struct findings found;
    const struct size_request request = {.tp = 1};
    if (sizes_build(&sizes, c, &request, &err) == 0)
        sizes_free(&sizes);
    findings_init(&found);
    if (check_inventory(&found, c, NULL, 0, &err) || findings_finish(&found, &err))
        abort(); /* only memory can run out */
    findings_fini(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct config c;
    report_init(&report);
    if (config_parse(&c, (const char *)data, n, "config.json", &report, &err) == 0) {
        use(&c);
        config_free(&c);
    }
    report_fini(&report);
    return 0;
}
