"""Runs a .tflite file that takes text, with LiteRT and TF Text's kernels, as an app would."""

from pathlib import Path

import numpy as np


class LiteModel:
    """A .tflite file in LiteRT's interpreter.

    Args:
        path: str or Path, the file.
        num_threads: int, threads of the interpreter. Defaults to 2.

    Raises:
        ImportError: LiteRT is not installed.
        ValueError: the file is missing or not a TFLite file.

    Example:
        >>> LiteModel("sentiment.tflite").predict({"text": ["a fine film"]})["label"]
        array(['positive'], dtype=object)
    """

    def __init__(self, path: str | Path, num_threads: int = 2):
        try:
            from ai_edge_litert.interpreter import InterpreterWithCustomOps
        except ImportError as error:
            raise ImportError("Running .tflite files needs LiteRT: pip install 'albert-gpt-tf[lite]'") from error
        import tensorflow_text

        if not Path(path).is_file():
            raise ValueError(f"Expected a .tflite file. Received: {str(path)!r}, which does not exist.")
        self.interpreter = InterpreterWithCustomOps(
            model_path=str(path),
            custom_op_registerers=tensorflow_text.tflite_registrar.SELECT_TFTEXT_OPS,
            num_threads=num_threads,
        )
        self.runner = self.interpreter.get_signature_runner()

    def predict(self, inputs: dict[str, list]) -> dict[str, np.ndarray]:
        """Runs the file's signature.

        Args:
            inputs: dict of input name to a list of strings, one a row.

        Returns:
            dict of output name to array; strings decoded.
        """
        encoded = {
            name: np.array([row.encode() if isinstance(row, str) else row for row in rows], object)
            for name, rows in inputs.items()
        }
        outputs = self.runner(**encoded)
        return {
            name: np.array([row.decode() for row in value.ravel()], object).reshape(value.shape)
            if value.dtype == object
            else value
            for name, value in outputs.items()
        }
