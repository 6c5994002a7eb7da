"""The cache of `eyelet pull`, read by huggingface_hub itself: every file by snapshot_download(local_files_only=True), and scan_cache_dir.

Usage: hub_cache.py EYELET HUB_SERVER     (build/eyelet build/test/support/hub_server; needs huggingface_hub)
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(path: pathlib.Path, root: pathlib.Path) -> dict:
    data = path.read_bytes()
    name = path.relative_to(root).as_posix()
    if name.endswith(".safetensors"):
        return {"rfilename": name, "size": 1, "blobId": "", "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    return {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}


def main() -> None:
    eyelet, server = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        files = root / "hub" / "files"
        files.mkdir(parents=True)
        (root / "hub" / "api").mkdir()
        (files / "config.json").write_text("{}")
        (files / "deep" / "er").mkdir(parents=True)
        (files / "deep" / "er" / "ä b%20#?.txt").write_text("odd")
        (files / "model.safetensors").write_bytes(os.urandom(300_000))
        listing = {"sha": COMMIT, "siblings": [entry(p, files) for p in files.rglob("*") if p.is_file()]}
        (root / "hub" / "api" / "tiny.json").write_text(json.dumps(listing))
        hub = subprocess.Popen([server, root / "hub"], stdout=subprocess.PIPE, text=True)
        try:
            env = dict(os.environ, HF_ENDPOINT=f"http://127.0.0.1:{hub.stdout.readline().strip()}", HF_HOME=str(root / "home"))
            where = subprocess.run([eyelet, "pull", "acme/tiny@refs/pr/1", "--all", "--json"], env=env, check=True, capture_output=True)
        finally:
            hub.kill()
        from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

        cache = root / "home" / "hub"
        for revision in ("refs/pr/1", COMMIT):
            found = pathlib.Path(snapshot_download("acme/tiny", revision=revision, cache_dir=cache, local_files_only=True))
            assert found == pathlib.Path(json.loads(where.stdout)["snapshot"]), found
            for p in files.rglob("*"):
                name = p.relative_to(files).as_posix()
                if p.is_file():
                    assert (found / name).read_bytes() == p.read_bytes(), name
                    assert try_to_load_from_cache("acme/tiny", name, cache_dir=cache, revision=revision) == str(found / name)
        info = scan_cache_dir(cache)
        (repo,) = info.repos
        assert not info.warnings and repo.repo_id == "acme/tiny" and repo.nb_files == 3, info
        print("huggingface_hub reads", repo.nb_files, "files of", repo.repo_id)


if __name__ == "__main__":
    main()
