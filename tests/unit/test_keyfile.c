/* The key file: what a line may say, one sentence for every mistake, and nothing quoted. */
#include "server/process/keyfile.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define S1 "secret-number-one"
#define S2 "secret+number/two=="
#define HEX "6d01b3a7c63ac7ee2a6e5cdb8c4a3b9e6d01b3a7c63ac7ee2a6e5cdb8c4a3b9e"

static int parse(struct keyfile *f, const char *text, struct err *e)
{
    return keyfile_parse(f, text, strlen(text), "keys", e);
}

Test(keyfile, a_line_is_a_name_a_secret_and_limits)
{
    struct keyfile f;
    struct err e = {0};
    unsigned char digest[KEY_DIGEST];
    cr_assert_eq(parse(&f, "# keys\n\n  alice\t" S1 " requests=3  sessions=0 # a note\r\n"
                           "bob@x.y-z_1 " S2 " state-memory=5 metrics state-disk=7", &e), 0, "%s",
                 e.text);
    cr_assert_eq(f.n, 2);
    cr_assert_str_eq(f.keys[0].name, "alice");
    cr_assert_eq(f.keys[0].line, 3);
    cr_assert_eq(f.keys[0].limit[KEY_REQUESTS], 3);
    cr_assert_eq(f.keys[0].limit[KEY_SESSIONS], 0);
    cr_assert_eq(f.keys[0].limit[KEY_STATE_DISK], -1);
    cr_assert(!f.keys[0].metrics);
    crypto_hash_sha256(digest, (const unsigned char *)S1, strlen(S1));
    cr_assert_arr_eq(f.keys[0].secret[0], digest, KEY_DIGEST);
    cr_assert_str_eq(f.keys[1].name, "bob@x.y-z_1");
    cr_assert_eq(f.keys[1].limit[KEY_STATE_MEMORY], 5);
    cr_assert_eq(f.keys[1].limit[KEY_STATE_DISK], 7);
    cr_assert(f.keys[1].metrics);
    keyfile_free(&f);
}

Test(keyfile, a_secret_may_be_several_and_may_be_given_by_its_digest)
{
    struct keyfile f;
    struct err e = {0};
    cr_assert_eq(parse(&f, "a " S1 ",sha256:" HEX "," S2 "\n", &e), 0, "%s", e.text);
    cr_assert_eq(f.keys[0].n_secrets, 3);
    cr_assert_eq(f.keys[0].secret[1][0], 0x6d);
    cr_assert_eq(f.keys[0].secret[1][31], 0x9e);
    keyfile_free(&f);
}

static const struct { const char *text; int code, line; } mistakes[] = {
    {"", E_FORMAT, 0},
    {"# only a comment\n\n \t\n", E_FORMAT, 0},
    {"alice\n", E_FORMAT, 1},
    {"alice # " S1 "\n", E_FORMAT, 1},
    {"\n\nal/ice " S1 "\n", E_FORMAT, 3},
    {"\xef\xbb\xbf" "alice " S1 "\n", E_FORMAT, 1},
    {"al\xc3\xaf" "ce " S1 "\n", E_FORMAT, 1},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " S1 "\n", E_FORMAT, 1},
    {"a sixteen-bytes-16\nb fifteen-bytes-\n", E_RANGE, 2},
    {"a ,\n", E_RANGE, 1},
    {"a " S1 ",\n", E_RANGE, 1},
    {"a " S1 ",1" S1 ",2" S1 ",3" S1 ",4" S1 "\n", E_RANGE, 1},
    {"a secret-with-an-excl!mation\n", E_FORMAT, 1},
    {"a secret:with-a-colon-in-it\n", E_FORMAT, 1},
    {"a sha256:" HEX "00\n", E_FORMAT, 1},
    {"a sha256:6d01\n", E_FORMAT, 1},
    {"a sha256:zz01b3a7c63ac7ee2a6e5cdb8c4a3b9e6d01b3a7c63ac7ee2a6e5cdb8c4a3b9e\n", E_FORMAT, 1},
    {"a " S1 "\na " S2 "\n", E_CONFLICT, 2},
    {"a " S1 "\nb " S2 "\nc " S1 "\n", E_CONFLICT, 3},
    {"a " S1 "," S1 "\n", E_CONFLICT, 1},
    {"a " S1 " requests\n", E_FORMAT, 1},
    {"a " S1 " requests=\n", E_RANGE, 1},
    {"a " S1 " requests=x\n", E_RANGE, 1},
    {"a " S1 " requests=-1\n", E_RANGE, 1},
    {"a " S1 " requests=1.5\n", E_RANGE, 1},
    {"a " S1 " requests=1000001\n", E_RANGE, 1},
    {"a " S1 " requests=99999999999999999999999999\n", E_RANGE, 1},
    {"a " S1 " requests=1 requests=1\n", E_CONFLICT, 1},
    {"a " S1 " metrics metrics\n", E_FORMAT, 1},
    {"a " S1 " another-word\n", E_FORMAT, 1},
    {"a " S1 "\x01\n", E_FORMAT, 1},
    {"a " S1 "\n# \xff\n", E_FORMAT, 2},
    {"a " S1 " # \x7f\n", E_FORMAT, 1},
    {"a " S1 "\r\r\n", E_FORMAT, 1},
};

Test(keyfile, every_mistake_is_a_sentence_with_its_line)
{
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct keyfile f;
        struct err e = {0};
        char where[32];
        cr_assert_eq(parse(&f, mistakes[i].text, &e), mistakes[i].code, "%zu: %s", i, e.text);
        snprintf(where, sizeof where, mistakes[i].line ? "keys line %d: " : "keys: ",
                 mistakes[i].line);
        cr_assert_eq(strncmp(e.text, where, strlen(where)), 0, "%zu: %s", i, e.text);
        keyfile_free(&f);
    }
}

/* What stands in the wrong place may be a secret. */
Test(keyfile, no_mistake_quotes_the_file)
{
    static const char *const texts[] = {
        "Hunter2-Hunter2-Hunter2 alice\n", "alice " S1 " Hunter2-Hunter2-Hunter2\n",
        "alice Hunter2-Hunter2-Hunter2! x\n", "Hunter2-Hunter2-Hunter2!\n",
        "alice " S1 " requests=Hunter2\n", "Hunter2 " S1 "\nHunter2 " S2 "\n",
        "alice sha256:Hunter2\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct keyfile f;
        struct err e = {0};
        cr_assert_neq(parse(&f, texts[i], &e), 0);
        cr_assert_null(strstr(e.text, "Hunter2"), "%s", e.text);
        cr_assert_null(strstr(e.text, S1), "%s", e.text);
        keyfile_free(&f);
    }
}

Test(keyfile, a_line_and_a_file_have_a_length)
{
    static char text[KEYFILE_LINE * 2];
    struct keyfile f;
    struct err e = {0};
    memset(text, 'x', sizeof text);
    memcpy(text, "a " S1 " #", sizeof "a " S1 " #" - 1);
    cr_assert_eq(keyfile_parse(&f, text, KEYFILE_LINE, "keys", &e), 0, "%s", e.text);
    keyfile_free(&f);
    cr_assert_eq(keyfile_parse(&f, text, KEYFILE_LINE + 1, "keys", &e), E_RANGE);
    keyfile_free(&f);
    err_clear(&e);
    text[20] = '\0';
    cr_assert_eq(keyfile_parse(&f, text, 40, "keys", &e), E_FORMAT);
    keyfile_free(&f);
}

Test(keyfile, so_many_keys_and_no_more)
{
    for (int n = KEYFILE_KEYS; n <= KEYFILE_KEYS + 1; n++) {
        size_t room = (size_t)n * 40, len = 0;
        char *text = malloc(room);
        struct keyfile f;
        struct err e = {0};
        for (int i = 0; i < n; i++)
            len += (size_t)snprintf(text + len, room - len, "name%d some-long-secret-%d\n", i, i);
        cr_assert_eq(parse(&f, text, &e), n > KEYFILE_KEYS ? E_RANGE : 0);
        keyfile_free(&f);
        free(text);
    }
}

Test(keyfile, a_file_that_others_may_read_or_write_is_refused)
{
    static const struct { mode_t mode; int code; } rows[] = {
        {0600, 0}, {0400, 0}, {0640, 0}, {0644, E_DENIED}, {0602, E_DENIED}, {0604, E_DENIED},
    };
    char path[] = "/tmp/recurd-keyfile-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, "a " S1 "\n", strlen("a " S1 "\n")), (ssize_t)strlen("a " S1 "\n"));
    close(fd);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct keyfile f;
        struct err e = {0};
        cr_assert_eq(chmod(path, rows[i].mode), 0);
        cr_assert_eq(keyfile_read(&f, path, &e), rows[i].code, "%s", e.text);
        keyfile_free(&f);
    }
    cr_assert_eq(chmod(path, 0600), 0);
    cr_assert_eq(truncate(path, KEYFILE_BYTES + 1), 0);
    struct keyfile f;
    struct err e = {0};
    cr_assert_eq(keyfile_read(&f, path, &e), E_RANGE);
    unlink(path);
    err_clear(&e);
    cr_assert_eq(keyfile_read(&f, path, &e), E_NOENT);
    err_clear(&e);
    cr_assert_eq(keyfile_read(&f, "/tmp", &e), E_IO);
}
