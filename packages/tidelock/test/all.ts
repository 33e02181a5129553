import "./queue.test.js";
import "./store.test.js";
import "./retry.test.js";
import "./ratelimit.test.js";
import "./mutex.test.js";
import "./topic.test.js";
