"""Past one process: the Ray Data example on a local cluster of several processes; `eyelet batch -` behind Spark, GNU parallel and
xargs. Each must give what one process gives, and lose nothing to a killed worker. What is not installed skips its test.

EYELET_PROGRAM names the program `eyelet`.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys

import eyelet
import numpy as np
import pytest

EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "examples")
N = 24


def example(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(EXAMPLES, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures(demo, tmp_path_factory):
    """A folder of N pictures that differ, one of them cut off; in all orders of names and sizes."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("pictures")
    pixels = eyelet.load_image(demo)
    height, width, _ = pixels.shape
    for i in range(N):
        y, x = height * (i % 5) // 10, width * (i % 7) // 14
        part = pixels[y: y + height // 2, x: x + width // 2]
        image.fromarray(np.ascontiguousarray(part[::-1] if i % 2 else part)).save(folder / f"{i * 7 % N:02} a.png")
    cut = folder / "03 a.png"
    cut.write_bytes(cut.read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def want(pictures, model):
    """path -> caption, or None where there is none, by one process."""
    found = {}
    for path in sorted(pictures.iterdir()):
        try:
            found[str(path)] = model.caption(path)
        except eyelet.CorruptError:
            found[str(path)] = None
    assert sum(v is None for v in found.values()) == 1 and len(set(found.values())) > 5
    return found


# ---- Ray ----

@pytest.fixture(scope="module")
def ray_batch(model):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    os.environ["EYELET_MODEL"] = model.path
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False,
             logging_level="ERROR", _node_ip_address="127.0.0.1",
             runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([EXAMPLES, *sys.path])}})
    ray.data.DataContext.get_current().enable_progress_bars = False
    sys.path.insert(0, EXAMPLES)
    yield example("ray_batch")
    ray.shutdown()


def rows(dataset):
    taken = dataset.take_all()
    assert len(taken) == N
    return {r["image"]: r["caption"] or None for r in taken}, taken


def test_ray_is_one_process(ray_batch, pictures, want):
    got, taken = rows(ray_batch.captions([str(pictures)], actors=2, batch_size=4))
    assert got == want
    assert [r["image"] for r in taken if r["error"]] == [k for k, v in want.items() if v is None]


def test_ray_loses_nothing_to_a_killed_worker(ray_batch, pictures, want, tmp_path):
    mark = tmp_path / "killed"

    class Mortal(ray_batch.Captioner):
        """Dies by SIGKILL in the middle of its first batch but one: once in the cluster."""

        def __call__(self, batch):
            self.n = getattr(self, "n", 0) + 1
            if self.n == 2:
                try:
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                    os.kill(os.getpid(), signal.SIGKILL)
                except FileExistsError:
                    pass
            return super().__call__(batch)

    got, _ = rows(ray_batch.captions([str(pictures)], actors=2, batch_size=2, captioner=Mortal))
    assert mark.exists() and got == want


# ---- the line protocol: paths in, JSON out ----

@pytest.fixture(scope="module")
def program():
    path = os.environ.get("EYELET_PROGRAM")
    if not path:
        pytest.skip("EYELET_PROGRAM is not set")
    return path


@pytest.fixture
def batch(program, model):
    return [program, "batch", "-", "-m", model.path, "-t", "1", "-j", "1"]


def same(lines, want):
    found = [json.loads(line) for line in lines]
    assert len(found) == len(want)
    assert {r["image"]: r.get("caption") for r in found} == want
    assert all(("error" in r) == (want[r["image"]] is None) for r in found)


def pipe(command, want, **env):
    return subprocess.run(command, input="".join(p + "\n" for p in want), capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, **env})


def test_batch_is_one_process(batch, want):
    same(pipe(batch, want).stdout.splitlines(), want)


def test_xargs(program, model, want):
    """Any runner that appends paths."""
    out = subprocess.run(["xargs", "-0", "-P", "2", "-n", "8", program, "batch", "-m", model.path, "-t", "1", "-j", "1"],
                         input="".join(p + "\0" for p in want), capture_output=True, text=True, timeout=300, check=False)
    same(out.stdout.splitlines(), want)


@pytest.mark.skipif(not shutil.which("parallel"), reason="GNU parallel is not installed")
def test_parallel(batch, want):
    out = pipe(["parallel", "--will-cite", "--pipe", "-N", "8", "-j", "2", "-q", *batch], want)
    same(out.stdout.splitlines(), want)


@pytest.mark.skipif(not shutil.which("parallel"), reason="GNU parallel is not installed")
def test_parallel_loses_nothing_to_a_killed_worker(batch, want, tmp_path):
    """The first worker dies; --retries gives its paths to another."""
    mortal = tmp_path / "mortal"
    mortal.write_text(f'#!/bin/sh\nif mkdir "{tmp_path}/killed" 2>/dev/null; then kill -9 $$; fi\nexec "$@"\n')
    mortal.chmod(0o755)
    out = pipe(["parallel", "--will-cite", "--pipe", "-N", "8", "-j", "2", "--retries", "3", "-q", str(mortal), *batch], want)
    assert (tmp_path / "killed").exists()
    same(out.stdout.splitlines(), want)


def test_spark(batch, want, monkeypatch):
    pytest.importorskip("pyspark")
    if not shutil.which("java"):
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark_batch = example("spark_batch")
    spark = spark_batch.session("local[2]")
    try:
        same(spark_batch.lines(spark, list(want), batch, 3), want)
    finally:
        spark.stop()
