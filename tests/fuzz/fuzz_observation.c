/* SPDX-License-Identifier: MIT */
/*
 * The first byte chooses the form, the rest is the file. A run that reads and passes its checks
 * can be written as JSON and read back.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/observation.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int is_sound(const struct obs_run *run, struct report *report)
{
    static const int layers[] = {2, 3, 4, 5}, experts[] = {2, 4, 4, 16};
    const struct obs_expect expect = {layers, experts, NULL, 4, 2};
    struct prep_error err = PREP_ERROR_INIT;
    if (obs_run_check_structure(run, &expect, report, &err) == 0 &&
        obs_run_check_values(run, &expect, 1, report, &err) == 0)
        return 1;
    check(err.code == PREP_EDATA && strncmp(err.tag, "OBS_", 4) == 0);
    return 0;
}

static void write_and_read_back(const struct obs_run *run)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct obs_run back;
    struct arena arena;
    struct span text;
    arena_init(&arena, 0);
    if (obs_run_write_json(run, &arena, &text, &err) == 0) {
        const struct memory_part part = {text.p, 0, text.n};
        const struct memory_file file = {"y.obs.json", &part, 1, 0};
        struct memory_io m;
        memory_io_init(&m, &file, 1);
        if (obs_run_read(&back, &m.io, "y.obs.json", NULL, NULL, &err) == 0)
            check(back.n_layers == run->n_layers);
        obs_run_free(&back);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = {"x.obs.safetensors", "x.obs.json", "x.jsonl", "x.pt",
                                        "block_003_metrics.pt"};
    if (size == 0)
        return 0;
    const struct memory_part part = {data + 1, 0, size - 1};
    const struct memory_file file = {paths[data[0] % 5], &part, 1, 0};
    struct memory_io m;
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct obs_run run;
    const char *suffix = data[0] >= 128 ? "logit_softmax_renorm" : NULL;
    report_init(&report);
    memory_io_init(&m, &file, 1);
    if (obs_run_read(&run, &m.io, paths[data[0] % 5], suffix, &report, &err))
        check((err.code == PREP_EDATA && err.tag[0]) || err.code == PREP_ENOMEM);
    else if (is_sound(&run, &report))
        write_and_read_back(&run);
    obs_run_free(&run);
    report_fini(&report);
    return 0;
}
