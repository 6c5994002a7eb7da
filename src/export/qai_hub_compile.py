#!/usr/bin/env python3
"""Compiles ONNX graphs to QNN context binaries on Qualcomm AI Hub, with your client and account.

Written by "eyelet export qai-hub", which itself opens no connection. Once:

    pip install qai-hub && qai-hub configure --api_token TOKEN

Then "python3 qai_hub_compile.py [GRAPH ...]": uploads graphs and weights, submits a compile job for each, waits, downloads the binaries.
--dry-run shows what would be sent and needs no client. --ids FILE: models that are there already ("name: model_id" per line, as
qaihub-model-ids.txt has them) are not uploaded again. Exit status 1 if a job failed.
"""
import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile

PLAN = json.loads(r'''@PLAN@''')
HERE = os.path.dirname(os.path.abspath(__file__))
BINS = os.path.join(HERE, PLAN["bins"])


def place(path):
    return os.path.join(HERE, path)  # absolute ones stay


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def check(graph):
    """The graph on disk is the one that this script was written for."""
    path = place(graph["onnx"])
    if not os.path.isfile(path):
        sys.exit(f"{path}: not there")
    if sha256(path) != graph["onnx_sha256"]:
        sys.exit(f"{path}: changed since this script was written; \"eyelet export qai-hub\" writes a new one")
    for name in graph["data"]:
        if not os.path.isfile(os.path.join(os.path.dirname(path), name)):
            sys.exit(f"{path}: its weights {name} are not beside it")


def staged(graph, folder):
    """What the client uploads: the file, or a folder of graph and weights."""
    path = place(graph["onnx"])
    if not graph["data"]:
        return path
    stage = os.path.join(folder, graph["name"])
    os.mkdir(stage)
    for name in [os.path.basename(path)] + graph["data"]:
        source = os.path.join(os.path.dirname(path), name)
        try:
            os.link(source, os.path.join(stage, name))
        except OSError:
            shutil.copy2(source, os.path.join(stage, name))
    return stage


def read_ids(path):
    ids = {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            name, colon, model = line.partition(":")
            if not colon:
                sys.exit(f"{path}:{number}: expected \"name: model_id\"")
            ids[name.strip()] = model.strip()
    return ids


def submit(hub, graph, ids, folder):
    if graph["name"] in ids:
        model = hub.get_model(ids[graph["name"]])
    else:
        model = hub.upload_model(staged(graph, folder), name=graph["job"])
    specs = {name: (tuple(shape), dtype) for name, (shape, dtype) in graph["input_specs"].items()}
    job = hub.submit_compile_job(model=model, device=hub.Device(PLAN["device"], os=PLAN["os"]), name=graph["job"], input_specs=specs,
                                 options=graph["options"])
    return model, job


def write(name, text):
    with open(os.path.join(BINS, name), "w", encoding="utf-8") as f:
        f.write(text)


def one_line(text):
    return " ".join(str(text or "").split())


def collect(graph, model, job):
    """Waits; a folder with the binary and metadata.json, or the reason. Returns the job's line and whether it went well."""
    status = job.wait()
    line = f"{graph['name']}: model_id={model.model_id} job_id={job.job_id} "
    if not status.success:
        return line + f"status=FAILED ({one_line(status.message)}) url={job.url}", False
    folder = os.path.join(BINS, f"{graph['job']}_{job.job_id}")
    os.makedirs(folder, exist_ok=True)
    file = job.download_target_model(os.path.join(folder, graph["job"] + ".bin"))
    record = {"name": graph["name"], "model_id": model.model_id, "job_id": job.job_id, "device": PLAN["device"], "os": PLAN["os"],
              "options": graph["options"], "onnx": graph["onnx"], "onnx_sha256": graph["onnx_sha256"],
              "input_specs": graph["input_specs"], "output_names": graph["output_names"], "status": "SUCCESS", "url": job.url,
              "file": os.path.basename(file), "file_sha256": sha256(file)}
    write(os.path.join(os.path.basename(folder), "metadata.json"), json.dumps(record, indent=2, sort_keys=True) + "\n")
    print(file)
    return line + f"status=SUCCESS url={job.url}", True


def main():
    parser = argparse.ArgumentParser(description="compiles ONNX graphs on Qualcomm AI Hub")
    parser.add_argument("graph", nargs="*", help="names of graphs; left out: all")
    parser.add_argument("--ids", metavar="FILE", help="models that are uploaded already")
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent")
    args = parser.parse_args()
    graphs = {g["name"]: g for g in PLAN["graphs"]}
    unknown = [name for name in args.graph if name not in graphs]
    if unknown:
        sys.exit(f"no graph of this name: {unknown[0]}; there are {', '.join(graphs)}")
    chosen = [graphs[name] for name in args.graph or graphs]
    ids = read_ids(args.ids) if args.ids else {}
    for graph in chosen:
        check(graph)
    if args.dry_run:
        print(json.dumps(dict(PLAN, graphs=chosen), indent=2))
        return 0
    import qai_hub as hub
    os.makedirs(BINS, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        sent = [(graph, *submit(hub, graph, ids, folder)) for graph in chosen]  # they run side by side
        ids.update((graph["name"], model.model_id) for graph, model, _ in sent)
        write("qaihub-model-ids.txt", "".join(f"{name}: {model}\n" for name, model in ids.items()))
        done = [collect(*s) for s in sent]
    options = " | ".join(dict.fromkeys(g["options"] for g in chosen))
    write("qaihub-jobs.txt", f"device={PLAN['device']} os={PLAN['os']}\ncompile_options={options}\n\n" + "".join(line + "\n" for line, _ in done))
    for line, _ in done:
        print(line, file=sys.stderr)
    return 0 if all(well for _, well in done) else 1


if __name__ == "__main__":
    sys.exit(main())
