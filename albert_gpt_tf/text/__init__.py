"""Text: strings to ids and back as TensorFlow ops, the vocabularies behind them, and rows of ids made from them."""
