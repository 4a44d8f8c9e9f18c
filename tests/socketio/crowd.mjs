// Many official Socket.IO clients in one process, for the benchmarks.
//
//   node crowd.mjs URL COUNT
//
// out  connected                    every client has its first snapshot
//      {"seq": N, "last_ms": T}     the last client was told of the assignment at this position; T since the epoch

import { io } from "socket.io-client";

const [url, count] = process.argv.slice(2);
const clients = Number(count);
const heard = new Map();
let ready = 0;

for (let number = 0; number < clients; number += 1) {
  const socket = io(url, { transports: ["websocket"], forceNew: true, auth: { deltas: true } });
  socket.once("vmPoolStatus", () => {
    ready += 1;
    if (ready === clients) process.stdout.write("connected\n");
  });
  socket.on("vmAssigned", ({ seq }) => {
    const times = (heard.get(seq) ?? 0) + 1;
    heard.set(seq, times);
    if (times < clients) return;
    heard.delete(seq);
    const last_ms = performance.timeOrigin + performance.now();
    process.stdout.write(`${JSON.stringify({ seq, last_ms })}\n`);
  });
}
