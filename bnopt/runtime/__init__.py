"""onnxruntime in a worker process: sessions, providers, feeds and test data.

Nothing here imports onnxruntime into the calling process; see `process.Worker`.
"""
