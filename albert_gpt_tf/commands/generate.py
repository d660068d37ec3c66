"""Continues prompts.

albert-gpt-tf generate --preset=runs/docstrings_gpt/preset --temperature=0.8 --top_p=0.95 "Returns the"
albert-gpt-tf generate --preset=runs/docstrings_gpt/preset < prompts.txt
"""

import sys

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the model.", required=True)
_MAX_NEW_TOKENS = flags.DEFINE_integer("max_new_tokens", 64, "Tokens to generate at most.", lower_bound=0)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "0 takes the most probable token at each step.")
_TOP_K = flags.DEFINE_integer("top_k", 0, "Sample from the k most probable tokens; 0 for all.")
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Sample from the most probable tokens that together reach p; 1 for all.")
_REPETITION_PENALTY = flags.DEFINE_float("repetition_penalty", 1.0, "Above 1 makes tokens already there less likely.")
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same text.")


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.tasks.gpt_causal_lm import GPTCausalLM
    from albert_gpt_tf.tasks.load import load_task

    task = load_task(_PRESET.value)
    if not isinstance(task, GPTCausalLM):
        raise ValueError(
            f"generate needs a GPTCausalLM. Received: a {type(task).__name__} in {_PRESET.value!r}. "
            "A classifier answers `albert-gpt-tf predict`."
        )
    for prompt in arguments or (line.rstrip("\n") for line in sys.stdin):
        continuation = task.generate(
            prompt,
            max_new_tokens=_MAX_NEW_TOKENS.value,
            temperature=_TEMPERATURE.value,
            top_k=_TOP_K.value,
            top_p=_TOP_P.value,
            repetition_penalty=_REPETITION_PENALTY.value,
            seed=_SEED.value,
        )
        print(prompt + continuation, flush=True)
