// The official Socket.IO client on a leash: it connects, writes everything that happens as one JSON object per
// line to its standard output, and obeys commands, one JSON object per line, on its standard input.
//
//   node client.mjs URL [OPTIONS]        OPTIONS is JSON for io(): {auth, query, transports, ...}
//
// in   {"emit": NAME, "args": [...]}              without an acknowledgement
//      {"emit": NAME, "args": [...], "ack": N}    with one, answered as {"ack": N, "args": [...]}
//      {"close": true}
//      {"hold": BOOL}                             acknowledges nothing from now on, or everything again
// out  {"connected": SID}   {"refused": MESSAGE}   {"disconnected": REASON}
//      {"upgraded": TRANSPORT}   {"event": NAME, "args": [...]}   {"ack": N, "args": [...]}

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, options = "{}"] = process.argv.slice(2);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const socket = io(url, { reconnection: false, ...JSON.parse(options) });

// An upgrade may be over before the namespace is joined.
socket.io.on("open", () => {
  socket.io.engine.on("upgrade", (transport) => tell({ upgraded: transport.name }));
});
socket.on("connect", () => tell({ connected: socket.id }));
socket.on("connect_error", (error) => tell({ refused: error.message }));
socket.on("disconnect", (reason) => tell({ disconnected: reason }));
// What is to be acknowledged is, unless that is being held back.
let holding = false;
socket.onAny((event, ...args) => {
  const acknowledge = typeof args.at(-1) === "function" ? args.pop() : undefined;
  tell({ event, args });
  if (!holding) acknowledge?.();
});

const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const command = JSON.parse(line);
  if (command.hold !== undefined) {
    holding = command.hold;
    tell({ holding });
  } else if (command.close) {
    socket.close();
  } else if (command.ack === undefined) {
    socket.emit(command.emit, ...command.args);
  } else {
    socket.emit(command.emit, ...command.args, (...args) => tell({ ack: command.ack, args }));
  }
});
// Whoever started us has gone.
commands.on("close", () => process.exit(0));
