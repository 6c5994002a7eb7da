"""Captions for many pictures on a Ray cluster: one line of JSON for each, {"image": path, "caption": …} or {"image": path, "error": …}.

    python ray_batch.py PICTURES… -o FILE.jsonl [--model PATH] [--actors N] [--threads N]

Each actor opens the model once and keeps it; pictures come to it as bytes, from wherever Ray reads them (a folder, s3://…). A
picture that cannot be read is a line with an error. An actor or node that dies loses nothing: Ray starts another and gives it the same
pictures. Run it on an existing cluster with RAY_ADDRESS, alone otherwise; the wheel must be installed on every node.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import ray


class Captioner:
    """One model, in a process of its own: Ray Data keeps it for all the batches it gives to this actor."""

    def __init__(self, path: str | None, threads: int) -> None:
        import eyelet  # here: the driver needs no model, and what it opened would not travel

        self.error = eyelet.Error
        self.model = eyelet.Model(path, n_threads=threads)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        answers, errors = [], []
        for data in batch["bytes"]:
            try:
                answers.append(self.model.caption(data))
                errors.append("")
            except self.error as e:  # of this picture: the others go on
                answers.append("")
                errors.append(str(e))
        return {"image": batch["path"], "caption": answers, "error": errors}


def captions(pictures: list[str], path: str | None = None, actors: int = 1, threads: int = 1, batch_size: int = 16,
             captioner: type[Captioner] = Captioner) -> Any:
    """A ray.data.Dataset with columns image, caption and error, in no order."""
    files = ray.data.read_binary_files(pictures, include_paths=True)
    return files.map_batches(captioner, fn_constructor_args=(path, threads), batch_size=batch_size, num_cpus=threads,
                             compute=ray.data.ActorPoolStrategy(size=actors))


def line(row: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if v or k == "image"}, ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--model", help="left out: the default model of each node's wheel")
    parser.add_argument("--actors", type=int, default=1, help="models in the cluster")
    parser.add_argument("--threads", type=int, default=1, help="processors each of them takes")
    args = parser.parse_args()
    with open(args.output, "w", encoding="utf-8") as out:
        for row in captions(args.pictures, args.model, args.actors, args.threads).iter_rows():
            out.write(line(row) + "\n")


if __name__ == "__main__":
    main()
