import "./job.test.js";
import "./queue.test.js";
import "./scheduler.test.js";
import "./store.test.js";
import "./topic.test.js";
