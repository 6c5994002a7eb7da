#!/bin/sh
# The reference suite: rebuilds every golden with PyTorch and compares. Makes a virtual environment of its own on first use
# (torch, torchvision, timm, transformers, tokenizers, safetensors, pillow: some 1.5 GB). Arguments go to reference.py.
# Usage: scripts/reference.sh BUILD [--full] [--only NAME] [--fixtures DIR]
set -eu
build=$1
shift
py=$build/reference-venv/bin/python
if [ ! -x "$py" ]; then
    python3 -m venv "$build/reference-venv"
    "$py" -m pip install -q torch==2.13.0 numpy pillow safetensors tokenizers transformers timm==1.0.31 onnx onnxruntime openai
    "$py" -m pip install -q --no-deps torchvision
fi
if ! "$py" -c "import mypy, pytest, pyspark, ray.data" 2>/dev/null; then # the Python package and clusters
    "$py" -m pip install -q mypy pytest pyspark "ray[data]"
fi
exec "$py" "$(dirname "$0")/../test/reference/reference.py" --build "$build" "$@"
