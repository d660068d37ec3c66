"""Says whether TF Serving can serve a SavedModel, before a server has to find out.

The rules are those of TF Serving 2.14 to 2.20 as shipped: its ops, XLA off, batching, REST. `graph_rules.py` and
`signature_rules.py` read the files, `run_rules.py` runs every signature. What this cannot show is the server itself,
its batching and its REST layer.
"""

from albert_gpt_tf.exporters.graph_rules import graph_problems, read_meta_graph, size_problems
from albert_gpt_tf.exporters.run_rules import run_problems


def check_saved_model(path, run: bool = True, examples: dict[str, dict[str, list]] | None = None) -> list[str]:
    """Checks a SavedModel against every rule of TF Serving.

    The signatures are run only when the graph itself is in order. They get ordinary strings, an empty one, invalid
    UTF-8, a NUL byte and 1 MB of text, alone and in batches of 8, 3 and 0 rows; `classify` and `regress` get the rows
    of `serving_default` as tf.Examples.

    Args:
        path: str or Path, a SavedModel directory (the one with the version number).
        run: bool, whether to run the signatures as well. Defaults to `True`.
        examples: dict of signature name to dict of input name to list of per-row values, cycled over the rows. Give it
            where the defaults make no sense: masked text, a sampling parameter with a range. Defaults to `None`:
            strings, integers from 1 to 4, and 1.0.

    Returns:
        A list of sentences, one a broken rule; empty if the SavedModel can be served.

    Raises:
        ValueError: `path` is not a SavedModel, or `examples` names an unknown signature or input.

    Example:
        >>> check_saved_model("exported/sentiment/1")
        []

    Reference: tensorflow/serving, `servables/tensorflow/` and `util/json_tensor.cc`.
    """
    too_large = size_problems(path)
    if too_large:
        return too_large
    meta_graph = read_meta_graph(path)
    problems = graph_problems(path, meta_graph)
    if run and not problems:
        problems = run_problems(path, meta_graph, examples)
    return problems


def assert_servable(path, run: bool = True, examples: dict[str, dict[str, list]] | None = None) -> None:
    """Raises if `check_saved_model` finds anything.

    Args:
        path: str or Path, a SavedModel directory.
        run: bool, whether to run the signatures as well. Defaults to `True`.
        examples: dict or None, as for `check_saved_model`.

    Raises:
        ValueError: `path` is not a SavedModel, or it breaks a rule; the message lists every one.

    Example:
        >>> assert_servable("exported/sentiment/1")
    """
    problems = check_saved_model(path, run, examples)
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ValueError(
            f"Expected a SavedModel that TF Serving can serve. Received: {str(path)!r}, which breaks {len(problems)} "
            f"rule{'s' if len(problems) > 1 else ''}. Correct the exported function and export again:{lines}"
        )
