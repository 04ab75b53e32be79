"""Python's tools for near duplicates, on the texts of a corpus that `cargo bench --bench curate` made.

    python peers.py signatures TRACES TEXTS     MB/s of MinHash signatures by daft, gaoya, rensa and datasketch
    python peers.py datatrove TRACES TEXTS      seconds of datatrove's signatures, buckets and clusters

TRACES is a folder of Parquet files, TEXTS how many traces are taken. One JSON line a tool. One core: start it with
`taskset -c 0`. Needs daft, gaoya, rensa, datasketch, pyarrow, datatrove[processing] and spacy.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

SHINGLE, BANDS, ROWS = 5, 20, 6


def texts(folder, count):
    found = []
    for path in sorted(Path(folder).glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=["thinking", "answer"]):
            found += [f"{t}\n{a}" for t, a in zip(*map(lambda c: c.to_pylist(), batch.columns))]
            if len(found) >= count:
                return found[:count]
    return found


def report(tool, seconds, found):
    size = sum(len(text.encode()) for text in found)
    print(json.dumps({"tool": tool, "seconds": seconds, "mb_per_second": size / 1e6 / seconds}), flush=True)


def timed(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def signatures(found):
    import daft
    from daft.functions import minhash
    import gaoya
    import rensa
    from datasketch import MinHash

    daft.set_runner_native(num_threads=1)
    frame = daft.from_pydict({"text": found}).collect()
    minima = minhash(daft.col("text"), num_hashes=BANDS * ROWS, ngram_size=SHINGLE, hash_function="xxhash64")
    report("daft", timed(lambda: frame.select(minima).collect()), found)

    def insert():
        index = gaoya.minhash.MinHashStringIndex(
            32, 0.8, BANDS, ROWS, None, "word", True, (SHINGLE, SHINGLE), "vec")
        for i, text in enumerate(found):
            index.insert_document(i, text)

    report("gaoya (with its index)", timed(insert), found)

    def shingles(text):
        words = text.lower().split()
        return [" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))]

    def with_rensa():
        for text in found:
            sketch = rensa.RMinHash(num_perm=BANDS * ROWS, seed=1)
            sketch.update(shingles(text))
            sketch.digest()

    report("rensa", timed(with_rensa), found)

    few = found[: max(1, len(found) // 10)]

    def with_datasketch():
        for text in few:
            MinHash(num_perm=BANDS * ROWS).update_batch([s.encode() for s in shingles(text)])

    report("datasketch", timed(with_datasketch), few)


def datatrove(found):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.readers import JsonlReader

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        with open(source / "texts.jsonl", "w") as file:
            for i, text in enumerate(found):
                file.write(json.dumps({"id": str(i), "text": text}) + "\n")

        def step(*pipeline, tasks=1):
            LocalPipelineExecutor(
                list(pipeline), tasks=tasks, workers=1, skip_completed=False, logging_dir=f"{folder}/logs").run()

        def run():
            step(JsonlReader(str(source)), MinhashDedupSignature(f"{folder}/signatures"))
            step(MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets"), tasks=14)
            step(MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", save_cluster_id=True))

        report("datatrove", timed(run), found)


if __name__ == "__main__":
    what, folder, count = sys.argv[1:]
    {"signatures": signatures, "datatrove": datatrove}[what](texts(folder, int(count)))
