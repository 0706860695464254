/* The names that GGUF files give to pre-tokenizers, and what they mean: how a tokenizer.json of the
 * models that carry the name cuts its texts. Pure. */
#include <string.h>

#include "models/text/gguf_vocab.h"

#define WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define LINES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PATHS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define NOT_HAN "&&[^\\p{Han}]"
#define UPPER_KIMI "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}" NOT_HAN "]"
#define LOWER_KIMI "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}" NOT_HAN "]"
#define ENDING "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define CASED(tail) \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail \
    "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail "|"

static const struct gguf_pre table[] = {
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
     {SHORT "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" LINES}, true, true, false},
    {"dbrx smaug-bpe chatglm-bpe",
     {SHORT "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" LINES}, false, false, false},
    {"glm4 glm5", {SHORT "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" LINES}, true, false, false},
    {"qwen2 deepseek-r1-qwen kormo megrez hunyuan",
     {SHORT "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" LINES}, false, false, true},
    {"stablelm2 solar-open grok-2", {SHORT "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" LINES}, false,
     false, false},
    {"qwen35",
     {SHORT "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, false, false, true},
    {"tekken", {CASED("") "\\p{N}" PATHS}, true, true, false},
    {"gpt-4o llama4 kanana2",
     {CASED(ENDING) "\\p{N}{1,3}" PATHS}, false, false, false},
    {"gpt-2 phi-2 mellum jais trillion granite-docling exaone4", {WORDS}, false, false, false},
    {"olmo mpt modern-bert", {WORDS}, false, false, true}, /* GPT-NeoX's */
    {"starcoder refact command-r smollm codeshell exaone minerva-7b", {"\\p{N}", WORDS}, false,
     false, false},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", WORDS, "[0-9][0-9][0-9]"}, false, false, false},
    {"kimi-k2",
     {"[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" UPPER_KIMI "*" LOWER_KIMI "+" ENDING
      "|[^\\r\\n\\p{L}\\p{N}]?" UPPER_KIMI "+" LOWER_KIMI "*" ENDING "|\\p{N}{1,3}" LINES}, true,
     false, false},
    {"deepseek-v3",
     {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
      "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
      " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, false, false, false},
    {"bailingmoe bailingmoe2 llada-moe",
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}, false, false, false},
};

static bool same_cuts(const struct gguf_pre *pre, const char *const *patterns, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(pre->patterns); i++) {
        const char *want = i < n ? patterns[i] : NULL;
        if (!pre->patterns[i] != !want || (want && strcmp(pre->patterns[i], want) != 0))
            return false;
    }
    return true;
}

const struct gguf_pre *gguf_pre_like(const char *const *patterns, size_t n, bool ignore_merges,
                                     bool nfc)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (same_cuts(&table[i], patterns, n) && table[i].ignore_merges == ignore_merges &&
            table[i].nfc == nfc)
            return &table[i];
    return NULL;
}

const struct gguf_pre *gguf_pre_find(struct gguf_string name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        for (const char *p = table[i].names; *p;) {
            size_t n = strcspn(p, " ");
            if (n == name.n && memcmp(p, name.p, n) == 0)
                return &table[i];
            p += n + strspn(p + n, " ");
        }
    return NULL;
}
