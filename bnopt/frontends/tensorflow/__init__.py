"""TensorFlow and Keras, converted by tf2onnx in a process of its own."""
