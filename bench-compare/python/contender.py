"""The counterpart of `src/main.rs` for libraries from PyPI: one process runs one workload once.

The protocol is the same: it prints `ready`, waits for a line, runs, prints one line of JSON, and ends when its input does.
"""

import argparse
import asyncio
import importlib
import json
import math
import os
import sys
import time
from datetime import timedelta

PAYLOAD = 100
PATIENCE_S = 30
# The longest time for which a rate is measured.
ENOUGH_S = 3


# Each in a separate module, because they cannot be installed side by side.
LIBRARIES = {
    "arq": ("with_arq", {}),
    "arq-10ms": ("with_arq", {"poll_s": 0.01}),
    "taskiq": ("with_taskiq", {}),
}


def library(contender, url):
    module, options = LIBRARIES[contender]
    return importlib.import_module(module).Library(url, **options)


class Seen:
    """What the handlers of a worker have received."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.arrivals = []
        self.all = asyncio.Event()

    def handle(self, payload):
        self.arrivals.append((int(payload.split("-", 1)[0]), time.perf_counter()))
        if len(self.arrivals) == self.wanted:
            self.all.set()

    async def wait_for_all(self):
        """Waits until all items have arrived, or for the longest time of a rate; returns their number."""
        try:
            await asyncio.wait_for(self.all.wait(), ENOUGH_S)
        except asyncio.TimeoutError:
            if len(self.arrivals) < 2:
                raise
        return min(len(self.arrivals), self.wanted)

    async def came(self, items):
        start = time.perf_counter()
        while len(self.arrivals) < items:
            if time.perf_counter() - start > PATIENCE_S:
                raise TimeoutError(f"item {items} did not come")
            await asyncio.sleep(0.001)

    def delays(self, departures):
        return [arrival - departures[number] for number, arrival in self.arrivals]


def payload(number):
    return f"{number:08}-".ljust(PAYLOAD, "x")


def rate(items, start):
    return {"items": items, "seconds": time.perf_counter() - start}


def latencies(samples, start):
    samples.sort()

    def percentile(percent):
        return samples[math.ceil((len(samples) - 1) * percent / 100)] * 1_000 if samples else 0

    return {**rate(len(samples), start), "p50_ms": percentile(50), "p99_ms": percentile(99)}


async def spread(items, callers, call):
    """Calls for each number below `items`; a caller takes the next number when its last call is answered."""
    numbers = iter(range(items))

    async def caller():
        for number in numbers:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def enqueue(library, task, begin):
    await library.open()
    start = await begin()
    await spread(task.items, task.callers, lambda number: library.enqueue(payload(number)))
    return rate(task.items, start)


def unsupported(reason):
    async def work(_library, _task, begin):
        await begin()
        return {"items": 0, "seconds": 0, "unsupported": reason}

    return work


async def enqueue_many(library, payloads, delay):
    """As many concurrent calls as is usual, since there is no bulk call."""
    for first in range(0, len(payloads), 64):
        some = payloads[first : first + 64]
        await asyncio.gather(*(library.enqueue(payload, delay) for payload in some))


async def fill(library, task, begin, delay=None):
    await library.open()
    start = await begin()
    for first in range(0, task.items, task.batch):
        last = min(first + task.batch, task.items)
        await enqueue_many(library, [payload(number) for number in range(first, last)], delay)
    return rate(task.items, start)


async def delay(library, task, begin):
    return await fill(library, task, begin, timedelta(hours=1))


async def process(library, task, begin):
    await begin()
    seen = Seen(task.items)
    await library.work(task.callers, seen)
    return rate(await seen.wait_for_all(), seen.arrivals[0][1])


async def flow(library, task, begin):
    seen = Seen(task.items)
    await library.open()
    await library.work(task.callers, seen)
    start = await begin()
    await spread(task.items, task.callers, lambda number: library.enqueue(payload(number)))
    return rate(await seen.wait_for_all(), start)


async def idle(library, task, begin):
    seen = Seen(1)
    await library.open()
    await library.work(task.callers, seen)
    await library.enqueue(payload(0))
    await seen.came(1)
    start, departures = await begin(), [0]
    while len(departures) <= task.items and time.perf_counter() - start < task.seconds:
        await asyncio.sleep(0.005)
        departures.append(time.perf_counter())
        await library.enqueue(payload(len(departures) - 1))
        await seen.came(len(departures))
    return latencies(seen.delays(departures)[1:], start)


async def loaded(library, task, begin):
    seen, departures, calls = Seen(0), [], []
    await library.open()
    await library.work(task.callers, seen)
    start = await begin()
    while time.perf_counter() - start < task.seconds:
        await asyncio.sleep(0.001)
        while start + len(departures) / task.rate <= time.perf_counter():
            departures.append(time.perf_counter())
            calls.append(asyncio.create_task(library.enqueue(payload(len(departures) - 1))))
    await asyncio.gather(*calls)
    await seen.came(len(departures))
    return latencies(seen.delays(departures), start)


WORKS = {
    **{work.__name__: work for work in (enqueue, fill, delay, process, flow, idle, loaded)},
    "bulk": unsupported("no bulk enqueue"),
    "ordered": unsupported("no per-key order"),
    "paced": unsupported("no rate limit"),
    "held": unsupported("no rate limit"),
}


def read_task():
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=LIBRARIES)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--url", required=True)
    for name, kind, standard in [
        ("items", int, 1_000),
        ("callers", int, 1),
        ("batch", int, 100),
        ("rate", float, 100.0),
        ("seconds", float, 1.0),
        ("limit", int, 100_000),
        ("window", int, 1_000),
    ]:
        parser.add_argument(f"--{name}", type=kind, default=standard)
    return parser.parse_args()


async def begin():
    print("ready", flush=True)
    sys.stdin.readline()
    return time.perf_counter()


async def main():
    task = read_task()
    outcome = await WORKS[task.work](library(task.contender, task.url), task, begin)
    print(json.dumps(outcome), flush=True)
    sys.stdin.readline()
    # A worker that waits for more would have to be cancelled; instead, it ends with the process.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
