/* SPDX-License-Identifier: MIT */
/*
 * reap-prune on the rand32 checkpoint, quantize-nvfp4 and make-gguf on the nano, killed at random
 * moments.
 *
 * Each trial starts the real program in a process of its own, kills it after a random time, looks
 * at what it left, and starts it again until it ends by itself: the folder must then be the one
 * an undisturbed run writes. PREP_BIN names the folder of the tools.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/support.h"

/* Kills are found by the plain build; the sanitized one looks at what a resumed run touches. */
#ifdef __SANITIZE_ADDRESS__
enum { TRIALS = 40, QUANTIZE_TRIALS = 15, LADDER_TRIALS = 10 };
#else
enum { TRIALS = 200, QUANTIZE_TRIALS = 60, LADDER_TRIALS = 30 };
#endif

enum { MAX_ARGS = 20 };

/* What is run: without the name of the output, which comes last. */
typedef void (*command_fn)(const char **argv);

static const char *tool(const char *name)
{
    const char *bin = getenv("PREP_BIN");
    return test_path("%s/%s", bin ? bin : "build/release/bin", name);
}

static void fill(const char **argv, const char *const *list)
{
    while (*list)
        *argv++ = *list++;
}

/* The same request each time; records are made as often as possible. */
static void prune(const char **argv)
{
    const char *data = test_path("%s/observations/rand32", test_data());
    const char *list[] = {tool("reap-prune"),
                          test_path("%s/checkpoint", data),
                          "-q",
                          "-j2",
                          "--obs",
                          test_path("%s/run-a.obs.safetensors", data),
                          "--obs",
                          test_path("%s/run-b.obs.safetensors", data),
                          "--keep",
                          "24",
                          "--max-shard-size",
                          "200000",
                          "--sync-every",
                          "4096",
                          NULL};
    fill(argv, list);
}

static void quantize(const char **argv)
{
    const char *list[] = {tool("quantize-nvfp4"),
                          test_path("%s/glm-nano", test_data()),
                          "-q",
                          "-j2",
                          "-m",
                          "all",
                          "--scales",
                          "sweep",
                          "--assume-amax",
                          "3",
                          "--max-shard-size",
                          "1M",
                          "--sync-every",
                          "4096",
                          NULL};
    fill(argv, list);
}

/* Two strands in parts: each is somewhere else when the kill comes. */
static void make_ladder(const char **argv)
{
    const char *list[] = {tool("make-gguf"),
                          test_path("%s/glm-nano", test_data()),
                          "-q",
                          "-j2",
                          "-t",
                          "Q8_0",
                          "-t",
                          "BF16",
                          "--split-max-size",
                          "9M",
                          "--sync-every",
                          "4096",
                          NULL};
    fill(argv, list);
}

static pid_t start(command_fn command, const char *out, const char *log)
{
    const char *argv[MAX_ARGS] = {NULL};
    int n = 0;
    command(argv);
    while (argv[n])
        n++;
    argv[n] = out;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(fd, 1);
        dup2(fd, 2);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static int finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return status;
}

static void run_to_the_end(command_fn command, const char *out, const char *log)
{
    int status = finish(start(command, out, log));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        struct test_bytes text = test_read(log);
        fail_msg("status %d: %s", status, (char *)text.p);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t timed_run(command_fn command, const char *out, const char *log)
{
    uint64_t begin = now_ns();
    run_to_the_end(command, out, log);
    return now_ns() - begin;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec wait = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    nanosleep(&wait, NULL);
}

/* Every file under a final name must be the undisturbed run's, whole. */
static void expect_sound(const char *out, const char *want, int trial)
{
    DIR *d = opendir(want);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        const char *path = test_path("%s/%s", out, e->d_name);
        if (e->d_name[0] == '.' || !test_exists(path))
            continue;
        struct test_bytes got = test_read(path);
        struct test_bytes whole = test_read(test_path("%s/%s", want, e->d_name));
        if (got.n != whole.n || memcmp(got.p, whole.p, got.n) != 0)
            fail_msg("trial %d left %s with other bytes", trial, e->d_name);
        free(got.p);
        free(whole.p);
    }
    closedir(d);
}

static int is_finished(const char *out)
{
    return test_exists(test_path("%s/prep-manifest.json", out)) &&
           !test_exists(test_path("%s/.prep", out));
}

static void kill_often(command_fn command, int n_trials)
{
    struct test_random rnd;
    test_random_init(&rnd);
    const char *dir = test_temp_dir();
    const char *want = test_path("%s/want", dir), *log = test_path("%s/log", dir);
    uint64_t usual = timed_run(command, want, log);
    int killed = 0;
    for (int trial = 0; trial < n_trials; trial++) {
        const char *out = test_path("%s/out-%d", dir, trial);
        pid_t pid = start(command, out, log);
        sleep_ns(test_random_below(&rnd, usual));
        kill(pid, SIGKILL);
        int status = finish(pid);
        killed += WIFSIGNALED(status);
        if (!WIFSIGNALED(status))
            usual -= usual / 8; /* the first run was slower than most */
        expect_sound(out, want, trial);
        if (WIFSIGNALED(status) && !is_finished(out))
            run_to_the_end(command, out, log);
        const char *fault = test_folder_difference(out, want, NULL);
        if (fault)
            fail_msg("trial %d: %s", trial, fault);
        test_remove_tree(out);
    }
    /* Most trials must have been kills, or nothing was tested. */
    assert_true(killed > n_trials / 2);
}

static void pruning_goes_on_after_kills_at_random_moments(void **state)
{
    (void)state;
    kill_often(prune, TRIALS);
}

/* The errors in the manifest come from whichever run made the linear. */
static void quantizing_goes_on_after_60_kills_at_random_moments(void **state)
{
    (void)state;
    kill_often(quantize, QUANTIZE_TRIALS);
}

static void making_a_ladder_goes_on_after_30_kills_at_random_moments(void **state)
{
    (void)state;
    kill_often(make_ladder, LADDER_TRIALS);
}

/* Resumed runs are killed too: each must end by the kill or well. The one before it must be gone,
 * not only killed, or its lock is met (LOCKED, 73): hence finish(). */
static void a_ladder_killed_many_times_in_a_row_ends_well(void **state)
{
    (void)state;
    struct test_random rnd;
    test_random_init(&rnd);
    const char *dir = test_temp_dir();
    const char *want = test_path("%s/want", dir), *log = test_path("%s/log", dir);
    const uint64_t usual = timed_run(make_ladder, want, log);
    int killed = 0;
    for (int trial = 0; trial < 6; trial++) {
        const char *out = test_path("%s/out-%d", dir, trial);
        for (int i = 0; i < 8 && !is_finished(out); i++) {
            const pid_t pid = start(make_ladder, out, log);
            sleep_ns(usual / 8 + test_random_below(&rnd, usual / 2));
            kill(pid, SIGKILL);
            const int status = finish(pid);
            killed += WIFSIGNALED(status);
            if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 0)
                fail_msg("trial %d, run %d: %s", trial, i, (char *)test_read(log).p);
            expect_sound(out, want, trial);
        }
        if (!is_finished(out))
            run_to_the_end(make_ladder, out, log);
        assert_null(test_folder_difference(out, want, NULL));
        test_remove_tree(out);
    }
    assert_true(killed >= 12);
}

static void stops_on_sigterm_with_75_and_goes_on(void **state)
{
    (void)state;
    command_fn command = prune;
    const char *dir = test_temp_dir();
    const char *want = test_path("%s/want", dir), *log = test_path("%s/log", dir);
    uint64_t usual = timed_run(command, want, log);
    int stopped = 0;
    for (int trial = 0; trial < 30; trial++) {
        const char *out = test_path("%s/out-%d", dir, trial);
        pid_t pid = start(command, out, log);
        sleep_ns(usual * (uint64_t)(trial + 1) / 31);
        kill(pid, SIGTERM);
        int status = finish(pid);
        /* Before the handler is set, SIGTERM ends it like any program. */
        if (WIFSIGNALED(status))
            assert_int_equal(WTERMSIG(status), SIGTERM);
        else
            assert_true(WEXITSTATUS(status) == 75 || WEXITSTATUS(status) == 0);
        stopped += WIFEXITED(status) && WEXITSTATUS(status) == 75;
        if (WIFSIGNALED(status) || WEXITSTATUS(status) == 75)
            run_to_the_end(command, out, log);
        assert_null(test_folder_difference(out, want, NULL));
        test_remove_tree(out);
    }
    assert_true(stopped > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pruning_goes_on_after_kills_at_random_moments),
        cmocka_unit_test(quantizing_goes_on_after_60_kills_at_random_moments),
        cmocka_unit_test(making_a_ladder_goes_on_after_30_kills_at_random_moments),
        cmocka_unit_test(a_ladder_killed_many_times_in_a_row_ends_well),
        cmocka_unit_test(stops_on_sigterm_with_75_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
