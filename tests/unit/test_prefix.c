/* The prefix tree against a plain list of strings. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "base/rng.h"
#include "statecache/index/prefix.h"

#define PATHS 200
#define LONGEST 60
#define SHORT 8 /* a stretch that these paths have several of */

static struct prefix p;
static struct node *root;

static void open_with(int64_t stretch)
{
    cr_assert_eq(prefix_init(&p, stretch), 0);
    root = prefix_root(&p);
}
static void open_tree(void) { open_with(PREFIX_STRETCH); }
static void close_tree(void)
{
    prefix_free(&p, root);
    cr_assert_eq(p.n_nodes, 0);
    cr_assert_eq(p.n_tokens, 0);
    prefix_fini(&p);
}

TestSuite(prefix, .init = open_tree, .fini = close_tree);

/* A few letters only, so that paths share and part everywhere. */
static int64_t random_path(struct rng *r, int32_t *out)
{
    int64_t n = 1 + (int64_t)rng_below(r, LONGEST);
    for (int64_t i = 0; i < n; i++)
        out[i] = (int32_t)rng_below(r, i % 7 ? 1 : 3);
    return n;
}

static int64_t common(const int32_t *a, int64_t n, const int32_t *b, int64_t m)
{
    int64_t i = 0;
    while (i < n && i < m && a[i] == b[i])
        i++;
    return i;
}

/* The "files" of cold nodes. */
static struct file { const struct node *node; int32_t tokens[SHORT]; } files[1000];
static int n_files;

static void file_gone(void *arg, const struct node *n)
{
    (void)arg;
    for (int i = 0; i < n_files; i++)
        if (files[i].node == n)
            files[i--] = files[--n_files];
}

/* The stretch that n is in or ends, if it is whole and in memory, goes to its file. */
static void cool(struct node *n)
{
    n = prefix_stretch(&p, n);
    if (p.stretch != SHORT || n->n != SHORT || !n->tokens)
        return;
    if (!n->stretch)
        n->stretch = mem_zalloc(sizeof(*n->stretch));
    n->stretch->on_disk = true;
    file_gone(NULL, n);
    cr_assert_lt(n_files, 1000);
    files[n_files].node = n;
    prefix_tokens(n, n->end - SHORT, n->end, files[n_files++].tokens);
    prefix_cool(&p, n);
}

static void warm(struct node *n)
{
    int i = 0;
    while (files[i].node != n)
        cr_assert_lt(++i, n_files, "a cold node without a file");
    int32_t *back = mem_array(SHORT, sizeof(*back));
    memcpy(back, files[i].tokens, sizeof(files[i].tokens));
    prefix_warm(&p, n, back);
}

static void warm_below(const int32_t *tokens, int64_t n)
{
    struct node *cold;
    while ((cold = prefix_match(&p, root, tokens, n).cold))
        warm(cold);
}

static void check_against_a_list(void)
{
    static int32_t path[PATHS][LONGEST];
    static int64_t n[PATHS];
    static struct node *node[PATHS];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rng r = {seed, 0};
        memset(node, 0, sizeof(node));
        for (int step = 0; step < 1500; step++) {
            int i = (int)rng_below(&r, PATHS);
            if (node[i]) {
                node[i]->pins--;
                prefix_prune(&p, node[i]);
                node[i] = NULL;
            } else {
                n[i] = random_path(&r, path[i]);
                warm_below(path[i], n[i]);
                node[i] = prefix_insert(&p, root, path[i], n[i]);
                node[i]->pins++;
                cr_assert_eq(node[i]->end, n[i]);
            }
            int32_t ask[LONGEST], back[LONGEST];
            int64_t m = random_path(&r, ask), best = 0;
            for (int k = 0; k < PATHS; k++)
                if (node[k])
                    best = MAX(best, common(ask, m, path[k], n[k]));
            warm_below(ask, m);
            cr_assert_eq(prefix_match(&p, root, ask, m).depth, best);
            int k = (int)rng_below(&r, PATHS);
            if (node[k]) {
                int64_t from = (int64_t)rng_below(&r, (uint64_t)n[k]);
                struct node *cold;
                while ((cold = prefix_cold(node[k], from, n[k])))
                    warm(cold);
                prefix_tokens(node[k], from, n[k], back);
                cr_assert_arr_eq(back, path[k] + from, (size_t)(n[k] - from) * 4);
                cr_assert_eq(prefix_at(&p, node[k], from)->end, from);
                cool(node[k]);
            }
        }
        cr_assert(prefix_check(&p, root));
        for (int i = 0; i < PATHS; i++)
            if (node[i]) {
                node[i]->pins--;
                prefix_prune(&p, node[i]);
            }
        cr_assert(prefix_check(&p, root));
        /* What prefix_at split and nobody needed is joined or gone with its leaf. */
        cr_assert_eq(root->n_children, 0, "seed %llu", (unsigned long long)seed);
    }
}

Test(prefix, agrees_with_a_list_of_paths_through_inserts_and_removals) { check_against_a_list(); }

Test(prefix, ids_that_leave_memory_and_come_back_make_no_difference)
{
    close_tree();
    open_with(SHORT);
    p.gone = file_gone;
    check_against_a_list();
    cr_assert_eq(n_files, 0);
}

Test(prefix, a_whole_stretch_costs_a_node_and_no_ids)
{
    static int32_t t[100 * SHORT];
    close_tree();
    open_with(SHORT);
    struct node *leaf = prefix_insert(&p, root, t, ARRAY_LEN(t));
    leaf->pins++;
    for (struct node *n = leaf; n->parent; n = n->parent)
        cool(n);
    cr_assert(p.n_tokens == 0 && p.n_nodes == 101);
    cr_assert(prefix_check(&p, root));
    cr_assert_eq(prefix_cold(leaf, 20, 21)->end, 24);
    cr_assert_null(prefix_cold(leaf, 0, 0));
}

Test(prefix, what_was_lost_is_in_nobodys_way)
{
    int32_t t[2 * SHORT] = {1, 2, 3};
    close_tree();
    open_with(SHORT);
    struct node *leaf = prefix_insert(&p, root, t, ARRAY_LEN(t));
    leaf->pins++;
    cool(leaf->parent);
    prefix_lose(&p, leaf->parent);
    cr_assert(prefix_check(&p, root));
    cr_assert_eq(prefix_match(&p, root, t, ARRAY_LEN(t)).depth, 0);
    struct node *again = prefix_insert(&p, root, t, ARRAY_LEN(t));
    cr_assert_neq(again, leaf);
    cr_assert(prefix_check(&p, root));
    cr_assert_eq(prefix_match(&p, root, t, ARRAY_LEN(t)).depth, (int64_t)ARRAY_LEN(t));
}

Test(prefix, a_path_of_many_thousand_tokens_needs_no_stack)
{
    struct node *n = root;
    int32_t t[64];
    for (int i = 0; i < 20000; i++) {
        for (int k = 0; k < 64; k++)
            t[k] = i + k;
        n = prefix_insert(&p, n, t, 64);
        n->pins = 1;
    }
    cr_assert_eq(n->end, 20000 * 64);
    cr_assert(prefix_check(&p, root));
}

Test(prefix, without_memory_nothing_is_lost)
{
    int32_t a[] = {1, 2, 3, 4}, b[] = {1, 2, 9};
    struct node *n = prefix_insert(&p, root, a, 4);
    n->pins++;
    for (uint64_t k = 1; k <= 4; k++) {
        mem_fail_at(k);
        (void)prefix_insert(&p, root, b, 3);
        mem_fail_at(0);
        cr_assert(prefix_check(&p, root));
        cr_assert_eq(prefix_match(&p, root, a, 4).depth, 4);
    }
}

Test(prefix, ghosts_are_few)
{
    static int32_t t[100000];
    for (int i = 0; i < 40; i++) {
        t[0] = i;
        prefix_evicted(&p, prefix_insert(&p, root, t, 100000));
    }
    cr_assert_leq(p.n_tokens * sizeof(*t), 1 << 20);
    cr_assert(prefix_check(&p, root));
}

/* Nodes are counted, too: of short paths they are most of what a ghost keeps. */
Test(prefix, ghosts_of_short_paths_keep_no_more)
{
    int32_t t[20] = {0};
    size_t before = 0;
    for (int i = 0; i < 40000; i++) {
        t[0] = i / 3; /* some part in the middle, most keep a node of their own */
        t[9] = i % 3;
        prefix_evicted(&p, prefix_insert(&p, root, t, ARRAY_LEN(t)));
        if (i == 20000)
            before = p.n_nodes;
    }
    cr_assert_leq(p.n_nodes * sizeof(struct node) + p.n_tokens * sizeof(*t), 1 << 20);
    cr_assert_geq(p.n_nodes, 1000);
    cr_assert_leq(p.n_nodes, before + 8, "%zu nodes, and %zu earlier", p.n_nodes, before);
    cr_assert(prefix_check(&p, root));
}
