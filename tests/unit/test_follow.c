/* Budgets of thinking, and the end behind the first call, as the engine sees them. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "models/text/tokenizer.h"
#include "server/api/follow.h"

#define DEMO "models/demo/gated-deltanet"
#define VOCAB 4096

static struct tokenizer *tok;
static struct token_trie *trie;
static struct served served;

static void open_all(void)
{
    struct err e = {0};
    log_set_level(LOG_ERROR);
    cr_assert_eq(tokenizer_open(&tok, DEMO, VOCAB, &e), 0, "%s", e.text);
    cr_assert_eq(token_trie_of(&trie, tok, VOCAB, &e), 0, "%s", e.text);
    served = (struct served){.tok = tok, .vocab = VOCAB};
}

static void close_all(void)
{
    token_trie_unref(trie);
    tokenizer_close(tok);
}

TestSuite(follow, .init = open_all, .fini = close_all);

/* Allowed tokens; *only: the one if there is one alone. */
static int allowed(struct constraint *c, struct constrain_state *s, int32_t *only)
{
    uint32_t words[(VOCAB + 31) / 32];
    struct err e = {0};
    int n = 0;
    cr_assert_eq(c->ops->mask(c, words, s, &e), 0, "%s", e.text);
    for (int32_t i = 0; i < VOCAB; i++)
        if (words[i / 32] >> (i % 32) & 1) {
            *only = i;
            n++;
        }
    return n;
}

/* The tokens of a text, each of which must be allowed; their number. */
static int32_t write(struct constraint *c, const char *text)
{
    int32_t ids[256], n = token_trie_spell(trie, text, ids, 256), only;
    struct constrain_state s;
    struct err e = {0};
    cr_assert_gt(n, 0);
    for (int32_t i = 0; i < n; i++) {
        cr_assert_eq(allowed(c, &s, &only), VOCAB, "at token %d of %s", i, text);
        cr_assert(s.whole && s.more);
        cr_assert_eq(c->ops->accept(c, ids[i], &e), 0, "%s", e.text);
    }
    return n;
}

static struct follow_setup setup(int64_t budget, bool thinking)
{
    struct follow_setup o = {.served = &served, .budget = budget, .thinking = thinking};
    o.n_close = token_trie_spell(trie, THINK_CLOSE, o.close, FOLLOW_CLOSE);
    cr_assert_gt(o.n_close, 0);
    return o;
}

/* The closing tag's tokens come, one by one, and nothing else may. */
static void expect_close(struct constraint *c, const struct follow_setup *o)
{
    for (int32_t i = 0, only = -1; i < o->n_close; i++) {
        struct constrain_state s;
        struct err e = {0};
        cr_assert_eq(allowed(c, &s, &only), 1);
        cr_assert(only == o->close[i] && !s.whole && s.more);
        cr_assert_eq(c->ops->accept(c, only, &e), 0);
    }
}

Test(follow, the_tag_is_forced_when_the_budget_is_used_up)
{
    struct follow_setup o = setup(5, true);
    struct constraint *c = follow_new(&o), *copy;
    int32_t n = write(c, "onetw"), only;
    struct constrain_state s;
    struct err e = {0};
    for (; n < 5; n++)
        cr_assert_eq(c->ops->accept(c, o.close[0], &e), 0); /* a beginning of the tag is none */
    copy = c->ops->clone(c);
    expect_close(c, &o);
    cr_assert_eq(allowed(c, &s, &only), VOCAB);
    expect_close(copy, &o);
    write(c, "three four five six seven eight");
    c->ops->free(c);
    copy->ops->free(copy);
}

Test(follow, a_budget_of_none_and_thinking_that_ends_by_itself)
{
    struct follow_setup o = setup(0, true);
    struct constraint *c = follow_new(&o);
    expect_close(c, &o);
    write(c, "and so on");
    c->ops->free(c);
    o = setup(40, true);
    c = follow_new(&o);
    write(c, "short</think>");
    write(c, "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
             "fifteen sixteen seventeen eighteen nineteen");
    c->ops->free(c);
}

Test(follow, the_answer_opens_its_thinking_or_does_not)
{
    struct follow_setup o = setup(0, false);
    struct constraint *c = follow_new(&o);
    write(c, "\n <think>");
    expect_close(c, &o);
    c->ops->free(c);
    c = follow_new(&o);
    write(c, "<thin air> and <think> later</think>");
    c->ops->free(c);
}

Test(follow, nothing_comes_behind_the_first_call)
{
    json_t *tools = json_loads("[{\"function\":{\"name\":\"now\"}}]", 0, NULL);
    struct toolset *set = toolset_new(tools);
    struct follow_setup o = setup(-1, false);
    o.dialect = toolcall_find("hermes");
    o.tools = set;
    struct constraint *c = follow_new(&o);
    toolset_free(set); /* the constraint has its own reference */
    json_decref(tools);
    struct constrain_state s;
    int32_t only;
    write(c, "Now. <tool_call>{\"name\": \"then\", \"arguments\": {}}</tool_call> ");
    struct constraint *copy = c->ops->clone(c);
    write(c, "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>");
    cr_assert_eq(allowed(c, &s, &only), 0);
    cr_assert(s.whole && !s.more);
    write(copy, "Well.");
    c->ops->free(c);
    copy->ops->free(copy);
}

Test(follow, nothing_to_follow)
{
    struct follow_setup o = setup(-1, true);
    cr_assert_null(follow_new(&o));
}
