/* SPDX-License-Identifier: MIT */
#include "libprep/quant/rescale.h"

#include <string.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"

int rescale_step(const struct step_memory *m, const void *rescale, struct prep_error *err)
{
    const struct rescale *r = rescale;
    const double own = (double)f32_from_bits(load_le32(m->inputs[1].p));
    const double to = (double)f32_from_bits(load_le32(m->inputs[2].p));
    const double ratio_up = r->divides ? to : own, ratio_down = r->divides ? own : to;
    unsigned char *out = m->outputs[r->scales];
    if (!(ratio_up > 0 && ratio_down > 0 && ratio_up <= ratio_down))
        return prep_fail(err, PREP_EDATA, "a global scale changed while it was mended");
    for (size_t i = 0; i < m->inputs[0].n; i++) {
        const uint8_t code = m->inputs[0].p[i];
        double s = (double)f32_from_e4m3(code) * ratio_up / ratio_down;
        s = s < 0x1p-9 ? 0x1p-9 : s;
        /* 0 makes a block of zeros; NaN and negative ones are not mended here. */
        out[i] = code == 0 || code >= 0x7f ? code : e4m3_from_f32_sat((float)s);
    }
    memcpy(m->outputs[r->global], m->inputs[2].p, 4);
    return 0;
}
