/* SPDX-License-Identifier: MIT */
#include "tests/support/quantized_folder.h"

#include "tests/support/quantized.h"

const char *quantized_folder(const char *source, enum quantized_as as, double assume_amax,
                             const char *also)
{
    const struct quant_rule rule = {also, 1};
    struct quantize_job job = quantized_job(source);
    job.layout = as == AS_MODELOPT ? QUANT_MODELOPT : QUANT_COMPRESSED_TENSORS;
    job.assume_amax = assume_amax;
    job.rules = &rule;
    job.n_rules = also ? 1 : 0;
    return quantized_run(&job);
}
