from nas.pretrained.families import ALL, FAMILIES, is_norm, names_of_weights, shown_families


def test_messages_name_every_family() -> None:
    assert len(FAMILIES) == len(ALL)
    assert all(f"{family.shown} ({family.name})" in shown_families() for family in ALL)


def test_names_follow_the_structure() -> None:
    pre = names_of_weights(1, "pre", qk_norm=False, qkv_bias=True, out_bias=False, tied=True)
    both = names_of_weights(1, "both", qk_norm=True, qkv_bias=False, out_bias=True, tied=False)
    layer = "model.layers.0"
    assert pre["blocks.0.mlp_norm.weight"] == (f"{layer}.post_attention_layernorm.weight",)
    assert both["blocks.0.mixer_post_norm.weight"] == (f"{layer}.post_attention_layernorm.weight",)
    assert pre["blocks.0.mlp.gate_and_up.weight"] == (f"{layer}.mlp.gate_proj.weight", f"{layer}.mlp.up_proj.weight")
    assert {"blocks.0.mixer.q.bias", "blocks.0.mixer.v.bias"} <= pre.keys()
    assert not {"head.weight", "blocks.0.mixer.out.bias", "blocks.0.mixer.q_norm.weight"} & pre.keys()
    assert {"head.weight", "blocks.0.mixer.out.bias", "blocks.0.mixer.q_norm.weight"} <= both.keys()


def test_norms_are_told_from_projections() -> None:
    names = {part for parts in names_of_weights(1, "both", True, True, True, False).values() for part in parts}
    assert sum(map(is_norm, names)) == 7
