import "./job.test.js";
import "./queue.test.js";
import "./store.test.js";
import "./retry.test.js";
import "./ratelimit.test.js";
import "./mutex.test.js";
import "./scheduler.test.js";
import "./topic.test.js";
