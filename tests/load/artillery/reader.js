// One virtual reader: checks that entries follow one another, and counts what it gets.

"use strict";

const fs = require("node:fs");

const tokens = fs.readFileSync(process.env.TOKENS, "utf8").trim().split("\n");
let readers = 0;

/** Chooses a room and a token for the scenario's messages, and hears everything from now on. */
function begin(context, events, done) {
  const number = readers++;
  const socket = context.ws;
  const room = { position: null, wrong: 0, entries: 0, telemetry: 0 };
  context.vars.token = tokens[number % tokens.length];
  context.vars.site = `fleet-${1 + (number % Number(process.env.ROOMS))}`;
  context.vars.room = room;
  socket.on("message", (message) => hear(room, JSON.parse(message.toString()), events));
  socket.on("close", (code) => {
    if (!room.isOver) {
      events.emit("counter", `lockgate.closed.${code}`, 1);
    }
  });
  done();
}

function hear(room, frame, events) {
  if (frame.error) {
    events.emit("counter", "lockgate.errors", 1);
  }
  if (frame.subscribed) {
    room.position = frame.subscribed.position ?? {};
    events.emit("counter", "lockgate.subscribed", 1);
  }
  for (const entry of frame.delivery?.entries ?? []) {
    // What is 0 is left out of JSON; 64-bit numbers are strings.
    const [before, stamp] = [BigInt(room.position?.offset ?? "0"), room.position?.stamp ?? "0"];
    const follows = BigInt(entry.offset) === before + 1n && (entry.previousStamp ?? "0") === stamp;
    room.wrong += follows ? 0 : 1;
    room.position = { offset: entry.offset, stamp: entry.stamp };
    room.entries += 1;
    room.telemetry += entry.telemetry ? 1 : 0;
  }
}

/** The account of this reader goes into the report. */
function settle(context, events, done) {
  const room = context.vars.room;
  room.isOver = true;
  events.emit("counter", "lockgate.entries", room.entries);
  events.emit("counter", "lockgate.telemetry", room.telemetry);
  events.emit("counter", "lockgate.wrong", room.wrong);
  done();
}

module.exports = { begin, settle };
