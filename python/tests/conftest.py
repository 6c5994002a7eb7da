"""What the tests run on: the default model where there is one, and a tiny checkpoint with random weights.

EYELET_LIBRARY (in a checkout) names the library; EYELET_MAKE_CHECKPOINT the program that writes tiny checkpoints. What is absent
skips its tests.
"""

import os
import subprocess

import eyelet
import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


@pytest.fixture(scope="session")
def demo():
    path = os.path.join(ROOT, "doc", "demo.jpg")
    if not os.path.exists(path):
        pytest.skip("doc/demo.jpg is not here")
    return path


@pytest.fixture(scope="session")
def model():
    try:
        path = eyelet.default_model()
    except eyelet.FileError:
        pytest.skip("no default model")
    with eyelet.Model(path) as m:
        yield m


@pytest.fixture
def session(model):
    with model.session() as s:
        yield s


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    program = os.environ.get("EYELET_MAKE_CHECKPOINT")
    if not program:
        pytest.skip("EYELET_MAKE_CHECKPOINT is not set")
    path = str(tmp_path_factory.mktemp("tiny") / "tiny")
    subprocess.run([program, "--size", "tiny", "-o", path], check=True, stdout=subprocess.DEVNULL)
    return path
