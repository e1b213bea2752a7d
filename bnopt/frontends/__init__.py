"""From TensorFlow, Keras and PyTorch to ONNX, with what an ONNX file no longer tells."""
