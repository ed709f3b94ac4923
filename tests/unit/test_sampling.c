/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/engine/generation_config.h"
#include "libprep/engine/stop.h"
#include "tests/support/support.h"

static struct sampler *make(const struct sampling *o, uint32_t n, uint64_t seed, uint64_t sequence)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct sampler *s;
    if (sampler_new(&s, o, n, seed, sequence, &err))
        fail_msg("%s", err.msg);
    return s;
}

static uint32_t choose(struct sampler *s, const float *logits)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint32_t token;
    if (sampler_choose(&token, s, logits, &err))
        fail_msg("%s", err.msg);
    return token;
}

/* ---- exact cases ---- */

static void greedy_takes_the_largest_and_of_equals_the_lowest_id(void **state)
{
    const struct sampling o = SAMPLING_GREEDY;
    struct sampler *s = make(&o, 5, 1, 0);
    (void)state;
    assert_int_equal(choose(s, (float[]){1, 3, -1, 3, 2}), 1);
    assert_int_equal(choose(s, (float[]){-INFINITY, -7, -8, -INFINITY, -7}), 1);
    assert_int_equal(choose(s, (float[]){0, -0.0f, 0, 0, 0}), 0);
    sampler_free(s);
}

static void expect(const struct sampling *o, const float *logits, const double *want, uint32_t n,
                   const uint32_t *prompt, size_t n_prompt, const uint32_t *output, size_t n_output)
{
    struct prep_error err = PREP_ERROR_INIT;
    double p[16];
    struct sampler *s = make(o, n, 1, 0);
    assert_int_equal(sampler_see_prompt(s, prompt, n_prompt, &err), 0);
    for (size_t i = 0; i < n_output; i++)
        assert_int_equal(sampler_see_output(s, output[i], &err), 0);
    assert_int_equal(sampler_distribution(p, s, logits, &err), 0);
    for (uint32_t i = 0; i < n; i++)
        if (fabs(p[i] - want[i]) > 1e-14)
            fail_msg("token %u has probability %.17g, want %.17g", i, p[i], want[i]);
    sampler_free(s);
}

static void cuts_keep_what_they_should(void **state)
{
    const float z[6] = {0, 2, 1, 3, -1, 2};
    double w[6], sum = 0, want[6] = {0};
    struct sampling o = {1, 1, 0, 1, 0, 0};
    (void)state;
    for (int i = 0; i < 6; i++)
        sum += w[i] = exp((double)z[i] - 3);
    for (int i = 0; i < 6; i++)
        want[i] = w[i] / sum;
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
    /* The two largest; of the equal ones the lower id. */
    o.top_k = 2;
    memset(want, 0, sizeof want);
    want[3] = w[3] / (w[3] + w[1]);
    want[1] = w[1] / (w[3] + w[1]);
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
    /* top-p of all: 3 has 0.52, 3 and 1 have 0.71, with 5 it is 0.91. */
    o.top_k = 0;
    o.top_p = w[3] / sum * 0.999;
    memset(want, 0, sizeof want);
    want[3] = 1;
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
    o.top_p = w[3] / sum * 1.001;
    want[3] = w[3] / (w[3] + w[1]);
    want[1] = w[1] / (w[3] + w[1]);
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
    /* top-p is of what top-k left: 0.73 of the two, though 0.52 of all. */
    o.top_k = 2;
    o.top_p = 0.7;
    memset(want, 0, sizeof want);
    want[3] = 1;
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
    /* min-p is a part of the largest. */
    o = (struct sampling){1, 1, 0.3, 1, 0, 0};
    want[3] = w[3] / (w[3] + 2 * w[1]);
    want[1] = want[5] = w[1] / (w[3] + 2 * w[1]);
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
    o.min_p = 1;
    memset(want, 0, sizeof want);
    want[3] = 1;
    expect(&o, z, want, 6, NULL, 0, NULL, 0);
}

static void temperature_divides_the_logits(void **state)
{
    const float z[3] = {1, 0, -1};
    struct sampling o = {0.5, 1, 0, 1, 0, 0};
    double want[3], sum = 1 + exp(-2) + exp(-4);
    (void)state;
    for (int i = 0; i < 3; i++)
        want[i] = exp(-2.0 * i) / sum;
    expect(&o, z, want, 3, NULL, 0, NULL, 0);
}

static void penalties_touch_what_was_seen(void **state)
{
    const float z[4] = {2, -2, 1, 1};
    const uint32_t prompt[] = {0, 0}, output[] = {1, 2, 2};
    struct sampling o = {1, 1, 0, 2, 0.5, 0};
    /* 2 / 2; -2 * 2 - 0.5; 1 / 2 - 2 * 0.5; 1 */
    const double after[4] = {1, -4.5, -0.5, 1};
    double want[4], sum = 0;
    (void)state;
    for (int i = 0; i < 4; i++)
        sum += exp(after[i]);
    for (int i = 0; i < 4; i++)
        want[i] = exp(after[i]) / sum;
    expect(&o, z, want, 4, prompt, 2, output, 3);
    /* A penalty can change a greedy choice. */
    o.temperature = 0;
    expect(&o, (float[]){2, 1.5f, 0, 0}, (double[]){0, 1, 0, 0}, 4, prompt, 2, NULL, 0);
}

static void tokens_of_no_probability_are_never_drawn(void **state)
{
    const struct sampling o = {1, 1, 0, 1, 0, 0};
    float z[64];
    struct sampler *s;
    (void)state;
    for (int i = 0; i < 64; i++)
        z[i] = i == 17 ? 0 : -INFINITY;
    s = make(&o, 64, 3, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(choose(s, z), 17);
    sampler_free(s);
}

/* ---- draws ---- */

/* sum (seen - wanted)^2 / wanted over tokens of a planted distribution. */
static double chi_square(const struct sampling *o, const float *logits, uint32_t n, uint64_t seed,
                         uint64_t sequence, int draws, int *freedom)
{
    struct prep_error err = PREP_ERROR_INIT;
    uint64_t counts[32] = {0};
    double p[32], sum = 0;
    struct sampler *s = make(o, n, seed, sequence);
    assert_int_equal(sampler_distribution(p, s, logits, &err), 0);
    for (int i = 0; i < draws; i++)
        counts[choose(s, logits)]++;
    *freedom = -1;
    for (uint32_t i = 0; i < n; i++) {
        double want = p[i] * draws;
        if (p[i] == 0) {
            assert_int_equal(counts[i], 0);
            continue;
        }
        sum += ((double)counts[i] - want) * ((double)counts[i] - want) / want;
        ++*freedom;
    }
    sampler_free(s);
    return sum;
}

static void draws_follow_planted_distributions(void **state)
{
    static const struct sampling options[] = {
        {1, 1, 0, 1, 0, 0}, {0.7, 1, 0, 1, 0, 0}, {1.5, 0.9, 0, 1, 0, 0},
        {1, 1, 0, 1, 0, 5}, {1, 1, 0.2, 1, 0, 0}, {1.2, 0.8, 0.1, 1, 0, 12},
    };
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct test_random r = {seed};
        float z[20];
        for (int i = 0; i < 20; i++)
            z[i] = (float)test_random_below(&r, 4000) / 1000;
        for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
            int f;
            double x = chi_square(&options[k], z, 20, seed, k, 20000, &f);
            /* Wilson and Hilferty: the cube root is about normal; 4.5 deviations. */
            double v = 2.0 / (9.0 * f), limit = f * pow(1 - v + 4.5 * sqrt(v), 3);
            if (f > 0 && x > limit)
                fail_msg("seed %d, options %zu: chi-square %g with %d degrees", (int)seed, k, x, f);
        }
    }
}

/* The test above must notice a wrong sampler: these draws are from another distribution. */
static void the_chi_square_test_sees_a_bias(void **state)
{
    const struct sampling o = {1, 1, 0, 1, 0, 0};
    const float z[4] = {0, 0, 0, 0.15f};
    uint64_t counts[4] = {0};
    double x = 0;
    struct sampler *s = make(&o, 4, 1, 0);
    (void)state;
    for (int i = 0; i < 20000; i++)
        counts[choose(s, z)]++;
    for (int i = 0; i < 4; i++)
        x += ((double)counts[i] - 5000) * ((double)counts[i] - 5000) / 5000;
    assert_true(x > 30);
    sampler_free(s);
}

static void a_seed_gives_the_same_tokens_everywhere(void **state)
{
    /* From 30 lines of Python that follow the header: another machine must draw the same. */
    static const uint32_t want[2][12] = {{54, 167, 5, 113, 104, 38, 21, 37, 175, 72, 157, 30},
                                         {29, 67, 154, 30, 149, 191, 187, 31, 20, 160, 49, 75}};
    const struct sampling o = {0.8, 0.95, 0.01, 1.1, 0.2, 40};
    (void)state;
    for (uint64_t sequence = 0; sequence < 2; sequence++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct sampler *s = make(&o, 200, 42, sequence);
        struct test_random r = {9};
        for (int i = 0; i < 12; i++) {
            float z[200];
            for (int k = 0; k < 200; k++)
                z[k] = (float)((double)test_random_below(&r, 1000000) / 150000);
            uint32_t token = choose(s, z);
            assert_int_equal(token, want[sequence][i]);
            assert_int_equal(sampler_see_output(s, token, &err), 0);
        }
        sampler_free(s);
    }
}

static void sequences_and_seeds_differ(void **state)
{
    const struct sampling o = {1, 1, 0, 1, 0, 0};
    float z[1000] = {0};
    int same = 0;
    (void)state;
    for (uint64_t k = 0; k < 50; k++) {
        struct sampler *a = make(&o, 1000, 1, k), *b = make(&o, 1000, 1, k + 1);
        struct sampler *c = make(&o, 1000, 2, k);
        uint32_t first = choose(a, z);
        same += first == choose(b, z);
        same += first == choose(c, z);
        sampler_free(a);
        sampler_free(b);
        sampler_free(c);
    }
    assert_true(same < 5);
}

static void refuses_what_makes_no_sense(void **state)
{
    static const struct sampling bad[] = {
        {-1, 1, 0, 1, 0, 0},          {(double)NAN, 1, 0, 1, 0, 0},
        {1, 0, 0, 1, 0, 0},           {1, 1.01, 0, 1, 0, 0},
        {1, (double)NAN, 0, 1, 0, 0}, {1, 1, -0.1, 1, 0, 0},
        {1, 1, 0, 0, 0, 0},           {1, 1, 0, (double)NAN, 0, 0},
        {1, 1, 0, 1, 3, 0},           {(double)INFINITY, 1, 0, 1, 0, 0},
    };
    struct sampling o = SAMPLING_GREEDY;
    struct sampler *s;
    uint32_t token = 7;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        assert_int_equal(sampler_new(&s, &bad[i], 4, 1, 0, &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
        assert_null(s);
    }
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(sampling_preset(&o, "wild", &err), -1);
    assert_non_null(strstr(err.msg, "greedy, chat, strict or loops"));
    static const float rows[][4] = {
        {0, (float)NAN, 0, 0}, {0, 0, INFINITY, 0}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}};
    s = make(&o, 4, 1, 0);
    for (int i = 0; i < 3; i++) {
        prep_error_clear(&err);
        assert_int_equal(sampler_choose(&token, s, rows[i], &err), -1);
        assert_int_equal(err.code, PREP_EDATA);
    }
    prep_error_clear(&err);
    assert_int_equal(sampler_see_output(s, 4, &err), -1);
    sampler_free(s);
}

static void presets_are_those_of_the_cards(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct sampling s;
    (void)state;
    assert_int_equal(sampling_preset(&s, "chat", &err), 0);
    assert_true(s.temperature == 0.5 && s.top_p == 0.95 && s.frequency_penalty == 0.3 &&
                s.repetition_penalty == 1.05);
    assert_int_equal(sampling_preset(&s, "strict", &err), 0);
    assert_true(s.temperature == 0 && s.repetition_penalty == 1.05 && s.frequency_penalty == 0);
    assert_int_equal(sampling_preset(&s, "loops", &err), 0);
    assert_true(s.temperature == 0.8 && s.top_p == 0.95 && s.repetition_penalty == 1);
    assert_int_equal(sampling_preset(&s, "greedy", &err), 0);
    assert_true(s.temperature == 0 && s.repetition_penalty == 1);
}

/* ---- generation_config.json ---- */

static void reads_the_nano_generation_config(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct generation_config c;
    (void)state;
    if (generation_config_read(&c, &io_posix, test_path("%s/glm-nano", test_data()), &err))
        fail_msg("%s", err.msg);
    assert_true(c.sampling.temperature == 1 && c.sampling.top_p == 0.95 && !c.sampling.top_k);
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos[1], 1991);
    assert_int_equal(c.pad, 1984);
    assert_int_equal(generation_config_read(&c, &io_posix, test_temp_dir(), &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
}

static void reads_or_refuses_generation_configs(void **state)
{
    static const struct {
        const char *text, *message; /* NULL: good */
    } cases[] = {
        {"{}", NULL},
        {"{\"do_sample\":true,\"top_k\":50,\"eos_token_id\":7,\"min_p\":null}", NULL},
        {"[]", "want an object"},
        {"{\"temperature\":\"1\"}", "\"temperature\": want a number"},
        {"{\"top_p\":0}", "top-p is 0"},
        {"{\"top_k\":1.5}", "want a count"},
        {"{\"top_k\":-1}", "want a count"},
        {"{\"eos_token_id\":[1,-2]}", "want a token id"},
        {"{\"eos_token_id\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "at most 16"},
        {"{\"do_sample\":1}", "true or false"},
        {"{", "g.json"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct generation_config c;
        int rc = generation_config_parse(&c, cases[i].text, strlen(cases[i].text), "g.json", &err);
        if ((rc != 0) != (cases[i].message != NULL))
            fail_msg("%s: %s", cases[i].text, err.msg);
        if (rc && (!strstr(err.msg, cases[i].message) || !strstr(err.msg, "g.json")))
            fail_msg("%s: %s", cases[i].text, err.msg);
        if (rc)
            assert_int_equal(err.code, PREP_EDATA);
        else
            assert_int_equal(c.sampling.temperature == 0, i == 0);
    }
}

/* ---- stops ---- */

static struct tokenizer *nano(void)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    if (tokenizer_open(&t, &io_posix, test_path("%s/glm-nano", test_data()), NULL, &err))
        fail_msg("%s", err.msg);
    return t;
}

/* Encode byte by byte, so that every border of bytes is one of tokens. */
static void bytes_of(struct token_ids *ids, const struct tokenizer *t, const char *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    for (; *text; text++)
        assert_int_equal(token_ids_push(ids, tokenizer_find(t, text, 1), &err), 0);
}

static void check_stop(const struct tokenizer *t, const char *text, const char *const *strings,
                       size_t n_strings, const char *want, enum stop_state state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct stop_stream s;
    struct token_text out = {0};
    struct token_ids ids = {0};
    bytes_of(&ids, t, text);
    assert_int_equal(stop_open(&s, t, 1, NULL, 0, strings, n_strings, &err), 0);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_equal(stop_push(&out, &s, ids.ids[i], &err), 0);
        /* Nothing is shown that would have to be taken back. */
        assert_true(out.n <= strlen(want) && memcmp(out.p ? out.p : "", want, out.n) == 0);
    }
    assert_int_equal(stop_finish(&out, &s, &err), 0);
    if (out.n != strlen(want) || (out.n && memcmp(out.p, want, out.n) != 0))
        fail_msg("%s: want \"%s\", got \"%.*s\"", text, want, (int)out.n, out.p);
    assert_int_equal(s.state, state);
    stop_close(&s);
    token_text_free(&out);
    token_ids_free(&ids);
}

static void stop_strings_end_text_wherever_tokens_end(void **state)
{
    static const char *const strings[] = {"END", "abab", "bac", "\xc3\xa9!"};
    struct tokenizer *t = nano();
    (void)state;
    check_stop(t, "Hello", strings, 4, "Hello", STOP_NOT_YET);
    check_stop(t, "Hello END more", strings, 4, "Hello ", STOP_STRING);
    check_stop(t, "EEND", strings, 4, "E", STOP_STRING);
    check_stop(t, "EN", strings, 4, "EN", STOP_NOT_YET);
    check_stop(t, "aababx", strings, 4, "a", STOP_STRING);
    check_stop(t, "ababac", strings, 4, "", STOP_STRING);
    check_stop(t, "abaca", strings, 4, "a", STOP_STRING); /* begun as abab, is bac */
    check_stop(t, "aba", strings, 4, "aba", STOP_NOT_YET);
    check_stop(t, "caf\xc3\xa9 ol\xc3\xa9!x", strings, 4, "caf\xc3\xa9 ol", STOP_STRING);
    check_stop(t, "x\xc3", strings, 4, "x\xef\xbf\xbd", STOP_NOT_YET);
    check_stop(t, "abc", NULL, 0, "abc", STOP_NOT_YET);
    tokenizer_free(t);
}

static void a_string_behind_an_unfinished_one_still_stops(void **state)
{
    static const char *const strings[] = {"abcd", "bc"};
    struct tokenizer *t = nano();
    (void)state;
    check_stop(t, "xabc", strings, 2, "xa", STOP_STRING);
    check_stop(t, "xabcd", strings, 2, "x", STOP_STRING);
    tokenizer_free(t);
}

static void stop_tokens_end_text_and_are_no_part_of_it(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t = nano();
    const uint32_t stops[] = {tokenizer_find(t, "<|user|>", 8),
                              tokenizer_find(t, "<|endoftext|>", 13)};
    static const char *const strings[] = {"zzz"};
    struct stop_stream s;
    struct token_text out = {0};
    struct token_ids ids = {0};
    (void)state;
    bytes_of(&ids, t, "hi z\xe4");
    assert_int_equal(stop_open(&s, t, 0, stops, 2, strings, 1, &err), 0);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(stop_push(&out, &s, ids.ids[i], &err), 0);
    assert_int_equal(stop_push(&out, &s, stops[0], &err), 0);
    assert_int_equal(s.state, STOP_TOKEN);
    assert_int_equal(stop_push(&out, &s, ids.ids[0], &err), 0);
    assert_int_equal(stop_finish(&out, &s, &err), 0);
    assert_int_equal(out.n, 7);
    assert_memory_equal(out.p, "hi z\xef\xbf\xbd", 7);
    stop_close(&s);
    static const char *const empty[] = {""};
    assert_int_equal(stop_open(&s, t, 0, NULL, 0, empty, 1, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    token_text_free(&out);
    token_ids_free(&ids);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_of_equals_the_lowest_id),
        cmocka_unit_test(cuts_keep_what_they_should),
        cmocka_unit_test(temperature_divides_the_logits),
        cmocka_unit_test(penalties_touch_what_was_seen),
        cmocka_unit_test(tokens_of_no_probability_are_never_drawn),
        cmocka_unit_test(draws_follow_planted_distributions),
        cmocka_unit_test(the_chi_square_test_sees_a_bias),
        cmocka_unit_test(a_seed_gives_the_same_tokens_everywhere),
        cmocka_unit_test(sequences_and_seeds_differ),
        cmocka_unit_test(refuses_what_makes_no_sense),
        cmocka_unit_test(presets_are_those_of_the_cards),
        cmocka_unit_test(reads_the_nano_generation_config),
        cmocka_unit_test(reads_or_refuses_generation_configs),
        cmocka_unit_test(stop_strings_end_text_wherever_tokens_end),
        cmocka_unit_test(a_string_behind_an_unfinished_one_still_stops),
        cmocka_unit_test(stop_tokens_end_text_and_are_no_part_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
