"""ALBERT and GPT in TensorFlow: train with Keras 3, serve text with TF Serving, ship TFLite."""

__version__ = "0.1.0.dev0"
