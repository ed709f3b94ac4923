/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target on the files of a folder, so that its corpus is a test under any compiler.
 *
 *   replay_NAME FOLDER
 *
 * Prints each input before it is tried: the last one printed is the one that crashed.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) {
        fprintf(stderr, "%s: cannot read\n", path);
        return -1;
    }
    size_t n = (size_t)ftell(f);
    rewind(f);
    /* Exactly n bytes: reading past the end is to be noticed. */
    uint8_t *bytes = malloc(n ? n : 1);
    int rc = !bytes || fread(bytes, 1, n, f) != n;
    fclose(f);
    if (!rc) {
        printf("# %s\n", path);
        fflush(stdout);
        LLVMFuzzerTestOneInput(bytes, n);
    }
    free(bytes);
    return rc ? -1 : 0;
}

static int no_dots(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **names = NULL;
    int n = argc == 2 ? scandir(argv[1], &names, no_dots, alphasort) : -1, rc = 0;
    if (n < 1) {
        fprintf(stderr, "usage: %s FOLDER, with inputs in it\n", argv[0]);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        rc |= replay(argv[1], names[i]->d_name);
        free(names[i]);
    }
    free(names);
    if (!rc)
        printf("ok 1 - %d inputs\n1..1\n", n);
    return rc ? 1 : 0;
}
