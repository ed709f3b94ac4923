/* SPDX-License-Identifier: MIT */
/* The transport of a program built without MPI: there is none. */
#include <stdlib.h>

#include "libprep/base/ranks.h"

const char *ranks_transport(void)
{
    return "no mpi";
}

static long number_of(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

/* Several processes that each think they are alone would all write the same output. */
int ranks_open(struct ranks *r, struct prep_error *err)
{
    *r = (struct ranks){.size = 1};
    if (number_of("OMPI_COMM_WORLD_SIZE") > 1 || number_of("PMI_SIZE") > 1 ||
        number_of("PMIX_RANK") > 0)
        return prep_fail(err, PREP_EUNSUP,
                         "started as one of several ranks, but built without MPI; install "
                         "libopenmpi-dev and build again");
    return 0;
}
