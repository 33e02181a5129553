import "./job.test.js";
import "./queue.test.js";
