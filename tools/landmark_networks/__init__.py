"""From MediaPipe's TFLite files to ONNX: the parts of `bake_landmarks.py`."""
