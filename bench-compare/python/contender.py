"""What `src/main.rs` is for libraries in Rust: one process does one work once, for libraries on PyPI.

The conversation is the same: it says `ready`, waits for a line, works, prints one line of JSON, and ends with its input.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import time
from datetime import timedelta

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func

PAYLOAD = 100
PATIENCE_S = 30
# How long a rate is measured at most.
ENOUGH_S = 3


class Arq:
    """arq with its defaults, or with a shorter pause between two looks at the queue."""

    def __init__(self, url, poll_s=0.5):
        self.settings = RedisSettings.from_dsn(url)
        self.poll_s = poll_s

    async def open(self):
        self.pool = await create_pool(self.settings)

    async def enqueue(self, payload, delay=None):
        await self.pool.enqueue_job("handle", payload, _defer_by=delay)

    async def enqueue_many(self, payloads, delay=None):
        for first in range(0, len(payloads), 64):
            some = payloads[first : first + 64]
            await asyncio.gather(*(self.enqueue(payload, delay) for payload in some))

    async def work(self, handlers, seen):
        async def handle(_context, payload):
            seen.handle(payload)

        worker = Worker(
            [func(handle, name="handle")],
            redis_settings=self.settings,
            max_jobs=handlers,
            poll_delay=self.poll_s,
            handle_signals=False,
        )
        self.worker = asyncio.create_task(worker.async_run())


LIBRARIES = {"arq": Arq, "arq-10ms": lambda url: Arq(url, poll_s=0.01)}


class Seen:
    """What the handlers of a worker have seen."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.arrivals = []
        self.all = asyncio.Event()

    def handle(self, payload):
        self.arrivals.append((int(payload.split("-", 1)[0]), time.perf_counter()))
        if len(self.arrivals) == self.wanted:
            self.all.set()

    async def wait_for_all(self):
        """Waits until all came, or for as long as a rate is worth waiting for; tells how many came."""
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
    """Calls for each number below `items`; callers take the next number when their last call is answered."""
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


async def bulk(_library, _task, begin):
    await begin()
    return {"items": 0, "seconds": 0, "unsupported": "no call that enqueues many"}


async def ordered(_library, _task, begin):
    await begin()
    return {"items": 0, "seconds": 0, "unsupported": "no order by keys"}


async def fill(library, task, begin, delay=None):
    await library.open()
    start = await begin()
    for first in range(0, task.items, task.batch):
        last = min(first + task.batch, task.items)
        await library.enqueue_many([payload(number) for number in range(first, last)], delay)
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
    work.__name__: work
    for work in (enqueue, bulk, fill, delay, process, flow, ordered, idle, loaded)
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
    ]:
        parser.add_argument(f"--{name}", type=kind, default=standard)
    return parser.parse_args()


async def begin():
    print("ready", flush=True)
    sys.stdin.readline()
    return time.perf_counter()


async def main():
    task = read_task()
    outcome = await WORKS[task.work](LIBRARIES[task.contender](task.url), task, begin)
    print(json.dumps(outcome), flush=True)
    sys.stdin.readline()
    # A worker that waits for more would have to be cancelled; it goes with the process.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
