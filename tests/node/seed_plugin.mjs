// A plug-in that speaks nothing but the five envelopes of the seed: no token, no meta.protocol.
import WebSocket from "ws";

const host = process.env.BKG_PLUGIN_BUS_HOST ?? "127.0.0.1";
const port = process.env.BKG_PLUGIN_BUS_PORT;
const plugin = process.env.BKG_PLUGIN_NAME ?? "demo";
if (!port) {
  console.error("BKG_PLUGIN_BUS_PORT is not set; the Host sets it when it starts a plug-in.");
  process.exit(78);
}

const bus = new WebSocket(`ws://${host}:${port}`);
const send = (envelope) => bus.send(JSON.stringify(envelope));
const log = (level, message) =>
  send({ type: "log", plugin, level, message, timestamp: new Date().toISOString() });
const beat = () => send({ type: "health", plugin, status: "up" });

bus.on("open", () => {
  send({ type: "register", plugin, port: "internal", capabilities: ["demo.echo"] });
  beat();
  setInterval(beat, 10_000);
  log("info", `${plugin} is up`);
});

bus.on("message", (text) => {
  const { type, requestId, capability, payload } = JSON.parse(text);
  if (type === "error") console.error(`refused: ${text}`);
  if (type !== "request") return;
  log("debug", `${capability} was asked`);
  if (capability === "demo.echo") send({ type: "response", requestId, success: true, data: payload });
  else send({ type: "response", requestId, success: false, error: `no ${capability} here` });
});

bus.on("error", (error) => console.error(error.message));
bus.on("close", (code) => process.exit(code === 1000 || code === 1001 ? 0 : 1));
process.on("SIGTERM", () => bus.close(1000));
