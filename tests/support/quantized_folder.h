/* SPDX-License-Identifier: MIT */
/*
 * quantized_folder.h - a checkpoint in NVFP4, for tests that see the runtime from inside.
 *
 * quantized.h brings the structs of jobs, which do not go together with runtime_parts.h.
 *
 * Ownership  folders live until the process ends
 * Errors     what should work and does not fails the running cmocka test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_QUANTIZED_FOLDER_H
#define PREP_TESTS_QUANTIZED_FOLDER_H

#ifdef __cplusplus
extern "C" {
#endif

enum quantized_as { AS_MODELOPT, AS_COMPRESSED_TENSORS };

/*
 * The routed experts of `source`, and modules of the pattern `also` (may be NULL). Every linear has
 * the input scale of this maximum; none has any when assume_amax is 0.
 */
const char *quantized_folder(const char *source, enum quantized_as as, double assume_amax,
                             const char *also);

#ifdef __cplusplus
}
#endif
#endif
