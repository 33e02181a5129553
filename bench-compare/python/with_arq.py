"""arq with its defaults, or with a shorter poll interval."""

import asyncio

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func


class Library:
    def __init__(self, url, poll_s=0.5):
        self.settings = RedisSettings.from_dsn(url)
        self.poll_s = poll_s

    async def open(self):
        self.pool = await create_pool(self.settings)

    async def enqueue(self, payload, delay=None):
        await self.pool.enqueue_job("handle", payload, _defer_by=delay)

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
