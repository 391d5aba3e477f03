// A worker of graphile-worker whose task only notes when it began. Its standard input's end is its own; it then prints a
// line a task: the id in the payload, and the moment in microseconds of the machine's clock.
//
// usage: NODE_PATH=.../node_modules node graphile-worker.cjs URL
"use strict";
const { run, Logger } = require("graphile-worker");

const began = [];
// Read again now and then: the two clocks drift apart.
let origin = 0;
const settle = () => {
    origin = Date.now() - performance.now();
    for (let i = 0; i < 1000; i += 1) origin = Math.max(origin, Date.now() - performance.now());
};
settle();
setInterval(settle, 1000).unref();

async function main() {
    const runner = await run({
        connectionString: process.argv[2],
        concurrency: 10,
        noHandleSignals: true,
        // A line a task on the terminal would be a cost that we do not have.
        logger: new Logger(() => () => {}),
        taskList: {
            bench: async (payload) => {
                began.push(`${payload.id} ${Math.round((origin + performance.now()) * 1000)}`);
            },
        },
    });
    process.stdout.write("ready\n");
    process.stdin.resume();
    process.stdin.on("end", async () => {
        await runner.stop();
        process.stdout.write(`${began.join("\n")}\n`, () => process.exit(0));
    });
}

main().catch((error) => {
    process.stderr.write(`${error}\n`);
    process.exit(1);
});
