"""The only adapter to onnx_ir: constants, uses, types, edits, names."""
