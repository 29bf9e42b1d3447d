"""DreamerV2 on today's TensorFlow and Keras 3, with transfer between games."""

__version__ = "0.2.0"
