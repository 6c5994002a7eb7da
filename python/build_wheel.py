"""The build backend (PEP 517) of the wheel: meson builds the shared library, which is packed with the Python files and the default
model. In this tree, and of the standard library alone, so that a wheel can be made where scripts/setup.sh has run and nothing can be
downloaded; setuptools and meson-python would each have to be, and want a meson.build in this folder.

EYELET_BUILD     a build folder to take the library from (built if need be); default: build-wheel beside this folder, made with
                 meson's release settings
EYELET_NO_MODEL  set: leave the default model out (its weights are for research and education)
"""

import base64
import hashlib
import os
import re
import subprocess
import sysconfig
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
FIXED_TIME = (2020, 1, 1, 0, 0, 0)  # the same files make the same wheel


def _read(*names):
    with open(os.path.join(*names), encoding="utf-8") as f:
        return f.read()


def _version():
    return re.search(r"version: '([^']+)'", _read(ROOT, "meson.build")).group(1)


def _run(*command):
    # pip shuts its build environment off by a PYTHONPATH under which Debian's meson, a Python program, would not find itself.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    try:
        subprocess.run(command, check=True, env=env)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed: run scripts/setup.sh first") from None


def _library():
    build = os.path.abspath(os.environ.get("EYELET_BUILD") or os.path.join(ROOT, "build-wheel"))
    if not os.path.exists(os.path.join(build, "build.ninja")):
        _run("meson", "setup", "--buildtype=release", "-Dtests=disabled", build, ROOT)
    _run("meson", "compile", "-C", build, "eyelet:shared_library")
    return os.path.realpath(os.path.join(build, "libeyelet.so"))


def _metadata():
    return "\n".join([
        "Metadata-Version: 2.1", "Name: eyelet", f"Version: {_version()}", "Summary: Vision-language models on edge devices",
        "License: MIT", "Requires-Python: >=3.9", "Requires-Dist: numpy>=1.21",
        "Provides-Extra: pillow", "Requires-Dist: pillow; extra == 'pillow'",
        "Provides-Extra: ray", "Requires-Dist: ray[data]; extra == 'ray'", "Requires-Dist: pillow; extra == 'ray'",
        "Description-Content-Type: text/markdown", "", _read(ROOT, "doc", "PYTHON.md")])


def _files():
    """(name in the wheel, bytes) of everything but the folder of metadata."""
    def of(name, *path):
        with open(os.path.join(*path), "rb") as f:
            return name, f.read()

    package = os.path.join(HERE, "eyelet")
    for name in sorted(os.listdir(package)):
        if name.endswith(".py") or name == "py.typed":
            yield of(f"eyelet/{name}", package, name)
    yield of("eyelet/libeyelet.so", _library())
    model = os.path.join(ROOT, "models", "captioner.gguf")
    if os.path.exists(model) and not os.environ.get("EYELET_NO_MODEL"):
        yield of("eyelet/captioner.gguf", model)
        yield of("eyelet/captioner.md", ROOT, "models", "README.md")


def _tag():
    return "py3-none-" + re.sub(r"[-.]", "_", sysconfig.get_platform())


def _info_files():
    """(name, bytes) of the folder of metadata, but for its RECORD."""
    wheel = f"Wheel-Version: 1.0\nGenerator: eyelet\nRoot-Is-Purelib: false\nTag: {_tag()}\n"
    return [("LICENSE", _read(ROOT, "LICENSE").encode()), ("METADATA", _metadata().encode()), ("WHEEL", wheel.encode())]


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = f"eyelet-{_version()}.dist-info"
    os.mkdir(os.path.join(metadata_directory, info))
    for name, data in _info_files():
        with open(os.path.join(metadata_directory, info, name), "wb") as f:
            f.write(data)
    return info


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    tag, info = _tag(), f"eyelet-{_version()}.dist-info"
    name = f"eyelet-{_version()}-{tag}.whl"
    record = []
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as z:
        def add(path, data):
            entry = zipfile.ZipInfo(path, FIXED_TIME)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")

        for path, data in _files():
            add(path, data)
        for file, data in _info_files():
            add(f"{info}/{file}", data)
        add(f"{info}/RECORD", "\n".join(record + [f"{info}/RECORD,,", ""]).encode())
    return name


class UnsupportedOperation(Exception):
    """PEP 517: the backend makes no source archive; the repository is one."""


def build_sdist(sdist_directory, config_settings=None):
    raise UnsupportedOperation("build the wheel from the repository: pip wheel ./python")
