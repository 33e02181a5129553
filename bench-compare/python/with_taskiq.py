"""taskiq with the acknowledging broker of taskiq-redis, and results that expire, as its manual advises."""

import asyncio
from datetime import datetime, timezone

from taskiq.api import run_receiver_task
from taskiq_redis import ListRedisScheduleSource, RedisAsyncResultBackend, RedisStreamBroker

# As long as arq keeps results.
RESULTS_S = 3_600


class Library:
    def __init__(self, url):
        self.url = url

    def broker(self, handle):
        """A broker with its own connections, and its task."""
        results = RedisAsyncResultBackend(redis_url=self.url, result_ex_time=RESULTS_S)
        broker = RedisStreamBroker(url=self.url).with_result_backend(results)
        return broker, broker.task(task_name="handle")(handle)

    async def open(self):
        async def handle(payload: str) -> None:
            raise NotImplementedError("only the worker has it")

        broker, self.task = self.broker(handle)
        # A group does not see what is sent before it exists.
        await broker.startup()
        self.delayed = ListRedisScheduleSource(self.url)

    async def enqueue(self, payload, delay=None):
        if delay is None:
            await self.task.kiq(payload)
        else:
            due = datetime.now(timezone.utc) + delay
            await self.task.schedule_by_time(self.delayed, due, payload)

    async def work(self, handlers, seen):
        async def handle(payload: str) -> None:
            seen.handle(payload)

        broker, _ = self.broker(handle)
        self.worker = asyncio.create_task(run_receiver_task(broker, max_async_tasks=handlers, run_startup=True))
