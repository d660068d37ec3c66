"""Files and corpora on their way to tf.data: labelled tables, text, windows for a language model, baselines."""
