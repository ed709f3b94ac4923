/* SPDX-License-Identifier: MIT */
/*
 * run_timed - run a command and append what it took to a file.
 *
 *   run_timed FILE COMMAND [ARGUMENT...]
 *
 * One line per run: wall seconds, user and system CPU seconds, peak RSS in KiB of the largest
 * process among the command and those it waited for. The command's output is its own; its exit
 * status is passed on.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

int main(int argc, char **argv)
{
    struct timespec a, b;
    struct rusage used;
    int status;
    if (argc < 3) {
        fputs("usage: run_timed FILE COMMAND [ARGUMENT...]\n", stderr);
        return 64;
    }
    clock_gettime(CLOCK_MONOTONIC, &a);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child) {
        perror("run_timed");
        return 71;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    FILE *f = fopen(argv[1], "a");
    if (!f) {
        perror(argv[1]);
        return 73;
    }
    fprintf(f, "%.3f %.3f %.3f %ld\n",
            (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec),
            seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss);
    if (fclose(f)) {
        perror(argv[1]);
        return 73;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
