"""Shows which words a classifier's answer comes from, and what its layers attend to, as one HTML page.

    albert-gpt-tf explain --preset=runs/spam/preset --text="win a prize" --output=explain.html

The words are coloured by integrated gradients: what each adds to the log-odds of the label, compared with a text of
[MASK], padding or unknown tokens alone. These parts add up to the difference that the words make; how closely is
printed. The page needs no network and no other file.
"""

import os
from pathlib import Path

from absl import flags

_PRESET = flags.DEFINE_string("preset", None, "Preset directory of the classifier.", required=True)
_TEXT = flags.DEFINE_string("text", None, "The text.", required=True)
_TEXT_PAIR = flags.DEFINE_string("text_pair", None, "The second text.")
_OUTPUT = flags.DEFINE_string("output", "explain.html", "The page to write.")


def main(arguments: list[str]) -> None:
    """Runs the command."""
    from albert_gpt_tf.commands.explain_page import explanation_page
    from albert_gpt_tf.tasks.albert_text_classifier import AlbertTextClassifier
    from albert_gpt_tf.tasks.attributions import explain
    from albert_gpt_tf.tasks.gpt_text_classifier import GPTTextClassifier
    from albert_gpt_tf.tasks.load import load_task

    task = load_task(_PRESET.value)
    if not isinstance(task, AlbertTextClassifier | GPTTextClassifier):
        raise ValueError(
            f"explain needs a text classifier. Received: a {type(task).__name__} in {_PRESET.value!r}. Give the preset "
            "of an AlbertTextClassifier or a GPTTextClassifier."
        )
    texts = [_TEXT.value] if _TEXT_PAIR.value is None else [_TEXT.value, _TEXT_PAIR.value]
    explanation = explain(task, *texts)
    path = Path(_OUTPUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(explanation_page(explanation, texts), encoding="utf-8")
    os.replace(partial, path)

    what = "value" if explanation.label is None else f"log-odds of {explanation.label!r}"
    for name, score in sorted(explanation.scores.items(), key=lambda item: -item[1])[:10]:
        print(f"{score:8.4f}  {name}")
    print()
    for span in sorted(explanation.spans, key=lambda span: -abs(span.attribution))[:10]:
        print(f"{span.attribution:+8.4f}  {texts[span.text][span.start : span.end]!r}")
    difference, total = explanation.explained - explanation.baseline, float(explanation.attributions.sum())
    print(
        f"\n{what}: {explanation.explained:.4f}; with {explanation.baseline_token} in place of the text: "
        f"{explanation.baseline:.4f}; difference: "
        f"{difference:+.4f}; sum of the words: {total:+.4f}; error: {abs(total - difference):.1e}\n{path}"
    )
