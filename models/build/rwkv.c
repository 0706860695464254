/* The frame of RWKV models under the project's own names. Thread: loading. */
#include "models/build/build_int.h"

bool b_rwkv_is_own(struct build *b)
{
    b_prefix(b, "%s", "");
    return b_has(b, "emb.weight", false);
}

int b_rwkv_width(struct build *b, int dflt)
{
    b_prefix(b, "%s", "");
    return cfg_has(b, "hidden_size") ? b_width(b, "hidden_size", dflt)
                                     : (int)b_rows(b, "blocks.0.ln1.weight", dflt);
}

int b_rwkv_inner(struct build *b)
{
    b_prefix(b, "%s", "");
    int rows = (int)b_rows(b, "blocks.0.ffn.key.weight", 0);
    int told = b_width(b, "intermediate_size", rows);
    b_require(b, told == rows, "intermediate_size is %d, the file has %d", told, rows);
    return rows;
}

void b_rwkv_own(struct build *b, const struct rwkv_own *r)
{
    int layers = 0;
    for (b_prefix(b, "blocks.0."); b_has(b, "ln1.weight", false); b_prefix(b, "blocks.%d.", layers))
        layers++;
    int told = (int)cfg_int(b, "num_hidden_layers", layers);
    b_require(b, told == layers, "num_hidden_layers is %d, the file has %d blocks", told, layers);
    b_prefix(b, "%s", "");
    int vocab = (int)cfg_int(b, "vocab_size", b_rows(b, "emb.weight", 65536));
    val h = b_embed(b, "emb", vocab, r->D, 1);
    for (int i = 0; i < layers && !b_failed(b); i++) {
        b_layer(b, i);
        b_prefix(b, "blocks.%d.", i);
        if (i == 0)
            h = b_layer_norm(b, h, "ln0", true, r->eps);
        val y = b_layer_norm(b, h, "ln1", true, r->eps);
        b_into(b, "att.");
        h = e_add(b, h, r->time_mix(b, y, i, r->family));
        b_prefix(b, "blocks.%d.", i);
        y = b_layer_norm(b, h, "ln2", true, r->eps);
        b_into(b, "ffn.");
        h = e_add(b, h, r->channel_mix(b, y, i, r->family));
        if (r->halve > 0 && (i + 1) % r->halve == 0)
            h = e_affine(b, h, 0.5f, 0);
    }
    b_prefix(b, "%s", "");
    b_logits(b, b_layer_norm(b, b_gather(b, h), "ln_out", true, r->eps), "head", false);
}
