"""Bytes of weights and of what decoders keep from token to token, against what lies in memory."""

import pytest
import torch
from tests.budgets.conftest import small_llama
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.errors import Untraceable

L2 = ip.importance.IndependenceImportance()


def test_a_cache_takes_keys_and_values_of_every_head_layer_and_token():
    model, ids = small_llama(), torch.randint(0, 60, (3, 7))
    dims, heads, layers, floats = 32 // 8, 4, 2, 4
    assert ip.budgets.kv_cache(keep=1.0).measure(model, ids) == 2 * 3 * 7 * layers * heads * dims * floats


def test_half_of_the_cache_is_half_of_the_key_heads_and_what_generate_then_holds():
    model, ids = small_llama(), torch.randint(0, 60, (1, 7))
    plan = ip.plan(model, ids, L2, budgets=[ip.budgets.kv_cache(keep=0.5)])
    assert sum(count for name, count in plan.widths.items() if name.endswith("q_proj")) == 4
    assert not [name for name in plan.widths if "mlp" in name]
    pruned = ip.prune_(model, ids, plan)
    made = pruned.generate(ids, min_new_tokens=4, max_new_tokens=4, return_dict_in_generate=True)
    held = [t for layer in made.past_key_values.layers for t in (layer.keys, layer.values)]
    assert sum(t.numel() for t in held) == 2 * 4 * 4 * (7 + 4 - 1)  # keys and values of 4 heads of 4, the last unasked


def test_half_precision_takes_half_the_bytes():
    model, ids = small_llama(), torch.randint(0, 60, (1, 7))
    for budget in (ip.budgets.kv_cache(keep=0.5), ip.budgets.bytes(keep=0.5)):
        assert budget.measure(small_llama().bfloat16(), ids) == budget.measure(model, ids) / 2
    assert ip.budgets.bytes(keep=0.5).measure(model, ids) == sum(p.nbytes for p in model.parameters())


def test_a_shared_embedding_counts_once():
    tied, ids = small_llama(tie_word_embeddings=True), torch.randint(0, 60, (1, 7))
    budget = ip.budgets.bytes(keep=0.7)
    assert budget.measure(small_llama(), ids) - budget.measure(tied, ids) == 60 * 32 * 4
    graph = ip.Graph.trace(tied, ids)
    assert budget.cost(graph)([site.size for site in graph.sites]) == budget.measure(tied, ids)


def test_a_window_bounds_what_is_kept():
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 60}
    config = transformers.MistralConfig(**sizes, num_attention_heads=4, num_key_value_heads=4, sliding_window=4)
    model, budget = transformers.MistralForCausalLM(config).eval(), ip.budgets.kv_cache(keep=0.5)
    few, many = (torch.randint(0, 60, (1, count)) for count in (12, 20))
    assert budget.measure(model, few) == budget.measure(model, many) > 0
    plan = ip.plan(model, few, L2, budgets=[budget])
    assert budget.compare(model, ip.prune_(model, few, plan), few).count == budget.measure(model, few)


@pytest.mark.parametrize("model", [make(Residual), small_llama(use_cache=False)], ids=["no decoder", "not asked for"])
def test_a_model_that_keeps_nothing_is_told(model):
    x = image() if isinstance(model, Residual) else torch.randint(0, 60, (1, 7))
    with pytest.raises(Untraceable, match="gives back no cache of keys and values; take a decoder"):
        ip.plan(model, x, L2, budgets=[ip.budgets.kv_cache(keep=0.5)])
