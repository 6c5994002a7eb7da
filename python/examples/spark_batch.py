"""Captions for many pictures on Apache Spark: each partition's paths go through a process `eyelet batch -`, a line each.

    spark-submit spark_batch.py LIST OUT [--eyelet PROGRAM] [--partitions N]

LIST is a text file of paths that every worker can read; OUT a folder of JSON lines. eyelet must be installed on every node. Spark
runs a partition again whose worker died.
"""

from __future__ import annotations

import argparse
import shlex

from pyspark.sql import SparkSession


def session(master: str | None = None) -> SparkSession:
    builder = SparkSession.builder.appName("eyelet").config("spark.ui.enabled", "false")
    return (builder.master(master) if master else builder).getOrCreate()


def lines(spark: SparkSession, paths: list[str], command: list[str], partitions: int) -> list[str]:
    """The lines for a list of paths, in its order."""
    return spark.sparkContext.parallelize(paths, partitions).pipe(shlex.join(command), checkCode=True).collect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("list")
    parser.add_argument("out")
    parser.add_argument("--eyelet", default="eyelet batch - -t 1 -q", help="the command, as a shell would have it")
    parser.add_argument("--partitions", type=int, default=None, help="processes' worth of work; a few for each core")
    args = parser.parse_args()
    spark = session()
    spark.sparkContext.textFile(args.list, args.partitions).pipe(args.eyelet, checkCode=True).saveAsTextFile(args.out)
    spark.stop()


if __name__ == "__main__":
    main()
