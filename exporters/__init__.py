"""From a trained task to what runs it: a SavedModel for TF Serving, a .tflite file for phones."""

from albert_gpt_tf.exporters.check_saved_model import assert_servable, check_saved_model
from albert_gpt_tf.exporters.saved_model import export_saved_model
from albert_gpt_tf.exporters.tflite import export_tflite

__all__ = ["assert_servable", "check_saved_model", "export_saved_model", "export_tflite"]
