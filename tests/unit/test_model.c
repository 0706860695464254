/* What a model directory says about the ends of a text, wherever it says it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "models/model.h"

#define TEXT \
    "\"model_type\": \"qwen3_5_text\", \"hidden_size\": 64, \"num_hidden_layers\": 2, " \
    "\"vocab_size\": 50, \"intermediate_size\": 96, \"num_attention_heads\": 2, " \
    "\"num_key_value_heads\": 1, \"head_dim\": 32, \"linear_num_key_heads\": 2, " \
    "\"linear_num_value_heads\": 2, \"linear_key_head_dim\": 16, \"linear_value_head_dim\": 16"

static void put(const char *dir, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

/* A model of random weights; outer and nested are members of config.json and its text_config,
 * generation is another file, or NULL. */
static struct model *open_with(const char *outer, const char *nested, const char *generation)
{
    char dir[] = "/tmp/recurd-test-XXXXXX", text[2048];
    struct model *m = NULL;
    struct err e = {0};
    cr_assert_not_null(mkdtemp(dir));
    snprintf(text, sizeof text, "{\"model_type\": \"qwen3_5\"%s, \"text_config\": {" TEXT "%s}}",
             outer, nested);
    put(dir, "config.json", text);
    if (generation)
        put(dir, "generation_config.json", generation);
    int rc = model_open(&m, &(struct model_options){.dir = dir, .dummy = true}, &e);
    snprintf(text, sizeof text, "rm -r %s", dir);
    cr_assert_eq(system(text), 0);
    cr_assert_eq(rc, 0, "%s", e.text);
    return m;
}

static void expect_eos(const struct model *m, const int *ids, int n)
{
    cr_assert_eq(m->n_eos, n, "%d ids end a text, %d expected", m->n_eos, n);
    for (int i = 0; i < n; i++)
        cr_assert(model_is_eos(m, ids[i]), "%d does not end a text", ids[i]);
}

Test(model, ends_of_text_are_read_from_a_nested_config)
{
    struct model *m = open_with("", ", \"eos_token_id\": 7, \"bos_token_id\": 3", NULL);
    expect_eos(m, (int[]){7}, 1);
    cr_assert_eq(m->bos, 3);
    model_close(m);
    m = open_with("", ", \"eos_token_id\": [7, 9]", NULL);
    expect_eos(m, (int[]){7, 9}, 2);
    cr_assert_eq(m->bos, -1);
    model_close(m);
}

Test(model, every_file_adds_its_ends_and_the_first_beginning_counts)
{
    struct model *m = open_with(", \"eos_token_id\": 5, \"bos_token_id\": 2",
                                ", \"eos_token_id\": [7, 5], \"bos_token_id\": 3",
                                "{\"eos_token_id\": [11, 7], \"bos_token_id\": 4}");
    expect_eos(m, (int[]){5, 7, 11}, 3);
    cr_assert_eq(m->bos, 2);
    model_close(m);
    m = open_with("", "", "{\"eos_token_id\": 11, \"bos_token_id\": 4}");
    expect_eos(m, (int[]){11}, 1);
    cr_assert_eq(m->bos, 4);
    model_close(m);
}

Test(model, ids_outside_of_the_vocabulary_are_none)
{
    static const char *const odd[] = {"50", "-1", "-2", "2147483647", "99999999999999", "\"7\"",
                                      "null", "{}", "1.5", "true"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        char text[256], list[256];
        snprintf(text, sizeof text, ", \"eos_token_id\": %s, \"bos_token_id\": %s", odd[i], odd[i]);
        snprintf(list, sizeof list, ", \"eos_token_id\": [[7], %s]", odd[i]);
        struct model *m = open_with(text, list, NULL);
        expect_eos(m, NULL, 0);
        cr_assert_eq(m->bos, -1, "%s", odd[i]);
        model_close(m);
    }
}
