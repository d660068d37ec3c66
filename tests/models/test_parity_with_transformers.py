"""The backbones against PyTorch Transformers, on weights that NumPy draws (see make_reference.py)."""

import importlib.util

import numpy as np
import pytest

STORED_CASES = [
    "albert_tanh_gelu", "albert_erf_gelu", "albert_three_groups", "albert_two_inner_layers", "gpt2_tanh_gelu",
    "gpt2_narrow_relu",
]  # fmt: skip
MORE_CASES = [
    "albert_two_groups_of_three", "albert_one_head", "albert_wide", "gpt2_erf_gelu", "gpt2_deep", "gpt2_wide",
]  # fmt: skip
TOLERANCE = 1e-5

needs_transformers = pytest.mark.skipif(
    not (importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")),
    reason="PyTorch Transformers is not installed (the extra `parity`)",
)


@pytest.fixture(scope="module")
def stored(reference):
    return dict(np.load(reference.FILE))


@pytest.fixture(scope="module")
def compute_with_ours(reference, from_hugging_face):
    def compute(case, config):
        backbone = from_hugging_face(config, reference.draw_weights(case, config))
        inputs = reference.draw_inputs(config)
        ids = {
            "token_ids": inputs["input_ids"],
            "segment_ids": inputs["token_type_ids"],
            "padding_mask": inputs["attention_mask"].astype(bool),
        }
        if case.startswith("gpt2"):
            return {"hidden": backbone({name: ids[name] for name in ("token_ids", "padding_mask")}).numpy()}
        outputs = backbone(ids)
        return {"hidden": outputs["sequence_output"].numpy(), "pooled": outputs["pooled_output"].numpy()}

    return compute


def assert_equal(ours, theirs):
    assert set(ours) == set(theirs)
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=TOLERANCE, rtol=0)


def test_every_stored_case_is_tested(reference, stored):
    assert list(reference.CASES) == STORED_CASES
    assert list(reference.MORE_CASES) == MORE_CASES
    assert {name.split(".")[0] for name in stored} == set(STORED_CASES)


@pytest.mark.parametrize("case", STORED_CASES)
def test_outputs_equal_the_stored_ones_of_transformers(case, reference, stored, compute_with_ours):
    theirs = {name.split(".")[1]: value for name, value in stored.items() if name.split(".")[0] == case}
    assert_equal(compute_with_ours(case, reference.CASES[case]), theirs)


def test_the_cases_tell_the_two_gelus_and_the_groups_apart(stored):
    # A control: a backbone that ignored the activation or the groups would fail above.
    tanh = stored["albert_tanh_gelu.hidden"]
    assert abs(tanh - stored["albert_erf_gelu.hidden"]).max() > 10 * TOLERANCE
    assert abs(tanh - stored["albert_three_groups.hidden"]).max() > 0.1
    assert abs(tanh - stored["albert_two_inner_layers.hidden"]).max() > 0.1


@needs_transformers
@pytest.mark.parametrize("case", STORED_CASES)
def test_transformers_still_computes_what_is_stored(case, reference, stored):
    for name, value in reference.compute_with_transformers(case, reference.CASES[case]).items():
        np.testing.assert_allclose(value, stored[f"{case}.{name}"], atol=TOLERANCE, rtol=0)


@needs_transformers
@pytest.mark.parametrize("case", MORE_CASES)
def test_outputs_equal_transformers_for_more_shapes(case, reference, compute_with_ours):
    config = reference.MORE_CASES[case]
    assert_equal(compute_with_ours(case, config), reference.compute_with_transformers(case, config))
