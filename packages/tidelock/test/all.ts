import "./queue.test.js";
import "./topic.test.js";
