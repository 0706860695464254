/* BLAKE3 on every instruction set that this CPU has, whatever pieces the bytes come in. */
#include <criterion/criterion.h>

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "statecache/store/blake3.h"
#include "statecache/store/digest.h"

#define MOST 1000000

static unsigned char *bytes;

static void setup(void)
{
    bytes = mem_zalloc(MOST);
    cr_assert_not_null(bytes);
    for (size_t i = 0; i < MOST; i++)
        bytes[i] = (unsigned char)(i % 251);
}

static void teardown(void) { mem_free(bytes); }

TestSuite(blake3, .init = setup, .fini = teardown);

/* Bytes i % 251, as the authors' own vectors have them; by the blake3 package of PyPI. */
static const struct { size_t n; const char *hex; } known[] = {
    {0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
    {1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
    {63, "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b"},
    {64, "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"},
    {65, "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"},
    {1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
    {1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
    {1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
    {2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"},
    {2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"},
    {3072, "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2"},
    {4096, "015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969"},
    {5120, "9cadc15fed8b5d854562b26a9536d9707cadeda9b143978f319ab34230535833"},
    {7168, "61da957ec2499a95d6b8023e2b0e604ec7f6b50e80a9678b89d2628e99ada77a"},
    {8193, "bab6c09cb8ce8cf459261398d2e7aef35700bf488116ceb94a36d0f5f1b7bc3b"},
    {16384, "f875d6646de28985646f34ee13be9a576fd515f76b5b0a26bb324735041ddde4"},
    {31744, "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47"},
    {65536, "68d647e619a930e7b1082f74f334b0c65a315725569bdc123f0ee11881717bfe"},
    {65537, "7c99f9840a73dfcb6e5bfe4ff6d1558acab7e015640790c26411818bdbe17eca"},
    {102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
    {1000000, "5e82c663d164c54e4fcdfcd70e3ca464662228bdbad45cce2e0c2bff999064ef"},
};

static void hex_of(const struct blake3 *s, char hex[65])
{
    unsigned char out[BLAKE3_OUT];
    blake3_final(s, out);
    sodium_bin2hex(hex, 65, out, sizeof out);
}

Test(blake3, known_values_on_every_instruction_set)
{
    const struct blake3_lanes *lanes;
    cr_assert_not_null(blake3_lanes(0));
    for (int set = 0; (lanes = blake3_lanes(set)); set++) {
        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
            struct blake3 s;
            char hex[65];
            blake3_init(&s, lanes);
            blake3_update(&s, bytes, known[i].n);
            hex_of(&s, hex);
            cr_assert_str_eq(hex, known[i].hex, "%s, %zu bytes", blake3_lanes_name(lanes),
                             known[i].n);
        }
    }
}

/* In pieces of up to `most` bytes. */
static void in_pieces(struct blake3 *s, size_t n, size_t most, struct rng *rng)
{
    char hex[65];
    for (size_t at = 0, piece; at < n; at += piece) {
        piece = (size_t)rng_below(rng, most + 1);
        piece = MIN(piece, n - at);
        blake3_update(s, bytes + at, piece);
        if (rng_below(rng, 16) == 0) /* asking on the way changes nothing */
            hex_of(s, hex);
    }
}

Test(blake3, pieces_do_not_matter)
{
    static const size_t most[] = {30, 1024, 5000, 200000};
    struct rng rng = {.seed = 1};
    const struct blake3_lanes *lanes;
    for (int set = 0; (lanes = blake3_lanes(set)); set++) {
        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
            for (size_t k = 0; k < ARRAY_LEN(most); k++) {
                struct blake3 s;
                char hex[65];
                blake3_init(&s, lanes);
                in_pieces(&s, known[i].n, most[k], &rng);
                hex_of(&s, hex);
                cr_assert_str_eq(hex, known[i].hex, "%s, %zu bytes in pieces of up to %zu",
                                 blake3_lanes_name(lanes), known[i].n, most[k]);
            }
        }
    }
}

Test(blake3, the_version_of_a_file_decides_which_digest_it_has)
{
    unsigned char old[CODEC_DIGEST], new[CODEC_DIGEST], want[CODEC_DIGEST];
    struct digest d;
    digest_init(&d, 3);
    digest_update(&d, bytes, 5000);
    digest_final(&d, old);
    crypto_generichash(want, sizeof want, bytes, 5000, NULL, 0);
    cr_assert_arr_eq(old, want, sizeof want);
    struct blake3 s;
    blake3_init(&s, NULL);
    blake3_update(&s, bytes, 5000);
    blake3_final(&s, want);
    digest_init(&d, CODEC_VERSION);
    digest_update(&d, bytes, 5000);
    digest_final(&d, new);
    cr_assert_arr_eq(new, want, sizeof want);
    cr_assert(memcmp(old, new, sizeof old) != 0);
}
